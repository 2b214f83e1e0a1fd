"""Every primitive has a row, and the row means what `evaluate` means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_node import EXAMPLES, LEAVES, one_node

from mpcompile.diagnostics import Source
from mpcompile.ir import Builder, DType, Example, Graph, Module, Type
from mpcompile.ops import PRIMITIVES
from mpcompile_torch.emit import emit_module
from mpcompile_torch.loading import build_model
from mpcompile_torch.spelling import SPELLINGS


def test_every_primitive_has_a_row_and_every_row_a_primitive() -> None:
    assert set(PRIMITIVES) - LEAVES == set(SPELLINGS)


@pytest.mark.parametrize("constants", [False, True], ids=["inputs", "constants"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_row_means_evaluate(example: Example, constants: bool) -> None:
    module, inputs, _ = one_node(example, constants)
    expected = example.op.evaluate(*map(np.asarray, example.inputs))
    emitted = emit_module(module)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        model = build_model(emitted, {}, dtype)
        tensors = {k: torch.from_numpy(np.array(v)) for k, v in inputs.items()}
        tensors = {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()}
        made = model.apply_program(**tensors)  # type: ignore[operator]  # a method of emitted code
        for i, want in enumerate(expected):
            got = made[f"y{i}"]
            assert tuple(got.shape) == want.shape
            for k, x in enumerate(tensors[f"x{k}"] for k in range(0 if constants else len(example.inputs))):
                shared = got.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
                assert example.op.aliases(k) or not shared, (
                    "a result in the memory of an operand that says it is not"
                )
            assert got.dtype == {"f": dtype, "i": torch.int64, "b": torch.bool}[want.dtype.kind]
            np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("count", [90, 600])
def test_masks_of_levels_mean_what_they_are(count: int) -> None:
    """Levels above 255 are packed in integers that torch can compare."""
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, count, 400), rng.permutation(count)
    mask = rows[:, None] >= columns
    g = Graph("apply")
    b = Builder(g)
    x = b.input("x", Type(DType.FLOAT, (400, count)))
    g.outputs["y"] = b.emit(PRIMITIVES["mul"](), x, b.constant(mask.astype(float)))
    model = build_model(emit_module(Module("row", Source("row.mp", ""), {"apply": g})), {})
    made = model.apply_program(torch.ones(400, count))  # type: ignore[operator]  # a method of emitted code
    np.testing.assert_array_equal(made.numpy(), mask)
