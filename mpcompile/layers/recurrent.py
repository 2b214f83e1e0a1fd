"""Recurrent layers: sequences are time first, [N, time, features]; and their single steps, `gru(x, h)`.

Where a sequence states its length, a step behind its end changes no state and gives zeros, in both directions: what
stands in the padding, and how much of it there is, makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

from mpcompile import ops
from mpcompile.ir import Value
from mpcompile.layers.activations import Dropout
from mpcompile.layers.base import SEQUENCE, Acting, Acts, Context, Lift, Part, Takes, fan_in_uniform
from mpcompile.ops import build as F
from mpcompile.ranges import Choice, Depth, Fraction, Width

#: A state, and the input of one step.
VECTOR = Acts((Part.CHANNEL,))
Output = Annotated[str, Choice(("sequence", "state"))]


@dataclass(frozen=True)
class Weights:
    """The weights of one layer in one direction.

    input [gates U, F], state [gates U, U], bias [gates U], and a GRU's own bias [U]; no biases where there are none.
    """

    input: Value
    state: Value
    bias: Value | None
    candidate: Value | None = None


@dataclass(frozen=True)
class Recurrent(Acting):
    """Base of recurrent layers: [N, time, in] -> [N, time, units], or twice the units when bidirectional.

    layers         that are stacked, each reading the one below
    bidirectional  a second scan from the end; both are joined, forward first
    dropout        between stacked layers, while training
    start          the first state, zeros where left out: [N, S] with S as below
    output         `sequence`, or `state`: the last state of every layer and direction, [N, S]
    bias           whether the gates have biases

    S counts layer by layer, direction by direction, the state h, and for an LSTM the cell c behind it.
    """

    acts: ClassVar[Acts] = SEQUENCE
    units: Width
    layers: Depth = 1
    bidirectional: bool = False
    dropout: Fraction = 0.0
    start: Value | None = None
    output: Output = "sequence"
    bias: bool = True

    #: Options that a single step has, too.
    of_step: ClassVar[tuple[str, ...]] = ("bias",)
    gates: ClassVar[int]
    #: Vectors in the state of one step.
    states: ClassVar[int] = 1

    @property
    def gives(self) -> tuple[Part, ...]:
        return self.acts.parts if self.output == "sequence" else VECTOR.parts

    def beside(self, lift: Lift) -> Self:
        return self if self.start is None else replace(self, start=lift.beside(VECTOR, self.start))

    def advance(self, ctx: Context, w: Weights, driven: Value, state: Sequence[Value]) -> list[Value]:
        """One step: the next state from the state and `driven`, the input's share of the gates. [N, ...]."""
        raise NotImplementedError

    def held(
        self, ctx: Context, w: Weights, driven: Value, before: Sequence[Value], real: Value | None
    ) -> tuple[list[Value], Value]:
        """One step of a sequence: the next state and h. Where `real`, bool [N], is false the state stays and h is 0."""
        after = self.advance(ctx, w, driven, before)
        if real is None:
            return after, after[0]
        b = ctx.b
        real = F.reshape(b, real, (driven.shape[0], 1))
        kept = [F.where(b, real, new, old) for new, old in zip(after, before, strict=True)]
        return kept, F.where(b, real, kept[0], 0.0)

    def step(self, ctx: Context, x: Value, state: Value) -> Value:
        """Apply one step as a layer of its own: x [N, in] and the state [N, states U] give the next state.

        The state says how many units there are, not the layer. Raises `SpecError` (MP201).
        """
        Takes(inputs=(2, 2)).check(ctx, self.keyword, (x, state))
        lift = Lift.of(ctx, self.keyword, VECTOR, x, None)
        return lift.result(self._step(ctx, lift.value, lift.beside(VECTOR, state)), VECTOR.parts)

    def _step(self, ctx: Context, x: Value, state: Value) -> Value:
        width = state.shape[1]
        assert isinstance(width, int)
        if width % self.states:
            raise ctx.fail(
                "MP201", f"the state of {self.keyword} is h and c side by side, and this has width {width}"
            )
        w = self._weights(ctx, width // self.states, x.shape[1], "")
        driven = F.linear(ctx.b, x, w.input, w.bias)
        return F.concat(ctx.b, self.advance(ctx, w, driven, F.split(ctx.b, state, 1, self.states)), 1)

    def _weights(self, ctx: Context, units: int, features: object, suffix: str) -> Weights:
        init, rows = fan_in_uniform(units), self.gates * units
        return Weights(
            ctx.param(f"weight_ih{suffix}", (rows, features), init),  # type: ignore[arg-type]  # checked by param
            ctx.param(f"weight_hh{suffix}", (rows, units), init),
            ctx.param(f"bias{suffix}", (rows,), init) if self.bias else None,
            ctx.param(f"bias_hn{suffix}", (units,), init) if self.candidate else None,
        )

    @property
    def candidate(self) -> bool:
        """Whether there is a second bias, of a GRU's candidate."""
        return False

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        (x,) = inputs
        first, last = self._first(ctx, x), list[Value]()
        for layer in range(self.layers):
            if layer and self.dropout:
                x = Dropout(self.dropout).forward(ctx, x)
            ways = []
            for reverse in (False, True) if self.bidirectional else (False,):
                suffix = (f"_l{layer}" if layer else "") + ("_reverse" if reverse else "")
                w = self._weights(ctx, self.units, x.shape[2], suffix)
                state, ys = self._scan(ctx, w, x, [first.pop(0) for _ in range(self.states)], reverse)
                last += state
                ways.append(ys)
            x = F.concat(ctx.b, ways, 2)
        return x if self.output == "sequence" else F.concat(ctx.b, last, 1)

    def _first(self, ctx: Context, x: Value) -> list[Value]:
        """First states [N, U], layer by layer, direction by direction."""
        count = self.layers * (1 + self.bidirectional) * self.states
        if self.start is None:
            zero = ctx.zeros((x.shape[0], self.units))
            return [zero] * count
        if self.start.shape != (x.shape[0], count * self.units):
            raise ctx.fail(
                "MP201",
                f"the first state of {self.keyword}({self.units}) here has {count * self.units} numbers, "
                f"this has {self.start.shape[1]}",
                help=f"the state of a like layer ({self.keyword}(..., output = state)), or dense({count * self.units})",
            )
        return F.split(ctx.b, self.start, 1, count)

    def _scan(
        self, ctx: Context, w: Weights, x: Value, first: Sequence[Value], reverse: bool
    ) -> tuple[list[Value], Value]:
        """The last state and the sequence of h of one layer in one direction."""
        present = ctx.present_at(x)

        def step(state: list[Value], slices: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
            after, y = self.held(ctx, w, slices[0], state, slices[1] if present else None)
            return after, [y]

        scanned = [F.linear(ctx.b, x, w.input, w.bias), *([] if present is None else [present])]
        state, (ys,) = ctx.scan(step, first, scanned, reverse=reverse)
        return state, ys


@dataclass(frozen=True)
class Rnn(Recurrent):
    """Elman's network: h_t = tanh(W x_t + U h_{t-1} + b) (notes, section 4.1)."""

    keyword: ClassVar[str] = "rnn"
    gates: ClassVar[int] = 1

    def advance(self, ctx: Context, w: Weights, driven: Value, state: Sequence[Value]) -> list[Value]:
        b, (h,) = ctx.b, state
        return [b.emit(ops.Tanh(), F.add(b, driven, F.linear(b, h, w.state, None)))]


@dataclass(frozen=True)
class Lstm(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; notes, section 4.2).

    i, f, g, o = W x_t + U h_{t-1} + b;  c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g);  h_t = sigmoid(o) tanh(c_t).
    Gates are stacked in torch's order i, f, g, o.
    """

    keyword: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    def advance(self, ctx: Context, w: Weights, driven: Value, state: Sequence[Value]) -> list[Value]:
        b, (h, c) = ctx.b, state
        i, f, g, o = F.split(b, F.add(b, driven, F.linear(b, h, w.state, None)), 1, 4)
        kept = F.mul(b, b.emit(ops.Sigmoid(), f), c)
        c = F.add(b, kept, F.mul(b, b.emit(ops.Sigmoid(), i), b.emit(ops.Tanh(), g)))
        return [F.mul(b, b.emit(ops.Sigmoid(), o), b.emit(ops.Tanh(), c)), c]


@dataclass(frozen=True)
class Gru(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate behind the product, as in torch, or before it.

    r, z = sigmoid(W x_t + U h_{t-1} + b);  h_t = (1 - z) n + z h_{t-1}, where
    `reset = after`   n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + b_hn)), as in torch
    `reset = before`  n = tanh(W_n x_t + b_n + U_n (r h_{t-1})), as in Cho et al. 2014, eq. 8
    Gates are stacked in torch's order r, z, n.
    """

    keyword: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3
    of_step: ClassVar[tuple[str, ...]] = ("bias", "reset")
    reset: Annotated[str, Choice(("after", "before"))] = "after"

    @property
    def candidate(self) -> bool:
        return self.bias and self.reset == "after"

    def advance(self, ctx: Context, w: Weights, driven: Value, state: Sequence[Value]) -> list[Value]:
        b, (h,) = ctx.b, state
        units = h.shape[1]
        assert isinstance(units, int)
        if self.reset == "before":
            own = F.linear(b, h, F.slice_axis(b, w.state, 0, 0, 2 * units), None)
            r, z = F.split(
                b, b.emit(ops.Sigmoid(), F.add(b, F.slice_axis(b, driven, 1, 0, 2 * units), own)), 1, 2
            )
            last = F.linear(b, F.mul(b, r, h), F.slice_axis(b, w.state, 0, 2 * units), None)
            n = b.emit(ops.Tanh(), F.add(b, F.slice_axis(b, driven, 1, 2 * units), last))
            return [F.add(b, n, F.mul(b, z, F.sub(b, h, n)))]
        own = F.linear(b, h, w.state, None)
        gates = F.add(b, F.slice_axis(b, driven, 1, 0, 2 * units), F.slice_axis(b, own, 1, 0, 2 * units))
        r, z = F.split(b, b.emit(ops.Sigmoid(), gates), 1, 2)
        before = F.slice_axis(b, own, 1, 2 * units)
        if w.candidate is not None:
            before = F.add(b, before, w.candidate)
        n = b.emit(ops.Tanh(), F.add(b, F.slice_axis(b, driven, 1, 2 * units), F.mul(b, r, before)))
        return [F.add(b, n, F.mul(b, z, F.sub(b, h, n)))]
