"""Permutations go into the weights beside them, as text; what they mean is held in `test_inference.py`."""

from __future__ import annotations

import pytest
from text_passes import assert_becomes, assert_stays

from mpcompile.passes.permutations import AbsorbPermutations


def test_a_permutation_before_a_product_goes_into_its_rows() -> None:
    """Past what is elementwise; the weight is gathered in the inverse order."""
    assert_becomes(AbsorbPermutations(), """
    program f(x: float[N, 3]) -> (y: float[N, 4]) {
      %w = parameter w : float[3, 4]
      %i = constant [2, 0, 1]
      %p = gather(%x, %i) {axis: 1}
      %t = tanh(%p)
      %y = mat_mul(%t, %w)
      return y = %y
    }
    """, """
    program f(x: float[N, 3]) -> (y: float[N, 4]) {
      %w = parameter w : float[3, 4]
      %t = tanh(%x)
      %k = constant [1, 2, 0]
      %v = gather(%w, %k) {axis: 0}
      %y = mat_mul(%t, %v)
      return y = %y
    }
    """)  # fmt: skip


def test_two_permutations_that_undo_each_other_are_none() -> None:
    assert_becomes(AbsorbPermutations(), """
    program f(x: float[N, 3]) -> (y: float[N, 3]) {
      %p = flip(%x) {axis: 1}
      %t = tanh(%p)
      %y = flip(%t) {axis: 1}
      return y = %y
    }
    """, """
    program f(x: float[N, 3]) -> (y: float[N, 3]) {
      %t = tanh(%x)
      return y = %t
    }
    """)  # fmt: skip


def test_a_sum_forgets_the_order() -> None:
    assert_becomes(AbsorbPermutations(), """
    program f(x: float[N, 3]) -> (y: float[N]) {
      %p = flip(%x) {axis: 1}
      %y = sum(%p) {axes: [1]}
      return y = %y
    }
    """, """
    program f(x: float[N, 3]) -> (y: float[N]) {
      %y = sum(%x) {axes: [1]}
      return y = %y
    }
    """)  # fmt: skip


def test_a_permutation_before_a_product_with_data_stays() -> None:
    """The data would have to be gathered for each example; products with weights beside it take theirs in."""
    assert_becomes(AbsorbPermutations(), """
    program f(x: float[3, 3], z: float[3, 3]) -> (y: float[3, 4], u: float[3, 3]) {
      %w = constant [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0]]
      %q = flip(%z) {axis: 1}
      %y = mat_mul(%q, %w)
      %i = constant [2, 0, 1]
      %p = gather(%x, %i) {axis: 1}
      %u = mat_mul(%p, %z)
      return y = %y
      return u = %u
    }
    """, """
    program f(x: float[3, 3], z: float[3, 3]) -> (y: float[3, 4], u: float[3, 3]) {
      %v = constant [[8.0, 9.0, 10.0, 11.0], [4.0, 5.0, 6.0, 7.0], [0.0, 1.0, 2.0, 3.0]]
      %y = mat_mul(%z, %v)
      %i = constant [2, 0, 1]
      %p = gather(%x, %i) {axis: 1}
      %u = mat_mul(%p, %z)
      return y = %y
      return u = %u
    }
    """)  # fmt: skip


@pytest.mark.parametrize(("start", "stop"), [(1, 4), (2, 5)])
def test_a_slice_of_parts_of_two_stretches_is_not_permuted_in_the_weight(start: int, stop: int) -> None:
    """A stretch of the weight in another order would give it other elements."""
    assert_stays(AbsorbPermutations(), f"""
    program f(x: float[N, 3]) -> (y: float[N]) {{
      %w = parameter w : float[3, 6]
      %h = mat_mul(%x, %w)
      %s = slice(%h) {{axis: 1, start: {start}, stop: {stop}}}
      %p = flip(%x) {{axis: 1}}
      %m = mul(%p, %s)
      %y = sum(%m) {{axes: [1]}}
      return y = %y
    }}
    """)  # fmt: skip


def test_a_permutation_that_nothing_takes_stays() -> None:
    assert_stays(AbsorbPermutations(), """
    program f(x: float[N, 3]) -> (y: float[N, 3]) {
      %p = flip(%x) {axis: 1}
      %y = mul(%p, %x)
      return y = %y
    }
    """)  # fmt: skip
