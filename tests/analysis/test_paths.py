"""Path lengths: against the table of Vaswani et al. 2017 and a shortest path found independently."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from growing import DEEP
from specs_under_test import full, module
from written import lowered

from mpcompile import api
from mpcompile.analysis import paths
from mpcompile.ir import Array, Module, symbol


def sequence(folder: Path, net: str, check: str = "", features: int = 3) -> Module:
    path = folder / "m.mp"
    path.write_text(
        f"model m\ninput x: real[time, {features}]\ntarget y: real[time, {features}]\n"
        f"y ~ normal(x -> {net}, 1)\n{check}\n",
        encoding="utf-8",
    )
    return api.load(path)


def table(m: Module, length: int) -> Array:
    """[output position, source position] of the first feature."""
    graph = m.programs["predict"]
    positions = np.repeat(np.arange(length)[:, None], 3, 1)
    return paths.distances(graph, "x", {"N": 1, "time": length}, positions)["y"][0, :, 0]


def test_attention_joins_any_two_positions_in_one_step(tmp_path: Path) -> None:
    for n in (1, 3):
        m = sequence(tmp_path, " -> ".join(["residual(attention(1))"] * n))
        assert (table(m, 6) == 1 - np.eye(6)).all()


def test_attention_without_skips_takes_a_step_for_each_layer(tmp_path: Path) -> None:
    """Position 0 attends to itself alone, which mixes nothing: from it the second layer is the only step."""
    m = sequence(tmp_path, "attention(1, mask = causal) -> attention(1, mask = causal)")
    found = table(m, 5)
    i, j = np.indices((5, 5))
    expected = np.select([j > i, i == 0, j == 0], [-1, 0, 1], 2)
    assert (found == expected).all()


def test_a_recurrence_takes_a_step_for_each_position(tmp_path: Path) -> None:
    i, j = np.indices((7, 7))
    for cell in ("rnn(3)", "lstm(3)", "rnn(3) -> rnn(3)"):
        assert (table(sequence(tmp_path, cell), 7) == np.where(j <= i, i - j, -1)).all()


def test_dilated_convolutions_take_the_number_of_dilations_that_add_up(tmp_path: Path) -> None:
    """With skips and dilations 1, 2, 4 a distance costs as many layers as it has ones in binary."""
    net = " -> ".join(f"residual(conv1d(3, 2, dilation = {d}))" for d in (1, 2, 4))
    i, j = np.indices((8, 8))
    ones = np.vectorize(lambda d: int(d).bit_count())(np.maximum(i - j, 0))
    assert (table(sequence(tmp_path, net), 8) == np.where(j <= i, ones, -1)).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_masked_stack_against_breadth_first_search(tmp_path: Path, seed: int) -> None:
    """Random masks and skips. The oracle walks single elements, with the definition of mixing written out."""
    rng, size = np.random.default_rng(seed), 5
    masks = [rng.random((size, size)) < 0.45 for _ in range(3)]
    skips = [bool(s) for s in rng.integers(0, 2, 3)]
    layers = [
        f"residual(dense({size}, mask = {m.astype(int).tolist()}))" if s
        else f"dense({size}, mask = {m.astype(int).tolist()})"
        for m, s in zip(masks, skips, strict=True)
    ]  # fmt: skip
    path = tmp_path / "m.mp"
    path.write_text(
        f"model m\ninput x: real[{size}]\ntarget y: real[{size}]\ny ~ normal(x -> {' -> '.join(layers)}, 1)\n",
        encoding="utf-8",
    )
    graph = api.load(path).programs["predict"]
    found = paths.distances(graph, "x", {"N": 1}, np.arange(size))["y"][0]
    views: list[dict[int, int]] = [{k: 0} for k in range(size)]  # of each element: source -> distance
    for mask, skip in zip(masks, skips, strict=True):
        following: list[dict[int, int]] = []
        for unit in range(size):
            read = [views[k] for k in range(size) if mask[unit, k] and views[k]]
            extra = int(any(v != read[0] for v in read))
            options = [{s: d + extra for s, d in v.items()} for v in read] + ([views[unit]] if skip else [])
            sources = {s for v in options for s in v}
            following.append({s: min(v[s] for v in options if s in v) for s in sources})
        views = following
    assert (found == [[v.get(s, -1) for s in range(size)] for v in views]).all()


def test_a_position_of_an_image_is_a_pixel() -> None:
    """Every pixel before another reaches it: the first layer, at most five gated ones, and a step down."""
    found = paths.reach(full("pixelcnn"), "x", 8)
    assert found.joined == 64 * 63 // 2 and found.longest == 7


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ((1, 1, 1), "constant"), ((6, 14, 30, 62), "linear"), ((3, 4, 5, 6), "logarithmic"),
        ((1, 1, 2), "irregular"), ((4, 3, 2), "irregular"), ((5,), "constant"),
    ],
)  # fmt: skip
def test_growth(values: tuple[int, ...], answer: str) -> None:
    assert paths.growth(values) == answer


def test_growth_of_the_models_of_the_table() -> None:
    grown = {n: paths.growth([r.longest for r in paths.reaches(module(n), "text")]) for n in SEQUENCES}
    assert grown == {"transformer": "constant", "char_lstm": "linear"}


SEQUENCES = ("transformer", "char_lstm")


def test_a_wavenet_with_as_many_layers_as_its_length_has_digits_grows_with_the_logarithm(
    tmp_path: Path,
) -> None:
    longest = []
    for layers in (2, 3, 4, 5):
        net = " -> ".join(f"residual(conv1d(3, 2, dilation = {2**i}))" for i in range(layers))
        found = table(sequence(tmp_path, net), 2**layers)
        assert (found[np.tril_indices(2**layers)] >= 0).all()
        longest.append(int(found.max()))
    assert longest == [2, 3, 4, 5] and paths.growth(longest) == "logarithmic"


def test_sampling_steps() -> None:
    assert paths.sampling_steps(full("made"), "x") == 64
    assert paths.sampling_steps(module("char_lstm"), "text") == symbol("time")
    assert paths.sampling_steps(module("realnvp"), "x") is None


@pytest.mark.parametrize(
    ("net", "claim", "status", "code"),
    [
        ("residual(attention(1))", "path_length(x) <= 1", "proved", None),
        ("residual(attention(1))", "path_length(x) < 1", "refuted", "MP320"),
        ("rnn(3)", "path_length(x) <= 30", "refuted", "MP320"),
        ("rnn(3)", "path_length(x) <= 500", "undecided", "MP309"),
        ("rnn(3)", "path_length(x) >= 7", "proved", None),
    ],
)
def test_the_claim(tmp_path: Path, net: str, claim: str, status: str, code: str | None) -> None:
    verdict, *_ = api.verdicts(sequence(tmp_path, net, f"check {{ {claim} }}"))
    assert verdict.status == status
    assert [d.code for d in verdict.diagnostics] == ([code] if code else [])


def test_a_refutation_names_the_pair_and_the_length(tmp_path: Path) -> None:
    verdict, *_ = api.verdicts(sequence(tmp_path, "rnn(3)", "check { path_length(x) <= 30 }"))
    (finding,) = verdict.diagnostics
    assert "is 31 at time = 32" in finding.message
    assert "from x[0, 0] to y[31, 0]" in finding.label


#: Networks in which everything that a path leads along cancels.
CONSTANT = {
    "a norm over one channel": "dense(1) -> layer_norm -> conv1d(4, 5) -> tanh -> dense(3)",
    "behind attention": "attention(1) -> dense(1) -> layer_norm -> dense(3)",
    "behind a recurrence": "dense(1) -> layer_norm -> gru(3)",
}


@pytest.mark.parametrize("bound", ["<= 1", ">= 1", "== 1", "<= 30", ">= 3", "> 0"])
@pytest.mark.parametrize("net", CONSTANT.values(), ids=CONSTANT)
def test_a_network_that_joins_nothing_has_no_path_length(tmp_path: Path, net: str, bound: str) -> None:
    """Paths lead through it, and its output is constant: no bound holds, from above or from below."""
    verdict, *_ = api.verdicts(sequence(tmp_path, net, f"check {{ path_length(x) {bound} }}"))
    assert verdict.status in ("refuted", "undecided")


def test_positions_that_cancel_are_named(tmp_path: Path) -> None:
    """Of fixed size: one of four elements is taken from itself; without the norm the same bounds are proved."""
    text = (
        "model m\ninput x: real[4]\ntarget y: real[4]\n"
        "y ~ normal(x -> {}dense(4), 1)\ncheck {{ path_length(x) {} }}\n"
    )
    for bound in ("<= 1", ">= 1", "== 1"):
        for norm in ("", "dense(1) -> layer_norm -> "):
            path = tmp_path / "m.mp"
            path.write_text(text.format(norm, bound), encoding="utf-8")
            verdict, *_ = api.verdicts(api.load(path))
            assert (verdict.status == "proved") == (norm == ""), (bound, norm)
            assert [d.code for d in verdict.diagnostics] == (["MP320"] if norm else [])
            if norm:
                assert "`layer_norm` takes mean and variance over one element" in verdict.diagnostics[0].help


def test_a_wide_network_of_fixed_size_is_not_proved_from_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One position of many cancels; where a run over all of them is too much work, nothing is decided."""
    monkeypatch.setattr("mpcompile.analysis.field.MOST_WORK", 1e5)
    path = tmp_path / "m.mp"
    path.write_text(
        "model m\ninput x: real[90]\ntarget y: real[4]\ny ~ normal(x -> tanh -> dense(9) -> layer_norm -> dense(4), 1)\n"
        "check { path_length(x) <= 2 }\n", encoding="utf-8",
    )  # fmt: skip
    verdict, *_ = api.verdicts(api.load(path))
    assert verdict.status == "undecided"


def test_tables_are_dropped_when_nothing_asks_for_them_again() -> None:
    """The memory that distances take does not grow with the number of layers."""

    def peak(blocks: int) -> int:
        graph = paths.program_of(lowered(DEEP["attention"](blocks)), "x")
        assert graph is not None
        sizes = paths.environment_for(graph, 32)
        tracemalloc.start()
        try:
            paths.distances(graph, "x", sizes, paths.positions_of(graph, "x", sizes))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(12) < 1.5 * peak(4)
