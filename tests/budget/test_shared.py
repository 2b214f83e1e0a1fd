"""Repeated layers are not asked again what they make of the facts that they made before."""

from __future__ import annotations

import numpy as np
import pytest

from mpcompile.analysis import dependence
from mpcompile.analysis.dependence import interpret
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.ir import Graph, availability
from mpcompile.lowering import lower
from mpcompile.ops import Softmax

STEPS = 160  # more than `SMALL` bytes of facts between queries and keys


def attentions(layers: int) -> Graph:
    text = (
        f"model m\ninput x: category(4)[time: {STEPS}]\n"
        "x ~ autoregressive(likelihood = categorical) { embedding(4) -> shift"
        f" -> repeat i in 1..{layers} {{ residual(attention(2, mask = causal)) }} -> dense(4) }}\n"
    )
    return lower(parse_text(text), Source("m.mp", text)).programs["conditionals"]


def asked(layers: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many times the rule of softmax runs for availability."""
    count, rule = [0], Softmax.flow

    def counting(self: Softmax, *given: object) -> object:
        count[0] += 1
        return rule(self, *given)  # type: ignore[arg-type]

    graph = attentions(layers)
    monkeypatch.setattr(Softmax, "flow", counting)
    interpret(graph, availability(), {"x": np.arange(1, STEPS + 1, dtype=np.int32)[None, :, None]}, {"N": 1})
    monkeypatch.undo()
    return count[0]


def test_rules_run_as_often_for_many_layers_as_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(2, monkeypatch) == asked(12, monkeypatch) <= 2


@pytest.mark.parametrize("held", [0, dependence.HELD])
def test_shared_facts_are_those_of_each_rule(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependence, "HELD", held)
    graph, seed = attentions(3), np.arange(1, STEPS + 1, dtype=np.int32)[None, :, None]
    kept = set(graph.outputs.values())
    some = interpret(graph, availability(), {"x": seed}, {"N": 1}, kept)
    every = interpret(graph, availability(), {"x": seed}, {"N": 1})
    assert set(some) == kept and len(every) > len(kept)
    for value in kept:
        np.testing.assert_array_equal(some[value].full(), every[value].full())
        # `shift` leaves what comes before to every step
        np.testing.assert_array_equal(some[value].full()[0, :, 0, 0], np.arange(STEPS))
