"""Common-subexpression elimination: within a scope, across scopes, and of equal constants and parameters."""

from __future__ import annotations

import pytest
from text_passes import assert_becomes, assert_stays

from mpcompile.passes.cse import CommonSubexpressions
from mpcompile.text import parse

TWICE = """
program f(x: float[N]) -> (y: float[N]) {
  scope a
  %p = exp(%x)
  scope SECOND
  %q = exp(%x)
  %y = mul(%p, %q)
  return y = %y
}
"""
ONCE = """
program f(x: float[N]) -> (y: float[N]) {
  scope a
  %p = exp(%x)
  scope SECOND
  %y = mul(%p, %p)
  return y = %y
}
"""


@pytest.mark.parametrize("across", [True, False])
def test_within_one_scope(across: bool) -> None:
    cse = CommonSubexpressions(across=across)
    assert_becomes(cse, TWICE.replace("SECOND", "a"), ONCE.replace("SECOND", "a"))


def test_across_scopes_the_first_stays_where_it_stood() -> None:
    assert_becomes(CommonSubexpressions(), TWICE.replace("SECOND", "b"), ONCE.replace("SECOND", "b"))
    assert_stays(CommonSubexpressions(across=False), TWICE.replace("SECOND", "b"))


def test_attributes_tell_nodes_apart() -> None:
    assert_stays(CommonSubexpressions(), """
    program f(x: float[N, 3]) -> (y: float[N]) {
      %p = sum(%x) {axes: [1]}
      %q = sum(%x) {axes: [1], keepdims: true}
      %r = reshape(%q) {shape: [N]}
      %y = mul(%p, %r)
      return y = %y
    }
    """)  # fmt: skip


CONSTANTS = """
program f(x: float[N, 2]) -> (y: float[N, 2]) {
  %a = constant [1.0, 2.0]
  %p = add(%x, %a)
  SECOND
  %q = add(%x, %b)
  %y = mul(%p, %q)
  return y = %y
}
"""


def test_equal_constants() -> None:
    """And then what is made of them; 1 and 1.0 are not equal, nor 0.0 and -0.0."""
    once = CONSTANTS.replace("SECOND", "").replace("%q = add(%x, %b)", "").replace("%q", "%p")
    equal = CONSTANTS.replace("SECOND", "%b = constant [1.0, 2.0]")
    assert_becomes(CommonSubexpressions(), equal, once)
    assert_stays(CommonSubexpressions(constants=False), equal)
    assert_stays(CommonSubexpressions(), CONSTANTS.replace("SECOND", "%b = constant [1.0, 2.5]"))
    zeros = CONSTANTS.replace("[1.0, 2.0]", "[0.0, 2.0]").replace("SECOND", "%b = constant [-0.0, 2.0]")
    assert_stays(CommonSubexpressions(), zeros)


@pytest.mark.parametrize("across", [True, False])
def test_a_parameter_is_read_once(across: bool) -> None:
    assert_becomes(CommonSubexpressions(across=across), """
    program f(x: float[N]) -> (y: float[N]) {
      scope a
      %v = parameter w : float[]
      %p = mul(%x, %v)
      scope b
      %w = parameter w : float[]
      %y = add(%p, %w)
      return y = %y
    }
    """, """
    program f(x: float[N]) -> (y: float[N]) {
      scope a
      %v = parameter w : float[]
      %p = mul(%x, %v)
      scope b
      %y = add(%p, %v)
      return y = %y
    }
    """)  # fmt: skip


LOOPS = """
program f(x: float[N]) -> (y: float[N]) {
  %a = scan(%x) {carries: 1, length: 3}
    body step(c: float[N], step: int[]) -> (c: float[N]) {
      %d = exp(%c)
      return c = %d
    }
  %b = scan(%x) {carries: 1, length: LENGTH}
    body step(c: float[N], step: int[]) -> (c: float[N]) {
      %d = OP(%c)
      return c = %d
    }
  %y = mul(%a, %b)
  return y = %y
}
"""


def test_equal_loops_are_one() -> None:
    """Bodies are compared node by node."""
    equal = LOOPS.replace("LENGTH", "3").replace("OP", "exp")
    once = equal[: equal.index("  %b =")] + "  %y = mul(%a, %a)\n  return y = %y\n}"
    assert_becomes(CommonSubexpressions(), equal, once)
    assert_stays(CommonSubexpressions(), LOOPS.replace("LENGTH", "4").replace("OP", "exp"))
    assert_stays(CommonSubexpressions(), LOOPS.replace("LENGTH", "3").replace("OP", "neg"))


def test_outputs_stay_values_of_their_own() -> None:
    assert_stays(CommonSubexpressions(), """
    program f(x: float[N]) -> (y: float[N], z: float[N]) {
      %y = exp(%x)
      %z = exp(%x)
      return y = %y
      return z = %z
    }
    """)  # fmt: skip


def test_the_condition_that_it_ensures_is_not_empty() -> None:
    (condition,) = CommonSubexpressions.ensures
    assert condition.fault(parse(TWICE.replace("SECOND", "a"))) == "a.exp is computed twice"
