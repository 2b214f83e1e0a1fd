"""Layouts of weights: a weight is stored as boxes of its elements, so that what masks remove takes no place.

A layout is a matter of a session or of a build. Whoever uses a model sees weights under their names, in their order and
shapes: `whole` puts a weight together, `packed` takes it apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Builder, Constant, Module, Parameter, ParameterSpec, Value, float_type
from mpcompile.ops import build as F

T = TypeVar("T")
Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Packed:
    """A weight in boxes.

    name   of the weight
    shape  of the weight
    order  for each axis the elements in the order in which boxes count them; None for their own order
    boxes  for each box the first and the last element (exclusive) of each axis; several tile the first axis
    names  of the arrays that are stored, one for each box
    live   for each box a mask of its elements in the support; None where all are
    """

    name: str
    shape: tuple[int, ...]
    order: tuple[Array | None, ...]
    boxes: tuple[Box, ...]
    names: tuple[str, ...]
    live: tuple[Constant | None, ...]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the boxes."""
        return [tuple(stop - start for start, stop in box) for box in self.boxes]

    @property
    def stored(self) -> int:
        """The number of elements that are stored."""
        return sum(int(np.prod(s)) for s in self.shapes)

    def packed(self, whole: Array) -> list[Array]:
        """Return the boxes of a weight; elements outside of the support are zero."""
        for axis, order in enumerate(self.order):
            whole = whole if order is None else whole.take(order, axis)
        found = [np.ascontiguousarray(whole[tuple(slice(*ends) for ends in box)]) for box in self.boxes]
        return [b if m is None else b * m.stored for b, m in zip(found, self.live, strict=True)]

    def whole(self, boxes: Sequence[Array]) -> Array:
        """Return the weight of boxes, zero outside of them."""
        found = np.zeros(self.shape, boxes[0].dtype)
        for box, array in zip(self.boxes, boxes, strict=True):
            found[tuple(slice(*ends) for ends in box)] = array
        for axis, order in enumerate(self.order):
            found = found if order is None else found.take(np.argsort(order), axis)
        return found

    def emit(self, b: Builder) -> list[Value]:
        """Emit the boxes as parameters."""
        return [
            b.emit(Parameter(n, float_type(*shape))) for n, shape in zip(self.names, self.shapes, strict=True)
        ]

    def emit_whole(self, b: Builder) -> Value:
        """Emit the weight, put together."""
        boxes = self.emit(b)
        first = len(self.boxes) > 1  # boxes tile the first axis
        parts = []
        for box, value in zip(self.boxes, boxes, strict=True):
            ends = [
                (0, 0) if first and axis == 0 else (start, self.shape[axis] - stop)
                for axis, (start, stop) in enumerate(box)
            ]
            before, after = zip(*ends, strict=True)
            parts.append(b.emit(ops.Pad(before, after), value) if any(map(any, ends)) else value)
        found = F.concat(b, parts, 0) if first else parts[0]
        for axis, order in enumerate(self.order):
            found = found if order is None else F.take(b, found, axis, np.argsort(order))
        return found


@dataclass(frozen=True)
class Layout:
    """The weights of a module that are stored in boxes, by name."""

    weights: Mapping[str, Packed]

    def __bool__(self) -> bool:
        return bool(self.weights)

    def packed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return arrays by the names of weights as they are stored; those of other weights stay."""
        found: dict[str, Array] = {}
        for name, array in arrays.items():
            if name in self.weights:
                w = self.weights[name]
                found |= dict(zip(w.names, w.packed(array), strict=True))
            else:
                found[name] = array
        return found

    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return stored arrays under the names of weights, in their shapes, each where its first box is."""
        home = {n: w for w in self.weights.values() for n in w.names}
        found: dict[str, Array] = {}
        for name, array in arrays.items():
            w = home.get(name)
            if w is None:
                found[name] = array
            elif w.name not in found:
                found[w.name] = w.whole([arrays[n] for n in w.names])
        return found

    def parameters(self, module: Module) -> dict[str, ParameterSpec]:
        """Return the parameters of a module as they are stored, in the order of its own."""
        found: dict[str, ParameterSpec] = {}
        for name, spec in module.parameters.items():
            if name not in self.weights:
                found[name] = spec
                continue
            w = self.weights[name]
            for n, shape, live in zip(w.names, w.shapes, w.live, strict=True):
                found[n] = replace(spec, name=n, shape=shape, support=live, fused=live is not None)
        return found


__all__ = ["Box", "Layout", "Packed"]
