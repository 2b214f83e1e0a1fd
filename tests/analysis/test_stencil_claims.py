"""Claims of autoregressive models that offset sets decide for every length or size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpcompile import api, ops
from mpcompile.analysis.claims.autoregressive import reads_ahead
from mpcompile.analysis.prove import prove
from mpcompile.diagnostics import Span
from mpcompile.ir import Builder, Claim, Constant, Module, Node, Ordering, Value, symbol
from mpcompile.text import parse


def model(tmp_path: Path, text: str) -> Module:
    path = tmp_path / "model.mp"
    path.write_text(text, encoding="utf-8")
    return api.load(path)


WAVENET = """model w
input x: category(4)[time]
x ~ autoregressive(likelihood = categorical) {{
  embedding(2) -> shift
  conv1d(2, 3, dilation = {dilation}, pad = {pad})
  dense(4)
}}
"""


@pytest.mark.parametrize("dilation", [1, 7, 8, 9, 16, 100])
def test_a_leak_is_confirmed_however_far_ahead_it_is(tmp_path: Path, dilation: int) -> None:
    module = model(tmp_path, WAVENET.format(dilation=dilation, pad="same"))
    verdict = prove(module)[0]
    assert verdict.status == "refuted"
    assert f"x[{dilation - 1}]" in verdict.diagnostics[0].message
    assert len(verdict.diagnostics[0].path) > 2
    causal = prove(model(tmp_path, WAVENET.format(dilation=dilation, pad="causal")))[0]
    assert (causal.status, causal.how) == ("proved", "offset sets, for every length")


@pytest.mark.parametrize("tap", range(9))
def test_single_taps(tmp_path: Path, tap: int) -> None:
    """One tap of a kernel beside the allowed one: the proof for every size tells which are ahead."""
    module = model(tmp_path, PIXELS)
    graph = module.programs["conditionals"]
    bits = np.zeros((1, 1, 3, 3))
    bits.reshape(-1)[[0, tap]] = 1

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return (
            b.emit_all(Constant.of(bits))
            if node.types[0].shape == (1, 1, 3, 3) and not inputs and isinstance(node.op, Constant)
            else None
        )

    module.programs["conditionals"] = graph.rebuild(rewrite)
    verdict = prove(module)[0]
    assert verdict.status == ("proved" if tap < 4 else "refuted")
    leaks = reads_ahead(module.programs["conditionals"], module.claims[0])
    assert (leaks is None) == (tap < 4)


PIXELS = """model p
input x: binary[1, 5, 6]
x ~ autoregressive(order = natural) { conv(1, 3, pad = same, mask = causal2d(type = A)) }
"""


def test_without_a_rule_the_claim_is_undecided(tmp_path: Path) -> None:
    module = model(tmp_path, WAVENET.format(dilation=1, pad="causal"))
    graph = module.programs["conditionals"]
    b = Builder(graph)
    ((name, value),) = graph.outputs.items()
    line = b.emit(ops.Iota((symbol("time"),), 0))  # type: ignore[arg-type]
    graph.outputs[name] = b.emit(ops.Gather(1), value, line)  # each place its own row
    assert prove(module)[0].status == "proved"
    first = b.emit(ops.Mul(), line, b.constant(0))
    graph.outputs[name] = b.emit(ops.Gather(1), value, first)  # rows at places that are data to the rule
    verdict = prove(module)[0]
    assert (verdict.status, verdict.primitive) == ("undecided", "gather")
    assert "known from above only" in verdict.how
    graph.outputs[name] = b.emit(
        ops.Add(), value, b.emit(ops.Slice(1, 0, 1), value)
    )  # the first place, read by all
    verdict = prove(module)[0]
    assert (verdict.status, verdict.primitive) == ("undecided", "add")
    assert {"time": 1, "N": 1} in verdict.checked and "no stencil" in verdict.how


def test_an_image_with_rgb_groups_is_proven_for_every_size(tmp_path: Path) -> None:
    text = """model rgb
input x: binary[3, 5, 4]
x ~ autoregressive(order = pixel) {
  conv(6, 3, pad = same, mask = causal2d(type = A, channels = rgb)) -> relu
  conv(3, 1, mask = causal2d(type = B, channels = rgb))
}
"""
    good = prove(model(tmp_path, text))[0]
    assert (good.status, good.how) == ("proved", "offset sets, for every size")
    assert prove(model(tmp_path, text.replace("type = A", "type = B")))[0].status == "refuted"


def test_a_channel_that_reads_a_later_one_of_its_place_reads_ahead() -> None:
    """The first channel reads nothing, the second the third, the third the first."""
    graph = parse("""
    program conditionals(x: float[N, 3, 4, 4]) -> (y: float[N, 3, 4, 4]) {
      %late = slice(%x) {axis: 1, start: 1, stop: 3}
      %first = slice(%x) {axis: 1, start: 0, stop: 1}
      %all = concat(%late, %first) {axis: 1}
      %keep = constant [[[0.0]], [[1.0]], [[1.0]]]
      %y = mul(%all, %keep)
      return y = %y
    }
    """)
    ranks = np.arange(48).reshape(16, 3).T.reshape(-1)
    claim = Claim("autoregressive", "x", "conditionals", Span.none(), order=Ordering(ranks, None))
    assert reads_ahead(graph, claim) is not None
