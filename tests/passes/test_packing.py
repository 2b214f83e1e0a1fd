"""Mask fusion: weights without what masks remove give the numbers of weights times masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
from specs_under_test import NAMES, inputs, path, weights
from specs_under_test import module as lowered

from mpcompile import api
from mpcompile.analysis import cost
from mpcompile.backend import OptimizerSpec, without_dead
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Constant, Graph, Module, Parameter
from mpcompile.ir.optimizers import OPTIMIZERS, Moment, Optimizer, Sgd, Term
from mpcompile.ir.verify import verify_module
from mpcompile.ops import Conv, Mul
from mpcompile.passes.packing import FuseMasks, fuse, plan
from mpcompile.passes.pipeline import optimise
from mpcompile.passes.update import update_rule
from mpcompile.report.facts import describe, text
from mpcompile.text import parse, printed


@cache
def module(name: str) -> Module:
    """The module as a session gets it."""
    return optimise(lowered(name)).module


MASKED = [n for n in NAMES if any(p.support is not None for p in lowered(n).parameters.values())]
RULES = [OptimizerSpec(k, a, d) for k, c in OPTIMIZERS.items() if c.keeps_zeros
         for a in ([{}, {"momentum": 0.9}] if k == "sgd" else [{}]) for d in (0.0, 0.1)]  # fmt: skip


def supported(m: Module, w: Mapping[str, Array]) -> dict[str, Array]:
    return without_dead(w, {n: p.support for n, p in m.parameters.items() if p.support is not None})


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("name", MASKED)
def test_every_program_gives_what_weights_times_masks_give(name: str, blocks: int) -> None:
    """Of dead elements that are not zero nothing is left either: `packed` drops them."""
    m, w = module(name), weights(module(name))
    fused, layout = fuse(m, blocks=blocks)
    verify_module(fused)
    stored = layout.packed(supported(m, w))
    assert {n: a.shape for n, a in stored.items()} == {n: p.shape for n, p in fused.parameters.items()}
    for program in [
        p for p in m.programs if p != "sample" and m.programs[p].parameters().keys() & layout.weights
    ]:
        given = inputs(m, program, 3)
        want = interpret(m.programs[program], w, given)
        found = interpret(fused.programs[program], stored, given)
        for key, array in want.items():
            np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-11, err_msg=f"{program}.{key}")


@pytest.mark.parametrize("name", MASKED)
def test_a_layout_gives_weights_back(name: str) -> None:
    m = module(name)
    _, layout = fuse(m, blocks=3)
    want = supported(m, weights(m))
    found = layout.whole(layout.packed(want))
    assert list(found) == list(want)
    for n, array in want.items():
        np.testing.assert_array_equal(found[n], array)


MADE = """
program f(x: float[N, 4], c: float[N, 6]) -> (y: float[N, 4], s: float[N]) {
  %w = parameter w : float[6, 4]
  %v = parameter v : float[4, 6]
  %bias = parameter bias : float[6]
  %m = constant mask [[true, false, true, false], [true, true, true, false], [false, false, true, false],
                 [true, true, true, false], [false, false, true, false], [true, false, true, false]] : float[6, 4]
  %k = constant mask [[false, false, true, false, true, false], [true, false, true, false, true, true],
                 [false, false, false, false, false, false], [true, true, true, true, true, true]] : float[4, 6]
  %a = mul(%w, %m)
  %b = mul(%v, %k)
  %at = transpose(%a) {permutation: [1, 0]}
  %bt = transpose(%b) {permutation: [1, 0]}
  %p = mat_mul(%x, %at)
  %q = add(%p, %bias)
  %h = relu(%q)
  %g = add(%h, %c)
  %y = mat_mul(%g, %bt)
  %s = sum(%h) {axes: [1]}
  return y = %y
  return s = %s
}
"""


def test_units_are_sorted_by_degree_and_masks_go() -> None:
    """Hidden units and their bias are stored in one order; only the input, the condition and the result are reordered."""
    graph = parse(MADE)
    result = FuseMasks(blocks=2)(graph)
    shown = printed(result.graph)
    assert not [n for n in result.graph.nodes() if isinstance(n.op, Mul)]
    assert shown.count("gather(") == 3 and shown.count("parameter ") == 5
    assert "parameter bias_packed" in shown
    layout = plan(graph, 2)
    rng = np.random.default_rng(0)
    w = {n: rng.standard_normal(v.type.concrete({})) for n, v in graph.parameters().items()}
    given = {"x": rng.standard_normal((3, 4)), "c": rng.standard_normal((3, 6))}
    want, found = interpret(graph, w, given), interpret(result.graph, layout.packed(w), given)
    for key in want:
        np.testing.assert_allclose(found[key], want[key], rtol=1e-12, atol=1e-12)


def test_small_weights_stay_as_they_are() -> None:
    assert not plan(parse(MADE)) and not FuseMasks()(parse(MADE)).changed


@pytest.mark.parametrize("tied", ["%z = mul(%w, %x)", "%z = mul(%w, %l)\n  %zz = mat_mul(%x, %z)"])
def test_a_weight_with_another_use_is_not_packed(tied: str) -> None:
    page = f"""
program f(x: float[4, 4]) -> (y: float[4, 4], z: float[4, 4]) {{
  %w = parameter w : float[4, 4]
  %m = constant mask [[true, false, false, false], [true, true, false, false],
                      [true, true, true, false], [true, true, true, true]] : float[4, 4]
  %l = constant mask [[true, false, false, true], [true, true, false, false],
                      [true, true, true, false], [true, true, true, true]] : float[4, 4]
  {tied}
  %a = mul(%w, %m)
  %at = transpose(%a) {{permutation: [1, 0]}}
  %y = mat_mul(%x, %at)
  return y = %y
  return z = %z
}}
"""
    assert not plan(parse(page), 2)


def test_where_a_kernel_has_no_dead_tap_in_its_box_the_mask_goes() -> None:
    """Masks of a gated PixelCNN are rectangles of taps; type B has a ragged row, and keeps dead elements in its box."""
    fused, layout = fuse(module("gated_pixelcnn"))
    assert layout.weights and all(live is None for w in layout.weights.values() for live in w.live)
    graph = fused.programs["loss"]
    assert not [n for n in graph.nodes() if isinstance(n.op, Mul) and any(_mask(graph, v) for v in n.inputs)]
    assert {n.op.padding for n in graph.nodes() if isinstance(n.op, Conv)} >= {((1, 0), (1, 1))}
    _, ragged = fuse(module("rgb_pixelcnn"))
    assert ragged.weights and all(w.live != (None,) for w in ragged.weights.values())


def _mask(graph: Graph, value: object) -> bool:
    op = graph.node(value).op  # type: ignore[arg-type]  # a value
    return isinstance(op, Constant) and op.compact


# --- dead elements ---


@pytest.mark.parametrize("kind", sorted({s.kind for s in RULES}))
def test_an_optimiser_that_keeps_zeros_does(kind: str) -> None:
    """Each element is updated by itself: with others it is what it is alone. Zeros stay exactly zero."""
    for spec in [s for s in RULES if s.kind == kind]:
        rng = np.random.default_rng(0)
        graphs = {n: update_rule(spec, (n,)) for n in (6, 2)}
        names = ["weight", "gradient", *(f"slot_{s}" for s in spec.kept)]
        for number in range(1, 5):
            state = {n: rng.standard_normal(6) ** 2 * np.array([0, 1, 1, 0, 1, 1]) for n in names}
            now = {"rate": np.asarray(0.3 / number), "step": np.asarray(number)}
            whole = interpret(graphs[6], {}, state | now)
            part = interpret(graphs[2], {}, {n: a[2:4] for n, a in state.items()} | now)
            for key, array in whole.items():
                np.testing.assert_array_equal(array[[0, 3]], 0)
                np.testing.assert_array_equal(array[2:4], part[key])


def test_an_optimiser_that_does_not_say_so_trains_weights_as_they_are() -> None:
    @dataclass(frozen=True)
    class Normed(Optimizer):
        keyword: ClassVar[str] = "normed"

        def change(
            self, weight: Term, gradient: Term, kept: Mapping[str, Term], now: Moment
        ) -> tuple[Term, dict[str, Term]]:
            return gradient * now.rate, {}

    m = module("made")
    assert (
        fuse(m, Normed(), blocks=2) == (m, fuse(m, Normed(), blocks=2)[1])
        and not fuse(m, Normed(), blocks=2)[1]
    )
    assert fuse(m, Sgd(), blocks=2)[1]


def test_a_module_for_inference_has_weights_in_boxes() -> None:
    m = api.load(path("made"), {"pixels": 32, "hidden": 768})
    w = supported(m, weights(m))
    plain, frozen = optimise(m).module, optimise(m, w)
    assert frozen.weights is not None and "x.net.dense_1.weight_block_0" in frozen.weights
    given = inputs(m, "log_prob", 2)
    want = interpret(plain.programs["log_prob"], w, given)["log_prob"]
    found = interpret(frozen.module.programs["log_prob"], frozen.weights, given)["log_prob"]
    np.testing.assert_allclose(found, want, rtol=1e-9)
    read = frozen.module.programs["log_prob"].parameters()
    assert sum(frozen.weights[n].size for n in read) < 0.85 * sum(a.size for a in w.values())


def test_inspect_tells_what_is_left_of_the_operations() -> None:
    m = module("gated_pixelcnn")
    flops, loss = describe(m)["flops"], m.programs["loss"]
    assert flops["fused"]["total"] == text(cost.work(FuseMasks()(loss).graph).total) != flops["total"]
    assert "x.net.gated.0.conv_1.weight: 64 of 288 elements in one box" in flops["fused"]["weights"]
    assert describe(module("made"))["flops"]["fused"] is None


def test_weights_that_the_loss_writes_are_stored_as_they_are() -> None:
    page = MADE.replace("s: float[N])", "state/bias: float[6])").replace(
        "return s = %s", "return state/bias = %bias"
    )
    assert "bias" not in plan(parse(page), 2).weights


def test_parameters_of_a_fused_module_keep_their_places() -> None:
    m = module("made")
    fused, layout = fuse(m, blocks=2)
    home = {n: w.name for w in layout.weights.values() for n in w.names}
    assert list(dict.fromkeys(home.get(n, n) for n in fused.parameters)) == list(m.parameters)
    used = {n.op.path for g in fused.programs.values() for n in g.nodes() if isinstance(n.op, Parameter)}
    assert used == set(fused.parameters)
