"""Verdicts against runs in float64: a slice of `tests/fuzz/verdicts.py`, and what it found once."""

from __future__ import annotations

import pytest
from claimed_specs import claimed
from judged import independent, judge, padding

from mpcompile.analysis import Status, Verdict, prove
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.ir import Module
from mpcompile.lowering import lower


def lowered(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def answered(text: str) -> tuple[Module, Verdict]:
    """The verdict on the last claim that is stated."""
    m = lowered(f"model m\n{text}")
    return m, [v for v in prove(m) if v.claim.stated][-1]


@pytest.mark.parametrize("n", range(14))
def test_random_verdicts_agree_with_numbers(n: int) -> None:
    text = claimed(1, n)
    try:
        m = lowered(text)
    except SpecError:
        return
    for verdict in prove(m):
        assert judge(m, verdict) == [], f"{text}{verdict.how}"
    assert [*independent(m), *padding(m)] == [], text


MAP = "input x: real[time, {d}]\ntarget y: {y}\ny ~ normal(x -> {net}, 1)\ncheck {{ {claim} }}\n"
SERIES = "input x: real[time, 1]\nx ~ autoregressive {{ {net} -> dense(2) }}\ncheck {{ {claim} }}\n"
LAST = "gru(3, output = state)"


@pytest.mark.parametrize(
    ("claim", "status"),
    [
        ("path_length(x) <= 63", "refuted"),
        ("path_length(x) > 16", "proved"),
        ("path_length(x) <= 3", "refuted"),
    ],
)
@pytest.mark.parametrize(("end", "y"), [("", "real[3]"), (" -> over(time) -> dense(3)", "real[time, 3]")])
def test_the_first_step_of_a_loop_is_as_far_as_the_sequence_is_long(
    claim: str, status: str, end: str, y: str
) -> None:
    m, verdict = answered(MAP.format(d=3, y=y, net=LAST + end, claim=claim))
    assert str(verdict.status) == status, verdict.how
    assert judge(m, verdict) == []


@pytest.mark.parametrize(
    "claim", ["receptive_field(x) <= 5", "receptive_field(x) < 12", "receptive_field(x) == 12"]
)
@pytest.mark.parametrize(
    "net",
    ["gru(1) as p -> (p - p) -> dense(1)", "dense(1) as p -> (p + ((p - p) -> attention(1, mask = causal)))"],
)
def test_an_upper_bound_of_a_receptive_field_refutes_nothing_that_cancels(net: str, claim: str) -> None:
    m, verdict = answered(MAP.format(d=1, y="real[time, 1]", net=net, claim=claim))
    assert verdict.status is Status.UNDECIDED and "cancel" in verdict.how
    assert judge(m, verdict) == []


def test_an_upper_bound_of_a_receptive_field_refutes_what_is_read() -> None:
    for net, claim in (
        ("shift(9) -> rnn(3)", "<= 20"),
        ("gru(3)", "< 12"),
        ("shift -> conv1d(3, 4)", "<= 3"),
    ):
        _, verdict = answered(SERIES.format(net=net, claim=f"receptive_field(x) {claim}"))
        assert verdict.status is Status.REFUTED, verdict.how


def test_what_the_ends_of_a_sequence_cut_off_does_not_cancel() -> None:
    """A shift by five leaves the last five places unread, whatever loops follow."""
    net = "shift(5) -> rnn(3) -> residual(lstm(2, bidirectional = true) -> dense(3))"
    for claim in ("no_blind_spot(x)", "receptive_field(x) >= 4"):
        m, verdict = answered(SERIES.format(net=net, claim=claim))
        assert verdict.status is not Status.REFUTED, verdict.how
        assert judge(m, verdict) == []


@pytest.mark.parametrize(
    "claim", ["no_blind_spot(x)", "receptive_field(x) >= 4", "complete(x)", "path_length(x) >= 5"]
)
def test_what_does_not_read_the_variable_needs_no_rule(claim: str) -> None:
    text = "input x: real[time, 1]\ncondition q: real[frames, 2]\ncondition s: real[time, 1]\nx ~ autoregressive {{\n"
    text += "  shift -> gru(2) -> add(q -> gru(2, output = state) -> over(time)) -> add(s -> gru(2)) -> dense(2)\n}}\n"
    _, verdict = answered((text + "check {{ {claim} }}\n").format(claim=claim))
    assert verdict.status is Status.PROVED and str(verdict.scope) == "every length", verdict.how


def test_what_reads_nothing_at_a_length_has_no_blind_spot_there() -> None:
    text = (
        "input x: real[time, 1]\nx ~ autoregressive {\n  shift(9)"
        " -> residual(last -> over(time) -> rnn(1)) -> dense(2)\n}\n"
    )
    _, verdict = answered(text + "check { no_blind_spot(x) }\n")
    assert verdict.at.get("time") != 8


def test_a_place_that_shows_at_a_shorter_length_alone_does_not_cancel() -> None:
    net = "residual(dense(2) -> last -> over(time)) -> dense(2)"
    text = MAP.format(d=2, y="real[time, 2]", net=net, claim="receptive_field(x) >= 5")
    m, verdict = answered(text.replace("target", "condition length: integer(1..time)\ntarget"))
    assert verdict.status is Status.PROVED, verdict.how
    assert judge(m, verdict) == []


@pytest.mark.parametrize("activation", ["sigmoid", "tanh -> layer_norm"])
def test_an_image_too_small_for_the_field_has_less(activation: str) -> None:
    """A kernel is five places wide in the rows above alone, and an image of one row has none: three places are read."""
    text = (
        "input x: binary[1, {}, 12]\nx ~ autoregressive(order = pixel) {{\n"
        "  conv(3, 5, pad = same, mask = causal2d(type = A)) -> {}\n"
        "    -> conv(3, 3, pad = same, mask = causal2d(type = B)) -> conv(1, 1)\n}}\n"
        "check {{ receptive_field(x) >= 7 }}\n"
    )
    for rows, status in ((1, Status.REFUTED), (12, Status.PROVED)):
        m, verdict = answered(text.format(rows, activation))
        assert verdict.status is status, verdict.how
        assert judge(m, verdict) == []
