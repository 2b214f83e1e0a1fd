"""Graphs of one form are judged once: what holds whatever the weights are holds of all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpcompile import api, ops
from mpcompile.analysis.claims import jacobian as rule
from mpcompile.analysis.verdict import Status
from mpcompile.bijectors import BIJECTORS, Bijector
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.ir import Builder, FlowStep, Graph, Module, Parameter, float_type, symbol
from mpcompile.ir.same import form
from mpcompile.lowering import lower

SPEC = """model m
input x: real[4]
x ~ flow(base = normal) { repeat i in 1..6 { coupling(mask = checkerboard(parity = i % 2), net = dense(3) -> relu) } }
"""


def flow() -> Module:
    return lower(parse_text(SPEC, "m.mp", "mp"), Source("m.mp", SPEC))


def mixed(name: str) -> FlowStep:
    """A matrix product that counts no determinant."""
    b = Builder(Graph(name))
    x, _ = (b.input(n, float_type(symbol("N"), 4)) for n in ("x", "seen"))
    w = b.emit(Parameter(f"{name}.w", float_type(4, 4)))
    b.graph.outputs = {"y": b.emit(ops.MatMul(), x, w), "log_det": b.emit(ops.Sum((1,), False), x)}
    first = flow().flow_steps["x"][0]
    return replace(first, name=name, graph=b.graph)


def test_names_of_weights_are_no_part_of_a_form_and_masks_are() -> None:
    steps = flow().flow_steps["x"]
    forms = [form(p.graph) for p in steps]
    assert len({p.name for p in steps}) == 6 and len(set(forms)) == 2
    assert forms[0] == forms[2] == forms[4] != forms[1] == forms[3] == forms[5]


def test_a_shared_weight_is_another_form_than_two() -> None:
    def product(*paths: str) -> Graph:
        b = Builder(Graph("g"))
        weights = [b.emit(Parameter(p, float_type(2, 2))) for p in paths]
        b.graph.outputs["y"] = b.emit(ops.MatMul(), *weights)
        return b.graph

    assert form(product("a", "b")) == form(product("c", "d")) != form(product("a", "a"))


def test_every_faulty_map_is_named_and_each_form_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    m, judged = flow(), list[str]()
    good = m.flow_steps["x"]
    m.flow_steps["x"] = [good[0], mixed("first"), *good[1:], mixed("second")]
    judge = rule._judged  # type: ignore[attr-defined]  # the module, not the rule of its name
    monkeypatch.setattr(rule, "_judged", lambda p, sizes: judged.append(p.name) or judge(p, sizes))
    (verdict,) = (v for v in api.verdicts(m) if v.claim.kind == "jacobian")
    assert verdict.status is Status.REFUTED
    assert [d.message.split()[3] for d in verdict.diagnostics] == ["first", "second"]
    assert len(judged) == 4


def test_a_map_that_scores_otherwise_says_that_it_draws() -> None:
    """Else `forward` would be taken for a part of `log_prob`."""
    for kind in BIJECTORS.values():
        assert kind.score is Bijector.score or kind.draws is not Bijector.draws, kind
