"""Findings: what raises each and what does not, how they are silenced, and that they stop nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from specs_under_test import NAMES, module

from mpcompile import api
from mpcompile.analysis.findings import FINDINGS, affine_collapse, finite_mask, names
from mpcompile.diagnostics import Severity, Source, SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Graph, Module, float_type, symbol
from mpcompile.ops import Softmax
from mpcompile.ops import build as F
from mpcompile.runner.examples import example_weights

PLANE = "input x: real[4]\ntarget y: real[2]\n"
IMAGE = "input x: real[3, 8, 8]\ntarget y: real[4, 8, 8]\n"
SERIES = "input x: real[time, 1]\nx ~ autoregressive(likelihood = normal) { "
FLOW = "input x: real[2, 4, 4]\nx ~ flow(base = normal) { "
VECTOR = "input x: real[4]\nx ~ flow(base = normal) { "
BITS = "input x: binary[6]\nx ~ autoregressive { "

#: code -> (specs that raise it, specs like them that do not).
CASES: dict[str, tuple[list[str], list[str]]] = {
    "MP321": (
        [
            PLANE + "y ~ normal(x -> dense(16) -> dense(2), 1)",
            PLANE + "y ~ normal(x -> dense(2) -> dense(2), 1)",  # as wide as the output: no bottleneck
            PLANE + "net a = dense(8)\ny ~ normal(x -> a -> dense(2), 1)",
            IMAGE + "y ~ normal(x -> conv(8, 3, pad = same) -> conv(4, 3, pad = same), 1)",
            IMAGE + "y ~ normal(x -> conv(8, 2, stride = 2) -> conv_transpose(4, 2, stride = 2), 1)",
        ],
        [
            PLANE + "y ~ normal(x -> dense(16) -> relu -> dense(2), 1)",
            "input x: real[4]\ntarget y: real[4]\ny ~ normal(x -> dense(2) -> dense(4), 1)",  # rank 2
            PLANE + "y ~ normal(x -> dense(4) as h -> dense(4) -> add(h) -> tanh -> dense(2), 1)",
            PLANE + "y ~ normal(x -> dense(2, mask = [[1, 0, 1, 0], [0, 1, 0, 1]]) -> dense(2), 1)",
            IMAGE + "y ~ normal(x -> conv(3, 3, pad = same, groups = 3) -> conv(4, 1), 1)",  # separable, meant
            IMAGE + "y ~ normal(x -> residual(conv(3, 3, pad = same)) -> relu -> conv(4, 1), 1)",
        ],
    ),
    "MP322": (
        [
            "input x: real[4]\ninput m: binary[3]\ntarget y: category(3)\n"
            "y ~ categorical(logits = (x -> dense(3)) + (m - 1) * 10000)",
            "input x: real[4]\ninput m: binary[3]\ntarget y: category(3)\n"
            "y ~ categorical(logits = ((x -> dense(3)) - m * 5000) * 2)",
        ],
        [
            "input x: real[4]\ninput m: binary[3]\ntarget y: category(3)\n"
            "y ~ categorical(logits = (x -> dense(3)) + m * 3)",
            "input x: real[4]\ntarget y: category(3)\ny ~ categorical(logits = (x -> dense(3)) - 10000)",
        ],
    ),
    "MP324": (
        [
            f"{PLANE}net spare = dense(4)\ny ~ normal(x -> dense(2), 1)",
            f"{PLANE}block spare(c) = dense(c)\ny ~ normal(x -> dense(2), 1)",
            f"{PLANE}mask spare = band(0, 1)\ny ~ normal(x -> dense(2), 1)",
            f"{PLANE}y ~ normal(x -> dense(8) as spare -> relu -> dense(2), 1)",
            PLANE + "y ~ normal(x -> dense(8) as h -> relu -> concat(h) -> tanh as h -> dense(2), 1)",
            f"{PLANE}input spare: real[3]\ny ~ normal(x -> dense(2), 1)",
            f"{PLANE}block b(c, spare) = dense(c)\ny ~ normal(x -> b(2, 3), 1)",
            "(spare = 3)\n" + PLANE + "y ~ normal(x -> dense(2), 1)",
            PLANE + "latent spare ~ normal(x -> dense(4)) prior normal(0, 1)\ny ~ normal(x -> dense(2), 1)",
        ],
        [
            f"{PLANE}net used = dense(4)\ny ~ normal(x -> used -> relu -> dense(2), 1)",
            f"{PLANE}block inner(c) = dense(c)\nblock outer(c) = inner(c) -> relu\ny ~ normal(x -> outer(2), 1)",
            f"{PLANE}y ~ normal(x -> dense(8) as used -> relu -> concat(used) -> dense(2), 1)",
            "(used = 2)\n" + PLANE + "y ~ normal(x -> dense(used), 1)",
            "input x: real[4]\nlatent z ~ normal(x -> dense(4)) prior normal(0, 1)\n"
            "x ~ normal(z -> dense(4), 1)",
        ],
    ),
    "MP325": (
        [
            PLANE + "block two(c) on v { a = v -> dense(c) -> relu\nb = v -> dense(c) -> relu\nyield a, b }\n"
            "block one(c) on a, b { yield a -> dense(c) }\ny ~ normal(x -> two(8) -> one(2), 1)",
        ],
        [
            PLANE + "block two(c) on v { a = v -> dense(c) -> relu\nb = v -> dense(c) -> relu\nyield a, b }\n"
            "block one(c) on a, b { yield (a + b) -> dense(c) }\ny ~ normal(x -> two(8) -> one(2), 1)",
        ],
    ),
    "MP326": (
        [
            # one variable: no unit has anything to say to the only output
            "input x: binary[1]\nx ~ autoregressive { dense(8, mask = degrees) -> relu -> "
            "dense(1, mask = strict(degrees)) }",
            # a middle layer that reads nothing
            BITS + "dense(2, mask = [[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]) -> relu -> "
            "dense(6, mask = [[0, 0], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1]]) }",
            # a last layer that reads nothing, though five variables come before
            BITS + "dense(6, mask = [[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], "
            "[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]) }",
            # an input that a mask hides from everything
            PLANE + "input c: real[1]\n"
            "y ~ normal(concat(x, c) -> dense(2, mask = [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]), 1)",
        ],
        [
            "input x: binary[2]\nx ~ autoregressive { dense(8, mask = degrees) -> relu -> "
            "dense(2, mask = strict(degrees)) }",
            BITS + "dense(16, mask = degrees) -> relu -> dense(6, mask = strict(degrees)) }",
            BITS + "dense(6, mask = strict(degrees)) }",
            PLANE + "input c: real[1]\n"
            "y ~ normal(concat(x, c) -> dense(2, mask = [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]), 1)",
        ],
    ),
    "MP327": (
        [
            "input x: real[4]\ntarget y: binary[1]\ny ~ bernoulli(logits = x -> dense(1) -> sigmoid)",
            "input x: real[4]\ntarget y: binary[channel: 2, place: 2]\n"
            "y ~ bernoulli(logits = x -> dense(4) -> sigmoid -> reshape(channel = 2, place = 2))",
            BITS + "dense(6, mask = strict(degrees)) -> sigmoid }",
        ],
        [
            "input x: real[4]\ntarget y: binary[1]\ny ~ bernoulli(logits = x -> dense(4) -> sigmoid -> dense(1))",
            "input x: real[4]\ntarget y: real[1]\ny ~ normal(x -> dense(1) -> sigmoid, 1)",
            PLANE + "y ~ normal(x -> dense(4) -> sigmoid -> softplus -> dense(2), 1)",
        ],
    ),
    "MP328": (
        [
            PLANE + "y ~ normal(loc = x -> dense(2), scale = x -> dense(2))",
            PLANE + "y ~ laplace(loc = x -> dense(2), scale = x -> dense(2) -> relu)",
            PLANE + "y ~ normal(loc = x -> dense(2), scale = (x -> dense(2) -> softplus) - 0.1)",
            PLANE + "y ~ normal(loc = x -> dense(2), scale = (x -> dense(2) -> softplus) + (x -> dense(2)))",
        ],
        [
            PLANE + "y ~ normal(loc = x -> dense(2), scale = x -> dense(2) -> softplus)",
            PLANE + "y ~ normal(loc = x -> dense(2), scale = (x -> dense(2) -> relu) + 0.01)",
            PLANE + "y ~ normal(loc = x -> dense(2), log_scale = x -> dense(2))",
            # logarithms of the data, of the log-gamma function and of a normaliser are of no scale
            *(f"condition x: real[2]\ntarget y: {kind}[2]\ny ~ {law}" for kind, law in (
                ("real(0..)", "gamma(x -> dense(4))"), ("real(0..)", "log_normal(x -> dense(4))"),
                ("real(0..1)", "beta(x -> dense(4))"), ("integer(0..)", "negative_binomial(x -> dense(4))"),
                ("real(0..1)", "continuous_bernoulli(logits = x -> dense(2))"),
                ("integer(1..4)", "ordinal(x -> dense(2))"), ("real(0..1)", "truncated(normal, x -> dense(4))"))),
            "condition x: real[2]\ntarget y: real(0..)?\ny ~ gamma(x -> dense(2))",
            "input x: real[4]\ninput n: integer(1..9)[2]\ntarget y: real[2]\n"
            "y ~ normal(loc = x -> dense(2), scale = n * 2)",
        ],
    ),
    "MP330": (
        [
            SERIES + "shift -> layer_norm -> conv1d(4, 3) -> dense(2) }",
            PLANE + "y ~ normal(x -> dense(4) -> relu -> dense(1) -> layer_norm -> dense(2), 1)",
            "input x: real[4, 1, 1]\ntarget y: real[2]\n"
            "y ~ normal(x -> instance_norm -> flatten -> dense(4) -> relu -> dense(2), 1)",
            "input x: real[time: 1, channel: 6]\ntarget y: real[2]\n"
            "y ~ normal(x -> attention(1) -> flatten -> relu -> dense(2), 1)",
        ],
        [
            SERIES + "shift -> dense(2) -> layer_norm -> conv1d(4, 3) -> dense(2) }",
            "input x: real[4, 2, 2]\ntarget y: real[2]\n"
            "y ~ normal(x -> instance_norm -> flatten -> dense(4) -> relu -> dense(2), 1)",
        ],
    ),
    "MP331": (
        [
            FLOW + "repeat i in 0..3 { coupling(mask = checkerboard(parity = 2 * i), net = resnet(4, 1)) } }",
            FLOW + "coupling(mask = channel(parity = 0), net = resnet(4, 1)) -> actnorm -> "
            "coupling(mask = channel(parity = 0), net = resnet(4, 1)) }",
            VECTOR + "repeat i in 0..2 { coupling(mask = [1, 0, i, 1 - i], net = dense(4) -> relu) } }",
            VECTOR + "coupling(mask = [1, 1, 0, 0], net = dense(4) -> relu) -> permute(reverse) -> "
            "coupling(mask = [0, 0, 1, 1], net = dense(4) -> relu) }",
        ],
        [
            FLOW + "repeat i in 0..3 { coupling(mask = checkerboard(parity = i), net = resnet(4, 1)) } }",
            VECTOR + "coupling(mask = [1, 1, 0, 0], net = dense(4) -> relu) -> permute(reverse) -> "
            "coupling(mask = [1, 1, 0, 0], net = dense(4) -> relu) }",
            VECTOR + "coupling(mask = [1, 1, 0, 0], net = dense(4) -> relu) -> conv1x1 }",
            VECTOR + "autoregressive(hidden = [8]) }",
            VECTOR + "affine }",
        ],
    ),
    "MP332": (
        [
            SERIES + "shift -> dense(8) -> batch_norm -> tanh -> dense(2) }",
            SERIES + "shift -> conv1d(8, 3) -> tanh -> batch_norm -> dense(2) }",
        ],
        [
            SERIES + "shift -> dense(8) -> layer_norm -> tanh -> dense(2) }",
            "input x: real[time, 2]\ntarget y: real[1]\n"
            "y ~ normal(x -> dense(8) -> batch_norm -> tanh -> last -> dense(2))",
            "input x: real[6]\ntarget y: real[2]\ny ~ normal(x -> dense(4) -> batch_norm -> tanh -> dense(2), 1)",
        ],
    ),
    "MP333": (
        [
            PLANE + "net tanh = relu\ny ~ normal(x -> dense(4) -> tanh -> dense(2), 1)",
            PLANE + "y ~ normal(x -> dense(4) as last -> relu -> concat(last) -> dense(2), 1)",
        ],
        [
            PLANE + "net act = relu\ny ~ normal(x -> dense(4) -> act -> dense(2), 1)",
            PLANE + "net act = relu\ny ~ normal(x -> dense(4) as beta -> act -> concat(beta) -> dense(2), 1)",
        ],
    ),
}  # fmt: skip


def load(folder: Path, body: str) -> Module:
    path = folder / "m.mp"
    head = "model m" if body.startswith("(") else "model m\n"
    path.write_text(f"{head}{body}\n", encoding="utf-8")
    return api.load(path)


def flat(which: int) -> list[tuple[str, str]]:
    return [(code, text) for code, cases in CASES.items() for text in cases[which]]


def test_every_finding_has_a_case_and_a_name() -> None:
    assert set(CASES) == {*FINDINGS, "MP324", "MP333"} == set(names().values())
    assert all(re.fullmatch("[a-z_]+", name) for name in names())


@pytest.mark.parametrize(("code", "text"), flat(0))
def test_raises(tmp_path: Path, code: str, text: str) -> None:
    found = api.warnings(load(tmp_path, text))
    assert [d.code for d in found] == [code]
    assert found[0].severity is Severity.WARNING and found[0].span.line > 0


@pytest.mark.parametrize(("code", "text"), flat(1))
def test_does_not_raise(tmp_path: Path, code: str, text: str) -> None:
    assert api.warnings(load(tmp_path, text)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_specs_are_clean(name: str) -> None:
    assert api.warnings(module(name)) == []


@pytest.mark.parametrize("code", CASES)
def test_is_silenced_by_its_name_and_by_no_other(tmp_path: Path, code: str) -> None:
    for name, meant in names().items():
        text = f'{CASES[code][0][0]}\ncheck {{ allow {name} because "it is the subject of the study" }}'
        assert bool(api.warnings(load(tmp_path, text))) == (meant != code)


def test_a_suppression_gives_its_reason_and_names_something_known(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="MP131"):
        load(tmp_path, CASES["MP321"][0][0] + "\ncheck { allow affine_collapse }")
    with pytest.raises(SpecError, match="MP110"):
        load(tmp_path, CASES["MP321"][0][0] + '\ncheck { allow affine_colapse because "typed badly" }')


@pytest.mark.parametrize("allowed", ["dead_units", "autoregressive(x)", "complete(x)"])
def test_a_leak_is_never_silenced(tmp_path: Path, allowed: str) -> None:
    text = f'{BITS}dense(6) }}\ncheck {{ allow {allowed} because "no" }}'
    m = load(tmp_path, text)
    assert "MP301" in [d.code for d in api.check(m)]
    with pytest.raises(SpecError, match="MP301"):
        api.build(m, "torch", tmp_path / "out")


def test_warnings_fail_a_check_and_stop_no_build(tmp_path: Path) -> None:
    load(tmp_path, CASES["MP321"][0][0])
    spec, out = str(tmp_path / "m.mp"), tmp_path / "out"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "mpcompile", *arguments], capture_output=True, text=True)

    assert run("check", spec).returncode == 1
    built = run("build", spec, "-o", str(out))
    assert built.returncode == 0 and (out / "model.py").exists()
    assert "warning[MP321]" in built.stderr


def test_a_norm_over_the_order_is_named_beside_the_leak(tmp_path: Path) -> None:
    net = "dense(16, mask = degrees) -> {}relu -> dense(6, mask = {}) }}"
    (pooled,) = api.check(load(tmp_path, BITS + net.format("layer_norm -> ", "strict(degrees)")))
    assert pooled.code == "MP301" and "`layer_norm` takes mean and variance" in pooled.help
    (plain,) = api.check(load(tmp_path, BITS + net.format("", "degrees")))
    assert plain.code == "MP301" and "mean and variance" not in plain.help


def test_a_norm_within_a_step_is_not_blamed_for_a_leak(tmp_path: Path) -> None:
    """It takes mean and variance of elements that become available together."""
    text = "input x: real[time, 3]\nx ~ autoregressive { layer_norm -> conv1d(6, 3, pad = same) }"
    (found,) = api.check(load(tmp_path, text))
    assert found.code == "MP301" and "mean and variance" not in found.help


def scored(build: object) -> Module:
    """A module with one program: a softmax of what `build(builder, scores)` makes of some scores."""
    g = Graph("loss")
    b = Builder(g)
    scores = b.input("scores", float_type(symbol("N"), 3))
    g.outputs["p"] = b.emit(Softmax(1), build(b, scores))  # type: ignore[operator]
    return Module("m", Source("<text>", ""), programs={"loss": g})


@pytest.mark.parametrize(("number", "found"), [(-1e3, 1), (-1e9, 1), (-999.0, 0), (float("-inf"), 0)])
def test_a_mask_by_where_or_by_an_added_constant(number: float, found: int) -> None:
    mask = np.array([[True, True, False]])
    by_where = scored(lambda b, s: F.where(b, b.constant(mask), s, number))
    added = scored(lambda b, s: F.add(b, s, b.constant(np.where(mask, 0.0, number))))
    assert len(list(finite_mask(by_where))) == len(list(finite_mask(added))) == found


def test_what_collapses_is_one_layer(tmp_path: Path) -> None:
    """The oracle: the image of a middle is the middle of the images for an affine function, and for no other."""
    for text, constant in [(CASES["MP321"][0][0], True), (CASES["MP321"][1][0], False)]:
        m = load(tmp_path, text)
        graph, weights = m.programs["predict"], example_weights(m, spread=0.5)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((2, 64, 4))
        value = [interpret(graph, weights, {"x": v})["y"] for v in (x, y, (x + y) / 2)]
        assert np.allclose((value[0] + value[1]) / 2, value[2]) == constant
        assert bool(list(affine_collapse(m))) == constant


def test_every_two_places_that_collapse_are_named(tmp_path: Path) -> None:
    """A block that is used twice collapses with what stands before and behind each use."""
    block = "block a on h { yield h -> dense(8) }\n"
    net = "x -> dense(8) -> a -> dense(8) -> a -> dense(8) -> tanh -> dense(2)"
    assert len(list(affine_collapse(load(tmp_path, f"{PLANE}{block}y ~ normal({net}, 1)")))) == 4


def test_layers_that_are_repeated_collapse_once(tmp_path: Path) -> None:
    """One warning for two places of the text, however often they are run."""
    m = load(
        tmp_path, PLANE + "y ~ normal(x -> repeat i in 1..4 { dense(16) -> dense(4) } -> tanh -> dense(2), 1)"
    )
    assert len(list(affine_collapse(m))) == 1  # between the repetitions is a bottleneck
