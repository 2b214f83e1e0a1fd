"""A model of a few layers answers for one of many: only where it proves, and with the words of the whole.

`test_regions` asks both of every spec.
"""

from __future__ import annotations

from unittest.mock import patch

import pytest
from layered import LAYERED, answers, flat, lowered, mean
from specs_under_test import ROOT

from mpcompile import api
from mpcompile.analysis.few import MOST, few_layers, neutral
from mpcompile.analysis.mixing import mixing_sets
from mpcompile.analysis.paths import distances, positions_of
from mpcompile.analysis.prove import prove
from mpcompile.ir import Graph, Programs, Unsettled

SEQUENCE = "model m\ninput x: category(5)[time]\nx ~ autoregressive(likelihood = categorical) {{ {} }}\n"


def sequence(body: str, check: str = "") -> str:
    return SEQUENCE.format(f"embedding(4) -> {body} -> dense(5)") + check


COMPLETE = "check { complete(x) }\n"
PATHS = "check {{ path_length(x) {} }}\n"
ALL = "check { complete(x); path_length(x) <= 1; receptive_field(x) >= 4; no_blind_spot(x) }\n"
ATTENTION = "residual(layer_norm -> attention(2, mask = causal))"
SHIFTED = " -> ".join(5 * ["shift"])
#: Models on which something first shows, or would show, in a later iteration than those that are looked at.
LATE = {
    "reads ahead after five": sequence(f"{SHIFTED} -> repeat i in 1..7 {{ conv1d(4, 3, pad = same) -> tanh }}"),
    "complete after seven": sequence("shift -> repeat i in 1..7 { conv1d(4, 2) -> tanh }", COMPLETE),
    "normalised": sequence(f"shift -> repeat i in 1..4 {{ {ATTENTION} }}", ALL),
    "attention without a residual": sequence("shift -> repeat i in 1..7 { attention(2, mask = causal) }", COMPLETE),
    "a causal mask is missing": sequence("shift -> repeat i in 1..7 { residual(attention(2)) }"),
    "no shift": sequence("repeat i in 1..7 { residual(attention(2, mask = causal)) }"),
    "affine layers": mean("repeat i in 1..7 { dense(4) }"),
    "the last layer is affine": mean("repeat i in 1..7 { dense(4) -> tanh -> dense(4) }"),
    "paths that grow": sequence("shift -> repeat i in 1..4 { attention(2, mask = causal) }", PATHS.format("<= 3")),
    "a field that grows": sequence(
        "shift -> repeat i in 1..6 { conv1d(4, 2) -> tanh }",
        "check { receptive_field(x) <= 5; no_blind_spot(x) }\n",
    ),
    "lengths": sequence(f"shift -> repeat i in 1..7 {{ {ATTENTION} }}", COMPLETE).replace(
        "[time]\n", "[time]\ncondition x_length: integer(1..time)\n"
    ),
    "one channel": mean("dense(1) -> repeat i in 1..7 { layer_norm -> dense(1) -> tanh } -> dense(4)"),
}  # fmt: skip


@pytest.mark.parametrize(
    "text", [*LATE.values(), *(t for t, _, _ in LAYERED.values())], ids=[*LATE, *LAYERED]
)
def test_what_shows_late_is_seen(text: str) -> None:
    assert answers(lowered(text)) == answers(flat(text))


def test_a_bound_that_still_changes_is_not_taken_for_that_of_the_whole() -> None:
    """Without `Graph.settle` the first of these would be proved from its first iterations, and it leaks."""
    text = LATE["reads ahead after five"]
    assert not all(v.status.accepted for v in prove(lowered(text)))
    with patch.object(Graph, "settle", lambda graph, same, bodies=True: None):
        assert all(v.status.accepted for v in prove(lowered(text)))


def test_what_is_proved_of_a_few_layers_unrolls_nothing() -> None:
    path = ROOT / "specs" / "transformer.mp"
    with patch.object(Programs, "__getitem__", side_effect=AssertionError("unrolled")):
        module = api.load(path, {"layers": 12})
        assert all(v.status.accepted for v in prove(module))
        assert not api.warnings(module)


def few(body: str) -> Graph:
    module = few_layers(lowered(mean(body)))
    assert module is not None
    return module.programs["predict"]


@pytest.mark.parametrize(
    ("body", "gives_back"),
    [
        ("residual(dense(8) -> tanh -> dense(4))", True),
        ("residual(layer_norm -> dense(4) -> relu)", True),
        ("residual(layer_norm -> attention(2, mask = causal))", True),
        ("dense(4) -> tanh", False),
        ("residual(sigmoid)", False),
        ("residual(dense(4) -> sigmoid)", False),
        ("residual(dense(4)) -> layer_norm", False),
    ],
)
def test_an_iteration_gives_back_what_it_is_given_where_its_weights_are_zero(
    body: str, gives_back: bool
) -> None:
    assert neutral(few(f"repeat i in 1..{MOST + 1} {{ {body} }}"), {"N": 1, "time": 5}) is gives_back


def test_an_analysis_that_does_not_settle_is_told() -> None:
    graph = few("repeat i in 1..9 { dense(4) -> tanh }")
    assert [cut.left for cut in graph.cuts] == [9 - MOST]
    with pytest.raises(Unsettled):
        graph.uncut()
    seen: list[bool] = []
    graph.settle(lambda before, after: seen.append(before != after) or True)
    assert seen == [True]
    grows, sizes = few("repeat i in 1..9 { conv1d(4, 2) -> tanh }"), {"N": 1, "time": 8}
    with pytest.raises(Unsettled):
        distances(grows, "x", sizes, positions_of(grows, "x", sizes))
    with pytest.raises(Unsettled):
        mixing_sets(grows, "x", 9)
    for copy in (graph.live(), graph.rebuild(lambda b, node, inputs: None), graph.fork("other")):
        assert [cut.left for cut in copy.cuts] == [9 - MOST]
        assert all(v in copy for cut in copy.cuts for pair in cut.ends for v in pair)
