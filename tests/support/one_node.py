"""Every primitive's examples, and one of them as a module of one program."""

from __future__ import annotations

import numpy as np
import pytest

from mpcompile.diagnostics import Source
from mpcompile.ir import Array, Builder, DType, Example, Graph, Module, Type, Value
from mpcompile.ops import PRIMITIVES

LEAVES = {"input", "parameter", "constant"}
KINDS = {"f": DType.FLOAT, "i": DType.INT, "b": DType.BOOL}
EXAMPLES = [
    pytest.param(example, id=f"{name}-{i}")
    for name, primitive in PRIMITIVES.items()
    if name not in LEAVES
    for i, example in enumerate(primitive.examples())
]


def one_node(example: Example, constants: bool = False) -> tuple[Module, dict[str, Array], list[Value]]:
    """One node, its operands as inputs or as constants."""
    g = Graph("apply")
    b = Builder(g)
    x = b.input("reference", Type(DType.FLOAT, (1,)))
    inputs = {"reference": np.ones(1)}
    values = []
    for i, array in enumerate(map(np.asarray, example.inputs)):
        if constants:
            values.append(b.constant(array))
        else:
            values.append(b.input(f"x{i}", Type(KINDS[array.dtype.kind], array.shape)))
            inputs[f"x{i}"] = array
    for i, v in enumerate(b.emit_all(example.op, *values)):
        g.outputs[f"y{i}"] = v
    g.outputs["same"] = x
    return Module("row", Source("row.mp", ""), {"apply": g}), inputs, values
