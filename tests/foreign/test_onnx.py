"""ONNX files that are read: the project's own, and graphs of single operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mpcompile import api
from mpcompile.foreign import ForeignClaim, Unrecordable, answer, checked
from mpcompile.foreign.running import difference
from mpcompile_onnx.reader import OnnxModel
from mpcompile_onnx.reader.rules import RULES

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
MADE = """model made
input x: binary[6]
mask up = degrees
x ~ autoregressive { dense(12, mask = up) -> relu -> dense(6, mask = strict(up)) }
"""
TEXT = """model text
input text: category(7)[time]
text ~ autoregressive { embedding(4) -> shift -> lstm(5) -> dense(7) }
"""


def model(nodes: list[Any], inputs: dict[str, tuple[int, ...]], **known: np.ndarray) -> onnx.ModelProto:
    """A model of nodes whose result is `y`."""
    given = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()]
    out = [helper.make_tensor_value_info("y", FLOAT, None)]
    arrays = [onnx.numpy_helper.from_array(x, n) for n, x in known.items()]
    graph = helper.make_graph(nodes, "model", given, out, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def one(op: str, *more: np.ndarray, shape: tuple[int, ...] = (2, 3, 4), **attributes: Any) -> onnx.ModelProto:
    known = {f"c{i}": np.asarray(x) for i, x in enumerate(more)}
    nodes = [
        helper.make_node(op, ["x", *known], ["z"], **attributes),
        helper.make_node("Cast", ["z"], ["y"], to=FLOAT),
    ]
    return model(nodes, {"x": shape}, **known)


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


def loop(kind: str) -> onnx.ModelProto:
    """A running sum by Scan or Loop, and a choice by If."""
    info = helper.make_tensor_value_info
    if kind == "Scan":
        body = helper.make_graph(
            [helper.make_node("Add", ["h", "r"], ["g"]), helper.make_node("Identity", ["g"], ["o"])],
            "body", [info(n, FLOAT, [3]) for n in "hr"], [info(n, FLOAT, [3]) for n in "go"])  # fmt: skip
        node = helper.make_node("Scan", ["zero", "x"], ["last", "y"], num_scan_inputs=1, body=body)
        return model([node], {"x": (5, 3)}, zero=np.zeros(3, F))
    if kind == "Loop":
        nodes = [
            helper.make_node("Gather", ["x", "i"], ["r"]), helper.make_node("Add", ["h", "r"], ["g"]),
            helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["g"], ["o"]),
        ]  # fmt: skip
        body = helper.make_graph(
            nodes, "body", [info("i", INT, []), info("c", BOOL, []), info("h", FLOAT, [3])],
            [info("d", BOOL, []), info("g", FLOAT, [3]), info("o", FLOAT, [3])])  # fmt: skip
        node = helper.make_node("Loop", ["five", "", "zero"], ["last", "y"], body=body)
        return model([node], {"x": (5, 3)}, zero=np.zeros(3, F), five=np.array(5))
    branches = {
        name: helper.make_graph([helper.make_node("CumSum", ["x", "axis"], [name], reverse=back)], name, [],
                                [info(name, FLOAT, None)])
        for name, back in (("then_branch", 0), ("else_branch", 1))
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Less", ["largest", "far"], ["near"]),
        helper.make_node("If", ["near"], ["y"], **branches),
    ]
    return model(nodes, {"x": (5, 3)}, far=np.array(9, F), axis=np.array(0))


@pytest.mark.parametrize("kind", ["Scan", "Loop", "If"])
def test_bodies_are_read(kind: str) -> None:
    found = OnnxModel(loop(kind), {})
    recording = found.record()
    assert difference(recording) < 1e-6 and len(recording.reads) == (kind == "If")
    claim = ForeignClaim.parse("autoregressive(x -> y, order = axis 0)")
    assert str(answer(recording, claim, found).status) == "proved"
    before = ForeignClaim.parse("autoregressive(x -> y, order = axis 0, sees = before)")
    assert str(answer(recording, before, found).status) == "refuted"


def test_hostile_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "a.onnx"
    broken.write_bytes(b"\x08\x07 no model")
    with pytest.raises(Unrecordable, match="cannot be read"):
        OnnxModel(broken, {})
    strange = model([helper.make_node("Strange", ["x"], ["y"], domain="com.x")], {"x": (2,)})
    strange.opset_import.append(helper.make_opsetid("com.x", 1))
    with pytest.raises(Unrecordable, match="of no standard"):
        OnnxModel(strange, {}).record()
    monkeypatch.setattr("mpcompile_onnx.reader.record.MOST", 500)
    endless = loop("Loop")
    endless.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.array(1 << 40), "five"))
    with pytest.raises(Unrecordable, match=r"cannot be run|nodes run"):
        OnnxModel(endless, {}).record()
    wide = one("Expand", np.array([1 << 28, 2, 3, 4]))
    with pytest.raises(Unrecordable, match="Expand gives more than"):
        OnnxModel(wide, {}).record()
    for node, more in (("Tile", [1 << 20, 1 << 20, 1]), ("Pad", [0, 0, 0, 1 << 30, 0, 1 << 20])):
        with pytest.raises(Unrecordable, match=f"{node} gives more than"):
            OnnxModel(one(node, np.array(more)), {}).record()
    with pytest.raises(Unrecordable, match="Add gives more than"):
        OnnxModel(one("Add", np.zeros((1 << 24, 1, 1, 1), F)), {}).record()
    outside = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (2, 4)}, w=W)
    onnx.save(
        outside, str(tmp_path / "b.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    text = (tmp_path / "b.onnx").read_bytes().replace(b"w.bin", b"../w.")
    (tmp_path / "b.onnx").write_bytes(text)
    with pytest.raises(Unrecordable, match="cannot be read"):
        OnnxModel(tmp_path / "b.onnx", {})
