"""Whole files as a build has them, of one model of each family, for a person to read in a review.

After a wanted change of the style: `pytest tests/backends/test_golden.py --snapshot-update`, and read the difference.
"""

from __future__ import annotations

from functools import cache

import pytest
import specs_under_test
from syrupy.assertion import SnapshotAssertion

from mpcompile.backend import find_backend
from mpcompile.ir import Module
from mpcompile.passes.pipeline import optimise

FAMILIES = ("made", "transformer", "realnvp", "vrnn", "gated_pixelcnn")


@cache
def optimised(name: str) -> Module:
    return optimise(specs_under_test.full(name)).module


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_model_reads_as_before(name: str, backend: str, snapshot: SnapshotAssertion) -> None:
    assert find_backend(backend).emit(optimised(name))["model.py"] == snapshot


@pytest.mark.parametrize("name", FAMILIES)
def test_the_onnx_graph_reads_as_before(name: str, snapshot: SnapshotAssertion) -> None:
    """The operators of the density in order, with their inputs and outputs, and those of the bodies of loops."""
    onnx = pytest.importorskip("onnx")
    program = "elbo" if name == "vrnn" else "log_prob"
    model = onnx.load_from_string(find_backend("onnx").emit(optimised(name))[f"{program}.onnx"])
    lines, waiting = list[str](), [model.graph]
    while waiting:
        graph = waiting.pop()
        lines.append(f"{', '.join(v.name for v in graph.input)} -> {', '.join(v.name for v in graph.output)}")
        for node in graph.node:
            lines.append(f"  {', '.join(node.output)} = {node.op_type}({', '.join(node.input)})")
            waiting += [a.g for a in node.attribute if a.HasField("g")]
    assert "\n".join(lines) == snapshot
