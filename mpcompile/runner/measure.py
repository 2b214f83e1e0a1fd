"""Measures of a model: its observed variables, their dimensions, the held-out objective."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import numpy as np

from mpcompile.ir import EXAMPLES, STATE, TERMS, Array, Field, Module, multiple_of
from mpcompile.ir.axes import Role, role
from mpcompile.runner.reading import Reading
from mpcompile.runner.scores import Scores

LN2 = log(2)


def is_target(module: Module) -> bool:
    """Return whether the model has no density of data, and a bound of the normaliser of its latents' target."""
    elbo = module.programs.get("elbo")
    return elbo is not None and TERMS in elbo.outputs


def observed(module: Module) -> list[Field]:
    """Return the variables whose density the model gives: its targets, or all its inputs where there is no target."""
    if is_target(module):
        return []
    targets = [f for f in module.fields.values() if f.role == "target"]
    return targets or [f for f in module.fields.values() if f.role == "input"]


def dimensions(module: Module, data: Mapping[str, Array]) -> float:
    """Return the number of observed elements in one example of `data`: the mean, where examples state their length."""
    real = {f.counts: data[f.name] for f in module.fields.values() if f.counts and f.name in data}
    total = 0.0
    for f in observed(module):
        if f.name in data:
            size = np.ones(len(data[f.name]))
            for declared, found in zip(f.type.shape[1:], data[f.name].shape[1:], strict=True):
                length, times = multiple_of(declared) or ("", 1)
                size = size * (real[length].reshape(-1) * times if length in real else found)
            total += float(size.mean())
    return total


def steps(module: Module, data: Mapping[str, Array]) -> float:
    """Return the mean number of real steps of an example of `data`; 0 where no observed variable is a sequence."""
    real = {f.counts: data[f.name] for f in module.fields.values() if f.counts and f.name in data}
    for f in observed(module):
        for axis, name in enumerate(f.axes, 1):
            declared = f.type.shape[axis]
            if f.name in data and role(name, declared) is Role.ORDERED:
                length, times = multiple_of(declared) or ("", 1)
                found = data[f.name].shape[axis]
                return float(np.mean(real[length]) * times) if length in real else float(found)
    return 0.0


def discrete(module: Module) -> bool:
    """Return whether every observed variable takes countable values, so that bits per dimension mean something."""
    fields = observed(module)
    return bool(fields) and all(f.base in ("binary", "integer", "category") for f in fields)


def objective(module: Module) -> str:
    """Return the name of the program that held-out loss is taken from.

    `log_prob` or `elbo` where there is one: the loss may add priors, dropout and statistics of its batch, which say
    nothing about held-out data.
    """
    return next(name for name in ("log_prob", "elbo", "loss") if name in module.programs)


def held_out(reading: Reading, scored: bool = True) -> dict[str, float]:
    """Compute the mean `loss` over a split, other scalars of the loss and bits per dimension.

    The loss is in nats an example, but where `objective` is the loss itself: that has no unit, and no bits. With `scored`
    also the cheap metrics of targets, as `accuracy`, or `label.accuracy` where there are several targets.
    """
    module = reading.module
    scores = Scores(module, cheap=True) if scored else None
    program = objective(module)
    totals: dict[str, float] = {}
    count, elements = 0, 0.0
    for number, data in reading:
        given = data | {EXAMPLES: np.asarray(len(reading.part), np.float32)}
        out = reading.run(program, given, "held out", number)
        n = len(next(iter(data.values())))
        if program != "loss":
            score = "objective" if "objective" in out else program  # a bound with a weighted divergence
            for name, value in out.items():  # one number an example
                total = float(np.sum(value, dtype=np.float64))
                name, total = ("loss", -total) if name == score else (name, total)
                totals[name] = totals.get(name, 0.0) + total
        else:
            for name, value in out.items():
                if np.size(value) == 1 and not name.startswith(STATE):
                    totals[name] = totals.get(name, 0.0) + n * float(value)
        if scores is not None and scores.targets:
            scores.add(reading.run("predict", data, "predict", number), data)
        count += n
        elements += n * dimensions(module, data)
    means = {name: total / count for name, total in totals.items()}
    size = elements / count or 1.0
    if program != "loss" and discrete(module) and size > 1:
        means["bits_per_dim"] = means.get("nll", means["loss"]) / (size * LN2)
    return means | (_flat(scores) if scores is not None else {})


def _flat(scores: Scores) -> dict[str, float]:
    """Metrics by one name each, as a line of metrics has them."""
    lone = len(scores.targets) == 1
    return {
        metric if lone else f"{target}.{metric}": figure.get("mean", figure.get("value"))
        for target, figures in scores.figures().items()
        for metric, figure in figures.items()
    }
