"""Models built by hand: what the emitted classes compute, what they are called, and how they look."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from syrupy.assertion import SnapshotAssertion

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
    Conv,
    Div,
    Exp,
    Gather,
    LogSoftmax,
    MatMul,
    MaxPool,
    Mul,
    Neg,
    OneHot,
    Relu,
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
from mpcompile_torch import BACKEND, SourceRefused, emit_module, verify_source

N = symbol("N")
TIME = symbol("time")


class Net:
    """A module in the making: one builder per program, parameters declared at first use."""

    def __init__(self, name: str) -> None:
        self.module = Module(name, Source(f"specs/{name}.mp", ""))
        self.b = Builder(Graph(""))

    def program(self, name: str) -> Builder:
        self.b = Builder(Graph(name))
        self.module.programs[name] = self.b.graph
        return self.b

    def frame(self, name: str, label: str, line: int, function: bool = False, role: str = "forward") -> Frame:
        return Frame(name, label, Span(self.module.source.path, line, 1, line, 9), function, role)

    def parameter(self, name: str, *shape: int, kind: str = "normal", trainable: bool = True) -> Value:
        path = ".".join([*(f.name for f in self.b.scope), name])
        spec = ParameterSpec(path, shape, Init(kind, 0.3), self.b.span, trainable)
        self.module.parameters.setdefault(path, spec)
        return self.b.emit(Parameter(path, float_type(*shape)))

    def dense(self, x: Value, width: int, name: str, line: int = 3, mask: Array | None = None) -> Value:
        b, fan = self.b, x.shape[-1]
        assert isinstance(fan, int)
        with b.frame(self.frame(name, f"dense({width}{', mask=up' if mask is not None else ''})", line)):
            weight = self.parameter("weight", width, fan)
            if mask is not None:
                weight = b.emit(Mul(), weight, b.constant(mask))
            product = b.emit(MatMul(), x, b.emit(Transpose((1, 0)), weight))
            return b.emit(Add(), product, self.parameter("bias", width, kind="zeros"))

    def conv(
        self, x: Value, width: int, kernel: int, padding: tuple[int, int], name: str, line: int = 4
    ) -> Value:
        b, fan = self.b, x.shape[1]
        assert isinstance(fan, int)
        with b.frame(self.frame(name, f"conv({width}, {kernel})", line)):
            weight = self.parameter("weight", width, fan, kernel, kernel)
            y = b.emit(Conv((1, 1), (padding, padding), (1, 1)), x, weight)
            bias = self.parameter("bias", width, kind="zeros")
            return b.emit(Add(), y, b.emit(Reshape((1, width, 1, 1)), bias))


def mean_loss(b: Builder, x: Value) -> Value:
    """The mean of squares over everything but the batch, and the mean over the batch."""
    total = b.emit(Sum(tuple(range(1, x.type.rank))), b.emit(Mul(), x, x))
    ones = b.emit(Cast(DType.FLOAT), b.emit(Cast(DType.BOOL), b.emit(Exp(), total)))
    return b.emit(Div(), b.emit(Sum((0,)), total), b.emit(Sum((0,)), ones))


def masked_mlp() -> Module:
    net = Net("made")
    up = np.tril(np.ones((6, 6)))
    degrees = (np.arange(24) % 5)[:, None] >= np.arange(6)
    for name in ("predict", "loss"):
        b = net.program(name)
        x = b.input("x", float_type(N, 6))
        h = net.dense(x, 24, "dense_0", 7, degrees.astype(float))
        with b.frame(net.frame("tanh_0", "tanh", 7)):
            h = b.emit(Tanh(), h)
        h = net.dense(h, 6, "dense_1", 8)
        h = net.dense(h, 6, "dense_2", 9, up)
        scaled = b.emit(Sub(), b.emit(Mul(), h, b.constant(np.linspace(0.1, 0.7, 6))), b.constant(0.5))
        if name == "predict":
            b.graph.outputs["logits"] = scaled
        else:
            b.graph.outputs["loss"] = mean_loss(b, scaled)
    return net.module


def convolutional() -> Module:
    net = Net("small_conv")
    b = net.program("forward")
    x = b.input("image", float_type(N, 3, 8, 8))
    h = b.emit(Relu(), net.conv(x, 5, 3, (1, 1), "conv_0", 4))
    h = b.emit_all(MaxPool((2, 2), (2, 2), ((0, 0), (0, 0))), h)[0]
    h = b.emit(Relu(), net.conv(h, 4, 2, (1, 0), "conv_1", 5))
    h = net.dense(b.emit(Reshape((N, 64)), h), 10, "dense_0", 6)
    b.graph.outputs["log_p"] = b.emit(LogSoftmax(1), h)
    return net.module


def lstm() -> Module:
    net = Net("lstm_text")
    width = 5
    for name, reverse in (("forward", False), ("backward", True)):
        b = net.program(name)
        x = b.input("tokens", Type(DType.INT, (N, TIME)))
        with b.frame(net.frame("embed", "embed(4)", 3)):
            e = b.emit(Gather(0), net.parameter("weight", 7, 4), x)
        body = Graph("body")
        inner = Builder(body)
        h, c = inner.input("h", float_type(N, width)), inner.input("c", float_type(N, width))
        x_t = inner.input("x", float_type(N, 4))
        w, bias = inner.input("w", float_type(4 * width, 4 + width)), inner.input("b", float_type(4 * width))
        step = inner.input("step", Type(DType.INT, ()))
        z = inner.emit(MatMul(), inner.emit(Concat(1), x_t, h), inner.emit(Transpose((1, 0)), w))
        z = inner.emit(Add(), z, bias)
        i, f, g, o = (inner.emit(Slice(1, k * width, (k + 1) * width), z) for k in range(4))
        kept = inner.emit(Mul(), inner.emit(Sigmoid(), f), c)
        c = inner.emit(Add(), kept, inner.emit(Mul(), inner.emit(Sigmoid(), i), inner.emit(Tanh(), g)))
        h = inner.emit(Mul(), inner.emit(Sigmoid(), o), inner.emit(Tanh(), c))
        y = h
        if reverse:
            y = inner.emit(Mul(), h, inner.emit(Cast(DType.FLOAT), step))
        body.outputs = {"h": h, "c": c, "y": y}
        with b.frame(net.frame("lstm_0", f"lstm({width})", 4)):
            zero = b.emit(BroadcastTo((N, width)), b.constant(0.0))
            weight, bias = net.parameter("weight", 4 * width, 4 + width), net.parameter("bias", 4 * width)
            scan = Scan(body, 2, 1, reverse, 1)
            _, last, ys = b.emit_all(scan, zero, zero, e, weight, bias)
        b.graph.outputs["logits"] = net.dense(ys, 7, "dense_0", 5)
        if reverse:
            b.graph.outputs["cell"] = last
    return net.module


def coupling(net: Net, x: Value, number: int, inverse: bool) -> tuple[Value, Value]:
    b = net.b
    mask = (np.arange(6) + number) % 2
    role = "inverse" if inverse else "forward"
    with b.frame(net.frame(f"coupling_{number}", f"coupling(parity={number} % 2)", 6, True, role)):
        m = b.constant(mask.astype(float))
        kept = b.emit(Mul(), x, m)
        with b.frame(net.frame("net", "resnet(8)", 6, True)):
            h = b.emit(Tanh(), net.dense(kept, 8, "dense_0", 2))
            for k in range(2):
                with b.frame(net.frame(f"block_{k}", "block(8)", 3, True)):
                    inner = b.emit(Relu(), net.dense(h, 8, "dense_0", 3))
                    h = b.emit(Add(), h, net.dense(inner, 8, "dense_1", 3))
            h = net.dense(h, 12, "dense_1", 4)
        free = b.emit(Sub(), b.constant(1.0), m)
        s = b.emit(Mul(), b.emit(Tanh(), b.emit(Slice(1, 0, 6), h)), free)
        t = b.emit(Mul(), b.emit(Slice(1, 6, 12), h), free)
        if inverse:
            y = b.emit(Mul(), b.emit(Sub(), x, t), b.emit(Exp(), b.emit(Neg(), s)))
            return b.emit(Add(), b.emit(Mul(), y, free), kept), b.emit(Neg(), b.emit(Sum((1,)), s))
        y = b.emit(Add(), b.emit(Mul(), x, b.emit(Exp(), s)), t)
        return b.emit(Add(), b.emit(Mul(), y, free), kept), b.emit(Sum((1,)), s)


def realnvp() -> Module:
    net = Net("realnvp")
    for name, inverse in (("encode", False), ("decode", True), ("loss", False)):
        b = net.program(name)
        x = b.input("z" if inverse else "x", float_type(N, 6))
        total = None
        with b.frame(net.frame("flow", "flow", 5)):
            for number in reversed(range(4)) if inverse else range(4):
                x, log_det = coupling(net, x, number, inverse)
                total = log_det if total is None else b.emit(Add(), total, log_det)
        assert total is not None
        if name == "loss":
            b.graph.outputs["loss"] = mean_loss(b, b.emit(Concat(1), x, b.emit(Reshape((N, 1)), total)))
        else:
            b.graph.outputs["x" if inverse else "z"] = x
            b.graph.outputs["log_det"] = total
    return net.module


def attention() -> Module:
    """A structure with symbols on two axes, a causal mask and a state that is written back."""
    net = Net("attend")
    b = net.program("loss")
    x = b.input("x", float_type(N, TIME, 6))
    with b.frame(net.frame("attention_0", "attention(heads=2)", 3, True)):
        q, k, v = (net.dense(x, 6, f"dense_{i}", 3) for i in range(3))
        order = (0, 2, 1, 3)
        q, k, v = (b.emit(Transpose(order), b.emit(Reshape((N, TIME, 2, 3)), t)) for t in (q, k, v))
        scores = b.emit(MatMul(), q, b.emit(Transpose((0, 1, 3, 2)), k))
        mean = b.emit(Sum((3,), keepdims=True), scores)
        below = b.emit(BroadcastTo((N, 2, TIME, TIME)), b.emit(Cast(DType.BOOL), b.emit(Relu(), mean)))
        p = b.emit(Softmax(3), b.emit(Where(), below, scores, b.constant(-1e9)))
        h = b.emit(Reshape((N, TIME, 6)), b.emit(Transpose(order), b.emit(MatMul(), p, v)))
    running = net.parameter("running", 6, kind="zeros", trainable=False)
    b.graph.outputs["loss"] = mean_loss(b, b.emit(Add(), h, running))
    b.graph.outputs["state/running"] = b.emit(
        Mul(), b.emit(Add(), running, b.constant(1.0)), b.constant(0.25)
    )
    return net.module


MODELS: dict[str, Callable[[], Module]] = {
    "mlp": masked_mlp,
    "conv": convolutional,
    "lstm": lstm,
    "realnvp": realnvp,
    "attention": attention,
}


@pytest.fixture(params=MODELS)
def module(request: pytest.FixtureRequest) -> Module:
    return MODELS[request.param]()


def weights(module: Module) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {n: rng.normal(size=p.shape) * 0.4 for n, p in module.parameters.items()}


def example_inputs(graph: Graph, n: int = 3, time: int = 4) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    found: dict[str, Array] = {}
    for name, v in graph.inputs.items():
        shape = v.type.concrete({"N": n, "time": time})
        found[name] = rng.integers(0, 7, shape) if v.dtype is DType.INT else rng.normal(size=shape)
    return found


def test_programs_mean_what_the_oracle_says(module: Module) -> None:
    parameters = weights(module)
    session = BACKEND.session(module, parameters, options=DOUBLE)
    for name, graph in module.programs.items():
        for n in (1, 3):
            inputs = example_inputs(graph, n)
            expected = interpret(graph, parameters, inputs)
            made = session.run(name, inputs)
            assert list(made) == list(expected)
            for key, want in expected.items():
                assert made[key].shape == want.shape
                np.testing.assert_allclose(made[key], want, rtol=1e-9, atol=1e-9, err_msg=f"{name}.{key}")


def test_state_dict_has_the_names_of_the_parameters(module: Module) -> None:
    model = BACKEND.compile(module, weights(module))
    assert set(model.state_dict()) == set(module.parameters)
    trained = {n for n, p in module.parameters.items() if p.trainable}
    assert {n for n, _ in model.named_parameters()} == trained


def test_emission_is_deterministic() -> None:
    for build in MODELS.values():
        assert BACKEND.emit(build()) == BACKEND.emit(build())


def test_the_text_is_formatted_and_typed(module: Module, tmp_path: Path) -> None:
    for name, text in BACKEND.emit(module).items():
        assert isinstance(text, str)
        assert max(map(len, text.splitlines())) <= 100
        (tmp_path / name).write_text(text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length", "100"]
    form = subprocess.run(
        [*ruff, "format", "--diff", *options, str(tmp_path)], capture_output=True, text=True
    )
    assert form.returncode == 0, form.stdout
    rules = ["--select", "E,F,W,B,I,UP,RUF,SIM,C4", "--target-version", "py311"]
    check = subprocess.run(
        [*ruff, "check", *options, *rules, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert check.returncode == 0, check.stdout


def test_couplings_are_one_class_with_two_methods() -> None:
    text = emit_module(realnvp()).text
    assert text.count("class Coupling") == text.count("class Block") == text.count("class Net") == 1
    assert "def inverse(self" in text
    assert text.count("\n") < 200


def test_the_shape_of_a_small_model(snapshot: SnapshotAssertion) -> None:
    assert emit_module(realnvp()).text == snapshot
    assert emit_module(lstm()).text == snapshot
    assert emit_module(masked_mlp()).text == snapshot


def test_the_file_works_without_mpcompile(tmp_path: Path) -> None:
    module = realnvp()
    text = BACKEND.emit(module)["model.py"]
    assert isinstance(text, str)
    (tmp_path / "model.py").write_text(text, encoding="utf-8")
    code = (
        "import sys\nsys.modules['mpcompile'] = None\nimport torch\nfrom model import Realnvp\n"
        "model = Realnvp().double()\nx = torch.randn(5, 6, dtype=torch.float64)\n"
        "made = model.encode(x)\nback = model.decode(made['z'])\n"
        "print(float((back['x'] - x).abs().max()) < 1e-9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_programs_compile(module: Module) -> None:
    name, graph = next(iter(module.programs.items()))
    model = BACKEND.compile(module, weights(module))
    inputs = {k: torch.from_numpy(v) for k, v in example_inputs(graph).items()}
    inputs = {k: t.float() if t.is_floating_point() else t for k, t in inputs.items()}
    method = getattr(model, emit_module(module).methods[name])
    want = method(**inputs)
    torch._dynamo.reset()
    made = torch.compile(method, backend="aot_eager", fullgraph=True)(**inputs)
    torch.testing.assert_close(made, want)


@pytest.mark.parametrize(
    "text",
    [
        "import os\n",
        "from os import path\n",
        "import torch.utils\n",
        "x = eval('1')\n",
        "x = getattr(x, 'y')\n",
        "x = ().__class__\n",
        "@a\ndef f(): pass\n",
        "x = lambda: 0\n",
        "with a: pass\n",
        "import torch\nx = torch.load('weights.pt')\nopen('a')\n",
        "import torch\ntorch.load('weights.pt')\n",
        "x = (\n",
        "x = '\u00e9'\n",
    ],
)
def test_other_source_is_refused(text: str) -> None:
    with pytest.raises(SourceRefused):
        verify_source(text)


def test_names_of_a_spec_are_checked_before_they_are_printed() -> None:
    net = Net("made")
    b = net.program("forward")
    x = b.input("x", float_type(N, 2))
    label = 'dense(2)\nimport os  """ \\'
    with b.frame(Frame("dense_0", label, Span('a"""\n.mp', 3, 1, 3, 2))):
        b.graph.outputs["y"] = b.emit(Add(), x, net.parameter("bias", 2))
    text = emit_module(net.module).text
    assert "# dense(2) import os ''' /" in text and "\nimport os" not in text
    for bad in ("x y", "__init__", "x\n", "é"):
        renamed = Module(bad, net.module.source, dict(net.module.programs), dict(net.module.parameters))
        with pytest.raises(ValueError, match="cannot be a name"):
            emit_module(renamed)
    odd = net.program("other")
    odd.graph.outputs['a"b\n'] = odd.input("x", float_type(N, 2))
    odd.graph.outputs["state/bias"] = odd.emit(OneHot(3), odd.input("i", Type(DType.INT, (N,))))
    assert "'a\"b\\n': x" in emit_module(net.module).text
