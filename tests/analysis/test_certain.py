"""Claims that something is read: `complete`, `no_blind_spot`, `receptive_field >= n`, and what cancels."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.analysis import prove
from mpcompile.analysis.certain import SHORTER
from mpcompile.analysis.certain import _lengths as lengths
from mpcompile.analysis.certain import _more as more
from mpcompile.analysis.claims.complete import complete
from mpcompile.analysis.onesided import two_sided
from mpcompile.analysis.rising import _positive as may_be_positive
from mpcompile.analysis.rising import rises
from mpcompile.analysis.stencils import offset_sets
from mpcompile.analysis.verdict import Verdict
from mpcompile.ir import Module

SERIES = "input x: real[time, 1]\nx ~ autoregressive(likelihood = normal) {{ {} -> dense(2) }}\n"
WORDS = "input x: category(4)[time]\nx ~ autoregressive(likelihood = categorical) {{ embedding(4) -> {} -> dense(4) }}\n"
BITS = (
    "input x: binary[6]\nmask up = degrees(order = natural)\nx ~ autoregressive(order = natural) {{ {} }}\n"
)
FLOW = "input x: real[4]\nx ~ flow(base = normal) {{ {} }}\n"
GRU = "shift -> gru(4)"
TWO_SIDED = "shift -> residual(shift -> conv1d(4, 3, pad = same)) -> gru(4)"
MADE = "dense(24, mask = up) -> {} -> dense(6, mask = strict(up))"
CONVS = SERIES.format("shift -> conv1d(4, 5) -> layer_norm -> conv1d(4, 3) -> tanh")
HOLES = SERIES.format("shift -> conv1d(4, 2) -> layer_norm -> conv1d(4, 2, dilation = 3) -> tanh")
CONSTANT = SERIES.format("shift -> layer_norm -> conv1d(4, 5) -> tanh")
IMAGE = "input x: real[1, 8, 8]\ntarget y: real[2]\ny ~ normal(x -> conv(4, 3) -> relu -> flatten -> dense(2), 1)\n"
DOTS = "input x: real[4, 1, 1]\ntarget y: real[2]\ny ~ normal(x -> instance_norm -> flatten -> dense(2), 1)\n"
#: A coupling of a mask.
COUPLE = "coupling(mask = {}, net = dense(4) -> tanh)"
EVEN, ODD = COUPLE.format("[1, 0, 1, 0]"), COUPLE.format("[0, 1, 0, 1]")
CHEAP = "nothing on the way is subtracted"


def load(folder: Path, text: str) -> Module:
    path = folder / "m.mp"
    path.write_text(f"model m\n{text}", encoding="utf-8")
    return api.load(path)


def answer(folder: Path, text: str, claim: str) -> Verdict:
    """The answer to one claim of a model."""
    (verdict,) = (
        v
        for v in prove(load(folder, f"{text}check {{ {claim} }}\n"))
        if claim.startswith(v.claim.kind) and v.claim.stated
    )
    return verdict


#: (law, status, sizes of the counterexample or what the proof covers, words of the finding or of the method)
COMPLETE = [
    (SERIES.format(GRU), "proved", "every length", "no cancellation at time = 2, 8"),
    (SERIES.format("shift -> dense(4) -> layer_norm -> lstm(4)"), "proved", "every length", "no cancellation"),
    (WORDS.format("shift -> attention(1, mask = causal)"), "proved", "every length", "no cancellation"),
    (WORDS.format("shift -> conv1d(8, 9) -> tanh"), "refuted", {"time": 11}, "x[10] never sees x[0]"),
    (WORDS.format("shift -> conv1d(8, 2, dilation = 40) -> tanh"), "refuted", {"time": 3}, "x[2] never sees x[0]"),
    (WORDS.format("shift(5) -> gru(4)"), "refuted", {"time": 2}, "x[1] never sees x[0]"),
    (SERIES.format("shift -> layer_norm -> lstm(4)"), "refuted", {"time": 2}, "`layer_norm` takes mean and variance"),
    (SERIES.format("shift -> gru(4) as p -> (p - p)"), "refuted", {"time": 2}, "v - v of one value v"),
    (SERIES.format("shift -> gru(4) as p -> (p / p)"), "refuted", {"time": 2}, "v / v of one value v"),
    (SERIES.format("shift -> gru(4) -> dense(1) -> layer_norm"), "refuted", {"time": 2}, "constant of it"),
    (SERIES.format("shift(2) -> conv1d(4, 3, pad = same) -> gru(4)"), "refuted", {"time": 2}, "x[1, 0] never sees"),
    (WORDS.format(TWO_SIDED), "proved", "every length", "with weights at which what reads ahead adds zero"),
    ("input x: binary[time, 64]\nx ~ autoregressive { shift -> conv1d(64, 100) }\n", "refuted", {"time": 102},
     "x[101, 0] never sees x[0, 0]"),  # more elements than are looked up in sets
    (SERIES.format("shift -> rnn(4) -> residual(last -> over(time) -> shift)"), "undecided", None,
     "known from above only"),
    (BITS.format(MADE.format("relu")), "proved", "the declared sizes", CHEAP),
    (BITS.format(MADE.format("tanh")), "proved", "the declared sizes", CHEAP),
    (BITS.format(MADE.format("gelu")), "proved", "the declared sizes", ""),
    (BITS.format(MADE.format("leaky_relu")), "proved", "the declared sizes", "modulo"),
    (BITS.format("dense(2, mask = up) -> relu -> dense(6, mask = strict(up))"), "refuted", {}, "never sees"),
    (FLOW.format(f"{EVEN} -> {ODD} -> {EVEN}"), "proved", "the declared sizes", ""),
    (FLOW.format(EVEN), "refuted", {}, "latent z[0] never sees x[1]"),
    (FLOW.format("conv1x1"), "proved", "the declared sizes", ""),
    (FLOW.format("autoregressive(hidden = [16])"), "refuted", {}, "latent z[0] never sees x[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "status", "sizes", "words"), COMPLETE)
def test_complete(tmp_path: Path, text: str, status: str, sizes: object, words: str) -> None:
    found = answer(tmp_path, text, "complete(x)")
    said = " ".join([found.how, *(f"{d.message} {d.help}" for d in found.diagnostics)])
    assert found.status == status and words in said, said
    if status == "proved":
        assert str(found.scope) == sizes
    elif status == "refuted":
        assert {k: n for k, n in found.at.items() if k != "N"} == sizes
        assert [d.code for d in found.diagnostics] == ["MP302"]


def test_a_refutation_names_the_shortest_length(tmp_path: Path) -> None:
    """One step shorter, nothing is missing: by sets of inputs, for every kernel and dilation."""
    from mpcompile.analysis.certain import short
    from mpcompile.analysis.claims.complete import _missing, _ranks

    for kernel, dilation, shift in ((2, 1, 1), (9, 1, 1), (3, 2, 1), (2, 1, 3), (20, 1, 1)):
        layer = f"shift({shift}) -> conv1d(4, {kernel}, dilation = {dilation}) -> tanh"
        m = load(tmp_path, WORDS.format(layer) + "check { complete(x) }\n")
        claim = next(c for c in m.claims if c.kind == "complete")
        found, graph = complete(m, claim), m.programs[claim.program]
        length = found.at["time"]
        counts = []
        for n in (length - 1, length):
            env = short(graph, "x", n)
            counts.append(_missing(graph, claim, env, _ranks(graph, claim, env)).count)
        assert counts[0] == 0 and counts[1] > 0, (layer, length, counts)


FIELDS = [
    (CONSTANT, "receptive_field(x) >= 5", "refuted", "MP303"),
    (CONSTANT, "no_blind_spot(x)", "refuted", "MP305"),
    (CONVS, "receptive_field(x) >= 7", "proved", "both ends are read"),
    (CONVS, "receptive_field(x) == 7", "proved", "both ends are read"),
    (CONVS, "receptive_field(x) >= 8", "refuted", "MP303"),
    (CONVS, "no_blind_spot(x)", "proved", "no cancellation at one place"),
    (HOLES, "no_blind_spot(x)", "refuted", "MP305"),
    (SERIES.format(GRU), "receptive_field(x) >= 40", "proved", "both ends are read at time ="),
    (SERIES.format("shift -> dense(1) -> layer_norm -> gru(4)"), "receptive_field(x) >= 4", "refuted", "MP303"),
    (WORDS.format("shift -> conv1d(4, 2) -> conv1d(4, 2, dilation = 2)"), "receptive_field(x) >= 4", "proved", CHEAP),
    (IMAGE, "receptive_field(x) >= 8", "proved", "sets of inputs"),
    (DOTS, "receptive_field(x) >= 1", "refuted", "MP303"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "claim", "status", "words"), FIELDS)
def test_receptive_fields_and_blind_spots(
    tmp_path: Path, text: str, claim: str, status: str, words: str
) -> None:
    found = answer(tmp_path, text, claim)
    said = " ".join([found.how, *(f"{d.code} {d.message} {d.help}" for d in found.diagnostics)])
    assert found.status == status and words in said, said


@pytest.mark.parametrize("kernel", [3, 20, 40])
def test_a_cancellation_far_away_is_found(tmp_path: Path, kernel: int) -> None:
    """A window that is there, and all that lies before it through g - g: each length up to the window hides it."""
    text = WORDS.format(f"shift as s -> gru(4) as g -> ((s -> conv1d(4, {kernel})) + (g - g))")
    found = answer(tmp_path, text, "complete(x)")
    assert found.status == "refuted" and found.at["time"] > kernel
    assert "v - v" in found.diagnostics[0].help


def test_a_horizon_beyond_what_is_run_is_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpcompile.analysis.certain.LONGEST", 16)
    text = WORDS.format("shift as s -> gru(4) as g -> ((s -> conv1d(4, 40)) + (g - g))")
    found = answer(tmp_path, text, "complete(x)")
    assert found.status == "undecided" and "to show" in found.reason


def test_one_hole_that_cancels_is_a_blind_spot(tmp_path: Path) -> None:
    """Of a window of four, one offset is read through a difference of a value with itself alone."""
    layers = (
        "shift as s -> shift(2) as far -> ((s -> conv1d(4, 2)) + ((far -> conv1d(4, 2)) * 1) + (far - far))"
    )
    assert answer(tmp_path, WORDS.format(layers), "no_blind_spot(x)").status == "proved"
    end = "shift as s -> shift(2) as far -> ((s -> conv1d(4, 2)) + (far - far))"  # nothing is read beyond it
    assert answer(tmp_path, WORDS.format(end), "no_blind_spot(x)").status == "proved"
    layers = "shift as s -> shift(2) as far -> shift as end -> ((s -> conv1d(4, 2)) + (far - far) + end)"
    found = answer(tmp_path, WORDS.format(layers), "no_blind_spot(x)")
    assert found.status == "refuted" and found.diagnostics[0].code == "MP305"


def test_a_condition_of_fixed_length_does_not_hide_a_gap(tmp_path: Path) -> None:
    """A blind spot of a dilated convolution beside a recurrent summary of another variable."""
    text = (
        "condition q: category(4)[time: 5]\ntarget y: category(4)[time]\ny ~ autoregressive(likelihood = categorical) {"
        " embedding(4) -> shift -> conv1d(4, 2, dilation = 9)"
        " -> add(q -> embedding(4) -> gru(4, output = state) -> over(time)) -> dense(4) }\n"
    )
    assert answer(tmp_path, text, "no_blind_spot(y)").status != "proved"
    assert answer(tmp_path, text, "complete(y)").status == "refuted"


# --- the parts ---


@pytest.mark.parametrize(
    ("layers", "ahead"),
    [
        ("shift -> conv1d(4, 3) -> tanh -> gru(4)", None),
        ("shift -> attention(1, mask = causal)", None),
        ("shift(2) -> conv1d(4, 3, pad = same)", "conv"),
        ("shift -> lstm(4, bidirectional = true)", "scan"),
        (TWO_SIDED, "conv"),
    ],
)
def test_one_sidedness(tmp_path: Path, layers: str, ahead: str | None) -> None:
    m = load(tmp_path, WORDS.format(layers))
    graph = m.programs["conditionals"]
    node = two_sided(graph, offset_sets(graph, "x"))
    assert (node and node.op.name) == ahead


@pytest.mark.parametrize(
    ("layers", "grows"),
    [
        ("dense(8, mask = up) -> relu -> dense(6, mask = strict(up))", True),
        ("dense(8, mask = up) -> sigmoid -> dense(6, mask = strict(up))", True),
        ("dense(8, mask = up) -> relu as h -> (0 - h) -> dense(6, mask = strict(up))", False),
        ("dense(8, mask = up) -> relu as h -> (h * (0 - 2)) -> dense(6, mask = strict(up))", False),
        ("dense(8, mask = up) -> relu as h -> (h - h) -> dense(6, mask = strict(up))", False),
        ("dense(8, mask = up) -> layer_norm -> dense(6, mask = strict(up))", False),
    ],
)
def test_what_is_subtracted_has_no_cheap_proof(tmp_path: Path, layers: str, grows: bool) -> None:
    m = load(tmp_path, BITS.format(layers))
    assert rises(m, m.programs["conditionals"], "x") == grows


def test_many_elements_take_little(tmp_path: Path) -> None:
    """4096 binary elements: a cheap answer, or none; never a matrix of all pairs of numbers."""
    text = (
        "input x: binary[4096]\nmask up = degrees(order = natural)\nx ~ autoregressive(order = natural) {"
        " dense(64, mask = up) -> relu -> dense(4096, mask = strict(up)) }\ncheck { complete(x) }\n"
    )
    m = load(tmp_path, text)
    claim = next(c for c in m.claims if c.kind == "complete")
    tracemalloc.start()
    start = time.process_time()
    found = complete(m, claim)
    spent, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.status == "refuted" and spent < 4 and peak < 200e6, (spent, peak)


@pytest.mark.parametrize("length", [1, 2, SHORTER, SHORTER + 1, SHORTER + 2, SHORTER + 9])
def test_lengths_that_are_not_run_are_said(tmp_path: Path, length: int) -> None:
    """Every shorter length of an example, or a word that there are more."""
    text = "input x: real[time, 2]\ncondition n: integer(1..time)\nx ~ autoregressive { shift -> dense(4) }\n"
    m = load(tmp_path, text)
    graph, env = m.programs["conditionals"], {"N": 1, "time": length}
    assert more(m, graph, env) == (len(list(lengths(m, graph, env))) < length - 1)


def test_what_is_too_large_for_a_run_is_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpcompile.analysis.field.MOST_WORK", 1e4)
    text = BITS.format(MADE.format("leaky_relu"))
    found = answer(tmp_path, text, "complete(x)")
    assert found.status == "undecided" and "operations" in found.reason


def test_a_proof_says_what_it_assumes(tmp_path: Path) -> None:
    found = answer(tmp_path, SERIES.format(GRU), "complete(x)")
    assert any("exp(a + b)" in a for a in found.assumptions)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("binary", range(2)), ("category(3)", range(3)), ("integer(-2..3)", range(-2, 4)),
        ("integer(-2..0)", range(-2, 1)), ("integer(-4..-1)", range(-4, 0)), ("integer(0..1)", range(2)),
    ],
)  # fmt: skip
def test_an_input_may_be_positive_where_one_of_its_values_is(
    tmp_path: Path, kind: str, values: range
) -> None:
    net = "x -> embedding(2) -> flatten" if kind.startswith("category") else "x"
    axis = "place: " if kind.startswith("category") else ""
    text = f"input x: {kind}[{axis}2]\ntarget y: real[2]\ny ~ normal(loc = {net} -> dense(2), scale = 1)\n"
    assert may_be_positive(load(tmp_path, text).fields["x"]) == any(v > 0 for v in values)


def test_real_numbers_may_be_positive(tmp_path: Path) -> None:
    assert may_be_positive(None)
    assert may_be_positive(load(tmp_path, IMAGE).fields["x"])


@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (1, 3), (2, 3), (2, 4), (3, 5)])
def test_the_share_that_is_not_seen_is_that_of_a_count(tmp_path: Path, kernel: int, stride: int) -> None:
    """Of the smallest square around all that strided windows see of an image."""
    net = f"x -> conv(2, {kernel}, stride = {stride}) -> tanh -> flatten -> dense(2)"
    text = f"input x: real[1, 8, 8]\ntarget y: real[2]\ny ~ normal({net}, 1)\n"
    seen = {start + i for start in range(0, 9 - kernel, stride) for i in range(kernel)}
    found = answer(tmp_path, text, "no_blind_spot(x)")
    assert found.status == "refuted"
    assert found.detail["blind"] == pytest.approx(1 - (len(seen) / (max(seen) + 1)) ** 2)
