"""Kernels as backends spell them mean what the primitives mean: values, gradients, second derivatives, every spec."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import specs_under_test
import torch
from kernel_cases import CASES
from specs_under_test import KINDS, NAMES, prepared
from torch.nn.attention import SDPBackend, sdpa_kernel

import mpcompile_jax.body as jax_body
import mpcompile_torch.body as torch_body
from mpcompile.backend import DOUBLE, find_backend, open_session
from mpcompile.diagnostics import Source
from mpcompile.interpret import interpret
from mpcompile.ir import Array, DType, Graph, Module
from mpcompile.kernels import KERNELS, Linear
from mpcompile.passes.pipeline import optimise
from mpcompile.text import parse
from mpcompile_jax.kernels import KERNELS as IN_JAX
from mpcompile_jax.kernels import spells as in_jax
from mpcompile_jax.loading import import_programs
from mpcompile_onnx import Emitted, emit_graph
from mpcompile_onnx.kernels import KERNELS as IN_ONNX
from mpcompile_onnx.session import Program
from mpcompile_torch.emit import emit_module
from mpcompile_torch.kernels import KERNELS as IN_TORCH
from mpcompile_torch.loading import build_model

Function = Callable[..., torch.Tensor]


def drawn(graph: Graph, n: int = 2, t: int = 5) -> dict[str, Array]:
    """Inputs of a graph for n examples of length t, whole numbers below 3."""
    rng = np.random.default_rng(0)
    found = {}
    for name, value in graph.inputs.items():
        shape = value.type.concrete({"N": n, "t": t})
        found[name] = rng.integers(0, 3, shape) if value.dtype is DType.INT else rng.normal(size=shape)
    return found


def as_module(graph: Graph) -> Module:
    return Module("m", Source("m.mp", ""), {"f": graph})


def in_torch(graph: Graph) -> tuple[str, Function]:
    emitted = emit_module(as_module(graph))
    return emitted.text, getattr(build_model(emitted, {}, torch.float64), emitted.methods["f"])


def spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no backend spells a kernel, but for jax its product with a transpose: every spec has some."""
    monkeypatch.setattr(torch_body, "spells", lambda kernel: False)
    monkeypatch.setattr(jax_body, "spells", lambda kernel: isinstance(kernel, Linear) and in_jax(kernel))


def derivatives(f: Function, given: dict[str, Array]) -> list[torch.Tensor]:
    """The gradient of a sum of sines of the result, and the gradient of a sum of sines of that."""
    x = {k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in given.items()}
    real = [v for v in x.values() if v.requires_grad]
    first = torch.autograd.grad(f(**x).sin().sum(), real, create_graph=True, materialize_grads=True)
    total = sum((g.sin().sum() for g in first), torch.zeros(()))
    second = torch.autograd.grad(total, real, materialize_grads=True) if total.requires_grad else ()
    return [*first, *second]


@pytest.mark.parametrize("name", CASES)
def test_in_torch_a_kernel_means_its_primitives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both precisions, with gradients; second derivatives of attention by the backend that has them."""
    graph = parse(CASES[name].text)
    given = drawn(graph)
    text, fused = in_torch(graph)
    (want,) = interpret(graph, {}, given).values()
    np.testing.assert_allclose(
        fused(**{k: torch.tensor(v) for k, v in given.items()}), want, rtol=1e-12, atol=1e-14
    )
    single = {
        k: torch.tensor(v).float() if v.dtype.kind == "f" else torch.tensor(v) for k, v in given.items()
    }
    np.testing.assert_allclose(fused(**single), want, rtol=1e-5, atol=1e-6)
    spelled_out(monkeypatch)
    other, plain = in_torch(graph)
    assert text != other
    with sdpa_kernel(SDPBackend.MATH):
        for a, b in zip(derivatives(fused, given), derivatives(plain, given), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("n", "t"), [(0, 5), (1, 1), (3, 0)])
def test_in_torch_a_kernel_has_its_shape_for_nothing(name: str, n: int, t: int) -> None:
    """No examples, and no steps; gradients have the shapes of what they are of."""
    graph = parse(CASES[name].text)
    _, fused = in_torch(graph)
    x = {k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in drawn(graph, n, t).items()}
    y = fused(**x)
    assert tuple(y.shape) == graph.outputs["y"].type.concrete({"N": n, "t": t})
    y.sum().backward()
    assert all(v.grad is None or v.grad.shape == v.shape for v in x.values())


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", CASES)
def test_in_torch_a_kernel_maps_over_each_operand(name: str) -> None:
    """`vmap` of values and gradients, one operand batched and the others not; and forward mode along it."""
    graph = parse(CASES[name].text)
    _, fused = in_torch(graph)
    given = {k: torch.tensor(v) for k, v in drawn(graph).items()}
    real = {k for k, v in given.items() if v.is_floating_point()}
    for key in graph.inputs:
        pair = [given[key], given[key].flip(0)]

        def of(x: torch.Tensor, key: str = key) -> torch.Tensor:
            return fused(**given | {key: x})

        torch.testing.assert_close(torch.func.vmap(of)(torch.stack(pair)), torch.stack([of(x) for x in pair]))
        if key in real:
            slope = torch.func.grad(lambda x, of=of: of(x).sin().sum())
            together = torch.func.vmap(slope)(torch.stack(pair))
            torch.testing.assert_close(together, torch.stack([slope(x) for x in pair]))
            with sdpa_kernel(SDPBackend.MATH):
                torch.func.jvp(of, (pair[0],), (pair[1],))


def test_attention_has_gradients_by_the_usual_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """And works under `torch.func.vmap`."""
    for name in ("attention", "attention, masked"):
        graph = parse(CASES[name].text)
        given = {k: torch.tensor(v) for k, v in drawn(graph).items()}
        _, fused = in_torch(graph)
        with monkeypatch.context() as m:
            spelled_out(m)
            _, plain = in_torch(graph)
        found = []
        for f in (fused, plain):
            slopes = torch.func.grad(lambda x, f=f: f(**x).sin().sum())
            each = {k: torch.stack([v, 2 * v]) for k, v in given.items()}
            found.append((slopes(given), torch.func.vmap(slopes)(each)))
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.kernel.partition("(")[0] in IN_JAX])
def test_in_jax_a_kernel_means_its_primitives(name: str) -> None:
    jax = pytest.importorskip("jax")
    graph = parse(CASES[name].text)
    given = drawn(graph)
    (want,) = interpret(graph, {}, given).values()
    with jax.enable_x64(True):
        found = import_programs(as_module(graph))["f"]({}, **given)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-14)


def test_backends_spell_kernels_that_there_are() -> None:
    assert set(IN_TORCH) == set(KERNELS)
    assert set(IN_JAX) < set(KERNELS)
    assert set(IN_ONNX) < set(KERNELS)


@pytest.mark.parametrize("name", NAMES)
def test_a_bias_stands_with_its_product(name: str) -> None:
    """So that one is added where there is no product: to sums, and behind a normalisation that is no kernel.

    A sampler adds one to what a function of a network gives.
    """
    text = specs_under_test.emitted("torch", name)["model.py"]
    assert isinstance(text, str)
    alone = re.findall(r"\+ \(?self\.([\w.]*)\.bias\b", text)
    assert all(path.rpartition(".")[2].startswith(("batch_norm_", "group_norm_", "nade_")) for path in alone)


@pytest.mark.parametrize(("name", "backend"), [*((name, "torch") for name in KINDS), ("transformer", "jax")])
def test_specs_mean_the_same_with_kernels(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss and its gradients in float64, where a kernel is written at all.

    Every spec's are those of the oracle with kernels: `test_parity` has torch and onnx, `test_jax_specs` jax.
    """
    found = pytest.importorskip(f"mpcompile_{backend}").BACKEND
    module = specs_under_test.module(name)
    optimised = prepared(name)
    weights, given = specs_under_test.weights(module), specs_under_test.inputs(module, "loss", 3)

    def run() -> tuple[dict[str, Array], dict[str, Array]]:
        session = open_session(found, optimised, weights, options=DOUBLE)
        return session.gradients(given)

    text = found.emit(optimised.module)
    with monkeypatch.context() as without:
        spelled_out(without)
        if found.emit(optimised.module) == text:
            return
        wanted, right = run()
    outputs, slopes = run()
    for key, value in wanted.items():
        np.testing.assert_allclose(outputs[key], value, rtol=1e-9, atol=1e-12, err_msg=key)
    size = max(np.abs(g).max() for g in right.values())
    for key, slope in right.items():
        scale = max(np.abs(slope).max(), 1e-6 * size)
        np.testing.assert_allclose(slopes[key], slope, atol=1e-9 * scale, rtol=0, err_msg=key)


OPERATORS = {
    "Elu", "Gelu", "HardSigmoid", "HardSwish", "LayerNormalization", "Mish", "RMSNormalization", "Selu",
}  # fmt: skip


def operators(emitted: Emitted) -> set[str]:
    return {node.op_type for node in emitted.model.graph.node}


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.kernel.partition("(")[0] in IN_ONNX])
@pytest.mark.parametrize(("n", "t"), [(2, 5), (0, 5), (3, 0)])
def test_in_onnx_a_kernel_means_its_primitives(name: str, n: int, t: int) -> None:
    """In single precision; there is none in double precision, where its attributes would not be exact."""
    graph = parse(CASES[name].text)
    given = drawn(graph, n, t)
    emitted = emit_graph(as_module(graph), graph, kernels=True)
    onnx.checker.check_model(emitted.model, full_check=True)
    assert OPERATORS & operators(emitted)
    found = Program(emitted, graph, double=False).run(given, {})["y"]
    assert found.shape == graph.outputs["y"].type.concrete({"N": n, "t": t})
    if n:
        (want,) = interpret(graph, {}, given).values()
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=2e-6)
    for options in ({"double": True, "kernels": True}, {}):
        assert not OPERATORS & operators(emit_graph(as_module(graph), graph, **options))


def test_in_onnx_gradients_are_of_primitives() -> None:
    """Programs have kernels; the step of training has none."""
    used = {"LayerNormalization", "Gelu"}
    files = find_backend("onnx").emit(optimise(specs_under_test.module("transformer")).module)
    for program in ("log_prob", "train_step"):
        written = {node.op_type for node in onnx.load_from_string(files[f"{program}.onnx"]).graph.node}
        assert OPERATORS & written == (used if program == "log_prob" else set())
