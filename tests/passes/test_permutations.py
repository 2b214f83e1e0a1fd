"""Permutations go into the weights beside them, as text; what they mean is held in `test_inference.py`."""

from __future__ import annotations

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


def test_a_permutation_that_nothing_takes_stays() -> None:
    assert_stays(AbsorbPermutations(), """
    program f(x: float[N, 3]) -> (y: float[N, 3]) {
      %p = flip(%x) {axis: 1}
      %y = mul(%p, %x)
      return y = %y
    }
    """)  # fmt: skip
