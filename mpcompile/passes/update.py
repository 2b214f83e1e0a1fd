"""The update of an optimiser as graph arithmetic: what `Optimizer.change` says, with weight decay around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mpcompile.diagnostics import Source, Span
from mpcompile.ir import Builder, DType, Frame, Graph, Module, Primitive, Type, Value, float_type, numbers
from mpcompile.ir.optimizers import Term
from mpcompile.ir.training import EMA, OptimizerSpec
from mpcompile.ops import Add, Cast, Div, MatMul, Mul, Reshape, Sign, Sqrt, Sub, Sum, Tanh, Transpose

#: Inputs of an update beside the slots: the weight, its gradient, the rate of the step, and its number from one.
WEIGHT, GRADIENT, RATE, STEP = "weight", "gradient", "rate", "step"

Shape = tuple[int, ...]


def frame(name: str) -> Frame:
    """Return a scope for nodes that no layer of a spec made."""
    return Frame(name, name, Span.none())


class Arithmetic:
    """Terms over one graph, and the scalars of its step (`Moment`). What is computed twice is one node."""

    def __init__(self, b: Builder, rate: Value, number: Value) -> None:
        self.b = b
        self._made: dict[tuple[Primitive, tuple[Value, ...]], Value] = {}
        self._constants: dict[float, Value] = {}
        self.rate = self.scalar(rate)
        self.number = self.scalar(self.emit_scalar(Cast(DType.FLOAT), number))

    def gathered(self, beta: float) -> Term:
        """`1 - beta ** number` as 2 h / (1 + h) with h = tanh(-number ln(beta) / 2)."""
        if not beta:
            return self.term(1.0)
        h = (self.number * (-math.log(beta) / 2)).apply(Tanh())
        return h * 2.0 / (h + 1.0)

    def updated(
        self,
        spec: OptimizerSpec,
        weight: Value,
        gradient: Term,
        kept: Mapping[str, Value],
        decays: bool = True,
    ) -> tuple[Value, dict[str, Value]]:
        """Return a weight after the step, and its slots. Raises `ValueError` for a rule that is not known.

        decays  whether weight decay acts on this weight (`ParameterSpec.decays`)
        """
        rule, start = spec.rule, self.array(weight)
        decay = spec.weight_decay if decays else 0.0
        if decay and not rule.decoupled:
            gradient = gradient + start * decay
        change, slots = rule.change(start, gradient, {s: self.array(v) for s, v in kept.items()}, self)
        if decay and rule.decoupled:
            start = start * (1.0 - self.rate * decay)
        new = self.term(start - change).value()
        if spec.ema is not None:
            slots[EMA] = self.array(kept[EMA]) * spec.ema + self.array(new) * (1 - spec.ema)
        return new, {slot: self.term(slots[slot]).value() for slot in spec.kept_for(start.shape)}

    # --- terms ---

    def array(self, value: Value) -> Term:
        return _Term(self, value, 1.0)

    def scalar(self, value: Value) -> Term:
        return _Term(self, None, value)

    def term(self, x: Term | float) -> _Term:
        """An operand that a rule may give. Raises `TypeError` for anything else."""
        if isinstance(x, _Term):
            return x
        if isinstance(x, float | int):
            return _Term(self, None, float(x))
        raise TypeError(f"no operand of an update: {x!r}")

    def emit(self, op: Primitive, *operands: Value) -> Value:
        """The result of a primitive, which may be there already."""
        key = op, operands
        if key not in self._made:
            self._made[key] = self.b.emit(op, *operands)
        return self._made[key]

    def emit_scalar(self, op: Primitive, *operands: Value) -> Value:
        """The same for scalars, which belong to no parameter."""
        with self.b.within((frame("optimizer"),), Span.none()):
            return self.emit(op, *operands)

    def constant(self, number: float) -> Value:
        if number not in self._constants:
            with self.b.within((frame("optimizer"),), Span.none()):
                self._constants[number] = self.b.constant(number)
        return self._constants[number]


Scalar = float | Value


@dataclass(frozen=True, slots=True)
class _Term:
    """An array times a scalar factor; without an array the scalar alone."""

    home: Arithmetic
    base: Value | None
    factor: Scalar

    @property
    def shape(self) -> Shape:
        return () if self.base is None else numbers(self.base.shape)

    def value(self) -> Value:
        """The term as one value of the graph."""
        if self.base is None:
            return self.home.constant(self.factor) if isinstance(self.factor, float) else self.factor
        if self.factor == 1.0:
            return self.base
        return self.home.emit(Mul(), self.base, _Term(self.home, None, self.factor).value())

    def __add__(self, other: Term | float) -> Term:
        return self._sum(Add(), self.home.term(other), lambda x, y: x + y)

    def __sub__(self, other: Term | float) -> Term:
        return self._sum(Sub(), self.home.term(other), lambda x, y: x - y)

    def __mul__(self, other: Term | float) -> Term:
        y = self.home.term(other)
        factor = self._scalars(Mul(), self.factor, y.factor, lambda a, b: a * b)
        if self.base is None or y.base is None:
            return _Term(self.home, y.base if self.base is None else self.base, factor)
        return _Term(self.home, self.home.emit(Mul(), self.base, y.base), factor)

    def __truediv__(self, other: Term | float) -> Term:
        y = self.home.term(other)
        factor = self._scalars(Div(), self.factor, y.factor, lambda a, b: a / b)
        if y.base is None:
            return _Term(self.home, self.base, factor)
        if self.base is None:  # one division of the scalar, and none of an array of ones
            return _Term(
                self.home, self.home.emit(Div(), _Term(self.home, None, factor).value(), y.base), 1.0
            )
        return _Term(self.home, self.home.emit(Div(), self.base, y.base), factor)

    def __radd__(self, other: float) -> Term:
        return self.home.term(other) + self

    def __rsub__(self, other: float) -> Term:
        return self.home.term(other) - self

    def __rmul__(self, other: float) -> Term:
        return self.home.term(other) * self

    def __rtruediv__(self, other: float) -> Term:
        return self.home.term(other) / self

    def sqrt(self) -> Term:
        return self.apply(Sqrt())

    def sign(self) -> Term:
        return self.apply(Sign())

    def total(self) -> Term:
        return self.apply(Sum(tuple(range(len(self.shape)))))

    def matmul(self, other: Term) -> Term:
        return self.apply(MatMul(), other)

    def transposed(self) -> Term:
        return self.apply(Transpose((1, 0)))

    def reshaped(self, shape: Shape) -> Term:
        return self if shape == self.shape else self.apply(Reshape(shape))

    def apply(self, op: Primitive, *others: Term | float) -> Term:
        terms = [self, *(self.home.term(x) for x in others)]
        values = [t.value() for t in terms]
        if all(t.base is None for t in terms):
            return _Term(self.home, None, self.home.emit_scalar(op, *values))
        return _Term(self.home, self.home.emit(op, *values), 1.0)

    def _sum(self, op: Primitive, other: _Term, numbers: Callable[[float, float], float]) -> Term:
        if self.base is None and other.base is None:
            return _Term(self.home, None, self._scalars(op, self.factor, other.factor, numbers))
        return _Term(self.home, self.home.emit(op, self.value(), other.value()), 1.0)

    def _scalars(
        self, op: Primitive, a: Scalar, b: Scalar, numbers: Callable[[float, float], float]
    ) -> Scalar:
        """A number where both are; what a factor of one leaves; else a node."""
        if isinstance(a, float) and isinstance(b, float):
            return numbers(a, b)
        if b == 1.0 and isinstance(op, Mul | Div):
            return a
        if a == 1.0 and isinstance(op, Mul):
            return b
        values = [self.home.constant(x) if isinstance(x, float) else x for x in (a, b)]
        return self.home.emit_scalar(op, *values)


# --- an update on its own, for backends whose framework gives gradients ---


def update_rule(spec: OptimizerSpec, shape: Shape, name: str = "update", decays: bool = True) -> Graph:
    """Build the update of a weight of this shape as a program; weight decay acts on it where it `decays`.

    Inputs    `weight`, `gradient` (clipped), `rate`, `step` (whole, from one), and `slot_<slot>` for each slot
              that the rule keeps
    Outputs   `next_weight`, and `next_slot_<slot>` for each slot
    Raises `ValueError` for a rule that is not known.
    """
    graph = Graph(name)
    b = Builder(graph)
    weight, gradient = (b.input(n, float_type(*shape)) for n in (WEIGHT, GRADIENT))
    kept = {slot: b.input(f"slot_{slot}", float_type(*shape)) for slot in spec.kept_for(shape)}
    rate, number = b.input(RATE, float_type()), b.input(STEP, Type(DType.INT, ()))
    a = Arithmetic(b, rate, number)
    new, slots = a.updated(spec, weight, a.array(gradient), kept, decays)
    graph.outputs = {"next_weight": new, **{f"next_slot_{slot}": value for slot, value in slots.items()}}
    return graph


def update_module(
    spec: OptimizerSpec, weights: Sequence[tuple[Shape, bool]]
) -> tuple[Module, dict[tuple[Shape, bool], str]]:
    """Build a module without parameters that has `update_rule` for each shape, and return it with their programs.

    weights  shapes, each with whether weight decay acts on weights of that shape

    A backend emits it as it emits every module, so an optimiser needs nothing of a backend. Raises `ValueError` for a
    rule that is not known.
    """
    names = {
        (shape, decays): f"update_{'x'.join(map(str, shape)) or 'scalar'}{'' if decays else '_undecayed'}"
        for shape, decays in weights
    }
    module = Module(spec.kind, Source(f"{spec.kind}.mp", ""))
    module.programs = {
        name: update_rule(spec, shape, name, decays) for (shape, decays), name in names.items()
    }
    return module, names


__all__ = ["Arithmetic", "frame", "update_module", "update_rule"]
