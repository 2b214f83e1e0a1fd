"""Bugs that really happened and that a spec cannot express: each as a graph built by hand, beside the right one.

Where the language makes a bug impossible, a test shows the law that rules it out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stated import answers

from mpcompile import api, ops
from mpcompile.analysis import Verdict
from mpcompile.backend import DOUBLE, find_backend
from mpcompile.diagnostics import Span
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Claim, Frame, Graph, Module, Ordering, Parameter, Value, float_type
from mpcompile.runner.examples import example_inputs, example_weights

Net = Callable[[Builder, Value], Value]


def verdict(net: Net, shape: tuple[int, ...], kind: str, ranks: np.ndarray | None = None) -> Verdict:
    """What is proven of parameters that a hand-built network gives, one for each element of x."""
    graph = Graph("conditionals")
    b = Builder(graph)
    with b.within((Frame("net", "net", Span("net.py", 3, 5, 3, 9)),), Span("net.py", 3, 5, 3, 9)):
        x = b.input("x", float_type(1, *shape))
        graph.outputs["logits"] = net(b, x)
    order = np.arange(int(np.prod(shape))) if ranks is None else ranks
    claim = Claim(kind, "x", "conditionals", Span("net.py", 1, 1, 1, 2), order=Ordering(order, None))
    (answer,) = answers(Module("net", EMPTY, programs={"conditionals": graph}, claims=[claim]))
    return answer


EMPTY = api.load(Path(__file__).parents[2] / "specs" / "made.yaml").source


def assert_leak(answer: Verdict) -> None:
    """Refuted at the place of the network, by a path from an element of the input to one of the output."""
    assert answer.status == "refuted"
    (finding,) = answer.diagnostics
    assert (finding.code, finding.span.line, finding.span.column) == ("MP301", 3, 5)
    assert finding.path[0].text.startswith("x[") and len(finding.path) >= 2


def masked_conv(b: Builder, x: Value, mask: np.ndarray, name: str = "w") -> Value:
    """A 2-D convolution that keeps the size, its kernel under a mask [out, in, k, k]."""
    weight = b.emit(Parameter(name, float_type(*mask.shape)))
    kernel = b.emit(ops.Mul(), weight, b.constant(mask.astype(float)))
    half = mask.shape[-1] // 2
    return b.emit(ops.Conv((1, 1), ((half, half),) * 2, (1, 1), 1), x, kernel)


def right_mask(kind: str, size: int = 3) -> np.ndarray:
    """van den Oord et al. 2016: rows above, and the centre row up to the centre (excluded by A)."""
    mask = np.ones((1, 1, size, size), bool)
    mask[:, :, size // 2, size // 2 + (kind == "B") :] = False
    mask[:, :, size // 2 + 1 :] = False
    return mask


# --- PixelCNN: mask B zeroed too much or too little ---


def rows_below_stay(kind: str) -> np.ndarray:
    """The rest of the centre row is zeroed and the rows below are not."""
    mask = np.ones((1, 1, 3, 3), bool)
    mask[:, :, 1, 1 + (kind == "B") :] = False
    return mask


def centre_row_goes(kind: str) -> np.ndarray:
    """The centre row itself is zeroed instead of the rows below."""
    mask = np.ones((1, 1, 3, 3), bool)
    mask[:, :, 1] = False
    return mask


@pytest.mark.parametrize("wrong", [rows_below_stay, centre_row_goes])
def test_pixelcnn_mask_that_keeps_rows_below(wrong: Callable[[str], np.ndarray]) -> None:
    def net(b: Builder, x: Value) -> Value:
        return masked_conv(b, masked_conv(b, x, right_mask("A")), wrong("B"), "v")

    assert_leak(verdict(net, (1, 4, 4), "autoregressive"))


def test_pixelcnn_mask_b_that_loses_the_centre_row() -> None:
    """It closes the rows below as well: nothing leaks, and the pixels to the left are never seen."""

    def stack(last: np.ndarray) -> Net:
        def net(b: Builder, x: Value) -> Value:
            return masked_conv(b, masked_conv(b, x, right_mask("A", 9)), last, "v")

        return net

    lost = right_mask("B") & centre_row_goes("B")
    assert verdict(stack(lost), (1, 4, 4), "autoregressive").status == "proved"
    answer = verdict(stack(lost), (1, 4, 4), "complete")
    assert answer.status == "refuted" and answer.diagnostics[0].code == "MP302"
    for claim in ("autoregressive", "complete"):
        assert verdict(stack(right_mask("B")), (1, 4, 4), claim).status == "proved"


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical"])
def test_colours_keep_their_places(likelihood: str, tmp_path: Path) -> None:
    """Gates halve the channels and a categorical has levels of every colour: groups must mean the same throughout."""
    kind, out = ("binary", 3) if likelihood == "bernoulli" else ("integer(0..3)", 12)
    spec = tmp_path / "colours.mp"
    spec.write_text(
        f"model colours\ninput x: {kind}[3, 3, 3]\n"
        f"x ~ autoregressive(order = pixel, likelihood = {likelihood}) {{\n"
        "  conv(12, 5, pad = same, mask = causal2d(type = A, channels = rgb)) -> gate\n"
        "  conv(12, 5, pad = same, mask = causal2d(type = B, channels = rgb)) -> gate\n"
        f"  conv({out}, 1, mask = causal2d(type = B, channels = rgb))\n}}\n"
        "check { complete(x) }\n"
    )
    found = answers(api.load(spec))
    assert {v.claim.kind for v in found} == {"autoregressive", "complete"}
    assert all(v.status == "proved" for v in found)


# --- attention: the causal flag dropped, large numbers for minus infinity, keys of a cache ---


def attention(see: np.ndarray | None, hidden: float = float("-inf"), keys: int | None = None) -> Net:
    """One head over positions 0 .. T - 1, read one position back; the queries are the last of the keys."""

    def net(b: Builder, x: Value) -> Value:
        time = x.shape[1]
        assert isinstance(time, int)
        shifted = b.emit(ops.Slice(1, 0, time), b.emit(ops.Pad((0, 1), (0, 0)), x))
        v = b.emit(ops.Reshape((time, 1)), shifted)
        q, k, value = (
            b.emit(ops.MatMul(), v, b.emit(Parameter(name, float_type(1, 4)))) for name in ("q", "k", "v")
        )
        first = 0 if keys is None else time - keys
        q = b.emit(ops.Slice(0, first, time), q)
        scores = b.emit(ops.MatMul(), q, b.emit(ops.Transpose((1, 0)), k))
        if see is not None:
            scores = b.emit(ops.Where(), b.constant(see), scores, b.constant(hidden))
        mixed = b.emit(ops.MatMul(), b.emit(ops.Softmax(1), scores), value)
        out = b.emit(ops.MatMul(), mixed, b.emit(Parameter("o", float_type(4, 1))))
        out = b.emit(ops.Reshape((1, time - first)), out)
        return b.emit(ops.Pad((0, first), (0, 0)), out) if first else out

    return net


def test_attention_with_the_causal_flag_dropped() -> None:
    assert_leak(verdict(attention(None), (6,), "autoregressive"))
    assert verdict(attention(np.tril(np.ones((6, 6), bool))), (6,), "autoregressive").status == "proved"


def test_attention_hidden_by_a_large_number() -> None:
    """-1e9 is no zero: a large logit comes through it, so nothing is proven of it."""
    see = np.tril(np.ones((6, 6), bool))
    assert_leak(verdict(attention(see, -1e9), (6,), "autoregressive"))
    assert verdict(attention(see, float("-inf")), (6,), "autoregressive").status == "proved"


def test_attention_over_cached_keys_without_the_offset() -> None:
    """Three queries over six keys: `tril` must start at the number of cached keys, or the last never see their past."""
    without, shifted = np.tril(np.ones((3, 6), bool)), np.tril(np.ones((3, 6), bool), 3)
    late, ahead = attention(without, keys=3), attention(np.tril(np.ones((3, 6), bool), 4), keys=3)
    assert verdict(attention(shifted, keys=3), (6,), "autoregressive").status == "proved"
    right = verdict(attention(shifted, keys=3), (6,), "complete").detail["missing"]
    wrong = verdict(late, (6,), "complete").detail["missing"]
    assert (
        right == 3 and wrong > right
    )  # the first three positions are the cache: they have no parameters here
    assert_leak(verdict(ahead, (6,), "autoregressive"))


# --- couplings: an interleaved split concatenated side by side ---


@pytest.mark.parametrize(
    "mask", ["checkerboard", "checkerboard(parity = 1)", "channel", "channel(parity = 1)"]
)
def test_a_coupling_puts_its_halves_back(mask: str, tmp_path: Path) -> None:
    """Halves are kept apart by a mask, never cut out: no coupling slices or concatenates what it transforms.

    A coupling that is one is undone element by element, and where the mask holds y is x at its own place.
    """
    spec = tmp_path / "coupling.mp"
    spec.write_text(
        "model coupling\ninput x: real[2, 4, 4]\n"
        f"x ~ flow(base = normal) {{ coupling(mask = {mask}, net = resnet(4, 1)) }}\n"
    )
    m = api.load(spec)
    assert [v.status for v in answers(m)] == ["proved"]
    w, feed = example_weights(m, spread=0.3), example_inputs(m, "forward", 3)
    (step,) = m.flow_steps["x"]
    y = interpret(step.graph, w, {"x": feed["x"], "seen": feed["x"]})["y"]
    same = (y == feed["x"]).all(0)
    index = np.indices(same.shape)
    half = (index[1] + index[2]) % 2 if mask.startswith("checkerboard") else index[0]
    np.testing.assert_array_equal(same, half == int("parity" in mask))
    z = interpret(m.programs["forward"], w, feed)["z"]
    np.testing.assert_allclose(interpret(m.programs["inverse"], w, {"z": z})["x"], feed["x"], atol=1e-9)


def test_halves_side_by_side_are_found() -> None:
    """Even and odd elements coupled, then concatenated side by side: the output is not where its input was."""

    def halves(b: Builder, x: Value, interleave: bool) -> Value:
        even, odd = (b.emit(ops.Slice(1, start, 6, 2), x) for start in (0, 1))
        scale = b.emit(ops.Exp(), b.emit(ops.MatMul(), even, b.emit(Parameter("w", float_type(3, 3)))))
        moved = b.emit(ops.Mul(), odd, scale)
        if not interleave:
            return b.emit(ops.Concat(1), even, moved)
        pair = b.emit(ops.Concat(2), *(b.emit(ops.Reshape((1, 3, 1)), h) for h in (even, moved)))
        return b.emit(ops.Reshape((1, 6)), pair)

    from mpcompile.analysis.jacobian import structure_of

    natural = []
    for interleave in (True, False):
        graph = Graph("forward")
        b = Builder(graph)
        graph.outputs["z"] = halves(b, b.input("x", float_type(1, 6)), interleave)
        structure = structure_of(graph, "x", "z")
        assert structure.kind == "triangular"
        natural.append(all(o == i for o, i in structure.pivots))
    assert natural == [True, False]


# --- MADE: degrees and orders ---


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("order", ["natural", "reverse", "random"])
def test_degrees_never_collapse(size: int, order: str, tmp_path: Path) -> None:
    """Every output sees all that it may, for as few variables as there are and for every order and seed."""
    for seed in range(4):
        m = api.load(made(tmp_path, size, order, seed))
        found = answers(m)
        assert {v.claim.kind for v in found} == {"autoregressive", "complete"}
        assert all(v.status == "proved" for v in found)


@pytest.mark.parametrize("order", ["reverse", "random"])
def test_sampler_and_density_share_one_order(order: str, tmp_path: Path) -> None:
    """What was drawn is what the conditionals, given the whole sample, draw from the same noise; on the emitted code.

    A sampler that follows the ranks where it should follow their inverse fails: the order here is not its own inverse.
    """
    m = api.load(made(tmp_path, 6, order, 1))
    (ranks,) = (c.ordering.ranks for c in m.claims if c.kind == "autoregressive" and not c.stated)
    assert sorted(ranks.reshape(-1)) == list(range(6))
    assert order == "reverse" or not np.array_equal(ranks, np.argsort(ranks))
    w = example_weights(m, spread=2.0)
    feed = example_inputs(m, "sample", 64)
    session = find_backend("torch").session(m, w, options=DOUBLE)
    drawn = session.run("sample", feed)["x"]
    logits = session.run("conditionals", {"x": drawn})["logits"]
    np.testing.assert_array_equal(drawn, (feed["noise_x"] < 1 / (1 + np.exp(-logits))).astype(float))


def test_a_mask_of_another_order_is_found() -> None:
    """A network that is masked for one order, used under another."""
    size = 6
    there = np.arange(size)

    def net(b: Builder, x: Value) -> Value:
        mask = (there[:, None] < there[None, :]).astype(float)
        weight = b.emit(ops.Mul(), b.emit(Parameter("w", float_type(size, size))), b.constant(mask))
        return b.emit(ops.MatMul(), x, weight)

    assert verdict(net, (size,), "autoregressive", there).status == "proved"
    assert_leak(verdict(net, (size,), "autoregressive", there[::-1].copy()))


def made(folder: Path, size: int, order: str, seed: int) -> Path:
    spec = folder / f"made_{size}_{order}_{seed}.mp"
    spec.write_text(
        f"model made\ninput x: binary[{size}]\nmask up = degrees(order = {order}, seed = {seed})\n"
        f"x ~ autoregressive(order = {order}, seed = {seed}) {{\n"
        f"  dense(16, mask = up) -> relu -> dense(16, mask = up) -> relu -> dense({size}, mask = strict(up))\n}}\n"
        "check { complete(x) }\n"
    )
    return spec
