"""Single steps of gated recurrent units, with the product of their input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Pattern, Term
from mpcompile.ops import Add, MatMul, Sigmoid, Slice, Tanh, Transpose


@dataclass(frozen=True)
class GruCell(Kernel):
    """One step of a GRU, the reset gate behind the product (Cho et al. 2014).

    x, h       [N, F], [N, U]
    weight_ih  [3 U, F], gates r, z, n; weight_hh [3 U, U]; bias [3 U]; bias_hn [U], of the candidate's share of the state
    """

    name: ClassVar[str] = "gru_cell"
    x: Value
    h: Value
    weight_ih: Value
    weight_hh: Value
    bias: Value
    bias_hn: Value


@dataclass(frozen=True)
class LstmCell(Kernel):
    """One step of an LSTM (Hochreiter and Schmidhuber 1997): the next h is the `result`, the next c is `cell`.

    x, h, c    [N, F], [N, U], [N, U]
    weight_ih  [4 U, F], gates i, f, g, o; weight_hh [4 U, U]; bias [4 U]
    """

    name: ClassVar[str] = "lstm_cell"
    x: Value
    h: Value
    c: Value
    weight_ih: Value
    weight_hh: Value
    bias: Value
    cell: Value

    @property
    def operands(self) -> dict[str, Value]:
        return {name: v for name, v in super().operands.items() if name != "cell"}

    @property
    def results(self) -> tuple[Value, ...]:
        return self.result, self.cell

    @property
    def place(self) -> int:
        return self.cell.node


def _slice(of: Pattern, name: str) -> Term:
    return Term(Slice, (of,), name)


def _times(x: str, weight: str) -> Term:
    """The product with a transposed weight."""
    return Term(MatMul, (Hole(x), Term(Transpose, (Hole(weight),), f"{weight}.turned")))


_DRIVEN = (_times("x", "weight_ih") + Hole("bias")).named("driven")
_OWN = _times("h", "weight_hh").named("own")

_GATES = Term(Sigmoid, (_slice(_DRIVEN, "driven.rz") + _slice(_OWN, "own.rz"),), "gates")
_CANDIDATE = Term(
    Tanh,
    (_slice(_DRIVEN, "driven.n") + _slice(_GATES, "r") * (_slice(_OWN, "own.n") + Hole("bias_hn")),),
    "candidate",
)
_GRU = _CANDIDATE + _slice(_GATES, "z") * (Hole("h") - _CANDIDATE)

_TOTAL = Term(Add, (_DRIVEN, _OWN), "total")
_KEPT = Term(Sigmoid, (_slice(_TOTAL, "f"),)) * Hole("c")
_NEW = Term(Sigmoid, (_slice(_TOTAL, "i"),)) * Term(Tanh, (_slice(_TOTAL, "g"),))
_CELL = (_KEPT + _NEW).named("cell")
_LSTM = Term(Sigmoid, (_slice(_TOTAL, "o"),)) * Term(Tanh, (_CELL,))


def _fits(m: Match, gates: int, **parts: tuple[int, int]) -> bool:
    """Whether slices are these multiples of the units along axis 1, and operands have the shapes of a step."""
    rows, units = m["h"].shape[0], m["h"].shape[-1]
    if m["h"].type.rank != 2 or m["x"].type.rank != 2 or not isinstance(units, int):
        return False
    for name, (first, last) in parts.items():
        op = m.op(name.replace("_", "."))
        assert isinstance(op, Slice)
        if (op.axis, op.start, op.stop, op.step) != (1, first * units, last * units, 1):
            return False
    turned = [m.op(f"{weight}.turned") for weight in ("weight_ih", "weight_hh")]
    shapes = {"bias": (gates * units,), "weight_hh": (gates * units, units), "own": (rows, gates * units)}
    return all(t == Transpose((1, 0)) for t in turned) and all(m[k].shape == v for k, v in shapes.items())


def _gru(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    parts = {
        "driven_rz": (0, 2),
        "own_rz": (0, 2),
        "driven_n": (2, 3),
        "own_n": (2, 3),
        "r": (0, 1),
        "z": (1, 2),
    }
    result = site.node.outputs[0]
    if not _fits(m, 3, **parts) or m["bias_hn"].shape != m["h"].shape[1:] or result.shape != m["h"].shape:
        return None
    names = ("x", "h", "weight_ih", "weight_hh", "bias", "bias_hn")
    return GruCell(result, inside, *(m[name] for name in names))


def _lstm(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    """The next c stands before the next h, and the step in its place: all that it reads is there."""
    result, cell = site.node.outputs[0], m["cell"]
    if not _fits(m, 4, i=(0, 1), f=(1, 2), g=(2, 3), o=(3, 4)):
        return None
    if not m["c"].shape == m["h"].shape == cell.shape == result.shape:
        return None
    names = ("x", "h", "c", "weight_ih", "weight_hh", "bias")
    x, h, c, weight_ih, weight_hh, bias = (m[name] for name in names)
    covered = (inside | {site.node.id}) - {cell.node}
    return LstmCell(result, covered, x, h, c, weight_ih, weight_hh, bias, cell)


RULES: tuple[Rule, ...] = (formula(GruCell, _GRU, _gru), formula(LstmCell, _LSTM, _lstm))
