"""Held-out figures of a trained run, each with its standard error over examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpcompile.backend import Backend, open_session
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.diagnostics.render import printable
from mpcompile.ir import Array, Field, Module
from mpcompile.runner import measure
from mpcompile.runner.baselines import baselines
from mpcompile.runner.batches import as_precision
from mpcompile.runner.bounds import importance_weighted
from mpcompile.runner.data import Dataset
from mpcompile.runner.divergence import require_finite
from mpcompile.runner.reading import Reading
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of
from mpcompile.specialize import member_count

_LEAST_BATCH = 64


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
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compute the figures of the best checkpoint on held-out data, as plain data (the JSON that `eval` prints).

    quantity   `log_likelihood`, `dequantized_bound` (below the log-probability of integers that a flow makes real with
               one draw of noise), `bound` (ELBO) or `objective` (minus the mean loss, where there is neither)
    nats, nats_per_dim, bits_per_dim   `{mean, standard_error}`; nats are log-likelihood (higher is
               better), bits its negative (lower is better), given for binary, integer and category data
    targets    field -> `accuracy` or `mean_squared_error`, from `predict`
    members    of a mixture over orders and masks: its density is the mean of theirs
    baselines  the same figures for closed-form densities
    importance_weighted   with `samples`, the figures of the bound from so many draws of the posterior (MP543)

    `data` is another set or file; a file without named splits is then used whole, unless it is the run's own, moved.
    Baselines are fitted on the run's own data, and left out where those are gone. `watch` is told how many examples
    are done, of how many in all; one counts once for each pass over it. Raises `SpecError`.
    """
    facts = run.facts
    chosen = data_of(run, module, data)
    trained_on = _trained_on(run, module, chosen)
    _require_rate(facts["statistics"], chosen)
    part = chosen.split(split)
    weights, step = run.parameters(module)
    precision = str(facts["precision"])
    own, place = backend or str(facts["backend"]), device or str(facts["device"])
    session = open_session(own, module, as_precision(weights, precision), device=place, precision=precision)
    batch = max(_LEAST_BATCH, int(facts["settings"]["batch"]))
    result: dict[str, Any] = {
        "model": module.name,
        "run": str(run.folder),
        "step": step,
        "backend": facts["backend"],
        "data": chosen.name,
        "split": chosen.named(split),
        "examples": len(part),
    }
    done, total = 0, len(part) * (1 + (samples or 0) + _has_targets(module))

    def seen(count: int) -> None:
        nonlocal done
        done += count
        if watch is not None:
            watch(done, total)

    reading = Reading(session, module, part, batch, int(facts["seed"]), precision, seen)
    result |= _density(reading)
    if member_count(module) > 1:
        result["members"] = member_count(module)
    if samples is not None:
        bound = importance_weighted(reading, samples)
        require_finite(bound, "importance-weighted bound")
        figures = _figures(bound, result["dimensions"], measure.discrete(module))
        result["importance_weighted"] = {"samples": samples, **figures}
    targets = _targets(reading)
    if targets:
        result["targets"] = targets
    if result["quantity"] != "objective" and trained_on is not None:
        size = result.get("dimensions", 1)
        result["baselines"] = [
            {"name": b.name, **_figures(b.values, size, measure.discrete(module))}
            for b in baselines(module, trained_on.splits, part)
        ]
    return result


def _trained_on(run: Run, module: Module, chosen: Dataset) -> Dataset | None:
    """The data of a run, to fit baselines on; None where they are no longer there."""
    if chosen.digest == run.facts["data_digest"] and (chosen.digest or chosen.name == run.facts["data"]):
        return chosen
    try:
        return data_of(run, module)
    except SpecError:
        return None


def _density(reading: Reading) -> dict[str, Any]:
    """Log-likelihood or bound of every example."""
    module = reading.module
    for program, quantity in (("log_prob", "log_likelihood"), ("elbo", "bound")):
        if program in module.programs:
            values, elements = [], 0.0
            for number, data in reading:
                values.append(reading.run(program, data, "evaluate", number)[program])
                elements += len(values[-1]) * measure.dimensions(module, data)
            per_example = np.concatenate(values).astype(np.float64)
            require_finite(per_example, quantity)
            size = _whole(elements / len(per_example))
            if program == "log_prob" and module.noise.get(program):
                quantity = "dequantized_bound"
            figures = _figures(per_example, size, measure.discrete(module))
            return {"quantity": quantity, "dimensions": size, **figures}
    means = measure.held_out(reading)
    require_finite(np.array([means["loss"]]), "objective")
    size = _whole(measure.dimensions(module, reading.part.take(np.arange(1))))
    return {"quantity": "objective", "dimensions": size, "nats": {"mean": 0.0 - means["loss"]}}


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


def moments(values: Array) -> dict[str, float]:
    """Return the mean and the standard error of the mean (0 for one example)."""
    n = len(values)
    spread = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    return {"mean": float(np.mean(values)), "standard_error": spread}


# Predictions ------------------------------------------------------------------------------------------


def _has_targets(module: Module) -> bool:
    return "predict" in module.programs and any(f.role == "target" for f in module.fields.values())


def _targets(reading: Reading) -> dict[str, Any]:
    """Accuracy of category and binary targets, squared error of real ones, from `predict`."""
    if not _has_targets(reading.module):
        return {}
    fields = [f for f in reading.module.fields.values() if f.role == "target"]
    scores: dict[str, list[Array]] = {}
    for number, data in reading:
        out = reading.run("predict", data, "predict", number)
        for field in fields:
            score = _score(field, out, data[field.name], len(fields) == 1)
            if score is not None:
                scores.setdefault(field.name, []).append(score.reshape(len(score), -1).mean(1))
    kinds = {f.name: "mean_squared_error" if f.measured else "accuracy" for f in fields}
    return {name: {kinds[name]: moments(np.concatenate(parts))} for name, parts in scores.items()}


def _score(field: Field, out: Mapping[str, Array], truth: Array, lone: bool) -> Array | None:
    """Hits (0 or 1) or squared errors, in the truth's shape; None where no output is about the field."""
    own = {
        k: v
        for k, v in out.items()
        if lone or k == field.name or k.startswith((field.name + "_", field.name + "."))
    }
    order = ("probability", "probabilities", "mean", "median", "location", "logits", field.name)
    names = sorted(own, key=lambda k: next((i for i, o in enumerate(order) if k.endswith(o)), len(order)))
    for name in names:
        guess = _guess(field, name, own[name], truth)
        if guess is not None:
            return (guess - truth) ** 2 if field.measured else (guess == truth).astype(np.float64)
    return None


def _guess(field: Field, name: str, value: Array, truth: Array) -> Array | None:
    """The predicted element of the field's kind, or None where the output has another shape."""
    if value.shape == truth.shape:
        if field.measured or value.dtype.kind in "iub":
            return value
        if field.bits:
            return np.asarray(value > (0 if "logit" in name else 0.5))
        return np.rint(value) if field.base == "integer" else None
    if field.base in ("category", "integer") and value.ndim == truth.ndim + 1:
        for axis in (value.ndim - 1, *range(1, value.ndim - 1)):
            rest = value.shape[:axis] + value.shape[axis + 1 :]
            if value.shape[axis] == field.classes and rest == truth.shape:
                low = field.low if field.base == "integer" else 0
                return np.asarray(value.argmax(axis) + low)
    if value.size == truth.size:
        return _guess(field, name, value.reshape(truth.shape), truth)
    return None


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
        "objective": "minus the loss",
    }
    head = f"{result['model']}: step {result['step']} on {result['split']} of {printable(result['data'])}"
    lines = [f"{head} ({result['examples']} examples)"]
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
        for kind, figure in scores.items():
            shown = f"{figure['mean']:.4f} +- {figure['standard_error']:.4f}"
            lines.append(f"  {name}: {kind.replace('_', ' ')} {shown}")
    return "\n".join(lines)


def _row(figures: Mapping[str, Any], size: float) -> str:
    parts = [_figure(figures["nats"], "nats")]
    if size > 1 and "nats_per_dim" in figures:
        parts.append(_figure(figures["nats_per_dim"], "nats/dim"))
    if size > 1 and "bits_per_dim" in figures:
        parts.append(_figure(figures["bits_per_dim"], "bits/dim"))
    return "   ".join(parts)


def _figure(figure: Mapping[str, float], unit: str) -> str:
    spread = f" +- {figure['standard_error']:.4f}" if "standard_error" in figure else ""
    return f"{figure['mean']:.4f}{spread} {unit}"
