"""Claims that once were undecided, or decided for another model than the declared one; numbers hold every answer."""

import pytest
from judged import judge

from mpcompile.analysis import Status, prove
from mpcompile.analysis.branches import without_branches
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.ir import Module
from mpcompile.lowering import lower

PROVED, REFUTED, HELD, UNDECIDED = Status.PROVED, Status.REFUTED, Status.HELD, Status.UNDECIDED


def module_of(text: str) -> Module:
    return lower(parse_text(f"model m\n{text}"), Source("m.mp", text))


def masked(branch: str) -> str:
    """A masked network beside a branch of a sequence."""
    return (
        "input x: real[2]\ncondition c: real[time, 2]\nmask up = degrees(order = natural, hidden = 8)\n"
        f"x ~ autoregressive(order = natural) {{ dense(8, mask = up) -> add(c -> {branch}) -> tanh"
        " -> dense(4, mask = strict(up)) }\ncheck { complete(x) }\n"
    )


def image(shape: str, chain: str, claim: str) -> str:
    return f"input x: binary[{shape}]\nx ~ autoregressive(order = pixel) {{ {chain} }}\ncheck {{ {claim} }}\n"


def sequence(chain: str, claim: str) -> str:
    return f"input x: real[time, 1]\nx ~ autoregressive {{ {chain} }}\ncheck {{ {claim} }}\n"


def flat(chain: str) -> str:
    return (
        f"input x: real[1, 5, 5]\ntarget y: real[2]\ny ~ normal(x -> {chain} -> flatten -> dense(4))\n"
        "check { no_blind_spot(x) }\n"
    )


def stretched(claim: str) -> str:
    return (
        "input x: real[frames, 1]\ntarget y: real[2 * frames, 1]\n"
        f"y ~ normal(x -> conv1d(1, 2) -> stretch(2) -> conv1d(1, 3, pad = same), 1)\ncheck {{ {claim} }}\n"
    )


def summed(claim: str) -> str:
    """Bounds from above only: the last step, beside a loop."""
    net = "shift(5) -> rnn(2) -> residual(last -> over(time) -> shift(40)) -> dense(2)"
    return (
        f"input x: real[time, 2]\ntarget y: real[time, 2]\ny ~ normal(x -> {net}, 1)\ncheck {{ {claim} }}\n"
    )


SMALL = (
    "conv(3, 5, pad = same, mask = causal2d(type = A)) -> gelu"
    " -> conv(3, 3, pad = same, mask = causal2d(type = B)) -> gelu -> conv(1, 1)"
)
NOTHING = (  # the attention hands on a constant
    "dense(1) -> shift(1) -> residual(conv1d(1, 3, dilation = 4) -> gelu)"
    " -> residual(layer_norm -> attention(1, mask = causal)) -> dense(2)"
)

CASES = {
    "beside a branch": (masked("rnn(2) -> conv1d(2, 2, dilation = 4) -> last -> dense(8)"), PROVED, "every length"),
    "beside a state": (masked("attention(1) -> gru(8, output = state)"), PROVED, "every length"),
    "one element": (
        "input x: real[1]\ncondition c: real[time, 1]\nx ~ autoregressive(order = natural)"
        " { over(time) -> add(c) -> shift(3) -> last -> dense(2) }\ncheck { complete(x) }\n",
        PROVED, "every length",
    ),
    "a branch that is never zero": (masked("dense(8) -> softplus -> last"), HELD, ""),
    "attention ahead beside a loop": (
        sequence("dense(2) -> shift(1) -> gru(2) -> residual(attention(1)) -> dense(2)", "complete(x)"),
        PROVED, "every length",
    ),
    "a loop backwards beside one forwards": (
        sequence("dense(2) -> shift(1) -> lstm(2, bidirectional = true) -> dense(2)", "complete(x)"),
        PROVED, "every length",
    ),
    "attention ahead of a kernel": (
        sequence("dense(2) -> shift(1) -> residual(attention(1)) -> conv1d(2, 2) -> dense(2)", "complete(x)"),
        UNDECIDED, "",
    ),
    "a field as wide as a small image": (image("1, 2, 6", SMALL, "receptive_field(x) < 7"), PROVED, ""),
    "a field that a small image cuts": (image("1, 2, 6", SMALL, "receptive_field(x) >= 7"), REFUTED, ""),
    "places between ends that cancel": (sequence(NOTHING, "receptive_field(x) >= 9"), PROVED, "every length"),
    "no place beyond what cancels": (sequence(NOTHING, "receptive_field(x) > 9"), REFUTED, ""),
    "no path that long to what is stretched": (stretched("path_length(x) >= 12"), REFUTED, ""),
    "nor one that is just so long": (stretched("path_length(x) == 12"), REFUTED, ""),
    "a path that long to what is stretched": (stretched("path_length(x) >= 2"), PROVED, "every length"),
    "places that are read behind the last step": (summed("receptive_field(x) > 16"), PROVED, "every length"),
    "more places than claimed behind it": (summed("receptive_field(x) == 3"), REFUTED, ""),
    "fewer places than claimed, of which some cancel": (
        sequence("conv1d(2, 5) as p -> (2 * p - p - p) -> dense(2)", "receptive_field(x) == 99"), REFUTED, "",
    ),
    "nothing before its own place is no hole": (
        sequence("dense(2) -> layer_norm -> dense(2)", "no_blind_spot(x)"), PROVED, "every length",
    ),
    "paths to what is stretched join no two places": (
        stretched("path_length(x) <= 3"), UNDECIDED, "does not give one result for each place",
    ),
    "what is only known from above": (
        "input x: real[time, 1]\ntarget y: real[time, 1]\ny ~ normal(x -> last -> over(time) -> tanh, 1)\n"
        "check { receptive_field(x) == 3 }\n", UNDECIDED, "",
    ),
    "an output without a place": (flat("conv(2, 1) -> avgpool(2)"), PROVED, "the declared sizes"),
    "a hole between strides": (flat("conv(2, 1, stride = 2)"), REFUTED, ""),
    "attention to all, behind a shift": (
        sequence("dense(1) -> shift(1) -> attention(1) -> shift(5) -> dense(2)", "no_blind_spot(x)"),
        PROVED, "every length",
    ),
    "the last step has no hole": (
        sequence("dense(1) -> shift(1) -> conv1d(2, 3) -> last -> over(time) -> dense(2)", "no_blind_spot(x)"), HELD, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_the_one_that_numbers_give(name: str) -> None:
    text, status, scope = CASES[name]
    module = module_of(text)
    verdict = next(v for v in prove(module) if v.claim.kind in text.split("check")[1])
    assert verdict.status is status, verdict.how
    assert scope in verdict.how
    assert not judge(module, verdict)


def test_what_joins_only_beyond_the_lengths_that_were_measured_is_not_denied() -> None:
    """The shifts are longer than the measured lengths, at which nothing is joined; the offsets know better."""
    chain = "dense(2) -> shift(40) -> shift(31) -> conv1d(2, 3) -> dense(2)"
    for claim, said in (("path_length(x) > 3", "no offset takes 4"), ("path_length(x) >= 1", "")):
        verdict = next(v for v in prove(module_of(sequence(chain, claim))) if v.claim.kind == "path_length")
        assert said in str(verdict.diagnostics), verdict.how
        assert "any two positions" not in str(verdict.diagnostics)


def test_a_branch_is_left_out_only_where_it_can_be_zero() -> None:
    """Not where the variable goes through values of symbolic length, nor where constants stand in the branch."""
    for branch in ("last -> dense(8)", "gru(8, output = state)", "conv1d(3, 2) -> tanh -> last -> dense(8)"):
        graph = module_of(masked(branch)).programs["conditionals"]
        cut = without_branches(graph, "x")
        assert cut is not None
        assert not any(
            v.shape[1:] and "time" in str(v.shape) for n in cut.nodes() if n.inputs for v in n.inputs
        )
    for branch in ("dense(8) -> softplus -> last", "dense(8) -> sigmoid -> last"):
        assert without_branches(module_of(masked(branch)).programs["conditionals"], "x") is None
