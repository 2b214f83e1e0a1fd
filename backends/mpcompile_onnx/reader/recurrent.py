"""`RNN`, `GRU` and `LSTM` of ONNX, step by step (Hochreiter and Schmidhuber 1997; Cho et al. 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_onnx.reader.tape import Call, Rule

FLOAT = DType.FLOAT
_ACTIVATIONS = {"Sigmoid": ops.Sigmoid(), "Tanh": ops.Tanh(), "Relu": ops.Relu()}
#: Gates, and activations where the file names none.
_CELLS = {"RNN": (1, ("Tanh",)), "GRU": (3, ("Sigmoid", "Tanh")), "LSTM": (4, ("Sigmoid", "Tanh", "Tanh"))}
_State = tuple[Value, ...]


@dataclass(frozen=True)
class _Cell:
    """One direction: gates from x are `own`[T, B, gates H]; `weight`[H, gates H] and `bias`[gates H] take the state."""

    c: Call
    kind: str
    hidden: int
    weight: Value
    bias: Value
    acts: Sequence[str]

    def act(self, number: int, x: Value) -> Value:
        return self.c.b.emit(_ACTIVATIONS[self.acts[number]], x)

    def split(self, x: Value) -> list[Value]:
        return build.split(self.c.b, x, 1, _CELLS[self.kind][0])

    def step(self, own: Value, state: _State) -> _State:
        b = self.c.b
        if self.kind == "GRU":
            return (self._gru(own, state[0]),)
        told = build.add(b, b.emit(ops.MatMul(), state[0], self.weight), self.bias)
        gates = build.add(b, own, told)
        if self.kind == "RNN":
            return (self.act(0, gates),)
        i, o, f, g = self.split(gates)
        kept = build.mul(b, self.act(0, f), state[1])
        cell = build.add(b, kept, build.mul(b, self.act(0, i), self.act(1, g)))
        return build.mul(b, self.act(0, o), self.act(2, cell)), cell

    def _gru(self, own: Value, h: Value) -> Value:
        b, n = self.c.b, self.hidden
        zx, rx, gx = self.split(own)
        zw, rw, gw = self.split(self.weight)
        zb, rb, gb = (build.slice_axis(b, self.bias, 0, i * n, i * n + n) for i in range(3))

        def told(x: Value, w: Value, bias: Value) -> Value:
            return build.add(b, b.emit(ops.MatMul(), x, w), bias)

        z = self.act(0, build.add(b, zx, told(h, zw, zb)))
        r = self.act(0, build.add(b, rx, told(h, rw, rb)))
        behind = bool(self.c.attributes.get("linear_before_reset", 0))
        seen = build.mul(b, r, told(h, gw, gb)) if behind else told(build.mul(b, r, h), gw, gb)
        g = self.act(1, build.add(b, gx, seen))
        return build.add(b, build.mul(b, build.sub(b, 1.0, z), g), build.mul(b, z, h))


def recurrent(kind: str) -> Rule:
    """Return the rule of a recurrent operator: every step of every direction."""

    def rule(c: Call) -> tuple[Value, ...]:
        gates, names = _CELLS[kind]
        hidden = int(c.attributes["hidden_size"])
        directions = c.array(1).shape[0]
        length = c.array(0).shape[1 if c.attributes.get("layout") else 0]
        known = not c.has(4) or (not c.unknown(4) and bool((c.array(4) == length).all()))
        acts = list(c.attributes.get("activations") or names * directions)
        acts = [a.decode() if isinstance(a, bytes) else str(a) for a in acts]
        odd = c.attributes.get("clip") or c.attributes.get("input_forget") or (kind == "LSTM" and c.has(7))
        if odd or not known or not set(acts) <= set(_ACTIVATIONS):
            return c.observe(None)
        back = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
        runs = []
        for d, reverse in enumerate(back[str(c.attributes.get("direction", "forward"))]):
            own, cell = _direction(c, kind, d, gates, hidden, acts[len(names) * d : len(names) * (d + 1)])
            runs.append(_run(c, cell, own, _starts(c, kind, d, hidden), length, reverse))
        return _results(c, runs)

    return rule


def _direction(
    c: Call, kind: str, d: int, gates: int, hidden: int, acts: Sequence[str]
) -> tuple[Value, _Cell]:
    """The gates from the input of all steps, [T, B, gates H], and the cell of a direction."""
    b, wide = c.b, gates * hidden

    def part(number: int) -> Value:
        x = build.slice_axis(b, c.value(number, FLOAT), 0, d, d + 1)
        return build.transpose(b, build.reshape(b, x, x.shape[1:]), 1, 0)

    x = c.value(0, FLOAT)
    x = build.transpose(b, x, 1, 0, 2) if c.attributes.get("layout") else x
    own = b.emit(ops.MatMul(), x, part(1))
    bias = b.constant(np.zeros(wide))
    if c.has(3):
        whole = build.reshape(b, build.slice_axis(b, c.value(3, FLOAT), 0, d, d + 1), (2 * wide,))
        own = build.add(b, own, build.slice_axis(b, whole, 0, 0, wide))
        bias = build.slice_axis(b, whole, 0, wide, 2 * wide)
    return own, _Cell(c, kind, hidden, part(2), bias, acts)


def _starts(c: Call, kind: str, d: int, hidden: int) -> _State:
    """The first state, [B, H] each: zero where none is given."""
    b, layout = c.b, bool(c.attributes.get("layout"))
    batch = c.array(0).shape[0 if layout else 1]
    found = []
    for number in (5, 6) if kind == "LSTM" else (5,):
        if not c.has(number):
            found.append(b.constant(np.zeros((batch, hidden))))
            continue
        x = c.value(number, FLOAT)
        found.append(build.reshape(b, build.slice_axis(b, x, 1 if layout else 0, d, d + 1), (batch, hidden)))
    return tuple(found)


def _run(
    c: Call, cell: _Cell, own: Value, state: _State, length: int, reverse: bool
) -> tuple[list[Value], _State]:
    """The hidden state of every step, in the order of time, and the last state."""
    rows: list[Value] = []
    for t in range(length)[:: -1 if reverse else 1]:
        x = build.slice_axis(c.b, own, 0, t, t + 1)
        state = cell.step(build.reshape(c.b, x, x.shape[1:]), state)
        rows.append(state[0])
    return rows[:: -1 if reverse else 1], state


def _results(c: Call, runs: Sequence[tuple[list[Value], _State]]) -> tuple[Value, ...]:
    """Y[T, D, B, H] and the last states [D, B, H]; with `layout` [B, T, D, H] and [B, D, H]."""
    b, layout = c.b, bool(c.attributes.get("layout"))

    def joined(parts: Sequence[Value], axis: int) -> Value:
        wide = [build.reshape(b, p, (*p.shape[:axis], 1, *p.shape[axis:])) for p in parts]
        return build.concat(b, wide, axis)

    whole = joined([joined(rows, 0) for rows, _ in runs], 1)
    lasts = [joined([state[i] for _, state in runs], 1 if layout else 0) for i in range(len(runs[0][1]))]
    return (build.transpose(b, whole, 2, 0, 1, 3) if layout else whole, *lasts)


RECURRENT: dict[str, Rule] = {kind: recurrent(kind) for kind in _CELLS}

__all__ = ["RECURRENT"]
