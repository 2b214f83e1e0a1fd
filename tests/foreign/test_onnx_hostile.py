"""ONNX files of anyone: what is no graph, has no end or lies elsewhere is refused by name, within bounds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

sys.path.insert(0, str(Path(__file__).parent))
from graphs import F, loop, model, one

from mpcompile.budget import Budget, within
from mpcompile.foreign import Unrecordable, checked
from mpcompile_onnx.reader import OnnxModel

W = np.random.default_rng(0).standard_normal((4, 5)).astype(F)


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


def nested(depth: int) -> onnx.ModelProto:
    """Functions that call one another, twice each."""
    made = model([helper.make_node(f"f{depth}", ["x"], ["y"], domain="own")], {"x": (2,)})
    made.opset_import.append(helper.make_opsetid("own", 1))
    for i in range(depth + 1):
        inner = [helper.make_node(f"f{i - 1}", [a], [b], domain="own") for a, b in (("a", "b"), ("b", "c"))] if i else [
            helper.make_node("Neg", ["a"], ["c"])]  # fmt: skip
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
        made.functions.append(helper.make_function("own", f"f{i}", ["a"], ["c"], inner, opsets))
    return made


def test_graphs_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpcompile_onnx.reader.record.MOST", 300)
    node = helper.make_node
    cycle = model(
        [node("Add", ["x", "b"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["y"])], {"x": (2,)}
    )
    itself = nested(0)
    itself.functions[0].node[0].CopyFrom(node("f0", ["a"], ["c"], domain="own"))
    cases = [
        (cycle, "nothing gives 'b'"),
        (model([node("Neg", ["x"], ["z"])], {"x": (2,)}), "nothing gives 'y'"),
        (model([node("Concat", ["x", "x"], ["y"])], {"x": (2,)}), "Concat"),
        (model([node("Loop", ["", "", "x"], ["y"])], {"x": (2,)}), "Loop is malformed"),
        (model([node("Scan", ["x"], ["y"], num_scan_inputs=-5)], {"x": (2,)}), "Scan is malformed"),
        (itself, "more than 64 bodies"),
        (nested(9), "more than 300 nodes"),
        (model([node("QLinearMatMul", ["x"] * 8, ["y"])], {"x": (2, 2)}), "no rule for the operator QLinearMatMul"),
        (model([node("Neg", ["x"], ["y"])], {"x": (1 << 20, 1 << 20)}), "x has .* elements"),
    ]  # fmt: skip
    for proto, message in cases:
        with pytest.raises(Unrecordable, match=message):
            OnnxModel(proto, {}).record()


def test_files_outside_of_the_folder_and_without_end(tmp_path: Path) -> None:
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (2, 4)}, w=W)
    home = tmp_path / "home"
    home.mkdir()
    file = home / "m.onnx"
    onnx.save(made, str(file), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert OnnxModel(file, {}).record().parameters["w"].shape == W.shape
    data = home / "w.bin"
    data.rename(tmp_path / "w.bin")
    for make in (
        lambda: data.symlink_to(tmp_path / "w.bin"),
        lambda: os.mkfifo(data),
        lambda: data.write_bytes(b""),
    ):
        make()
        with pytest.raises(Unrecordable, match=r"cannot be read|no regular file"):
            OnnxModel(file, {})
        data.unlink()
    os.mkfifo(home / "n.onnx")
    for path in (home / "n.onnx", home, home / "missing.onnx"):
        with pytest.raises(Unrecordable, match=r"no regular file|cannot be read"):
            OnnxModel(path, {})


def test_time_and_memory_are_bounded() -> None:
    body = loop("Loop")
    body.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.array(5), "five"))
    with within(Budget(seconds=0.0)):
        found = checked(OnnxModel(body, {}), ["autoregressive(x -> y, order = axis 0)"])
    assert [d.code for d in found.diagnostics] == ["MP700"] and "within 0 s" in found.diagnostics[0].message
