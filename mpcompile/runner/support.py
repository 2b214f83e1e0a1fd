"""Training data against what the model declares: what no step of training will mend is said before it.

Data of whole numbers have likelihoods without a bound where a scale is learned; they are told with their share.
Values that a law or a bijector is not defined on are refused with the data (`data/elements.py`, MP504). A spline is
defined everywhere, and beyond its box it is the identity, whatever it learns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.distributions.base import learned
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Field, FlowStep, Module, multiple_of
from mpcompile.runner.data import Split
from mpcompile.runner.noise import draw

#: Examples that are looked at, and the share of one element's values that is worth a word.
_MOST, _SHARE, _NAMED = 1024, 0.05, 5


def beyond_reach(module: Module, train: Split, state: Mapping[str, Array]) -> list[Diagnostic]:
    """Return warnings (MP508) about flows whose first spline gets values from outside of its box.

    `state` is that of the session when training begins: bijectors before the spline move the data by it. Flows that
    read more than data and noise, such as steps of a recurrence, are not looked at.
    """
    data = train.take(_rows(train)) if module.flow_steps else {}
    weights = {k.removeprefix("parameter/"): v for k, v in state.items() if k.startswith("parameter/")}
    found = []
    for name, steps in module.flow_steps.items():
        at = next((i for i, p in enumerate(steps) if p.reach is not None), None)
        if at is None or name not in data:
            continue
        values = _reaching(module, steps[:at], data, data[name], weights)
        if values is not None and (warning := _beyond(name, steps[at], values)) is not None:
            found.append(warning)
    return found


def whole_numbers(module: Module, train: Split) -> list[Diagnostic]:
    """Return warnings (MP509) about real variables in whole numbers whose density a weight can narrow without bound.

    The probability of a level that occurs again and again is no density: the narrower the law around it, the higher is
    the likelihood, and the figure says nothing of the model (Theis et al. 2016, section 3.1).
    """
    names = [n for n, f in module.fields.items() if f.base == "real" and _sharpens(module, n)]
    data = train.take(_rows(train)) if names else {}
    found = []
    for name in names:
        values = _elements(module, name, data)
        whole = values == np.floor(values)  # infinite ones are refused with the data
        elements = np.flatnonzero(whole.mean(0) > 1 - _SHARE) if len(values) else np.zeros(0, int)
        if len(elements):
            found.append(_in_levels(module.fields[name], whole, elements))
    return found


def _sharpens(module: Module, name: str) -> bool:
    """Whether weights scale the law of a variable: its own, or a bijector that is not the identity far away."""
    return name in module.sharpening or any(
        p.reach is None and "log_det" in p.graph.outputs and learned(p.graph, p.graph.outputs["log_det"])
        for p in module.flow_steps.get(name, ())
    )


def _rows(train: Split) -> Array:
    """Numbers of the examples that are looked at."""
    return np.unique(np.linspace(0, len(train) - 1, min(_MOST, len(train))).astype(np.int64))


def _elements(module: Module, name: str, data: Mapping[str, Array]) -> Array:
    """[values, elements] of a variable; the steps of a sequence are values of one element, those of padding are not."""
    values, sizes = data[name], module.fields[name].type.shape
    if len(sizes) < 2 or isinstance(sizes[1], int):
        return values.reshape(len(values), -1)
    steps = sum(not isinstance(size, int) for size in sizes)
    real = np.ones(values.shape[:steps], bool)
    for axis in range(1, steps):
        length, times = multiple_of(sizes[axis]) or ("", 1)
        for f in module.fields.values():
            if f.counts and f.counts == length:
                here = np.arange(values.shape[axis]) < times * data[f.name].reshape(-1, 1)
                real &= here.reshape(len(here), *(here.shape[1] if i == axis else 1 for i in range(1, steps)))
    return values[real].reshape(int(real.sum()), -1)


def _in_levels(field: Field, whole: Array, elements: Array) -> Diagnostic:
    return Diagnostic(
        "MP509",
        f"{whole.mean():.1%} of the values of '{field.name}' are whole numbers, of which its law is no density: the "
        f"narrower a learned scale becomes, the higher the likelihood, without a bound: {_listed(field.name, elements)}",
        field.span,
        Severity.WARNING,
        help=f"declare `{field.role} {field.name}: integer(low..high)` with a law of levels, fix the scale (scale = 1), "
        "or add noise from [0, 1) to the data",
    )


def _listed(name: str, elements: Array) -> str:
    named = ", ".join(f"{name}[{i}]" for i in elements[:_NAMED])
    return named + (f" and {len(elements) - _NAMED} more" if len(elements) > _NAMED else "")


def _reaching(
    module: Module, before: list[FlowStep], data: Mapping[str, Array], x: Array, weights: Mapping[str, Array]
) -> Array | None:
    """Map x through some steps; None where one of them needs an input that is neither data nor noise."""
    for step in before:
        graph = step.graph
        noise = module.noise.get(step.name, {})
        inputs: dict[str, Array] = {}
        for key, value in graph.inputs.items():
            if key in ("x", "seen"):
                inputs[key] = np.asarray(x, np.float32)
            elif key in noise or key.startswith("noise"):
                kind = noise[key].kind if key in noise else "uniform"
                inputs[key] = draw(kind, value.type.concrete({"N": len(x)}), ("support", step.name, key))
            elif key in data:
                inputs[key] = data[key]
            else:
                return None
        if "x" in graph.inputs and graph.inputs["x"].type.concrete({"N": len(x)}) != x.shape:
            return None
        with np.errstate(all="ignore"):
            x = interpret(graph, weights, inputs, {"N": len(x)})["y"]
    return x


def _beyond(name: str, step: FlowStep, values: Array) -> Diagnostic | None:
    """The warning about values [n, ...] that a step gets, where it is due."""
    assert step.reach is not None
    outside = ~(np.abs(values.reshape(len(values), -1)) < step.reach)
    shares = outside.mean(0)
    elements = np.flatnonzero(shares > _SHARE)
    if not len(elements):
        return None
    named = _listed(name, elements)
    widest = (
        float(np.quantile(np.abs(values[np.isfinite(values)]), 0.99)) if np.isfinite(values).any() else np.inf
    )
    return Diagnostic(
        "MP508",
        f"{outside.mean():.1%} of the values of '{name}' lie beyond the box [-{step.reach:g}, {step.reach:g}] of "
        f"`{step.label}`, where it is the identity whatever it learns: {named}",
        step.span,
        Severity.WARNING,
        help=f"scale the data to a deviation of about 1, put actnorm before it, or spline(bound = {widest:.3g})",
    )


__all__ = ["beyond_reach", "whole_numbers"]
