"""ONNX files that are read: the project's own, and graphs of single operators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))
from graphs import loop, model, one

from mpcompile import api
from mpcompile.foreign import ForeignClaim, answer, checked
from mpcompile.foreign.running import difference
from mpcompile_onnx.reader import OnnxModel
from mpcompile_onnx.reader.rules import RULES

MADE = """model made
input x: binary[6]
mask up = degrees
x ~ autoregressive { dense(12, mask = up) -> relu -> dense(6, mask = strict(up)) }
"""
TEXT = """model text
input text: category(7)[time]
text ~ autoregressive { embedding(4) -> shift -> lstm(5) -> dense(7) }
"""


F, T = np.float32, np.array
R = np.random.default_rng(0)
W = R.standard_normal((4, 5)).astype(F)
K = R.standard_normal((6, 3, 2)).astype(F)
CASES = {
    **{f"{n}": one(n) for n in "Neg Exp Tanh Sigmoid Relu Abs Sign Floor Erf Sin Cos Softplus Reciprocal Ceil Gelu "
       "LeakyRelu Elu Identity Softmax LogSoftmax Flatten Transpose GlobalAveragePool Round".split()},
    "Add": one("Add", W[:, :1].T), "Sub": one("Sub", W[:, 0]), "Mul": one("Mul", F(2)), "Div": one("Div", F(0.3)),
    "Max": one("Max", W[:, 1]), "Min": one("Min", W[:, 1], W[:, 2]), "Pow": one("Pow", F(3)),
    "Clip": one("Clip", F(-0.5), F(0.5)), "Less": one("Less", F(0.1)), "GreaterOrEqual": one("GreaterOrEqual", F(0.1)),
    "Reshape": one("Reshape", T([6, 4])), "Expand": one("Expand", T([2, 2, 3, 4])), "Unsqueeze": one("Unsqueeze", T([1])),
    "Split": model([helper.make_node("Split", ["x"], ["a", "b"], axis=2, num_outputs=2),
                    helper.make_node("Concat", ["b", "a"], ["y"], axis=2)], {"x": (2, 3, 4)}),
    "Slice": one("Slice", T([1, 0]), T([3, 9]), T([1, 2]), T([1, 2])),
    "Slice back": one("Slice", T([-1]), T([-9]), T([1]), T([-1])),
    "Gather": one("Gather", T([0, -1]), axis=1), "GatherElements": one("GatherElements", T([[[0, 1, 2, 0]]] * 2), axis=1),
    "ScatterND": one("ScatterND", T([[0, 1]]), W[None, :, 0]), "Tile": one("Tile", T([1, 2, 1])),
    "Pad": one("Pad", T([0, 1, 0, 0, 0, 2]), F(3)), "Trilu": one("Trilu", T(1), upper=0),
    "ReduceSum": one("ReduceSum", T([1])), "ReduceMean": one("ReduceMean", T([0, 2]), keepdims=0),
    "ReduceMax": one("ReduceMax", T([1])), "ReduceMin": one("ReduceMin", T([-1])), "ReduceL2": one("ReduceL2", T([1])),
    "ReduceSumSquare": one("ReduceSumSquare", T([1])), "ReduceLogSumExp": one("ReduceLogSumExp", T([1])),
    "ArgMax": one("ArgMax", axis=1), "CumSum": one("CumSum", T(1), reverse=1),
    "LayerNormalization": one("LayerNormalization", W[:, 0], W[:, 1]),
    "GroupNormalization": one("GroupNormalization", W[:3, 0], W[:3, 1], num_groups=3),
    "InstanceNormalization": one("InstanceNormalization", W[:3, 0], W[:3, 1]),
    "BatchNormalization": one("BatchNormalization", W[:3, 0], W[:3, 1], W[:3, 2], abs(W[:3, 3])),
    "MatMul": one("MatMul", W), "Gemm": one("Gemm", W, W[0], shape=(3, 4), alpha=0.5),
    "Conv": one("Conv", K, R.standard_normal(6).astype(F), pads=[1, 0], dilations=[1]),
    "ConvTranspose": one("ConvTranspose", K.transpose(1, 0, 2), strides=[2]),
    "MaxPool": one("MaxPool", kernel_shape=[2]), "AveragePool": one("AveragePool", kernel_shape=[2], pads=[1, 0]),
    "DepthToSpace": one("DepthToSpace", shape=(1, 4, 2, 3), blocksize=2), "TopK": model(
        [helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=1)], {"x": (2, 3, 4)}, k=T([2])),
    "Where": model([helper.make_node("Greater", ["x", "c"], ["m"]), helper.make_node("Not", ["m"], ["n"]),
                    helper.make_node("And", ["n", "b"], ["q"]), helper.make_node("Where", ["q", "x", "c"], ["y"])],
                   {"x": (2, 3)}, c=F(0.2), b=T([True, False, True])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operator_is_what_the_file_computes(name: str) -> None:
    found = OnnxModel(CASES[name], {})
    recording = found.record()
    assert difference(recording) < 1e-6
    np.testing.assert_allclose(
        found.run(recording.inputs, 0)["y"], recording.outputs["y"], rtol=1e-4, atol=1e-5
    )


def test_most_operators_have_a_case() -> None:
    seen = {node.op_type for proto in CASES.values() for node in proto.graph.node}
    assert len(seen & set(RULES)) > 55


@pytest.mark.parametrize(
    ("text", "source", "leaks"), [(MADE, "x", False), (TEXT, "text", False), (MADE, "x", True)]
)
def test_own_files_are_judged_as_their_specs(text: str, source: str, leaks: bool, tmp_path: Path) -> None:
    spec = tmp_path / "m.mp"
    spec.write_text(text.replace("strict(up)", "up") if leaks else text)
    module = api.load(spec)
    if leaks:
        with pytest.raises(Exception, match="MP301"):
            api.build(module, "onnx", tmp_path / "out", inline=True)
        return
    api.build(module, "onnx", tmp_path / "out", inline=True)
    found = OnnxModel(tmp_path / "out" / "conditionals.onnx", {})
    recording = found.record()
    assert difference(recording) < 1e-5
    for sees, status in (("before", "proved"), ("own", "proved")):
        claim = ForeignClaim.parse(f"autoregressive({source} -> logits, order = axis 1, sees = {sees})")
        assert str(answer(recording, claim, found).status) == status
    complete = ForeignClaim.parse(f"complete({source} -> logits, order = axis 1, sees = before)")
    assert str(answer(recording, complete, found).status) == "proved"
    own = ForeignClaim.parse(f"complete({source} -> logits, order = axis 1)")
    assert str(answer(recording, own, found).status) == "refuted"


def attention(number: float, ahead: int) -> onnx.ModelProto:
    """Scores with a mask that is added."""
    mask = np.triu(np.full((5, 5), number, F), ahead)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), helper.make_node("MatMul", ["x", "t"], ["s"]),
        helper.make_node("Add", ["s", "mask"], ["m"]), helper.make_node("Softmax", ["m"], ["w"], name="weights"),
        helper.make_node("MatMul", ["w", "x"], ["y"]),
    ]  # fmt: skip
    return model(nodes, {"x": (1, 5, 3)}, mask=mask)


def test_masks_of_a_file() -> None:
    claim = "autoregressive(x -> y, order = axis 1)"
    statuses = {}
    for number, ahead in ((-np.inf, 1), (-3.4e38, 1), (-np.inf, 2)):
        report = checked(OnnxModel(attention(number, ahead), {}), [claim])
        statuses[number, ahead] = report.specs[0].properties[0].status
    assert list(statuses.values()) == ["proved", "proved", "refuted"]
    assert any(
        "weights" in step.text or "softmax" in step.text.lower()
        for d in report.diagnostics
        for step in d.path
    )


@pytest.mark.parametrize("kind", ["Scan", "Loop", "If"])
def test_bodies_are_read(kind: str) -> None:
    found = OnnxModel(loop(kind), {})
    recording = found.record()
    assert difference(recording) < 1e-6 and len(recording.reads) == (kind == "If")
    claim = ForeignClaim.parse("autoregressive(x -> y, order = axis 0)")
    assert str(answer(recording, claim, found).status) == "proved"
    before = ForeignClaim.parse("autoregressive(x -> y, order = axis 0, sees = before)")
    assert str(answer(recording, before, found).status) == "refuted"


def recurrent(op: str, direction: str, **more: Any) -> onnx.ModelProto:
    """Two examples of five steps; `y` has every step of every direction."""
    gates, count = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 2 if direction == "bidirectional" else 1
    rng = np.random.default_rng(1)
    shapes = {
        "w": (count, 4 * gates, 3),
        "r": (count, 4 * gates, 4),
        "b": (count, 8 * gates),
        "h": (count, 2, 4),
    }
    known = {k: rng.standard_normal(s).astype(F) for k, s in shapes.items()}
    names = ["x", "w", "r", "b", "", "h"] + (["h"] if op == "LSTM" else [])
    node = helper.make_node(op, names, ["y"], hidden_size=4, direction=direction, **more)
    return model([node], {"x": (5, 2, 3)}, **known)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrences_are_read_step_by_step(op: str) -> None:
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    for direction, status in (("forward", "proved"), ("reverse", "refuted"), ("bidirectional", "refuted")):
        found = OnnxModel(recurrent(op, direction, **more), {})
        recording = found.record()
        assert difference(recording) < 1e-6 and not recording.coarse
        np.testing.assert_allclose(found.run(recording.inputs, 0)["y"], recording.outputs["y"], atol=1e-5)
        claim = ForeignClaim.parse("autoregressive(x -> y, order = axis 0)")
        assert str(answer(recording, claim, found).status) == status
    assert not OnnxModel(recurrent("GRU", "forward"), {}).record().coarse


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("bij,jk->bik", [(4, 5)]), ("...ij,kj->...ki", [(2, 4)]), ("bij,bkj,bk->kb", [(2, 5, 4), (2, 5)]),
     ("bij->ji", []), ("bij,bij", [(1, 3, 4)])],
)  # fmt: skip
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    known = {f"c{i}": rng.standard_normal(s).astype(F) for i, s in enumerate(shapes)}
    found = OnnxModel(
        model(
            [helper.make_node("Einsum", ["x", *known], ["y"], equation=equation)], {"x": (2, 3, 4)}, **known
        ),
        {},
    )
    recording = found.record()
    assert difference(recording) < 1e-6 and not recording.coarse
    x = recording.inputs["x"]
    np.testing.assert_allclose(
        recording.outputs["y"], np.einsum(equation, x, *known.values()), rtol=1e-4, atol=1e-5
    )


def of_opset(version: int, *nodes: Any, shape: tuple[int, ...], **known: np.ndarray) -> OnnxModel:
    made = model(list(nodes), {"x": shape}, **known)
    made.opset_import[0].version = version
    return OnnxModel(made, {})


def test_operators_that_the_standard_defines_by_others() -> None:
    claim = ForeignClaim.parse("autoregressive(x -> y, order = axis 1)")
    for causal, status in ((1, "proved"), (0, "refuted")):
        node = helper.make_node(
            "Attention", ["x"] * 3, ["y"], is_causal=causal, q_num_heads=2, kv_num_heads=2
        )
        found = of_opset(23, node, shape=(1, 5, 8))
        recording = found.record()
        assert difference(recording) < 1e-6
        assert str(answer(recording, claim, found).status) == status
    angles = R.standard_normal((1, 5, 2)).astype(F)
    rotary = helper.make_node("RotaryEmbedding", ["x", "cos", "sin"], ["y"], num_heads=2)
    found = of_opset(23, rotary, shape=(1, 5, 8), cos=np.cos(angles), sin=np.sin(angles))
    assert str(answer(found.record(), claim, found).status) == "proved"
    for op, more in (("Selu", {"alpha": 1.5}), ("Mish", {}), ("HardSwish", {}), ("Celu", {"alpha": 2.0})):
        found = of_opset(21, helper.make_node(op, ["x"], ["y"], **more), shape=(1, 5))
        recording = found.record()
        np.testing.assert_allclose(
            found.run(recording.inputs, 0)["y"], recording.outputs["y"], rtol=1e-4, atol=1e-6
        )
        assert difference(recording) < 1e-6 and str(answer(recording, claim, found).status) == "proved"


def test_weights_that_masks_were_folded_into() -> None:
    """An exporter multiplies a mask into its weight: as weights in general it reads ahead, as written it does not."""
    masked = np.triu(R.standard_normal((6, 6)).astype(F))
    found = OnnxModel(model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (1, 6)}, w=masked), {})
    claim = "autoregressive(x -> y, order = axis 1)"
    generic, written = (checked(found, [claim], written=w) for w in (False, True))
    assert "--weights-as-written" in str(generic.diagnostics[0].notes) and not generic.holds
    assert written.holds and "weights as they are" in written.specs[0].properties[0].how


def test_lines_of_source_are_those_of_the_model() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    trace = (
        'File "/home/a/net.py", line 7, in forward\nFile "/v/site-packages/torch/nn/conv.py", line 9, in f'
    )
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    (last,) = (
        n for n in OnnxModel(model([node], {"x": (2, 3)}), {}).record().graph.nodes() if n.op.name == "relu"
    )
    assert (last.span.path, last.span.line) == ("/home/a/net.py", 7)


def test_files_with_open_axes_are_asked_for_every_length(tmp_path: Path) -> None:
    from test_decoders import command

    def saved(name: str, *shape: str | int) -> str:
        nodes = [helper.make_node("CumSum", ["x", "axis"], ["s"]), helper.make_node("Tanh", ["s"], ["y"])]
        x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in ("x", "y"))
        axis = onnx.numpy_helper.from_array(np.array(1), "axis")
        graph = helper.make_graph(nodes, "sums", [x], [y], [axis])
        file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(file, tmp_path / name)
        return str(tmp_path / name)

    options = ["--claim", "autoregressive(x -> y, order = axis 1)", "--lengths", "5,6,7,9"]
    code, said = command("check", saved("open.onnx", "N", "T", 3), *options)
    assert code == 0 and "every length at which" in said
    code, said = command("check", saved("fixed.onnx", "N", 4, 3), *options)
    assert code == 1 and "no axis of an input" in said


def _counting(name: str) -> onnx.ModelProto:
    """Graphs whose sums of x [1, 5] up to a place are scaled by how many elements there are of something else."""
    node, integer = helper.make_node, numpy_helper.from_array
    over = [node("Cast", ["m"], ["i"], to=7), node("ReduceSum", ["i", "one"], ["k"], keepdims=0)]
    given = {
        "NonZero": [node("NonZero", ["m"], ["z"])],
        "Compress": [node("Reshape", ["m", "flat"], ["f"]), node("Reshape", ["x", "flat"], ["g"]),
                     node("Compress", ["g", "f"], ["z"])],
        "Unique": [node("Round", ["x"], ["r"]), node("Unique", ["r"], ["z"])],
        "Tile": [*over, node("Tile", ["one", "k"], ["z"])],
        "ConstantOfShape": [*over, node("ConstantOfShape", ["k"], ["z"])],
        "Slice": [*over, node("Slice", ["x", "nought", "k", "one"], ["z"])],
        "scatter": [node("ScatterElements", ["x", "back", "x"], ["z"], axis=1, reduction="add")],
        "banned": [node("Where", ["m0", "low", "x"], ["w"]), node("Unsqueeze", ["w", "nought"], ["u"]),
                   node("LogSoftmax", ["u"], ["z"], axis=0)],
    }[name]  # fmt: skip
    scaled = [node("Size", ["z"], ["s"]), node("Cast", ["s"], ["f1"], to=1), node("Mul", ["c", "f1"], ["y"])]
    end = [node("Identity", ["z"], ["y"])] if name in ("scatter", "banned") else scaled
    start = [node("CumSum", ["x", "one"], ["c"]), node("Greater", ["x", "zero"], ["m"])]
    numbers = [("one", np.int64([1])), ("nought", np.int64([0])), ("flat", np.int64([-1])), ("zero", np.float32(0)),
               ("back", np.int64([[4, 3, 2, 1, 0]])), ("low", np.float32(-1e4)),
               ("m0", np.zeros((1, 5), bool))]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 5]), ("y", None))]
    graph = helper.make_graph(
        [*start, *given, *end], name, ends[:1], ends[1:], [integer(v, n) for n, v in numbers]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


@pytest.mark.parametrize(
    "name", ["NonZero", "Compress", "Unique", "Tile", "ConstantOfShape", "Slice", "scatter", "banned"]
)
def test_numbers_of_elements_are_numbers_that_are_read(name: str) -> None:
    x = np.random.default_rng(1).standard_normal((1, 5)).astype(np.float32)
    found = checked(OnnxModel(_counting(name), {"x": x}, name), ["autoregressive(x -> y, order = axis 1)"])
    assert [p.status for p in found.specs[0].properties] == ["proved" if name == "banned" else "refuted"]
    assert any(d.code == "MP704" for d in found.diagnostics) is (name not in ("scatter", "banned"))
