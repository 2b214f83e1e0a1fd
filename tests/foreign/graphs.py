"""ONNX graphs for tests: of single operators, and with bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
F = np.float32


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
