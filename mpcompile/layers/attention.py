"""Attention over sequences [N, time, D], with its masks and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Init, Symbolic, Value
from mpcompile.layers.base import SEQUENCE, TOKENS, Acting, Acts, Context, Lift, fan_in_uniform
from mpcompile.layers.relations import (
    EVERYTHING,
    Before,
    Causal,
    Everything,
    Places,
    Relation,
    Upto,
    attended,
    visible,
)
from mpcompile.ops import build as F
from mpcompile.ranges import Positive, Width


@dataclass(frozen=True)
class Attention(Acting):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, eq. 1). [N, time, D] -> [N, time, D].

    mask     which positions a query sees: `causal` those up to its own, `before` those before it in the order of the
             density (the first has none, and gives zeros: notes, section 6.7), `window(w)`, `same(segment)`, ... Other
             scores are minus infinity, so their weights are exactly zero; so are those of positions behind the end of a
             sequence that states its length
    groups   heads of keys and values, each shared by as many heads of queries (Ainslie et al. 2023); `heads` if left out
    to       the sequence [N, S, E] that is attended to; the input itself if left out
    rotary   a base, as 10000, of rotary positions (Su et al. 2024, eq. 34): channels i and i + E / 2 of each query and
             key of E channels are turned by position base^(-2 i / E)
    alibi    scores fall by 2^(-8 h / heads) for each position of distance, h = 1, 2, ... (Press et al. 2022)
    project  whether the heads are mixed by another matrix at the end
    bias     whether queries, keys, values and the projection have biases

    Weights are [(heads + 2 groups) E, D] for queries, keys and values together, and [D, D] of the projection.
    """

    keyword: ClassVar[str] = "attention"
    heads: Width
    mask: Relation = EVERYTHING
    groups: Width | None = None
    to: Value | None = None
    rotary: Positive | None = None
    alibi: bool = False
    project: bool = True
    bias: bool = True
    places: Places = field(default=Places((), ()), metadata={"argument": False}, kw_only=True)

    @property
    def acts(self) -> Acts:  # type: ignore[override]  # a mask compares positions: there it needs an order
        return TOKENS if isinstance(self.mask, Everything) or self.over else SEQUENCE

    def beside(self, lift: Lift) -> Self:
        lead = lift.picked.lead
        to = self.to
        if to is not None:
            same = set(lead) <= set(lift.ctx.axes_of(to))  # places of the same axes; else of its only one
            to = lift.beside(TOKENS, to, lead if same else None)
        return replace(self, to=to, places=Places(lead, tuple(lift.sizes[n] for n in lead)))

    def _form(self, ctx: Context) -> str:
        """Return the form of the mask: `none`, `causal` and `before` are lowered as such, others are `related`."""
        if isinstance(self.mask, Everything):
            return "none"
        if self.to is not None or not isinstance(self.mask, Causal | Before | Upto):
            return "related"
        strict = isinstance(self.mask, Before)
        array = self.mask.array(ctx, self.places)
        if array is not None and not np.array_equal(array, np.tri(len(array), k=-strict, dtype=bool)):
            return "related"
        return "before" if strict else "causal"

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b = inputs, ctx.b
        self._check(ctx, x)
        form = self._form(ctx)
        q, k, v = self._heads(ctx, x)
        if self.rotary is not None:
            q, k = turned(ctx, (q, k), self.rotary)
        k, v = self._repeated(ctx, k), self._repeated(ctx, v)
        if form == "before":
            k, v = _later(ctx, k), _later(ctx, v)
        width = q.shape[3]
        assert isinstance(width, int)
        scores = F.mul(b, b.emit(ops.MatMul(), q, F.transpose(b, k, 0, 1, 3, 2)), width**-0.5)
        if self.alibi:
            scores = F.add(b, scores, _slopes(ctx, self.heads, scores, int(form == "before")))
        if form == "related":
            weights = self._related(ctx, scores, x)
        else:
            weights = b.emit(ops.Softmax(3), self._masked(ctx, scores, x, form))
        mixed = F.transpose(b, b.emit(ops.MatMul(), weights, v), 0, 2, 1, 3)
        joined = F.reshape(b, mixed, x.shape)
        if not self.project:
            return joined
        size = x.shape[2]
        assert isinstance(size, int)
        out = ctx.param("weight_out", (size, size), fan_in_uniform(size))
        return F.linear(b, joined, out, self._bias(ctx, "bias_out", size))

    def _check(self, ctx: Context, x: Value) -> None:
        """Raise `SpecError`: MP201 for heads that do not fit the width, MP205 for options that exclude each other."""
        width, groups = x.shape[2], self.groups or self.heads
        if not isinstance(width, int) or width % self.heads:
            raise ctx.fail("MP201", f"{self.heads} heads do not divide {width} features")
        if self.heads % groups:
            raise ctx.fail("MP201", f"{groups} groups do not divide {self.heads} heads")
        if self.rotary is not None and width // self.heads % 2:
            raise ctx.fail(
                "MP201", f"rotary positions turn pairs, and a head has {width // self.heads} channels"
            )
        if self.to is None:
            return
        masked = not isinstance(self.mask, Everything)
        for name, given in (
            ("mask", masked and self.to.shape[1] != x.shape[1]),
            ("rotary", self.rotary is not None),
            ("alibi", self.alibi),
        ):
            if given:
                raise ctx.fail(
                    "MP205", f"positions of two sequences are not compared: leave out `{name}` or `to`"
                )

    def _bias(self, ctx: Context, name: str, size: int) -> Value | None:
        return ctx.param(name, (size,), Init("zeros")) if self.bias else None

    def _heads(self, ctx: Context, x: Value) -> list[Value]:
        """Queries [N, heads, time, E], keys and values [N, groups, S, E]."""
        b, (n, time, width), groups = ctx.b, x.shape, self.groups or self.heads
        assert isinstance(width, int)
        size = width // self.heads
        if self.to is None and groups == self.heads:
            w = ctx.param("weight_qkv", (3 * width, width), fan_in_uniform(width))
            packed = F.linear(b, x, w, self._bias(ctx, "bias_qkv", 3 * width))
            packed = F.reshape(b, packed, (n, time, 3, groups, size))
            packed = F.transpose(b, packed, 2, 0, 3, 1, 4)  # [3, N, heads, time, width / heads]
            return [F.reshape(b, part, packed.shape[1:]) for part in F.split(b, packed, 0, 3)]
        if self.to is None:
            rows = width + 2 * groups * size
            w = ctx.param("weight_qkv", (rows, width), fan_in_uniform(width))
            both = F.linear(b, x, w, self._bias(ctx, "bias_qkv", rows))
            q, kv = F.slice_axis(b, both, 2, 0, width), F.slice_axis(b, both, 2, width, rows)
        else:
            features, rows = self.to.shape[2], 2 * groups * size
            assert isinstance(features, int)
            w = ctx.param("weight_q", (width, width), fan_in_uniform(width))
            q = F.linear(b, x, w, self._bias(ctx, "bias_q", width))
            w = ctx.param("weight_kv", (rows, features), fan_in_uniform(features))
            kv = F.linear(b, self.to, w, self._bias(ctx, "bias_kv", rows))
        heads = [(q, self.heads), *((part, groups) for part in F.split(b, kv, 2, 2))]
        return [
            F.transpose(b, F.reshape(b, part, (n, part.shape[1], count, size)), 0, 2, 1, 3)
            for part, count in heads
        ]

    def _repeated(self, ctx: Context, x: Value) -> Value:
        """Each of the groups for all its heads of queries, side by side: [N, groups, S, E] -> [N, heads, S, E]."""
        n, groups, length, size = x.shape
        if groups == self.heads:
            return x
        assert isinstance(groups, int)
        wide = F.reshape(ctx.b, x, (n, groups, 1, length, size))
        wide = ctx.b.emit(ops.BroadcastTo((n, groups, self.heads // groups, length, size)), wide)
        return F.reshape(ctx.b, wide, (n, self.heads, length, size))

    def _related(self, ctx: Context, scores: Value, x: Value) -> Value:
        """Weights of the keys that each query sees; zeros for a query that sees nothing."""
        b, (n, _, queries, keys) = ctx.b, scores.shape
        seen = visible(ctx, self.mask, self.places)
        if seen.type.rank == 3:
            seen = F.reshape(b, ctx.repeated(seen, n), (n, 1, queries, keys))
        present = ctx.present_at(x if self.to is None else self.to)
        if present is not None:
            seen = b.emit(ops.LogicalAnd(), seen, F.reshape(b, present, (n, 1, 1, keys)))
        return attended(ctx, scores, seen, 3, always=self.mask.sees_itself and present is None)

    def _masked(self, ctx: Context, scores: Value, x: Value, form: str) -> Value:
        """Scores [N, heads, time, S], minus infinity where the mask or the length of a sequence hides the key."""
        b, hidden, (n, _, time, keys) = ctx.b, float("-inf"), scores.shape
        attended = x if self.to is None else self.to
        present, length = ctx.present_at(attended), ctx.length_of(attended)
        if form == "before" and length is None and isinstance(time, int):
            scores = F.where(b, b.constant(_triangle(time) & _first_alone(time)), scores, hidden)
        elif form != "none":
            scores = F.where(b, causal_mask(ctx, time), scores, hidden)
            if form == "before":
                scores = F.where(b, _alone(ctx, time, length), scores, hidden)
        if present is not None:  # keys behind the end of a sequence that states its length
            scores = F.where(b, F.reshape(b, present, (n, 1, 1, keys)), scores, hidden)
        return scores


def turned(ctx: Context, xs: Sequence[Value], base: float) -> list[Value]:
    """Turn pairs (i, i + E / 2) of values [..., time, E] by time base^(-2 i / E): rotary positions."""
    b, (time, size) = ctx.b, xs[0].shape[-2:]
    assert isinstance(size, int)
    angle = _angles(ctx, time, size, base)
    cos, sin = b.emit(ops.Cos(), angle), b.emit(ops.Sin(), angle)
    results = []
    for x in xs:
        first, second = F.split(b, x, x.type.rank - 1, 2)
        left = F.sub(b, F.mul(b, first, cos), F.mul(b, second, sin))
        right = F.add(b, F.mul(b, second, cos), F.mul(b, first, sin))
        results.append(F.concat(b, [left, right], x.type.rank - 1))
    return results


def _angles(ctx: Context, time: int | Symbolic, size: int, base: float) -> Value:
    """position base^(-2 i / size) for i below size / 2: [time, size / 2]."""
    b = ctx.b
    speeds = base ** (-np.arange(0, size, 2) / size)
    places = F.reshape(b, b.emit(ops.Iota((time,), 0)), (time, 1))
    return F.mul(b, F.to_float(b, places), b.constant(speeds))


def _slopes(ctx: Context, heads: int, scores: Value, later: int) -> Value:
    """The fall of scores by distance, [heads, time, time]; with keys that stand `later` by one place."""
    b, (time, keys) = ctx.b, scores.shape[2:]
    falls = 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)
    query, key = (b.emit(ops.Iota((size,), 0)) for size in (time, keys))
    distance = b.emit(ops.Sub(), key, F.reshape(b, query, (time, 1)))
    if later:
        distance = b.emit(ops.Sub(), distance, b.constant(later))
    far = F.neg(b, b.emit(ops.Abs(), F.to_float(b, distance)))
    return F.mul(b, b.constant(falls.reshape(heads, 1, 1)), far)


def _later(ctx: Context, x: Value) -> Value:
    """Keys or values [N, heads, time, E] one place later, with zeros in the first."""
    b = ctx.b
    padded = b.emit(ops.Pad((0, 0, 1, 0), (0, 0, 0, 0)), x)
    return b.emit(ops.Slice(2, 0, x.shape[2], 1), padded)


def _first_alone(time: int) -> Array:
    """The mask by which the first query sees the first place, and no other query does: bool [time, time]."""
    alone: Array = np.ones((time, time), bool)
    alone[1:, :1] = False
    return alone


def _alone(ctx: Context, time: int | Symbolic, length: Value | None) -> Value:
    """The same mask as a formula: min(query, 1) <= key.

    In a sequence of one step its padding, too, sees the first place and no other: bool [N, 1, time, time].
    """
    b = ctx.b
    i, j = (b.emit(ops.Iota((time, time), axis)) for axis in (0, 1))
    first = b.emit(ops.Minimum(), i, b.constant(np.asarray(1)))
    if length is None:
        return b.emit(ops.LessEqual(), first, j)
    ends = F.reshape(b, b.emit(ops.Sub(), length, b.constant(1)), (length.shape[0], 1, 1, 1))
    return b.emit(ops.LessEqual(), b.emit(ops.Minimum(), first, ends), j)


def causal_mask(ctx: Context, time: int | Symbolic) -> Value:
    """Return the mask bool [time, time] by which query i may see key j when j <= i."""
    b = ctx.b
    if isinstance(time, Symbolic):
        i, j = (b.emit(ops.Iota((time, time), axis)) for axis in (0, 1))
        return b.emit(ops.LessEqual(), j, i)
    return b.constant(_triangle(time))


@lru_cache(maxsize=4)
def _triangle(time: int) -> Array:
    """One array for all layers and programs: each constant of 4096 steps would take 16 MB."""
    triangle: Array = np.tri(time, dtype=bool)
    triangle.setflags(write=False)
    return triangle


@dataclass(frozen=True)
class Sinusoid(Acting):
    """Add sines and cosines of each position (Vaswani et al. 2017, section 3.5): no weights, and any length.

    Channel 2 i is sin(t base^(-2 i / D)), channel 2 i + 1 the cosine. The shape stays: [N, time, D], D even.
    """

    keyword: ClassVar[str] = "sinusoid"
    acts: ClassVar[Acts] = TOKENS
    base: Positive = 10000.0

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,), b, (time, size) = inputs, ctx.b, inputs[0].shape[1:]
        if not isinstance(size, int) or size % 2:
            raise ctx.fail("MP201", f"sinusoid fills pairs of channels, and got {size} of them")
        angle = _angles(ctx, time, size, self.base)
        waves = (F.reshape(b, b.emit(op, angle), (time, size // 2, 1)) for op in (ops.Sin(), ops.Cos()))
        pairs = F.concat(b, list(waves), 2)
        return F.add(b, x, F.reshape(b, pairs, (time, size)))


__all__ = ["Attention", "Sinusoid", "causal_mask", "turned"]
