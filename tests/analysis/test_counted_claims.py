"""`flops`, `linear`, `equivariant`, `transformed`: against numbers by hand, sums, shifts and permutations."""

from __future__ import annotations

import numpy as np
import pytest
from written import lowered

from mpcompile.analysis import Verdict, prove
from mpcompile.analysis.cost import work
from mpcompile.interpret import interpret
from mpcompile.ir import Module


def verdict(module: Module, kind: str) -> Verdict:
    return next(v for v in prove(module) if v.claim.kind == kind)


NET = "model m\ninput x: real[3]\ntarget y: real[2]\ny ~ normal(loc = x -> dense(2{}), scale = 1)\ncheck {{ flops {} }}\n"


def test_operations_are_counted_for_one_example() -> None:
    """A bias of two numbers is two operations; a product of 3 by 2 is twelve."""
    counts = []
    for bias in ("", ", bias = false"):
        module = lowered(NET.format(bias, "<= 1000"))
        found = verdict(module, "flops")
        assert found.status == "proved"
        counts.append(found.detail["flops"])
        total = work(module.programs["loss"]).total
        assert counts[-1] == (total if isinstance(total, int) else sum(k for _, k in total.terms))
    assert counts[0] - counts[1] == 2
    module = lowered(NET.format("", f"< {counts[0]}"))
    found = verdict(module, "flops")
    assert found.status == "refuted" and [d.code for d in found.diagnostics] == ["MP306"]
    assert verdict(lowered(NET.format("", f"== {counts[0]}")), "flops").status == "proved"


def test_operations_that_grow_with_a_length_break_every_bound_above() -> None:
    text = "model m\ninput x: real[time, 3]\ntarget y: real[time, 2]\ny ~ normal(loc = x -> dense(2), scale = 1)\n"
    found = verdict(lowered(f"{text}check {{ flops <= 1000 }}\n"), "flops")
    assert found.status == "refuted" and set(found.at) == {"time"}
    found = verdict(lowered(f"{text}check {{ flops >= 1 }}\n"), "flops")
    assert found.status == "undecided" and "depends on time" in found.reason


FLOW = "model m\ninput x: real[4]\nx ~ flow(base = normal) {{ {} }}\ncheck {{ transformed(x) }}\n"
EVEN = "coupling(mask = checkerboard(parity = 0), net = dense(4))"
ODD = EVEN.replace("= 0", "= 1")


@pytest.mark.parametrize(
    ("chain", "passed"),
    [
        (f"{EVEN} -> {ODD}", 0),
        (f"{EVEN} -> actnorm -> {EVEN}", 2),
        # reversed, the elements of a parity are those of the other
        (f"{EVEN} -> permute(reverse) -> {EVEN}", 0),
        (f"{EVEN} -> permute(reverse) -> {ODD}", 2),
        (f"{EVEN} -> conv1x1", 0),
        ("conv1x1", 0),
        ("affine", 4),
        ("autoregressive(hidden = [8])", 0),
        ("autoregressive(hidden = [8]) -> permute(reverse) -> autoregressive(hidden = [8])", 0),
    ],
)
def test_each_element_is_followed_from_map_to_map(chain: str, passed: int) -> None:
    found = verdict(lowered(FLOW.format(chain)), "transformed")
    assert (found.status, found.detail["passed"]) == ("refuted" if passed else "proved", passed)
    assert [d.code for d in found.diagnostics] == (["MP331"] if passed else [])
    said = "none mixes them with others" if chain == "affine" else "as they are"
    assert all(d.message.endswith(said) for d in found.diagnostics)


MAP = "model m\ninput x: real[2, 4, 4]\ntarget y: real[{}]\ny ~ normal(loc = x -> {}, scale = 1)\ncheck {{ linear(y) }}\n"


@pytest.mark.parametrize(
    ("net", "shape", "status"),
    [
        ("conv(3, 3, pad = same, bias = false, flip = true)", "3, 4, 4", "proved"),
        ("conv(3, 3, bias = false) -> flatten -> dense(2, bias = false, norm = weight)", "2", "proved"),
        ("upsample(2, bilinear) -> space_to_depth(2) -> conv(1, 1, bias = false)", "1, 4, 4", "proved"),
        ("conv(3, 3, pad = same)", "3, 4, 4", "refuted"),
        ("conv(3, 3, pad = same, bias = false) -> relu", "3, 4, 4", "refuted"),
        ("flatten -> dense(2, bias = false) -> leaky_relu(1)", "2", "undecided"),
    ],
)
def test_a_linear_prediction_is_that_of_sums(net: str, shape: str, status: str) -> None:
    found = verdict(lowered(MAP.format(shape, net)), "linear")
    assert found.status == status
    assert [d.code for d in found.diagnostics] == {"proved": [], "refuted": ["MP307"]}.get(status, ["MP309"])


PREDICTED = "y ~ normal(loc = x -> {}, scale = 1)\ncheck {{ equivariant(y) }}\n"
P = "x -> flatten -> dense(2) as p"


@pytest.mark.parametrize(
    ("net", "status"),
    [
        ("b", "refuted"),  # twice a constant is not the constant
        (f"{P} -> (0.1 * p + 0.2 * p - 0.3 * p)", "undecided"),  # zero but for roundings
        (f"{P} -> (p / 3 + p / 7 - p * 10 / 21)", "undecided"),
        (f"{P} -> (0.1 * relu(p))", "refuted"),
    ],
)
def test_a_constant_and_roundings_are_no_linear_function(net: str, status: str) -> None:
    text = MAP.format("2", net.removeprefix("x -> ")).replace("target", "weight b: real[2]\ntarget")
    assert verdict(lowered(text.replace("x -> b", "b")), "linear").status == status


IMAGE = f"model m\ninput x: real[2, 12, 11]\ntarget y: real[{{}}]\n{PREDICTED}"
STEPS = f"model m\ninput x: real[time, 2]\ntarget y: real[time, 2]\n{PREDICTED}"


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        ("conv(3, 3, pad = same) -> relu -> conv(2, 3, pad = same) -> batch_norm", "2, 12, 11"),
        ("conv(3, 3, dilation = 2, groups = 1, flip = true) -> layer_norm -> conv(2, 1)", "2, 8, 7"),
        ("shift_down -> mish -> conv(2, 2, pad = same)", "2, 12, 11"),
    ],
)
def test_a_prediction_that_is_proved_to_move_moves(net: str, shape: str) -> None:
    """Two windows of one picture, a row and a column apart, agree where they overlap, away from borders."""
    module = lowered(IMAGE.format(shape, net))
    found = verdict(module, "equivariant")
    assert found.status == "proved" and "every size" in found.how
    rng = np.random.default_rng(0)
    weights = {k: np.abs(rng.normal(size=p.shape)) for k, p in module.parameters.items()}
    wide = rng.normal(size=(1, 2, 13, 12))
    here, there = (
        interpret(module.programs["predict"], weights, {"x": x})["y"]
        for x in (wide[:, :, :-1, :-1], wide[:, :, 1:, 1:])
    )
    np.testing.assert_allclose(here[:, :, 3:-2, 3:-2], there[:, :, 2:-3, 2:-3], rtol=1e-10)


@pytest.mark.parametrize(("size", "scope"), [("1", "the declared sizes"), ("7", "None")])
def test_one_place_alone_says_nothing_of_several(size: str, scope: str) -> None:
    """A single place is told from no other, and at another size it is."""
    text = f"model m\ninput x: real[place: {size}, channel: 2]\ntarget y: real[place: {size}, channel: 2]\n"
    found = verdict(lowered(text + PREDICTED.format("sinusoid(over = place)")), "equivariant")
    assert str(found.scope) == scope


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (IMAGE.format("2, 6, 5", "maxpool(2)"), "`max_pool` in `maxpool(2)` tells places apart"),
        (IMAGE.format("2", "conv(2, 3) -> global_avgpool"), "`sum`"),
        (IMAGE.format("2", "flatten -> dense(2)"), "`reshape` in `flatten`"),
        (STEPS.format("position(50)"), "`add` in `position(50)`"),
        (STEPS.format("attention(1, mask = causal)"), "`where`"),
        (STEPS.format("gru(2)"), "`scan`"),
        ("model m\ninput x: real[3]\ntarget y: real[2]\ny ~ normal(loc = x -> dense(2), scale = 1)\n"
         "check { equivariant(y) }\n", "no axis of space or time"),
        ("model m\ninput x: real[height: 5, width: 5]\ntarget y: real[height: 5, width: 5]\n" + PREDICTED.format(
            "rename(height = a) -> rename(width = height) -> rename(a = width)"), "another axis of y"),
        ("model m\ninput x: real[time: frames, height: 5, channel: 1]\ntarget y: real[time: frames, channel: 1]\n"
         + PREDICTED.format("merge([height, channel], into = channel) -> dense(1)"), "`mat_mul`"),
    ],
)  # fmt: skip
def test_what_tells_places_apart_is_named(text: str, says: str) -> None:
    found = verdict(lowered(text), "equivariant")
    assert found.status == "undecided" and says in found.reason
    for net in ("conv1d(4, 3) -> gelu -> dense(2)", "shift"):
        assert verdict(lowered(STEPS.format(net)), "equivariant").status == "proved"
