"""A small regression to train through a session, and the update rules to train it with."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpcompile.backend import OptimizerSpec
from mpcompile.diagnostics import Source, Span
from mpcompile.ir import Array, Builder, Graph, Init, Module, Parameter, ParameterSpec, float_type, symbol
from mpcompile.ops import Add, MatMul, Mul, Sub, Sum, Tanh, Transpose

N = symbol("N")
RULES = [
    OptimizerSpec("sgd"),
    OptimizerSpec("sgd", {"momentum": 0.9}, weight_decay=0.1),
    OptimizerSpec("adam", weight_decay=0.1),
    OptimizerSpec("adamw", {"beta1": 0.8, "beta2": 0.99}, weight_decay=0.1),
    OptimizerSpec("adagrad"),
    OptimizerSpec("adam", clip=0.01),
    OptimizerSpec("perceptron"),
]


def regression() -> Module:
    """Squared error of a small network, one parameter that nothing reads, and a running mean."""
    module = Module("regression", Source("regression.mp", ""))

    def declare(b: Builder, name: str, *shape: int, trainable: bool = True) -> Any:
        module.parameters[name] = ParameterSpec(name, shape, Init("zeros"), Span.none(), trainable)
        return b.emit(Parameter(name, float_type(*shape)))

    g = Graph("loss")
    b = Builder(g)
    x, y = b.input("x", float_type(N, 3)), b.input("y", float_type(N, 2))
    w, v = declare(b, "first.weight", 4, 3), declare(b, "second.weight", 2, 4)
    bias, mean = declare(b, "second.bias", 2), declare(b, "running", 2, trainable=False)
    declare(b, "unused", 3)
    h = b.emit(Tanh(), b.emit(MatMul(), x, b.emit(Transpose((1, 0)), w)))
    p = b.emit(Add(), b.emit(MatMul(), h, b.emit(Transpose((1, 0)), v)), bias)
    d = b.emit(Sub(), p, y)
    g.outputs["loss"] = b.emit(Sum((0, 1)), b.emit(Mul(), d, d))
    g.outputs["error"] = b.emit(Sum((0, 1)), d)
    g.outputs["state/running"] = b.emit(Add(), b.emit(Mul(), mean, b.constant(0.5)), b.constant(1.0))
    module.programs["loss"] = g.live()
    return module


def start() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {n: rng.normal(size=p.shape) for n, p in regression().parameters.items()}


def batch(seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(5, 3)), "y": rng.normal(size=(5, 2))}
