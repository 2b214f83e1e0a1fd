"""Models that were not written here, emitted: what the code computes is what the model computes, on other inputs too."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from mpcompile import ops
from mpcompile.diagnostics import SpecError
from mpcompile.foreign import model_of
from mpcompile.foreign.module import legal
from mpcompile.foreign.running import apart
from mpcompile.foreign.tidy import tidy
from mpcompile.importing import build_import, emitted_difference, import_model
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, Graph, Value, float_type
from mpcompile.ops import build
from mpcompile_onnx.reader import OnnxModel


class Block(nn.Module):
    """A layer as libraries write it: attention over flattened products, with an added mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        flat = self.qkv(self.ln(x).reshape(n * t, width)).reshape(n, t, 3, 2, width // 2)
        q, k, v = (flat[:, :, i].transpose(1, 2) for i in range(3))
        weights = (q @ k.transpose(-2, -1) / 2 + mask).softmax(-1)
        return x + self.proj((weights @ v).transpose(1, 2).reshape(n, t, width))


class Stacked(nn.Module):
    """Three layers of a list, and a head that shares the table's weights."""

    def __init__(self, tapped: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.block = nn.ModuleList(Block(4) for _ in range(3))
        self.tapped = tapped

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        mask = torch.full((5, 5), torch.finfo(torch.float32).min).triu(1)
        seen = []
        for block in self.block:
            x = block(x, mask)
            seen.append(x)
        x = F.linear(x, self.table.weight)
        return x + sum(s.mean() for s in seen) if self.tapped else x


class Pictures(nn.Module):
    """Convolutions, both norms, modules in a list, and one within another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Sequential(nn.GroupNorm(2, 4), nn.SiLU()), nn.Conv2d(4, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        return self.body(F.interpolate(x, scale_factor=2))


def stacked(tapped: bool = False) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return Stacked(tapped).eval(), {"ids": torch.tensor([[0, 3, 6, 2, 2], [1, 1, 4, 0, 5]])}


def pictures() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    made = Pictures().eval()
    made.stem[1].running_mean.normal_()
    made.stem[1].running_var.uniform_(0.5, 2)
    return made, {"x": torch.randn(2, 2, 4, 4)}


def emitted(folder: Path, source: str) -> nn.Module:
    """The model of a written folder."""
    spec = importlib.util.spec_from_file_location(source, folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(str(folder / "weights.safetensors"))  # type: ignore[no-any-return]


def test_code_is_the_model_on_other_inputs_and_weights(tmp_path: Path) -> None:
    model, inputs = stacked()
    made = import_model(model_of(model, inputs, name="stacked"))
    for backend in ("torch", "jax", "onnx"):
        assert build_import(made, backend, tmp_path / backend) < 1e-5
    assert set(load_file(tmp_path / "jax/weights.safetensors")) == set(model.state_dict())
    text = (tmp_path / "torch/model.py").read_text()
    assert "for block in self.block:" in text and text.count("class Block(") == 1
    assert "is_causal=True" in text and "nn.LayerNorm(4)" in text and "self.qkv(" in text
    assert "ids [N, 5]" in text and ".reshape(10" not in text

    own = emitted(tmp_path / "torch", "stacked")
    other = Stacked().eval()
    own.load_state_dict(other.state_dict())
    ids = torch.tensor([[6, 6, 0, 1, 2], [5, 4, 3, 2, 1], [0, 0, 0, 6, 6]])
    with torch.no_grad():
        for some in (ids, ids[:1]):
            assert apart(own(some).numpy(), other(some).numpy()) < 1e-5

    # back from the file that was written
    again = import_model(OnnxModel(str(tmp_path / "onnx/forward.onnx"), {"ids": ids[:2].numpy()}))
    assert not again.fixed and build_import(again, "torch", tmp_path / "back") < 1e-5
    with torch.no_grad():
        assert apart(emitted(tmp_path / "back", "back")(ids).numpy(), model(ids).numpy()) < 1e-5


def test_a_layer_that_others_read_is_no_loop() -> None:
    plain, tapped = (
        import_model(model_of(*stacked(t), name="stacked"), any_batch=False) for t in (False, True)
    )
    assert [sum(isinstance(n.op, ops.Repeat) for n in m.module.regions["forward"].nodes()) for m in (plain, tapped)] == [
        1, 0]  # fmt: skip
    assert emitted_difference(tapped, "torch") < 1e-5


def test_pictures(tmp_path: Path) -> None:
    model, inputs = pictures()
    made = import_model(model_of(model, inputs, name="pictures"))
    for backend in ("torch", "jax", "onnx"):
        assert build_import(made, backend, tmp_path / backend) < 1e-5
    own = emitted(tmp_path / "torch", "pictures")
    x = torch.randn(3, 2, 4, 4)
    with torch.no_grad():
        assert apart(own(x).numpy(), model(x).numpy()) < 1e-5
    names = {k: legal(k) for k in model.state_dict() if not k.endswith("tracked")}
    assert set(own.state_dict()) == set(names.values())
    assert (
        names["body.0.0.weight"] == "body.0.layers.0.weight"
        and names["stem.1.running_var"] == "stem.1.running_var"
    )


def rewritten(write: Callable[[Builder, Value, Value], Value], *shapes: tuple[int, ...]) -> list[str]:
    """The operations of a function of two values behind `tidy`, which computes the same."""
    graph = Graph("rule")
    b = Builder(graph)
    x, y = (b.input(n, float_type(*s)) for n, s in zip("xy", shapes, strict=True))
    graph.outputs["z"] = write(b, x, y)
    found = tidy(graph)
    rng = np.random.default_rng(0)
    given = {n: rng.uniform(0.5, 2, s) for n, s in zip("xy", shapes, strict=True)}
    np.testing.assert_allclose(interpret(found, {}, given)["z"], interpret(graph, {}, given)["z"], rtol=1e-12)
    return [n.op.name for n in found.nodes() if n.op.name not in ("input", "constant")]


def test_rules_keep_the_function() -> None:
    """Each rewrite, and what it must leave alone."""

    def flat(b: Builder, x: Value, y: Value) -> Value:
        made = b.emit(ops.MatMul(), build.reshape(b, x, (6, 4)), y)
        return build.reshape(b, b.emit(ops.Relu(), build.add(b, made, b.constant(np.arange(5.0)))), (2, 3, 5))

    assert rewritten(flat, (2, 3, 4), (4, 5)) == ["mat_mul", "add", "relu"]
    # heads are joined again before the product
    assert rewritten(flat, (2, 3, 2, 2), (4, 5)) == ["reshape", "mat_mul", "add", "relu"]
    # the axes that are joined are not the leading ones alone
    assert rewritten(flat, (3, 8), (4, 5))[0] == "reshape"

    def stacks(b: Builder, x: Value, y: Value) -> Value:
        made = b.emit(ops.MatMul(), build.reshape(b, x, (6, 4, 5)), build.reshape(b, y, (6, 5, 2)))
        return build.reshape(b, made, (2, 3, 4, 2))

    assert rewritten(stacks, (2, 3, 4, 5), (2, 3, 5, 2)) == ["mat_mul"]
    assert rewritten(stacks, (2, 3, 4, 5), (1, 2, 3, 5, 2)) == ["reshape", "mat_mul"]

    def reciprocal(b: Builder, x: Value, y: Value) -> Value:
        return build.mul(b, build.div(b, 1.0, y), build.minimum(b, x, np.inf))

    assert rewritten(reciprocal, (3,), (2, 3)) == ["div"]

    def scaled(b: Builder, x: Value, y: Value) -> Value:
        return b.emit(ops.MatMul(), build.mul(b, x, 0.5), build.mul(b, y, 3.0))

    assert rewritten(scaled, (2, 3), (3, 4)) == ["mat_mul", "mul"]

    def guarded(first: float) -> Callable[[Builder, Value, Value], Value]:
        """A softmax whose rows without a number are zero: with a first row that has one, or has none."""

        def write(b: Builder, x: Value, y: Value) -> Value:
            mask = np.where(np.tri(3, dtype=bool), 0.0, -np.inf)
            mask[0, 0] = first
            most = b.emit(ops.Max((1,), True), build.add(b, x, b.constant(mask)))
            dark = b.emit(ops.Equal(), most, b.constant(-np.inf))
            return build.where(b, dark, 0.0, b.emit(ops.Softmax(1), x))

        return write

    assert rewritten(guarded(0.0), (3, 3), (1,)) == ["softmax"]
    assert "where" in rewritten(guarded(-np.inf), (3, 3), (1,))

    off = np.triu(np.ones((1, 1, 3, 3), bool), 1)
    for inside, kept in ((0.0, ["where"]), (0.5, ["add", "where"])):
        mask = np.where(off, -3e38, inside)

        def masked(b: Builder, x: Value, y: Value, mask: Array = mask) -> Value:
            scores = build.where(b, b.constant(off), -np.inf, build.add(b, x, b.constant(mask)))
            return b.emit(ops.Softmax(3), scores)

        assert rewritten(masked, (2, 2, 3, 3), (1,)) == [*kept, "softmax"]


def test_a_batch_that_counts_stays_as_it_was() -> None:
    class Centred(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean(0)

    class Read(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.exp() if x.sum() > 1e9 else x

    for model in (Centred(), Read()):
        made = import_model(model_of(model, {"x": torch.rand(2, 3)}))
        assert made.fixed and not made.others and "x [2, 3]" in made.module.remark
        assert emitted_difference(made, "torch") < 1e-5


@pytest.mark.parametrize(("name", "found"), [
    ("transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_attn.weight"),
    ("0.weight", "layers.0.weight"),
    ("type.weight", "type_.weight"),
    ("onnx::MatMul_12", "onnx__MatMul_12"),
    ("lay.a-b.lambda.1x", "lay.a_b.lambda_._1x"),
])  # fmt: skip
def test_names_of_weights(name: str, found: str) -> None:
    assert legal(name) == found


def test_what_cannot_be_emitted_is_refused(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort(-1).values

    with pytest.raises(SpecError, match=r"MP700.*sort has no primitive"):
        import_model(model_of(Sorted(), {"x": torch.randn(2, 3)}))
    made = import_model(model_of(*pictures()))
    made.weights["stem.0.weight"] = made.weights["stem.0.weight"] + 1
    with pytest.raises(SpecError, match="MP720"):
        build_import(made, "torch", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from mpcompile.cli.importing import import_

    monkeypatch.chdir(Path(__file__).parent)
    app = typer.Typer()
    app.command()(import_)
    run = CliRunner().invoke
    done = run(app, ["--import-code", "decoder:sound", "-o", str(tmp_path / "out"), "--backend", "onnx"])
    assert done.exit_code == 0, done.output
    assert "of its largest output" in done.output and (tmp_path / "out/forward.onnx").exists()
    assert run(app, []).exit_code == 2
    assert run(app, [str(tmp_path / "none.onnx")]).exit_code == 2
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    done = run(app, [str(tmp_path / "junk.onnx")])
    assert done.exit_code == 1 and "junk.onnx cannot be read" in done.output


def test_modules_that_an_exporter_names_are_functions(tmp_path: Path) -> None:
    """Names and classes on nodes of a file; a node without names, as optimisers leave them, stands beside its own."""
    nodes, weights, x = [], [], "x"
    for k in range(2):
        for number, (op, *more) in enumerate(
            (("MatMul", f"layers.{k}.fc"), ("Relu",), ("Mul", f"layers.{k}.gain"))
        ):
            node = helper.make_node(op, [x, *more], [f"{op}_{k}"], name=f"{op}_{k}")
            x = f"{op}_{k}"
            scopes = {"name_scopes": ["", f"layers.{k}", x], "class_hierarchy": ["m.Net", "m.Layer", op]}
            for key, value in scopes.items() if number != 1 else ():
                node.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=str(value))
            nodes.append(node)
        weights += [numpy_helper.from_array(np.full(s, k + 0.3, np.float32), f"layers.{k}.{n}")
                    for n, s in (("fc", (3, 3)), ("gain", (3,)))]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in ("x", x)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    made = import_model(OnnxModel(helper.make_model(graph), {"x": np.ones((2, 3), np.float32)}, "net"))
    assert not made.fixed and build_import(made, "torch", tmp_path / "net") < 1e-5
    text = (tmp_path / "net/model.py").read_text()
    assert text.count("class Layer(") == 1 and "for layers in self.layers:" in text


class Mixed(nn.Sequential):
    """A list that has a part with a name, too."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 4))
        self.norm = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self[0](x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_a_list_with_a_named_part_gets_a_list_within(tmp_path: Path, backend: str) -> None:
    model = model_of(nn.ModuleDict({"mixed": Mixed()}), {"x": torch.randn(2, 4)}, lambda m, x: m["mixed"](x))
    made = import_model(model)
    assert build_import(made, backend, tmp_path / backend) < 1e-5
    assert {"mixed.layers.0.weight", "mixed.norm.weight"} <= set(made.weights)
