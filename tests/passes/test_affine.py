"""Affine maps go into the products beside them, as text; what they mean is held in `test_inference.py`."""

from __future__ import annotations

import pytest
from text_passes import assert_becomes, assert_stays

from mpcompile.passes.affine import FoldAffine

LEAVES = {"%w": "float[3, 4]", "%s": "float[3]", "%t": "float[4]"}


def program(lines: str) -> str:
    """A program from x to y that reads the parameters that its lines name."""
    leaves = [f"{k} = parameter {k[1:]} : {shape}" for k, shape in LEAVES.items() if k in lines]
    return "\n".join(
        ["program f(x: float[N, 3]) -> (y: float[N, 4]) {", *leaves, lines, "return y = %y", "}"]
    )


def test_a_scale_before_a_product_goes_into_its_rows() -> None:
    before = program("%a = mul(%x, %s)\n %b = mat_mul(%a, %w)\n %y = add(%b, %t)")
    after = program(
        "%r = reshape(%s) {shape: [3, 1]}\n %v = mul(%w, %r)\n %b = mat_mul(%x, %v)\n %y = add(%b, %t)"
    )
    assert_becomes(FoldAffine(), before, after)


def test_a_shift_behind_a_shift_is_one() -> None:
    before = program("%b = mat_mul(%x, %w)\n %c = add(%b, %t)\n %y = add(%c, %t)")
    after = program("%b = mat_mul(%x, %w)\n %u = add(%t, %t)\n %y = add(%b, %u)")
    assert_becomes(FoldAffine(), before, after)


KEPT = {
    "two readers":
        "%a = mul(%x, %s)\n %b = mat_mul(%a, %w)\n %c = sum(%a) {axes: [1], keepdims: true}\n %y = mul(%b, %c)",
    "a scale made of data": "%c = sum(%x) {axes: [1], keepdims: true}\n %a = mul(%x, %c)\n %y = mat_mul(%a, %w)",
    "nothing affine": "%a = tanh(%x)\n %y = mat_mul(%a, %w)",
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_is_read_twice_or_made_of_data_stays(case: str) -> None:
    assert_stays(FoldAffine(), program(KEPT[case]))
