"""Every spec in ONNX: programs against the oracle, gradients and training against torch, files on their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import specs_under_test

from mpcompile import api
from mpcompile.backend import DOUBLE, OptimizerSpec, SessionOptions
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, DType, Graph, Module, float_type, symbol
from mpcompile.ops import ConvWeightGrad, Transpose
from mpcompile.runner.initial import initial
from mpcompile_onnx import BACKEND, emit_graph
from mpcompile_onnx.session import Program

torch_backend = pytest.importorskip("mpcompile_torch").BACKEND

SPECS = sorted(p for p in (Path(__file__).parents[2] / "specs").iterdir() if p.suffix in (".mp", ".yaml"))
SIZES = ((2, 5), (3, 7))


@pytest.fixture(params=specs_under_test.NAMES, scope="module")
def module(request: pytest.FixtureRequest) -> Module:
    return specs_under_test.module(request.param)


def weights(module: Module) -> dict[str, Array]:
    """The initial weights, none of them zero."""
    rng = np.random.default_rng(0)
    return {
        n: (a + 0.02 * rng.normal(size=a.shape)).astype(np.float32) for n, a in initial(module, 0).items()
    }


def example(module: Module, graph: Graph, n: int, time: int, seed: int = 0) -> dict[str, Array]:
    """Data and noise of the right kind."""
    rng = np.random.default_rng((n, time, seed))
    found: dict[str, Array] = {}
    for name, value in graph.inputs.items():
        shape = value.type.concrete({"N": n, "time": time})
        field, noise = module.fields.get(name), module.noise.get(graph.name, {}).get(name)
        if value.dtype is DType.INT:
            found[name] = rng.integers(0, field.classes if field and field.classes else 2, shape)
        elif noise is not None and noise.kind == "uniform":
            found[name] = rng.uniform(0.01, 0.99, shape).astype(np.float32)
        elif field is not None and field.base in ("binary", "integer"):
            found[name] = rng.integers(0, field.classes or 2, shape).astype(np.float32)
        else:
            found[name] = rng.normal(size=shape).astype(np.float32)
    return found


def as_double(arrays: dict[str, Array]) -> dict[str, Array]:
    return {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in arrays.items()}


def check(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def relative(got: Array, want: Array) -> float:
    """Largest difference, over the largest element."""
    return float(np.abs(got - want).max(initial=0) / max(np.abs(want).max(initial=0), 1e-6))


RULES = [
    OptimizerSpec("adam"),
    OptimizerSpec("adam", clip=0.1, weight_decay=0.1),
    OptimizerSpec("adamw", clip=0.1, weight_decay=0.1),
    OptimizerSpec("adagrad", clip=0.1),
    OptimizerSpec("sgd", {"momentum": 0.9}, clip=0.1),
    OptimizerSpec("perceptron"),
]


@pytest.mark.parametrize("spec", RULES, ids=lambda s: f"{s.kind}-{s.clip}-{s.weight_decay}")
@pytest.mark.parametrize("name", ["mlp", "vae", "made"])
def test_every_update_rule(spec: OptimizerSpec, name: str) -> None:
    """In float64, where Adam's division of a tiny gradient by a tiny gradient has digits left."""
    module = api.load(next(p for p in SPECS if p.stem == name))
    parameters = weights(module)
    ours = BACKEND.session(module, parameters, spec, options=DOUBLE)
    theirs = torch_backend.session(module, parameters, spec, options=DOUBLE)
    for i in range(5):
        inputs = example(module, module.programs["loss"], 4, 8, i)
        made, want = ours.step(inputs, 1e-2), theirs.step(inputs, 1e-2)
        assert made == pytest.approx(want, rel=1e-9)
    state, expected = ours.state(), theirs.state()
    for key in expected:
        assert relative(state[key], expected[key]) < 1e-9, key


def test_state_moves_between_backends() -> None:
    module = api.load(next(p for p in SPECS if p.stem == "mlp"))
    parameters, spec = weights(module), OptimizerSpec("adam", clip=1.0)
    first = torch_backend.session(module, parameters, spec)
    batches = [example(module, module.programs["loss"], 4, 8, i) for i in range(6)]
    for inputs in batches[:3]:
        first.step(inputs, 1e-2)
    second = BACKEND.session(module, parameters, spec)
    second.step(batches[5], 1.0)  # whatever happened before is forgotten
    second.load_state(first.state())
    for inputs in batches[3:]:
        assert second.step(inputs, 1e-2) == pytest.approx(first.step(inputs, 1e-2), rel=1e-5)
    back = torch_backend.session(module, parameters, spec)
    back.load_state(second.state())
    assert int(back.state()["optimizer/step"]) == 6
    for key, value in back.state().items():
        assert relative(value, first.state()[key]) < 1e-5


def test_state_is_a_copy() -> None:
    module = api.load(next(p for p in SPECS if p.stem == "mlp"))
    session = BACKEND.session(module, weights(module), OptimizerSpec("sgd"))
    before = session.state()
    kept = {k: v.copy() for k, v in before.items()}
    inputs = example(module, module.programs["loss"], 4, 8)
    for _ in range(3):
        session.step(inputs, 0.1)
    assert all(np.array_equal(before[k], kept[k]) for k in kept)
    assert not np.array_equal(session.state()["parameter/" + next(iter(module.parameters))],
                              before["parameter/" + next(iter(module.parameters))])  # fmt: skip


@pytest.mark.parametrize("name", specs_under_test.KINDS)
def test_files_are_the_same_every_time(name: str) -> None:
    first, second = BACKEND.emit(specs_under_test.module(name)), BACKEND.emit(specs_under_test.fresh(name))
    assert first == second


def test_files_are_sound(module: Module) -> None:
    """The checker takes every file of every spec, nodes have names, and no weight is transposed for a product."""
    files = BACKEND.emit(module)
    assert set(files) == {f"{name}.onnx" for name in module.programs} | {"train_step.onnx"}
    for data in files.values():
        assert isinstance(data, bytes)
        model = onnx.load_from_string(data)
        check(model)
        facts = {p.key: p.value for p in model.metadata_props}
        assert facts["model"] == module.name and len(facts["spec_sha256"]) == 64
        named = {i.name for i in model.graph.initializer} | {i.name for i in model.graph.input}
        assert all(n.name and n.output[0] for n in model.graph.node)
        assert not named & {o for n in model.graph.node for o in n.output}
        nodes = list(bodies(model.graph))
        turned = {n.output[0] for n in nodes if n.op_type == "Transpose" and n.input[0] in module.parameters}
        assert not turned & {v for n in nodes if n.op_type in ("MatMul", "Gemm") for v in n.input}


def bodies(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of its loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from bodies(attribute.g)


def test_weights_inline_or_as_inputs() -> None:
    module = api.load(next(p for p in SPECS if p.stem == "mlp"))
    outside = onnx.load_from_string(BACKEND.emit(module)["predict.onnx"])
    inside = onnx.load_from_string(BACKEND.emit(module, weights(module), inline=True)["predict.onnx"])
    assert [i.name for i in outside.graph.input] == ["x", *module.parameters]
    assert [i.name for i in inside.graph.input] == ["x"]
    assert set(module.parameters) <= {i.name for i in inside.graph.initializer}


def test_compiled_programs_are_methods() -> None:
    module = api.load(next(p for p in SPECS if p.stem == "vae"))
    parameters = weights(module)
    model = BACKEND.compile(module, parameters)
    inputs = example(module, module.programs["elbo"], 3, 0)
    made = model.elbo(**inputs)  # type: ignore[attr-defined]
    want = interpret(module.programs["elbo"], as_double(parameters), as_double(inputs))
    assert all(relative(made[k], want[k]) < 1e-4 for k in want)
    assert model.reconstruct(inputs["x"]).shape == inputs["x"].shape  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"device": "cuda"}, "runs on the cpu, not on 'cuda'"), ({"mixed": True}, "has no mixed precision")],
)
def test_what_is_not_there_is_refused(asked: dict[str, Any], message: str) -> None:
    small = api.load(SPECS[0].parent / "mlp.mp")
    with pytest.raises(SpecError, match=message):
        BACKEND.session(small, initial(small, 0), OptimizerSpec(), SessionOptions(**asked))


def test_weights_are_not_moved_for_a_product() -> None:
    """A dense layer is one product, forward and back: transpositions and biases lie within `Gemm`."""
    small = api.load(SPECS[0].parent / "mlp.mp")
    kinds = [
        n.op_type for n in onnx.load_from_string(bytes(BACKEND.emit(small)["train_step.onnx"])).graph.node
    ]
    assert "Transpose" not in kinds and "MatMul" not in kinds
    assert kinds.count("Gemm") == 5  # two forward, two for weights, one for the hidden layer


@pytest.mark.parametrize("time", [6, 9])
def test_gradients_of_a_convolution_over_an_unknown_length(time: int) -> None:
    b = Builder(Graph("g"))
    x, dy = (
        b.input("x", float_type(symbol("N"), symbol("time"), 3)),
        b.input("dy", float_type(symbol("N"), symbol("time"), 4)),
    )
    turned = [b.emit(Transpose((0, 2, 1)), v) for v in (x, dy)]
    op = ConvWeightGrad((1,), ((4, 0),), (2,), 1, (3,))
    b.graph.outputs["dw"] = b.emit(op, *turned)
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(2, time, 3)), "dy": rng.normal(size=(2, time, 4))}
    module = api.load(SPECS[0].parent / "mlp.mp")
    made = Program(emit_graph(module, b.graph, double=True), b.graph, True).run(given, {})["dw"]
    padded = np.pad(given["x"], ((0, 0), (4, 0), (0, 0)))
    want = np.stack(
        [np.einsum("nto,nti->oi", given["dy"], padded[:, 2 * k : 2 * k + time]) for k in range(3)], 2
    )
    np.testing.assert_allclose(made, want, rtol=1e-10)
