"""What programs read, in numbers: one input element is changed at a time, in float64, by the numpy interpreter.

A result that differs by one bit between two runs of the same shape reads the element: no rounding comes from the place
in the batch, because both runs have the same layout. That something is *not* read is held to more: a change by rounding
alone, below `ROUNDING` of the largest result, is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from mpcompile.interpret import interpret
from mpcompile.ir import Array, DType, Graph, Module
from mpcompile.runner.initial import initial

#: A change relative to the largest result that is more than rounding.
ROUNDING = 1e-9
#: A change below this may come from the place in the batch alone.
PLACE = 1e-12
#: So many elements of a longer variable are changed: the first, the last and some in between.
MOST = 96
#: Elements up to which every one is changed where a hole between others is looked for.
EVERY = 600


@dataclass(frozen=True, eq=False)
class Changes:
    """For each output [changed elements, *its shape]: the largest change relative to the largest result.

    elements  which elements of the subject were changed, as flat indices
    """

    elements: Array
    outputs: Mapping[str, Array]


#: Trials from this one on have weights at which changes last: small ones keep functions near their steepest place.
GENTLE = 100
#: Trial LENGTHS + n has examples of n real steps.
LENGTHS = 1000


def weights(module: Module, trial: int) -> dict[str, Array]:
    """Weights in general position, some of them larger than others from trial to trial.

    Those of a `GENTLE` trial have entries of one size and biases near one number, so that a loop hands a change on for
    many steps: near zero for what has no gates, far on one side for gates that must stay open, or closed.
    """
    rng = np.random.default_rng(trial)
    if trial >= GENTLE:
        bias = (0.0, 2.0, -2.0)[(trial - GENTLE) // 2 % 3]
        return {
            k: rng.choice([-1, 1], v.shape) * rng.uniform(0.8, 1.2, v.shape) / np.sqrt(max(1, v.shape[-1]))
            if v.ndim > 1
            else bias + 0.1 * rng.normal(size=v.shape)
            for k, v in initial(module, 0).items()
        }
    gain = (1.0, 0.6, 1.6, 2.5)[trial % 4]
    return {
        k: gain * rng.normal(size=v.shape) * max(0.5, 1.5 / np.sqrt(max(1, v.shape[-1] if v.ndim else 1)))
        for k, v in initial(module, 0).items()
    }


def inputs(
    module: Module, graph: Graph, sizes: Mapping[str, int], trial: int, rows: int = 1
) -> dict[str, Array]:
    """Data of the kinds of the fields, and noise; lengths are full in even trials, and any in odd ones."""
    rng = np.random.default_rng(1000 + trial)
    given = {}
    for name, value in graph.inputs.items():
        shape, field = value.type.concrete({"N": rows, **sizes}), module.fields.get(name)
        if field is not None and field.counts:
            full = sizes[field.counts]
            drawn = np.full(shape, full) if trial % 2 == 0 else rng.integers(1, full + 1, shape)
            drawn = drawn if trial < LENGTHS else np.full(shape, min(full, trial - LENGTHS))
        elif field is not None and field.base != "real":
            drawn = rng.integers(0, levels(module, name), shape) + field.low
        elif value.dtype == DType.INT:
            drawn = rng.integers(0, 2, shape)
        else:
            drawn = rng.normal(size=shape) * (0.3 if trial >= GENTLE else 1)
        given[name] = drawn if value.dtype == DType.INT else np.asarray(drawn, np.float64)
    return given


def levels(module: Module, name: str) -> int:
    field = module.fields[name]
    return 2 if field.base == "binary" else field.classes or 2


def chosen(size: int, most: int = MOST) -> Array:
    """The elements that are changed: the same ones in every trial, so that trials can be put together."""
    if size <= most:
        return np.arange(size)
    rng = np.random.default_rng(size)
    middle = rng.choice(np.arange(8, size - 8), MOST - 16, replace=False)
    return np.unique(np.concatenate([np.arange(8), middle, np.arange(size - 8, size)]))


def changes(
    module: Module,
    graph: Graph,
    subject: str,
    sizes: Mapping[str, int],
    trial: int = 0,
    outputs: tuple[str, ...] = (),
    most: int = MOST,
) -> Changes:
    """One trial: its own weights, data and change."""
    given = inputs(module, graph, sizes, trial)
    x, field = given[subject], module.fields[subject]
    at = chosen(x.size, most)
    rng = np.random.default_rng(2000 + trial)
    rows = np.repeat(x, len(at), 0)
    flat = rows.reshape(len(at), -1)
    for row, j in enumerate(at):
        if field.base == "real":
            flat[row, j] += rng.choice([-1, 1]) * rng.uniform(0.5, 2)
        else:
            many = levels(module, subject)
            flat[row, j] = (flat[row, j] - field.low + rng.integers(1, max(2, many))) % many + field.low
    own, names = weights(module, trial), outputs or tuple(graph.outputs)
    many = len(at)
    first = {k: np.repeat(v, many + 1, 0) if v.ndim else v for k, v in given.items()}
    first[subject] = np.concatenate([x, rows])
    with np.errstate(all="ignore"):
        together = interpret(graph, own, first)
    if all(y.ndim and len(y) == many + 1 for y in together.values()):
        found = {k: _gap(np.repeat(together[k][:1], many, 0), together[k][1:]) for k in names}
        if not any(((y > 0) & (y < PLACE)).any() for y in found.values()):
            return Changes(at, found)
    # so small a change may be one of rounding, that comes from the place in the batch: two runs of one layout tell
    same = {k: v[:-1] if v.ndim else v for k, v in first.items()} | {subject: np.repeat(x, many, 0)}
    with np.errstate(all="ignore"):
        before, after = interpret(graph, own, same), interpret(graph, own, same | {subject: rows})
    return Changes(at, {k: _gap(before[k], after[k]) for k in names})


def _gap(before: Array, after: Array) -> Array:
    """The change of every element, relative to the largest result."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    other = (a != b) & ~(np.isnan(a) & np.isnan(b))
    gap = np.where(finite, np.abs(np.where(finite, b, 0) - np.where(finite, a, 0)), other)
    return np.asarray(gap / max(1.0, float(np.abs(a[finite]).max(initial=0))))


class NoSuchLength(ValueError):
    """A sequence that is longer than the table of its positions."""


class Reads:
    """The changes of one program and subject, remembered: each size and trial is run once."""

    def __init__(self, module: Module, graph: Graph, subject: str) -> None:
        self.module, self.graph, self.subject = module, graph, subject
        self.symbols = sorted(set(graph.symbols()) - {"N"})
        self._found = cache(self._run)

    def _run(self, sizes: tuple[tuple[str, int], ...], trial: int, most: int) -> Changes:
        try:
            return changes(self.module, self.graph, self.subject, dict(sizes), trial, most=most)
        except IndexError:
            raise NoSuchLength(sizes) from None

    def at(self, sizes: Mapping[str, int], trial: int = 0, most: int = MOST) -> Changes:
        return self._found(tuple(sorted((k, n) for k, n in sizes.items() if k in self.symbols)), trial, most)

    def several(
        self, sizes: Mapping[str, int], trials: int, gentle: int = 0, most: int = MOST, lengths: int = 0
    ) -> Changes:
        """The largest changes of some trials; `gentle` ones have odd numbers too, whose lengths are any.

        With `lengths` also one for each smaller length that examples may have.
        """
        numbers = [*(2 * t for t in range(trials)), *(GENTLE + t for t in range(gentle))]
        numbers += [LENGTHS + n for n in range(1, lengths)]
        found = [self.at(sizes, t, most) for t in numbers]
        merged = {k: np.maximum.reduce([c.outputs[k] for c in found]) for k in found[0].outputs}
        return Changes(found[0].elements, merged)


__all__ = ["ROUNDING", "Changes", "NoSuchLength", "Reads", "changes", "inputs", "levels", "weights"]
