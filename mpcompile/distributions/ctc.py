"""Connectionist temporal classification: a text by the frames of a longer sequence (Graves et al. 2006)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.distributions.base import Distribution
from mpcompile.distributions.subject import Subject
from mpcompile.distributions.support import TEXTS, Support
from mpcompile.ir import Answer, Builder, DType, Shape, Value
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers.axes import described, ordered, with_batch
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import CountOrNone

#: The logarithm of no probability: a finite number, so that no difference of two has no value.
NOTHING = -1e30


@dataclass(frozen=True)
class Alignment:
    """The arguments of `ctc`."""

    logits: Value
    blank: CountOrNone


@dataclass(frozen=True)
class Ctc(Distribution):
    """The sum over all alignments of a text with the frames of a longer sequence, each a symbol or the blank.

    The symbols of the frames are independent given `logits` [N, frames, classes + 1]. The text of an alignment has equal
    neighbours as one, and no blanks. Symbols of the text [N, time] are numbered as the logits are, the blank left out.
    `log_prob` is the forward recursion of the paper (section 4.1) in logarithms: a scan over the frames.

    Masses of the texts of all lengths add up to 1, so those of one length to less. A text that fits in no alignment has
    the mass 0. There is no sampler.
    """

    keyword: ClassVar[str] = "ctc"
    support: ClassVar[Support] = TEXTS
    arguments: ClassVar[type | None] = Alignment
    drawn: ClassVar[bool] = False
    logits: Value
    blank: int

    @classmethod
    def stated(cls, ctx: Context, given: Alignment, subject: Subject) -> Distribution:
        field, logits, blank = subject.field, given.logits, given.blank
        if field is None or field.classes is None or field.type.rank != 2:
            raise subject.fail("MP209", "`ctc` is a law of a text: one axis of categories",
                               help="target text: category(28)[time]")  # fmt: skip
        wanted = field.classes + 1
        axes = ctx.axes_of(logits)
        frames = tuple(n for n in axes if n != CHANNEL)
        if len(frames) != 1 or CHANNEL not in axes or ctx.sizes_of(logits)[axes.index(CHANNEL)] != wanted:
            raise subject.fail("MP207", f"`ctc` has logits {described(ctx, logits)}",
                               help=f"end the network with an output [frames, channel: {wanted}]: a number for each of "
                               f"{field.classes} classes and one for the blank")  # fmt: skip
        if blank >= wanted:
            raise subject.fail("MP205", f"`blank` is {blank}, and the symbols of the logits are 0 to {wanted - 1}",
                               help=f"blank = {wanted - 1}")  # fmt: skip
        return cls(ordered(ctx, with_batch(ctx, logits), (*frames, CHANNEL)), blank)

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits}

    def log_prob(self, ctx: Context, x: Value) -> Value:
        """Log mass of each text: [N, time] -> [N]."""
        b, n = ctx.b, x.shape[0]
        symbols = b.emit(ops.LogSoftmax(2), self.logits)
        blank = F.slice_axis(b, symbols, 2, self.blank, self.blank + 1)
        index = self._index(ctx, x)
        emitted = _later(b, self._emitted(ctx, symbols, index), 2)
        repeat = _later(b, F.to_float(b, b.emit(ops.Equal(), index, _later(b, index, 1, trim=True))), 1)
        places = repeat.shape[1]
        first = b.emit(ops.Equal(), b.emit(ops.Iota((places,), 0)), b.constant(0))
        start = b.emit(ops.BroadcastTo((n, places)), F.where(b, first, 0.0, NOTHING))
        nothing = b.emit(ops.BroadcastTo((n, places)), b.constant(NOTHING))
        length = ctx.length_along(self.logits.shape[1])

        def frame(state: list[Value], now: list[Value], t: Value) -> tuple[list[Value], list[Value]]:
            b, (of_blank, of_symbol) = ctx.b, state
            after_blank, after_symbol = (_later(b, v, 1, NOTHING, trim=True) for v in state)
            after_symbol = F.where(b, F.less(b, 0.5, b.here(repeat)), NOTHING, after_symbol)
            following = [
                F.add(b, _either(b, of_blank, of_symbol), now[0]),
                F.add(b, _either(b, of_symbol, after_blank, after_symbol), now[1]),
            ]
            if length is not None:
                real = F.reshape(b, b.emit(ops.Less(), t, b.here(length)), (n, 1))
                following = [F.where(b, real, new, old) for new, old in zip(following, state, strict=True)]
            return following, []

        ends, _ = ctx.scan(frame, [start, nothing], [blank, emitted])
        total = _either(b, *(self._at_end(ctx, end, x) for end in ends))
        return F.where(b, F.less(b, total, 0.5 * NOTHING), float("-inf"), total)

    def _index(self, ctx: Context, x: Value) -> Value:
        """The logits' numbers of the symbols of a text."""
        b, index = ctx.b, F.cast(ctx.b, x, DType.INT)
        if self.blank == self.logits.shape[2] - 1:
            return index
        beyond = F.cast(b, b.emit(ops.LessEqual(), b.constant(self.blank), index), DType.INT)
        return b.emit(ops.Add(), index, beyond)

    def _emitted(self, ctx: Context, symbols: Value, index: Value) -> Value:
        """Log probability in each frame of each symbol of a text: [N, frames, time]."""
        b, (n, time) = ctx.b, index.shape
        wide = b.emit(ops.BroadcastTo((n, symbols.shape[1], time)), F.reshape(b, index, (n, 1, time)))
        return b.emit(ops.TakeAlong(2), symbols, wide)

    def _at_end(self, ctx: Context, x: Value, text: Value) -> Value:
        """The element at the place of the last symbol of each text: [N, places] -> [N]."""
        b, (n, time) = ctx.b, text.shape
        length = ctx.length_along(time)
        if length is None:
            return F.reshape(b, b.emit(ops.Slice(1, time, x.shape[1], 1), x), (n,))
        ends = F.reshape(b, length, (n, 1))
        here = b.emit(ops.Equal(), b.emit(ops.Iota((x.shape[1],), 0)), ends)
        return F.sum_axes(b, F.where(b, here, x, 0.0), [1])

    @property
    def answer(self) -> Answer:
        return Answer("best", 2, self.logits.shape[1])

    def mean(self, ctx: Context, shape: Shape) -> Value:
        """The text of the best path (section 3.2), one-hot: the likeliest symbol of each frame; [N, time, classes].

        It is zero behind the end of that text. Where no input says how long texts are, it has as many places as frames.
        """
        b, (n, frames, symbols) = ctx.b, self.logits.shape
        assert isinstance(symbols, int)
        best = b.emit(ops.ArgMax(2), self.logits)
        silent = b.emit(ops.Equal(), best, b.constant(self.blank))
        moved = _later(b, b.emit(ops.Add(), best, b.constant(1)), 1, trim=True)  # 0 before the first
        held = b.emit(ops.Equal(), moved, b.emit(ops.Add(), best, b.constant(1)))
        new = b.emit(ops.LogicalNot(), b.emit(ops.LogicalOr(), silent, held))
        present = ctx.present_along(frames)
        new = new if present is None else b.emit(ops.LogicalAnd(), present, new)
        place = b.emit(ops.CumSum(1), F.cast(b, new, DType.INT))
        count = shape[1] if isinstance(shape[1], int) else frames
        places = b.emit(ops.Add(), b.emit(ops.Iota((count, 1), 0)), b.constant(1))
        here = b.emit(ops.Equal(), F.reshape(b, place, (n, 1, frames)), places)
        here = F.to_float(b, b.emit(ops.LogicalAnd(), here, F.reshape(b, new, (n, 1, frames))))
        classes = [k for k in range(symbols) if k != self.blank]
        one_hot = b.emit(ops.Equal(), F.reshape(b, best, (n, frames, 1)), b.constant(np.array(classes)))
        return b.emit(ops.MatMul(), here, F.to_float(b, one_hot))


def _later(b: Builder, x: Value, axis: int, first: float = 0.0, *, trim: bool = False) -> Value:
    """Move x on by one along an axis: `first`, then x, without its last element where it is to be trimmed."""
    before = tuple(int(a == axis) for a in range(x.type.rank))
    padded = b.emit(ops.Pad(before, (0,) * x.type.rank, first), x)
    return b.emit(ops.Slice(axis, 0, x.shape[axis], 1), padded) if trim else padded


def _either(b: Builder, *terms: Value) -> Value:
    """Emit the logarithm of the sum of the exponentials, element by element."""
    axis = terms[0].type.rank
    wide = [F.reshape(b, t, (*t.shape, 1)) for t in terms]
    return b.emit(ops.LogSumExp((axis,), False), F.concat(b, wide, axis))


__all__ = ["Ctc"]
