"""Dead-code elimination: what no output is made of goes, inputs stay."""

from __future__ import annotations

from text_passes import assert_stays

from mpcompile.passes.dce import DeadCode
from mpcompile.text import parse, printed

LOOP = """
program f(x: float[N], unread: float[N]) -> (c: float[N]) {
  DEAD
  %c = scan(%x) {carries: 1, length: 3}
    body step(c: float[N], step: int[]) -> (c: float[N]) {
      INNER
      %d = exp(%c)
      return c = %d
    }
  return c = %c
}
"""


def test_dead_nodes_go_also_in_bodies() -> None:
    dead = "%w = parameter w : float[]\n %p = mul(%x, %w)\n %q = exp(%p)"
    before = LOOP.replace("DEAD", dead).replace("INNER", "%k = neg(%c)\n %l = exp(%k)")
    result = DeadCode()(parse(before))
    assert result.changed
    assert printed(result.graph) == printed(parse(LOOP.replace("DEAD", "").replace("INNER", "")))


def test_what_is_read_stays_and_inputs_do() -> None:
    assert_stays(DeadCode(), LOOP.replace("DEAD", "").replace("INNER", ""))


def test_what_a_loop_captures_and_does_not_read_goes_with_what_makes_it() -> None:
    text = """
program f(x: float[N], y: float[N]) -> (c: float[N]) {
  DEAD
  %kept = exp(%y)
  %c = scan(%x, UNREAD%kept) {carries: 1, length: 3}
    body step(c: float[N], FORMAL k: float[N], step: int[]) -> (c: float[N]) {
      %d = mul(%c, %k)
      return c = %d
    }
  return c = %c
}
"""
    before = text.replace("DEAD", "%p = neg(%y)").replace("UNREAD", "%p, ").replace("FORMAL", "p: float[N],")
    after = text.replace("DEAD", "").replace("UNREAD", "").replace("FORMAL", "")
    result = DeadCode()(parse(before))
    assert result.changed
    assert printed(result.graph) == printed(parse(after))
