"""`symmetric` is proved only of predictions that are the same, in numbers, for permuted inputs."""

from __future__ import annotations

import numpy as np
import pytest
from written import lowered

from mpcompile.analysis.prove import prove
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.runner.examples import example_inputs, example_weights

SPEC = """model m
input x: real[node: {size}, channel: 3]
input e: binary[node: {size}, other: {size}]
{count}target y: real[{y}channel: 2]
y ~ normal(loc = {net}, scale = 1)
check {{ symmetric(y, node){also} }}
"""
#: Nets that give one vector, by whether they know no order, and the layer that does where they do.
NETS = {
    "x -> dense(2) -> mean(over = node)": "",
    "x -> attention(1, over = node) -> max(over = node) -> dense(2)": "",
    "product(e, x -> rename(node = other), over = other) -> logsumexp(over = node) -> dense(2)": "",
    "(x -> dense(2)) * (e -> sum(over = other)) -> sum(over = node)": "",
    "x -> conv(2, 3, pad = same, over = node) -> mean(over = node)": "conv",
    "x -> gru(2, over = node) -> mean(over = node)": "gru",
    "x -> cumsum(over = node) -> mean(over = node) -> dense(2)": "cumsum",
    "x -> at(node, 0) -> dense(2)": "at",
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("size", ["nodes", "counted", "4"])
def test_what_is_proved_has_no_order(net: str, size: str) -> None:
    """Over a length, one that states how much is real, and a fixed size, whose edges are no symmetric matrix then."""
    count = "condition count: integer(1..nodes)\n" if size == "counted" else ""
    length = "nodes" if count else size
    also = "" if not size.isdigit() else "; symmetric(y, other)"
    module = lowered(SPEC.format(size=length, count=count, y="", net=net, also=also))
    answers = [v for v in prove(module) if v.claim.kind == "symmetric"]
    weights, inputs = example_weights(module), example_inputs(module, "predict", 2, length=4)
    if count:
        inputs["count"] = np.full(2, 3.0)
    order = np.array([2, 0, 1, 3])
    for answer in answers:
        rows, columns = (
            order if size != "4" or answer.claim.axis == n else np.arange(4) for n in ("node", "other")
        )
        moved = {**inputs, "x": inputs["x"][:, rows]}
        if "e" in inputs:  # a net may read no edges
            moved["e"] = inputs["e"][:, rows][:, :, columns]
        found, wanted = (interpret(module.programs["predict"], weights, i)["y"] for i in (moved, inputs))
        same = np.allclose(found, wanted, rtol=1e-9)
        assert answer.status in ("proved", "undecided") and (same or answer.status == "undecided")
        if length == "nodes":
            assert (answer.status == "proved") == (NETS[net] == "")
            assert NETS[net] in answer.reason


def test_a_prediction_of_each_node_moves_with_it_and_claims_name_an_axis() -> None:
    net = "x -> attention(1, over = node) -> dense(2)"
    text = SPEC.format(size="nodes", count="", y="node: nodes, ", net=net, also="")
    assert next(v for v in prove(lowered(text)) if v.claim.kind == "symmetric").status == "proved"
    with pytest.raises(SpecError, match="MP123 `symmetric` is a claim about an axis"):
        lowered(text.replace("(y, node)", "(y)"))
    nowhere = next(
        v for v in prove(lowered(text.replace("(y, node)", "(y, edge)"))) if v.claim.kind == "symmetric"
    )
    assert nowhere.status == "undecided" and "`edge`" in nowhere.reason


def test_an_axis_of_several_sizes_and_one_within_another_are_no_symmetry() -> None:
    """Places of a pair of rows stay in their row, which a permutation of the eight that they become may break."""
    head = "model m\ninput x: real[node: {size}, row: 2]\n"
    tail = "y ~ normal(loc = {net}, scale = 1)\ncheck {{ symmetric(y, node) }}\n"
    for size, more, net, says in (
        ("4", "input z: real[node: 8]\ntarget y: real[1]\n",
         "(x -> merge([row, node], into = node)) + z -> relu -> sum(over = node) -> reshape([1])", "several sizes"),
        ("nodes", "target y: real[place: 2 * nodes]\n", "x -> merge([row, node], into = place)", "more elements"),
    ):  # fmt: skip
        module = lowered(head.format(size=size) + more + tail.format(net=net))
        found = next(v for v in prove(module) if v.claim.kind == "symmetric")
        assert found.status == "undecided" and says in found.reason


SAME = "x -> mean(over = node) -> spread(node, like = x)"


@pytest.mark.parametrize(
    ("size", "y", "net", "says"),
    [
        ("4", "node: 4, ", f"{SAME} -> position(over = node) -> dense(2)", "apart"),
        ("nodes", "node: nodes, ", f"{SAME} -> dense(2) -> sinusoid(over = node)", "apart"),
        ("4", "other: 4, node: 4, ", "e -> rename(node = a) -> rename(other = node) -> rename(a = other) -> dense(2)",
         "another axis"),
    ],
)  # fmt: skip
def test_a_prediction_of_each_node_that_stays_tells_no_nodes_apart(
    size: str, y: str, net: str, says: str
) -> None:
    text = SPEC.format(size=size, count="", y=y, net=net, also="")
    if "other: 4, node" in y:
        text = text.replace("e: binary[node: 4, other: 4]", "e: real[node: 4, other: 4, channel: 1]")
    (found,) = (v for v in prove(lowered(text)) if v.claim.kind == "symmetric")
    assert found.status == "undecided" and says in found.reason


def test_a_mask_of_another_length_does_not_move() -> None:
    """Nodes attend to the real steps of a sequence, whose mask knows no order of nodes."""
    net = "x -> attention(1, to = s)"
    count = "input s: real[time, 2]\ncondition count: integer(1..nodes)\ncondition length: integer(1..time)\n"
    text = SPEC.format(size="nodes", count=count, y="node: nodes, ", net=net, also="; symmetric(y, time)")
    found = [
        v for v in prove(lowered(text.replace("channel: 3", "channel: 2"))) if v.claim.kind == "symmetric"
    ]
    assert [v.status for v in found] == ["proved", "proved"]
