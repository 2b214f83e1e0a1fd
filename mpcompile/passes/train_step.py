"""A whole step of training as one graph: loss, gradients, clipping and the optimiser's update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from mpcompile.diagnostics import Span
from mpcompile.ir import STATE, Builder, DType, Frame, Graph, Module, Parameter, Type, Value, float_type
from mpcompile.ops import Add, Cast, Div, Minimum, Mul, Sqrt, Sub, Sum, Tanh
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.pipeline import SIMPLIFYING

#: Inputs beside the program's own: the rate of this step, and its number, counted from one.
RATE, STEP = "optimizer/rate", "optimizer/step"
#: Prefixes of a parameter in state, and of a value that replaces what was read.
PARAMETER, NEXT = "parameter/", "next/"
NORM = "gradient_norm"


class UpdateRule(Protocol):
    """What `mpcompile.backend.OptimizerSpec` says."""

    @property
    def kind(self) -> str: ...
    @property
    def betas(self) -> tuple[float, float]: ...
    @property
    def eps(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float | None: ...
    @property
    def slots(self) -> tuple[str, ...]: ...
    @property
    def decoupled(self) -> bool: ...


def slot_name(slot: str, parameter: str) -> str:
    """Key of an optimiser's array in state, and its input in the step."""
    return f"optimizer/{slot}/{parameter}"


def loss_name(program: Graph) -> str:
    """The output that training makes small."""
    return "loss" if "loss" in program.outputs else next(iter(program.outputs))


def train_step(module: Module, rule: UpdateRule) -> Graph:
    """One update of every trainable parameter on the `loss` program.

    Inputs    those of `loss`; `optimizer/rate`; `optimizer/step`; `optimizer/<slot>/<parameter>`; parameters
              are leaves, as everywhere
    Outputs   the scalars of `loss`; `gradient_norm`, before clipping; `next/parameter/<name>` and
              `next/optimizer/<slot>/<name>`, under which what was read is replaced
    """
    program = module.programs["loss"]
    trained = [name for name, spec in module.parameters.items() if spec.trainable]
    read = program.parameters()
    graph = differentiate(program, loss_name(program), [name for name in trained if name in read])
    graph.name = "train_step"
    b = Builder(graph)
    leaves = graph.parameters()
    for name in trained:
        if name not in leaves:
            leaves[name] = b.emit(Parameter(name, float_type(*module.parameters[name].shape)))
    gradients: dict[str, Value] = {}
    for name in trained:
        shape = module.parameters[name].shape
        missing = b.constant(np.zeros(shape)) if name not in read else None
        gradients[name] = graph.outputs[gradient_name(name)] if missing is None else missing
    written = {name: graph.outputs[output] for name, output in module.updates("loss").items()}
    reported = {n: v for n, v in program.outputs.items() if not n.startswith(STATE) and not v.shape}
    graph.outputs = {n: graph.outputs[n] for n in reported}
    _Update(b, rule, leaves, gradients).write()
    for name, value in written.items():
        graph.outputs[f"{NEXT}{PARAMETER}{name}"] = value
    return SIMPLIFYING.run(graph).graph


class _Update:
    """Appends clipping and the update rule, parameter by parameter."""

    def __init__(
        self, b: Builder, rule: UpdateRule, parameters: Mapping[str, Value], gradients: Mapping[str, Value]
    ) -> None:
        self.b, self.rule, self.parameters, self.gradients = b, rule, parameters, gradients
        self.rate = b.input(RATE, float_type())
        self.step = b.input(STEP, Type(DType.INT, ()))

    # --- arithmetic ---

    def add(self, x: Value, y: Value | float) -> Value:
        return self.b.emit(Add(), x, self.value(y))

    def sub(self, x: Value | float, y: Value) -> Value:
        return self.b.emit(Sub(), self.value(x), y)

    def mul(self, x: Value, y: Value | float) -> Value:
        return self.b.emit(Mul(), x, self.value(y))

    def div(self, x: Value | float, y: Value) -> Value:
        return self.b.emit(Div(), self.value(x), y)

    def sqrt(self, x: Value) -> Value:
        return self.b.emit(Sqrt(), x)

    def value(self, x: Value | float) -> Value:
        return x if isinstance(x, Value) else self.b.constant(float(x))

    # --- the step ---

    def write(self) -> None:
        outputs = self.b.graph.outputs
        with self.b.frame(_frame("gradient_norm")):
            squares = {name: self.mul(g, g) for name, g in self.gradients.items()}
            total = self.value(0.0)
            for square in squares.values():
                sum_all = self.b.emit(Sum(tuple(range(square.type.rank))), square)
                total = self.add(total, sum_all)
            outputs[NORM] = norm = self.sqrt(total)
            clip = self.rule.clip
            scale = (
                self.b.emit(Minimum(), self.div(clip, norm), self.value(1.0)) if clip is not None else None
            )
        with self.b.frame(_frame("optimizer")):
            shared = self._shared(scale)
        for name, gradient in self.gradients.items():
            kept = {s: self.b.input(slot_name(s, name), gradient.type) for s in self.rule.slots}
            with self.b.frame(_frame(f"update.{name}")):
                new, changed = self._one(self.parameters[name], gradient, squares[name], scale, kept, shared)
            outputs[f"{NEXT}{PARAMETER}{name}"] = new
            for slot, value in changed.items():
                outputs[f"{NEXT}{slot_name(slot, name)}"] = value

    def _shared(self, scale: Value | None) -> dict[str, Value]:
        """Scalars that are the same for every parameter."""
        if "m" not in self.rule.slots:
            return {}
        first, second = self.rule.betas
        number = self.b.emit(Cast(DType.FLOAT), self.step)
        root = self.sqrt(self._correction(second, number))
        shared = {
            "rate": self.mul(self.div(self.rate, self._correction(first, number)), root),
            "eps": self.mul(root, self.rule.eps),
            "fresh": self.value(1 - first),
            "fresh_square": self.value(1 - second),
        }
        if scale is not None and not self._decay_in_gradient:  # clipping costs no pass over the gradients
            shared["fresh"] = self.mul(shared["fresh"], scale)
            shared["fresh_square"] = self.mul(self.mul(shared["fresh_square"], scale), scale)
        if self.rule.decoupled:
            shared["keep"] = self.sub(1.0, self.mul(self.rate, self.rule.weight_decay))
        return shared

    def _correction(self, beta: float, number: Value) -> Value:
        """1 - beta^number without cancellation, as 2 h / (1 + h) with h = tanh(-number ln(beta) / 2)."""
        if not beta:
            return self.value(1.0)
        h = self.b.emit(Tanh(), self.mul(number, -math.log(beta) / 2))
        return self.div(self.mul(h, 2.0), self.add(h, 1.0))

    @property
    def _decay_in_gradient(self) -> bool:
        return bool(self.rule.weight_decay) and not self.rule.decoupled

    def _one(
        self, p: Value, g: Value, square: Value, scale: Value | None, kept: Mapping[str, Value],
        shared: Mapping[str, Value],
    ) -> tuple[Value, dict[str, Value]]:  # fmt: skip
        """The new value of one parameter, and of its slots."""
        rule = self.rule
        adam = "m" in kept
        if scale is not None and (self._decay_in_gradient or not adam):
            g = self.mul(g, scale)
            square = self.mul(g, g)
        if self._decay_in_gradient:
            g = self.add(g, self.mul(p, rule.weight_decay))
            square = self.mul(g, g)
        if adam:
            m = self.add(self.mul(kept["m"], rule.betas[0]), self.mul(g, shared["fresh"]))
            v = self.add(self.mul(kept["v"], rule.betas[1]), self.mul(square, shared["fresh_square"]))
            change = self.mul(self.div(m, self.add(self.sqrt(v), shared["eps"])), shared["rate"])
            start = self.mul(p, shared["keep"]) if rule.decoupled and rule.weight_decay else p
            return self.sub(start, change), {"m": m, "v": v}
        if "sum" in kept:
            total = self.add(kept["sum"], square)
            change = self.div(self.mul(g, self.rate), self.add(self.sqrt(total), rule.eps))
            return self.sub(p, change), {"sum": total}
        if kept:
            g = self.add(self.mul(kept["momentum"], rule.momentum), g)
            return self.sub(p, self.mul(g, self.rate)), {"momentum": g}
        return self.sub(p, self.mul(g, self.rate)), {}


def _frame(name: str) -> Frame:
    return Frame(name, name, Span.none())
