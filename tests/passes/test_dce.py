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


def test_what_a_loop_scans_and_does_not_read_goes_but_for_one_that_tells_the_steps() -> None:
    text = """
program f(x: float[N], y: float[N, 5]) -> (c: float[N]) {
  DEAD
  %kept = exp(%y)
  %c = scan(%x, UNREAD%kept) {carries: 1, scanned: COUNT}
    body step(c: float[N], FORMAL k: float[N], step: int[]) -> (c: float[N]) {
      %d = mul(%c, %c)
      return c = %d
    }
  return c = %c
}
"""
    for made in ("mul(%c, %k)", "mul(%k, %c)"):
        read = text.replace("mul(%c, %c)", made)
        before = (
            read.replace("DEAD", "%p = neg(%y)").replace("UNREAD", "%p, ").replace("FORMAL", "p: float[N],")
        )
        after = read.replace("DEAD", "").replace("UNREAD", "").replace("FORMAL", "")
        result = DeadCode()(parse(before.replace("COUNT", "2")))
        assert printed(result.graph) == printed(parse(after.replace("COUNT", "1")))
    unread = text.replace("DEAD", "").replace("UNREAD", "").replace("FORMAL", "").replace("COUNT", "1")
    assert not DeadCode()(parse(unread)).changed
