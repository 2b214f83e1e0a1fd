"""Constant folding: what is made of constants alone is one."""

from __future__ import annotations

from text_passes import assert_becomes, assert_stays

from mpcompile.passes.fold import FoldConstants


def test_arithmetic_on_constants_is_done() -> None:
    assert_becomes(FoldConstants(), """
    program f(x: float[N, 2]) -> (y: float[N, 2]) {
      %a = constant [1.0, 2.0]
      %b = constant 3.0
      scope net "dense(2)"
      %c = add(%a, %b)
      %d = mul(%c, %c)
      %y = mul(%x, %d)
      return y = %y
    }
    """, """
    program f(x: float[N, 2]) -> (y: float[N, 2]) {
      scope net "dense(2)"
      %d = constant [16.0, 25.0]
      %y = mul(%x, %d)
      return y = %y
    }
    """)  # fmt: skip


def test_counts_are_folded_where_something_reads_them() -> None:
    """A mask that is compared out of places; `iota` alone stays."""
    assert_becomes(FoldConstants(), """
    program f(x: float[N, 3]) -> (y: float[N, 3], i: int[3]) {
      %i = iota() {shape: [3], axis: 0}
      %one = constant 1
      %m = less(%i, %one)
      %zero = constant 0.0
      %y = where(%m, %x, %zero)
      return y = %y
      return i = %i
    }
    """, """
    program f(x: float[N, 3]) -> (y: float[N, 3], i: int[3]) {
      %i = iota() {shape: [3], axis: 0}
      %m = constant [true, false, false]
      %zero = constant 0.0
      %y = where(%m, %x, %zero)
      return y = %y
      return i = %i
    }
    """)  # fmt: skip


def test_bodies_of_loops_are_folded() -> None:
    loop = """
    program f(x: float[N]) -> (c: float[N]) {
      %c = scan(%x) {carries: 1, length: 3}
        body step(c: float[N], step: int[]) -> (c: float[N]) {
          BODY
          %d = mul(%c, %k)
          return c = %d
        }
      return c = %c
    }
    """
    before = loop.replace("BODY", "%a = constant 2.0\n %k = neg(%a)")
    assert_becomes(FoldConstants(), before, loop.replace("BODY", "%k = constant -2.0"))


def test_what_has_no_size_or_a_large_one_stays() -> None:
    assert_stays(FoldConstants(), """
    program f(x: float[N, 3]) -> (y: float[N, 3], z: float[3000]) {
      %zero = constant 0.0
      %spread = broadcast_to(%zero) {shape: [N, 3]}
      %y = add(%x, %spread)
      %large = broadcast_to(%zero) {shape: [3000]}
      %z = exp(%large)
      return y = %y
      return z = %z
    }
    """)  # fmt: skip


def test_a_result_as_large_as_its_constants_is_folded() -> None:
    """Options are fields: `most` bounds only what grows."""
    text = """
    program f(x: float[2]) -> (y: float[2]) {
      %a = constant [1.0, 2.0]
      %b = OP(%a)OPTIONS
      %s = sum(%b) {axes: [0]}
      %y = mul(%x, %s)
      return y = %y
    }
    """
    neg = text.replace("OPTIONS", "").replace("OP", "neg")
    folded = (
        "program f(x: float[2]) -> (y: float[2]) {\n %s = constant -3.0\n %y = mul(%x, %s)\n return y = %y\n}"
    )
    assert_becomes(FoldConstants(most=1), neg, folded)
    assert_stays(FoldConstants(most=1), text.replace("OPTIONS", " {shape: [3, 2]}").replace("OP", "broadcast_to")
                 .replace("axes: [0]", "axes: [0, 1]"))  # fmt: skip


def test_weights_and_data_are_no_constants() -> None:
    assert_stays(FoldConstants(), """
    program f(x: float[2]) -> (y: float[2]) {
      %w = parameter w : float[2]
      %v = neg(%w)
      %y = mul(%x, %v)
      return y = %y
    }
    """)  # fmt: skip
