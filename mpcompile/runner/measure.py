"""Measures of a model: its observed variables, their dimensions, the held-out objective."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import numpy as np

from mpcompile.ir import EXAMPLES, STATE, Array, Field, Module, multiple_of
from mpcompile.runner.reading import Reading

LN2 = log(2)


def observed(module: Module) -> list[Field]:
    """Return the variables whose density the model gives: its targets, or all its inputs where there is no target."""
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


def held_out(reading: Reading) -> dict[str, float]:
    """Compute the mean `loss` (nats an example) over a split, other scalars of the loss and bits per dimension."""
    module = reading.module
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
        count += n
        elements += n * dimensions(module, data)
    means = {name: total / count for name, total in totals.items()}
    size = elements / count or 1.0
    if discrete(module) and size > 1:
        means["bits_per_dim"] = means.get("nll", means["loss"]) / (size * LN2)
    return means
