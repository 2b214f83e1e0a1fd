"""Cutting programs into functions never changes what they mean, whatever the frames are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpcompile.backend import DOUBLE
from mpcompile.diagnostics import Source, Span
from mpcompile.interpret import interpret
from mpcompile.ir import (
    Array,
    Builder,
    DType,
    Frame,
    Graph,
    Init,
    Module,
    Parameter,
    ParameterSpec,
    Symbolic,
    Type,
    Value,
    float_type,
    symbol,
)
from mpcompile.ops import (
    Add,
    BroadcastTo,
    Cast,
    Concat,
    CumSum,
    Exp,
    Flip,
    LessEqual,
    MatMul,
    Mul,
    Neg,
    Reshape,
    Scan,
    Sigmoid,
    Slice,
    Softmax,
    Sub,
    Sum,
    Tanh,
    Transpose,
    Where,
)
from mpcompile.outline import outline
from mpcompile_torch import BACKEND, emit_module

N, TIME = symbol("N"), symbol("time")
SIZES = {"N": 2, "time": 3}


def frame(name: str, role: str = "forward", function: bool = True) -> Frame:
    return Frame(name, f"{name}()", Span("a.mp", 2, 1, 2, 3), function, role)


class Sketch:
    """One program drawn at random: every value is float[N, 4]; frames open and close as they like."""

    def __init__(self, draw: st.DataObject, module: Module, name: str) -> None:
        self.draw, self.module = draw, module
        self.b = Builder(Graph(name))
        module.programs[name] = self.b.graph
        self.values = [self.b.input("x", float_type(N, 4)), self.b.input("noise", float_type(N, 4))]

    def pick(self, many: int) -> int:
        return self.draw.draw(st.integers(0, many - 1))

    def value(self) -> Value:
        recent = self.values[-4:]
        return recent[self.pick(len(recent))] if self.pick(4) else self.values[self.pick(len(self.values))]

    def parameter(self, name: str, *shape: int) -> Value:
        path = ".".join([*(f.name for f in self.b.scope), name])
        self.module.parameters[path] = ParameterSpec(path, shape, Init("normal"), self.b.span)
        return self.b.emit(Parameter(path, float_type(*shape)))

    def shared(self) -> Value:
        self.module.parameters["shared"] = ParameterSpec("shared", (4, 4), Init("normal"), self.b.span)
        return self.b.emit(Parameter("shared", float_type(4, 4)))

    def step(self) -> Value:
        b, x = self.b, self.value()
        match self.pick(12):
            case 0:
                return b.emit(Tanh(), x)
            case 1:
                return b.emit(Sub(), x, self.value())
            case 2:
                return b.emit(Mul(), b.emit(Sigmoid(), x), self.value())
            case 3:
                weight = b.emit(Transpose((1, 0)), self.parameter("weight", 4, 4))
                return b.emit(Add(), b.emit(MatMul(), x, weight), self.parameter("bias", 4))
            case 4:
                return b.emit(MatMul(), x, self.shared())
            case 5:
                return b.emit(Add(), x, b.constant(np.arange(4.0) + self.pick(2)))
            case 6:
                total = b.emit(Sum((1,), keepdims=True), x)
                return b.emit(Sub(), b.emit(BroadcastTo((N, 4)), total), b.constant(0.5))
            case 7:
                below = b.emit(LessEqual(), x, self.value())
                return b.emit(Where(), below, b.emit(Neg(), x), b.constant(-1.5))
            case 8:
                halves = [b.emit(Slice(1, k, k + 2), self.value()) for k in (0, 2)]
                return b.emit(Concat(1), *halves)
            case 9:
                flat = b.emit(Reshape((4 * N,)), x)
                return b.emit(Reshape((N, 4)), b.emit(Flip(0), flat))
            case 10:
                return b.emit(Softmax(1), b.emit(CumSum(1), x))
            case _:
                return self.scan(x)

    def scan(self, x: Value) -> Value:
        """A loop over the columns of a value, whose body may hold functions too."""
        b, outer = self.b, self.value()
        body = Graph("body")
        inner = Builder(body, b.scope, b.span)
        h, x_t = inner.input("h", float_type(N)), inner.input("x", float_type(N))
        w, c = inner.input("w", float_type(4, 4)), inner.input("c", float_type(N, 4))
        step = inner.input("step", Type(DType.INT, ()))
        with inner.frame(frame("cell", function=bool(self.pick(2)))):
            mixed = inner.emit(Sum((1,)), inner.emit(Tanh(), inner.emit(MatMul(), c, w)))
            new = inner.emit(Tanh(), inner.emit(Add(), inner.emit(Mul(), h, mixed), x_t))
            if self.pick(2):
                new = inner.emit(Add(), new, inner.emit(Cast(DType.FLOAT), step))
        body.outputs = {"h": new, "y": inner.emit(Exp(), inner.emit(Neg(), inner.emit(Mul(), new, h)))}
        weight = self.shared() if self.pick(2) else self.parameter("w", 4, 4)
        start = (
            b.emit(Sum((1,)), self.value()) if self.pick(2) else b.emit(BroadcastTo((N,)), b.constant(0.0))
        )
        last, ys = b.emit_all(Scan(body, 1, 1, bool(self.pick(2)), 1), start, x, weight, outer)
        if self.pick(2):
            return b.emit(Add(), ys, b.emit(Reshape((N, 1)), last))
        return ys

    def block(self, depth: int) -> None:
        for _ in range(self.pick(4) + 1):
            if depth < 3 and self.pick(3) == 0:
                name, role = f"block_{self.pick(2)}", ("forward", "inverse")[self.pick(2)]
                with self.b.frame(frame(name, role, bool(self.pick(4)))):
                    self.block(depth + 1)
            else:
                self.values.append(self.step())

    def finish(self) -> None:
        self.b.graph.outputs = {f"y{i}": self.value() for i in range(1 + self.pick(3))}


@settings(max_examples=40)
@given(st.data())
def test_random_programs(draw: st.DataObject) -> None:
    module = Module("random_model", Source("a.mp", ""))
    for name in ("first", "second"):
        sketch = Sketch(draw, module, name)
        sketch.block(0)
        sketch.block(0)
        sketch.finish()
    rng = np.random.default_rng(0)
    parameters = {n: rng.normal(size=p.shape) for n, p in module.parameters.items()}
    session = BACKEND.session(module, parameters, options=DOUBLE)
    for name, graph in module.programs.items():
        inputs = {k: rng.normal(size=v.type.concrete(SIZES)) for k, v in graph.inputs.items()}
        made = session.run(name, inputs)
        for key, want in interpret(graph, parameters, inputs).items():
            np.testing.assert_allclose(made[key], want, rtol=1e-8, atol=1e-8)


def run(module: Module, name: str, inputs: dict[str, Array]) -> None:
    rng = np.random.default_rng(0)
    parameters = {n: rng.normal(size=p.shape) for n, p in module.parameters.items()}
    made = BACKEND.session(module, parameters, options=DOUBLE).run(name, inputs)
    for key, want in interpret(module.programs[name], parameters, inputs).items():
        np.testing.assert_allclose(made[key], want, rtol=1e-9, atol=1e-9)


def net(b: Builder, x: Value, module: Module) -> Value:
    with b.frame(frame("net")):
        module.parameters["net.weight"] = ParameterSpec("net.weight", (4, 4), Init("normal"), b.span)
        weight = b.emit(Parameter("net.weight", float_type(4, 4)))
        return b.emit(Tanh(), b.emit(MatMul(), b.emit(Mul(), x, x), weight))


def test_a_net_used_twice_is_one_method_called_twice() -> None:
    module = Module("twice", Source("a.mp", ""))
    b = Builder(Graph("forward"))
    module.programs["forward"] = b.graph
    x = b.input("x", float_type(N, 4))
    h = net(b, x, module)
    b.graph.outputs["y"] = net(b, b.emit(Exp(), h), module)
    plan = outline(module)
    assert [len(i.methods) for f in plan.families for i in f.instances] == [1, 1]
    text = emit_module(module).text
    assert text.count("self.net(") == 2
    run(module, "forward", {"x": np.ones((2, 4))})


def test_nodes_that_a_pass_moved_stay_one_function_where_they_can() -> None:
    module = Module("moved", Source("a.mp", ""))
    b = Builder(Graph("forward"))
    module.programs["forward"] = b.graph
    x = b.input("x", float_type(N, 4))
    with b.frame(frame("net")):
        h = b.emit(Tanh(), b.emit(Exp(), b.emit(Neg(), x)))
    other = b.emit(Neg(), x)
    with b.frame(frame("net")):
        h = b.emit(Exp(), b.emit(Mul(), h, b.emit(Tanh(), h)))
    b.graph.outputs["y"] = b.emit(Add(), h, other)
    assert emit_module(module).text.count("self.net(") == 1
    run(module, "forward", {"x": np.ones((2, 4))})


def test_nodes_that_cannot_be_a_function_are_written_in_place() -> None:
    module = Module("torn", Source("a.mp", ""))
    b = Builder(Graph("forward"))
    module.programs["forward"] = b.graph
    x = b.input("x", float_type(N, 4))
    with b.frame(frame("net")):
        h = b.emit(Tanh(), b.emit(Exp(), b.emit(Neg(), x)))
    h = b.emit(Sigmoid(), h)
    with b.frame(frame("net")):
        h = b.emit(Exp(), b.emit(Mul(), h, b.emit(Tanh(), h)))
    b.graph.outputs["y"] = h
    assert "self.net" not in emit_module(module).text
    run(module, "forward", {"x": np.ones((2, 4))})


def test_a_size_that_no_argument_shows_is_told() -> None:
    module = Module("told", Source("a.mp", ""))
    b = Builder(Graph("forward"))
    module.programs["forward"] = b.graph
    x = b.input("x", float_type(N, TIME, 4))
    both = N * TIME
    assert isinstance(both, Symbolic)
    flat = b.emit(Reshape((both, 4)), x)
    with b.frame(frame("net")):
        h = b.emit(Exp(), b.emit(Neg(), b.emit(Tanh(), flat)))
        h = b.emit(Sum((1,)), b.emit(Reshape((N, TIME, 4)), h))
    b.graph.outputs["y"] = h
    text = emit_module(module).text
    assert "n: int" in text and "time: int" in text
    run(module, "forward", {"x": np.random.default_rng(0).normal(size=(2, 3, 4))})


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.tril(np.ones((40, 40))), ".tril()"),
        (np.triu(np.ones((40, 40)), 1), ".triu(1)"),
        (np.indices((9, 8)).sum(0) % 2, "checkerboard(9, 8, 1)"),
        (np.broadcast_to(np.arange(50.0), (3, 50)), ".expand(3, 50)"),
        (np.arange(90) >= 33, "torch.arange(90) >= 33"),
        (np.arange(90)[::-1].copy(), "torch.arange(89, -1, -1)"),
        (np.random.default_rng(0).uniform(size=(50, 8)) < 0.5, "CONSTANTS["),
        (np.random.default_rng(0).normal(size=(5, 9)), "CONSTANTS["),
        (np.random.default_rng(0).integers(0, 90, size=(5, 9)), "CONSTANTS["),
        ((np.arange(300) % 29)[:, None] >= np.arange(30), ">= torch.arange(30)"),
        (np.array([np.inf, -np.inf, np.nan, -0.0, 1e-300]), "-math.inf"),
    ],
)
def test_constants_are_exact_and_compact(array: Array, part: str) -> None:
    module = Module("constants", Source("a.mp", ""))
    b = Builder(Graph("values"))
    module.programs["values"] = b.graph
    b.graph.outputs = {"y": b.constant(array), "x": b.input("x", float_type(N))}
    emitted = emit_module(module)
    assert part in re.sub(r"\(\s+", "(", emitted.text)
    made = BACKEND.session(module, {}, options=DOUBLE).run("values", {"x": np.ones(1)})["y"]
    np.testing.assert_array_equal(made, array)
    assert made.dtype.kind == array.dtype.kind
