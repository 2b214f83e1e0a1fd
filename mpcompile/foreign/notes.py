"""The part of a recording that a reader has so far, whatever framework it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from mpcompile import ops
from mpcompile.diagnostics import Span
from mpcompile.foreign.intervals import Intervals
from mpcompile.foreign.masks import masked, selected
from mpcompile.foreign.observed import Observed, fits
from mpcompile.foreign.recording import Margin, Read, Recording
from mpcompile.ir import Array, Builder, Constant, Type, Value, numbers
from mpcompile.ops import build


@dataclass
class Notes:
    """A graph that grows, and what is to be said of it; the fields are those of `Recording`."""

    builder: Builder
    parameters: dict[str, Array] = field(default_factory=dict)
    noise: dict[str, Array] = field(default_factory=dict)
    margins: list[Margin] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    coarse: list[tuple[str, Span]] = field(default_factory=list)
    eps: float = 0.0
    known: Intervals = field(init=False)
    certain: Intervals = field(init=False)

    def __post_init__(self) -> None:
        self.known, self.certain = Intervals(self.builder), Intervals(self.builder)

    def input(self, name: str, of: Array, type: Type) -> Value:
        """Emit an input of the call; one that was zeros and ones is noted, as an attention mask is."""
        if of.size and bool(((of == 0) | (of == 1)).all()):
            self.known.truths.add(name)
        return self.builder.input(name, type)

    def seen(self, scores: Value, axis: int) -> Value:
        """Return scores with minus infinity where a finite mask removes them; what that assumes is noted."""
        found = masked(self.known, scores, axis)
        if found.number is not None or found.truths:
            number = -np.inf if found.number is None else found.number
            self.margins.append(Margin(number, found.added, found.rows, self.builder.span, found.truths))
        return found.value

    def chosen(self, condition: Value, x: Value, y: Value) -> Value:
        """Emit x where a condition holds and y elsewhere, by a constant where it is known whatever inputs are."""
        return selected(self.certain, condition, x, y)

    def observe(
        self,
        name: str,
        operands: Sequence[Value],
        results: Sequence[Array],
        joined: Sequence[int] | None,
        running: int | None = None,
        reverse: bool = False,
        again: Callable[..., Sequence[Array]] | None = None,
    ) -> tuple[Value, ...]:
        """Stand in for an operation without a rule: its results, which read what `Observed` says.

        `again` runs it on other operands. Where an operand does not broadcast to a result, but for axes that are
        joined, a result reads all of every operand.
        """
        self.coarse.append((name, self.builder.span))
        stored = tuple(Constant.of(r) for r in results)
        types = tuple(Type(r.dtype, r.stored.shape) for r in stored)
        if not all(fits(numbers(v.shape), numbers(t.shape), joined or ()) for v in operands for t in types):
            joined = running = None
        op = Observed(name, types, stored, None if joined is None else tuple(joined), running, reverse, again)
        return self.builder.emit_all(op, *operands)

    def move(self, operands: Sequence[Value], places: Array) -> Value:
        """Emit a value whose elements are elements of the operands, each by its number, counted through all."""
        b = self.builder
        flat = [v if v.type.rank == 1 else build.reshape(b, v, (prod(numbers(v.shape)),)) for v in operands]
        picked = b.emit(ops.Gather(0), build.concat(b, flat, 0), b.constant(places.reshape(-1)))
        return build.reshape(b, picked, places.shape)

    def recording(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Recording:
        """Return the recording of a call with these arrays; weights that no output reads are left out."""
        graph = self.builder.graph
        weights = {k: v for k, v in self.parameters.items() if k in graph.parameters()}
        told = (tuple(self.margins), tuple(self.reads), tuple(self.coarse), self.eps)
        return Recording(graph, inputs, weights, outputs, self.noise, *told)
