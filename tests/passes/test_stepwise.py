"""What of a loop is computed once for all steps, because weights and the number of the step decide it."""

from __future__ import annotations

from mpcompile.ops import Scan
from mpcompile.passes.stepwise import Picks
from mpcompile.passes.weight_only import WeightOnly
from mpcompile.text import parse

LAYERS = """
program predict(x: float[N, 3]) -> (y: float[N, 3]) {
  %w = parameter w : float[4, 3, 3]
  %y = scan(%x, %w) {carries: 1, length: 4} : float[N, 3]
    body body(carry_0: float[N, 3], captured_0: float[4, 3, 3], step: int[]) -> (carry_0: float[N, 3]) {
      %carry_0 = input carry_0 : float[N, 3]
      %captured_0 = input captured_0 : float[4, 3, 3]
      %step = input step : int[]
      %own = gather(%captured_0, %step) {axis: 0}
      %small = tanh(%own)
      %turned = transpose(%small) {permutation: [1, 0]}
      %next = mat_mul(%carry_0, %turned)
      return carry_0 = %next
    }
  return y = %y
}
"""


def test_what_a_view_is_of_is_computed_once_and_the_view_is_taken_in_the_loop() -> None:
    graph, weight_only = parse(LAYERS), WeightOnly()
    for node in graph.nodes():
        weight_only.know(node)
    (loop,) = (n for n in graph.nodes() if isinstance(n.op, Scan))
    picks = Picks.of(loop, weight_only)
    assert picks is not None
    assert [picks.body.node(v).op.name for v in picks.wanted] == ["tanh"]
