"""Normalisations of one element are constants in every analysis, and the program with them is the same function."""

from __future__ import annotations

import numpy as np
import pytest
from judged import judge
from numeric_reading import Reads, inputs, weights

from mpcompile.analysis import prove
from mpcompile.analysis.constants import folded, without_constants
from mpcompile.analysis.stencils import offset_sets
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.lowering import lower

SERIES = "model m\ninput x: real[time, 1]\n{head}x ~ autoregressive {{ dense(1) -> {net} -> dense(2) }}\n"
CONSTANT = ("layer_norm", "layer_norm -> conv1d(1, 3) -> gru(1)")


def lowered(net: str, claims: str = "", head: str = "") -> Module:
    text = SERIES.format(net=net, head=head) + (f"check {{ {claims} }}\n" if claims else "")
    return lower(parse_text(text), Source("m.mp", text))


@pytest.mark.parametrize("net", CONSTANT)
def test_a_norm_of_one_element_is_a_constant_of_the_same_value(net: str) -> None:
    module = lowered(f"shift -> residual({net})")
    plain, sizes = without_constants(module), {"time": 3}
    for name, graph in module.programs.items():
        given, own = inputs(module, graph, sizes, 1), weights(module, 1)
        before, after = interpret(graph, own, given), interpret(plain.programs[name], own, given)
        assert all(np.allclose(before[k], after[k], atol=1e-12) for k in before)


@pytest.mark.parametrize("net", CONSTANT)
def test_nothing_passes_a_constant_and_everything_a_norm_of_more(net: str) -> None:
    module = lowered(net)
    name, graph = next((k, g) for k, g in module.programs.items() if "loc" in g.outputs)
    assert not any(y.any() for y in Reads(module, graph, "x").at({"time": 3}).outputs.values())
    plain = folded(graph)
    sets = offset_sets(plain, "x")
    assert not any(r.cell.facts.any() for v in plain.outputs.values() for r in sets.of(v).regions), name
    whole = lowered("dense(2) -> layer_norm").programs[name]
    assert folded(whole) is whole


@pytest.mark.parametrize(
    ("net", "claims", "statuses"),
    [
        ("shift -> residual(layer_norm -> shift(3))", "no_blind_spot(x)", ["proved", "proved"]),
        ("shift -> residual(layer_norm -> attention(1, mask = causal))", "no_blind_spot(x)", ["proved", "proved"]),
        ("shift -> layer_norm -> gru(1)", "receptive_field(x) >= 2", ["proved", "refuted"]),
        ("layer_norm -> conv1d(1, 3) -> tanh", "complete(x)", ["proved", "refuted"]),
        ("shift -> residual(layer_norm -> gru(1))", "path_length(x) <= 3", ["proved", "refuted"]),
    ],
)  # fmt: skip
def test_claims_are_decided_without_what_is_constant(net: str, claims: str, statuses: list[str]) -> None:
    module = lowered(net, claims)
    verdicts = [v for v in prove(module) if v.claim.kind != "independent"]
    assert [str(v.status) for v in verdicts] == statuses, [v.how for v in verdicts]
    assert not [w for v in verdicts for w in judge(module, v)]
    for v in verdicts:
        assert all("`layer_norm` takes mean and variance over one element" in d.help for d in v.diagnostics)
