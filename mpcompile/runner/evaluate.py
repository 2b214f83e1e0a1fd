"""Held-out figures of a trained run, each with its standard error over examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mpcompile.backend import Backend
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.diagnostics.render import printable
from mpcompile.ir import Array, Module
from mpcompile.runner import measure, told
from mpcompile.runner.answers import LEVELS, QUANTITY, lengths_of, targets
from mpcompile.runner.baselines import baselines
from mpcompile.runner.bounds import importance_weighted
from mpcompile.runner.data import Dataset
from mpcompile.runner.divergence import require_finite
from mpcompile.runner.groups import Groups
from mpcompile.runner.reading import Reading, reading_of
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of
from mpcompile.runner.scores import Scores
from mpcompile.runner.tallies import Ensemble, moments
from mpcompile.specialize import member_count


def _require_rate(own: Mapping[str, Any], chosen: Dataset) -> None:
    """Raises `SpecError` (MP506) for sounds of another rate than those of the run."""
    rates = [s["rate"] for s in (own, chosen.statistics) if s.get("rate")]
    if len(set(rates)) > 1:
        raise error(
            "MP506",
            f"data '{chosen.name}' has {rates[1]} Hz, the run was trained on {rates[0]} Hz",
            Span.none(),
        )


def evaluate(
    run: Run,
    module: Module,
    *,
    data: str | None = None,
    split: str = "test",
    backend: Backend | None = None,
    device: str | None = None,
    samples: int | None = None,
    by: str | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compute the figures of the best checkpoint on held-out data, as plain data (the JSON that `eval` prints).

    quantity   `log_likelihood`, `dequantized_bound` (below the log-probability of integers that a flow makes real with
               one draw of noise), `bound` (ELBO), `normalizer_bound` (below log Z of a target that is known up to Z) or
               `objective` (where there is none of these)
    loss       of an `objective`: `{mean}`, in no unit, in place of the nats of all others
    nats, nats_per_dim, bits_per_dim   `{mean, standard_error}`; nats are log-likelihood (higher is
               better), bits its negative (lower is better), given for binary, integer and category data
    targets    field -> metrics by name (`scores.METRICS`), from `predict`; with `samples` also those of draws
    by         examples, nats and metrics for each value of `by`: a variable that has few, or a column of the data (MP544)
    members    of a mixture over orders and masks: its density is the mean of theirs
    baselines  the same figures for closed-form densities
    importance_weighted   with `samples`, the figures of the bound from so many draws of the posterior (MP543)

    `data` is another set or file; a file without named splits is then used whole, unless it is the run's own, moved.
    Baselines are fitted on the run's own data, and left out where those are gone. `watch` is told how many examples
    are done, of how many in all; one counts once for each pass over it. Raises `SpecError`.
    """
    facts = run.facts
    chosen = data_of(run, module, data, () if by is None else (by,))
    trained_on = _trained_on(run, module, chosen)
    _require_rate(facts["statistics"], chosen)
    part = chosen.split(split)
    groups = Groups.of(module, by, chosen) if by is not None else None
    done, total = 0, len(part) * (1 + (samples or 0) + bool(targets(module)))

    def seen(count: int) -> None:
        nonlocal done
        done += count
        if watch is not None:
            watch(done, total)

    reading, step = reading_of(run, module, part, backend=backend, device=device, seen=seen)
    result: dict[str, Any] = {
        "model": module.name,
        "run": str(run.folder),
        "step": step,
        "backend": facts["backend"],
        **({"data": chosen.name, "split": chosen.named(split)} if module.fields else {}),
        "examples": len(part),
    }
    figures, each = density(reading)
    result |= figures
    if member_count(module) > 1:
        result["members"] = member_count(module)
    drawn = _of_draws(reading, samples) if samples is not None else {}
    if samples is not None and ("log_weight" in module.programs or not drawn):
        result["importance_weighted"] = _bound(reading, samples, result["dimensions"])
    scored = of_targets(reading, chosen.classes, groups)
    if scored := {name: scored.get(name, {}) | drawn.get(name, {}) for name in {**scored, **drawn}}:
        result["targets"] = scored
    if groups is not None:
        result["by"] = groups.figures(reading, each, chosen.classes)
    if result["quantity"] not in ("objective", "normalizer_bound") and trained_on is not None:
        size = result.get("dimensions", 1)
        result["baselines"] = [
            {"name": b.name, **_figures(b.values, size, measure.discrete(module))}
            for b in baselines(module, trained_on.splits, part)
        ]
    return result


def _bound(reading: Reading, samples: int, size: float) -> dict[str, Any]:
    """Figures of the bound from so many draws of the posterior. Raises `SpecError` (MP530, MP543)."""
    bound = importance_weighted(reading, samples)
    require_finite(bound, "importance-weighted bound")
    return {"samples": samples, **_figures(bound, size, measure.discrete(reading.module))}


def _trained_on(run: Run, module: Module, chosen: Dataset) -> Dataset | None:
    """The data of a run, to fit baselines on; None where they are no longer there."""
    if chosen.digest == run.facts["data_digest"] and (chosen.digest or chosen.name == run.facts["data"]):
        return chosen
    try:
        return data_of(run, module)
    except SpecError:
        return None


def density(reading: Reading) -> tuple[dict[str, Any], Array | None]:
    """Compute the log-likelihood or bound: its figures, and those of every example; of other models the mean loss.

    Raises `SpecError` (MP530).
    """
    module = reading.module
    for program, quantity in (("log_prob", "log_likelihood"), ("elbo", "bound")):
        if program in module.programs:
            values, elements, steps = [], 0.0, 0.0
            for number, data in reading:
                values.append(reading.run(program, data, "evaluate", number)[program])
                elements += len(values[-1]) * measure.dimensions(module, data)
                steps += len(values[-1]) * measure.steps(module, data)
            per_example = np.concatenate(values).astype(np.float64)
            require_finite(per_example, quantity)
            size = _whole(elements / len(per_example))
            if program == "log_prob" and module.noise.get(program):
                quantity = "dequantized_bound"
            if measure.is_target(module):
                quantity = "normalizer_bound"
            figures = _figures(per_example, size, measure.discrete(module))
            figures |= _of_sequences(figures["nats"], size, steps / len(per_example), module)
            return {"quantity": quantity, "dimensions": size, **figures}, per_example
    means = measure.held_out(reading, scored=False)
    require_finite(np.array([means["loss"]]), "objective")
    size = _whole(measure.dimensions(module, reading.part.take(np.arange(1))))
    return {"quantity": "objective", "dimensions": size, "loss": {"mean": 0.0 + means["loss"]}}, None


def _of_sequences(nats: Mapping[str, float], size: float, steps: float, module: Module) -> dict[str, Any]:
    """Nats a step where a step has several dimensions, and the perplexity of a sequence of classes."""
    found: dict[str, Any] = {}
    if steps > 0 and steps != size:
        found["nats_per_step"] = {k: v / steps for k, v in nats.items()}
    if steps > 1 and all(f.base == "category" for f in measure.observed(module)):
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(-nats["mean"] / size))
        if np.isfinite(perplexity):
            found["perplexity"] = {"value": perplexity}
    return found


def _whole(size: float) -> float:
    """Return a size of at least one, as an integer where it is whole: a mean over sequences need not be."""
    return int(size or 1) if size == int(size) else size


def _figures(values: Array, size: float, discrete: bool) -> dict[str, Any]:
    """Mean and standard error of log-likelihoods in nats, and the same by dimension."""
    figure = moments(values)
    out: dict[str, Any] = {"nats": figure, "nats_per_dim": {k: v / size for k, v in figure.items()}}
    if discrete:
        unit = size * measure.LN2
        mean = 0.0 - figure["mean"] / unit
        out["bits_per_dim"] = {"mean": mean, "standard_error": figure["standard_error"] / unit}
    return out


# Targets ----------------------------------------------------------------------------------------------


def of_targets(
    reading: Reading, words: Mapping[str, Sequence[str]], groups: Groups | None = None
) -> dict[str, dict[str, Any]]:
    """Compute the metrics of every target, from `predict`; `groups` is shown the predictions too."""
    scores = Scores(reading.module)
    if not scores.targets:
        return {}
    for number, data in reading:
        outputs = reading.run("predict", data, "predict", number)
        scores.add(outputs, data)
        if groups is not None:
            groups.add(outputs, data)
    return scores.figures(words)


def _of_draws(reading: Reading, samples: int) -> dict[str, dict[str, Any]]:
    """Metrics of `samples` draws of every quantity that is a target; none where there is no sampler."""
    module = reading.module
    own = [t for t in targets(module) if t.kind in (QUANTITY, LEVELS)]
    if not own or "sample" not in module.programs or member_count(module) > 1:
        return {}
    found = {t.field.name: Ensemble() for t in own}
    for number, data in reading:
        drawn = [reading.run("sample", data, "draw", number, k) for k in range(samples)]
        lengths = lengths_of(module, data)
        for target in own:
            name = target.field.name
            truth = data[name]
            there = target.there(truth, lengths)
            row = np.nonzero(there)[0]
            draws = np.stack([d[name].reshape(truth.shape)[there] for d in drawn])
            found[name].add(row, truth[there].astype(np.float64), draws, np.ones(len(truth)))
    return {name: figures for name, e in found.items() if (figures := e.figures())}


# As text ----------------------------------------------------------------------------------------------


def to_json(result: Mapping[str, Any]) -> str:
    """Format the figures as indented JSON."""
    return json.dumps(result, indent=2, allow_nan=False)


def to_text(result: Mapping[str, Any]) -> str:
    """Format the figures in a few lines."""
    labels = {
        "log_likelihood": "log-likelihood",
        "dequantized_bound": "lower bound (dequantised)",
        "bound": "ELBO (lower bound)",
        "normalizer_bound": "lower bound of log Z",
        "objective": "loss",
    }
    head = f"{result['model']}: step {result['step']}"
    if "data" in result:
        head += f" on {result['split']} of {printable(result['data'])} ({result['examples']} examples)"
    else:
        head += f" ({result['examples']} draws)"
    lines = [head]
    rows = [(labels[result["quantity"]], result)] if "quantity" in result else []
    if bound := result.get("importance_weighted"):
        rows.append((f"importance-weighted bound, {bound['samples']} draws", bound))
    rows += [(b["name"], b) for b in result.get("baselines", [])]
    width = max([len(label) for label, _ in rows], default=0)
    for label, figures in rows:
        lines.append(f"  {label:<{width}}  {_row(figures, result.get('dimensions', 1))}")
    if "members" in result:
        lines.append(f"  the density is the mean of those of {result['members']} orders and masks")
    for name, scores in result.get("targets", {}).items():
        lines += told.target(name, scores)
    if "by" in result:
        lines += told.groups(result["by"], result.get("targets", {}))
    return "\n".join(lines)


def _row(figures: Mapping[str, Any], size: float) -> str:
    if "loss" in figures:
        return f"{figures['loss']['mean']:.4f}"
    parts = [_figure(figures["nats"], "nats")]
    if size > 1 and "nats_per_dim" in figures:
        parts.append(_figure(figures["nats_per_dim"], "nats/dim"))
    if size > 1 and "bits_per_dim" in figures:
        parts.append(_figure(figures["bits_per_dim"], "bits/dim"))
    if "nats_per_step" in figures:
        parts.append(_figure(figures["nats_per_step"], "nats/step"))
    if "perplexity" in figures:
        parts.append(f"perplexity {figures['perplexity']['value']:.4f}")
    return "   ".join(parts)


def _figure(figure: Mapping[str, float], unit: str) -> str:
    spread = f" +- {figure['standard_error']:.4f}" if "standard_error" in figure else ""
    return f"{figure['mean']:.4f}{spread} {unit}"
