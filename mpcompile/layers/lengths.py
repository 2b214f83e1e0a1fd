"""Sequences that state their length: how much of an axis is real, and what lies behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mpcompile import ops
from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Builder, Symbolic, Value, product, symbols
from mpcompile.ops import build as F


@dataclass
class Lengths:
    """The part of a context that knows how long each example is.

    lengths  of the examples of this program, int [N], by the symbol of the axis that they are counted along
    """

    b: Builder
    lengths: dict[str, Value] = field(default_factory=dict, kw_only=True)
    _present: dict[str, Value] = field(default_factory=dict, kw_only=True)
    _ends: dict[str, Value] = field(default_factory=dict, kw_only=True)

    @property
    def root(self) -> Builder:
        """The builder of the program, outside of every loop."""
        root = self.b
        while root.outer is not None:
            root = root.outer
        return root

    @property
    def span(self) -> Span:
        return self.b.span

    def fail(self, code: str, message: str, **rest: Any) -> SpecError:
        """A located error at the current layer, ready to raise."""
        return error(code, message, self.span, **rest)

    def length_of(self, x: Value) -> Value | None:
        """Return the number of real positions along axis 1 of x, int, in the batch of x; None where all are real."""
        length = self.length_along(x.shape[1]) if self.lengths and x.type.rank > 1 else None
        return None if length is None else self.repeated(length, x.shape[0])

    def length_along(self, size: int | Symbolic) -> Value | None:
        """Return the number of real positions along an axis of this size, int [N]: 2 length - 1 for 2 * time - 1.

        None where all are real. It is a whole number: half precision has no odd one above 256. Raises `SpecError`
        (MP202) where the lengths of some symbols of the size are not known.
        """
        if not isinstance(size, Symbolic) or not self.lengths.keys() & symbols(size):
            return None
        name, b = str(size), self.root
        if name in self.lengths:
            return self.lengths[name]
        if lacking := sorted(symbols(size) - self.lengths.keys()):
            raise self.fail(
                "MP202", f"how much of {size} is real is not known: `{lacking[0]}` has no length beside it",
                help=f"condition {lacking[0]}_length: integer(1..{lacking[0]})",
            )  # fmt: skip
        if name not in self._ends:
            with b.within((), self.span):
                total = b.constant(0)
                for monomial, times in size.terms:
                    term = b.constant(times)
                    for s in monomial:
                        term = b.emit(ops.Mul(), self.lengths[s], term)
                    total = b.emit(ops.Add(), term, total)
                self._ends[name] = total
        return self._ends[name]

    def present_at(self, x: Value) -> Value | None:
        """Return which positions along axis 1 of x are real, bool [N, size]; None where all are."""
        present = self.present_along(x.shape[1]) if self.lengths and x.type.rank > 1 else None
        return None if present is None else self.repeated(present, x.shape[0])

    def repeated(self, of_examples: Value, batch: int | Symbolic) -> Value:
        """Repeat what is known of each example [N, ...] for a batch that other axes are merged with, [N r, ...]."""
        n, *rest = of_examples.shape
        if batch == n:
            return of_examples
        assert isinstance(batch, Symbolic)
        each = batch // n
        wide = F.reshape(self.b, of_examples, (n, 1, *rest))
        wide = self.b.emit(ops.BroadcastTo((n, each, *rest)), wide)
        return F.reshape(self.b, wide, (product((n, each)), *rest))

    def present_along(self, size: int | Symbolic) -> Value | None:
        """Return which positions are real along an axis of this size, bool [N, size]; None where all are."""
        name, b = str(size), self.root
        length = self.length_along(size)
        if length is not None and name not in self._present:
            with b.within((), self.span):
                ends = F.reshape(b, length, (length.shape[0], 1))
                self._present[name] = b.emit(ops.Less(), b.emit(ops.Iota((size,), 0)), ends)
        return self._present.get(name)

    def kept(self, x: Value) -> Value:
        """`x` with zeros at the positions that are not real along any of its axes, whatever stands there."""
        b = self.b
        for axis, size in enumerate(x.shape[1:] if self.lengths else (), 1):
            present = self.present_along(size)
            if present is not None:
                wide = tuple(s if i in (0, axis) else 1 for i, s in enumerate(x.shape))
                present = F.reshape(b, self.repeated(present, x.shape[0]), wide)
                x = b.emit(ops.Where(), present, x, F.cast(b, b.constant(0), x.dtype))
        return x
