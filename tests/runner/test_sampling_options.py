"""Options of a sampler: each draw is what its conditional, changed as asked for, gives for its noise.

The oracle: teacher forcing. A drawn x goes through `conditionals` of the unchanged model, and numpy draws each element
anew from those parameters and the same noise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from derived import optimised
from scipy.special import expit, log_softmax, softmax
from scipy.stats import laplace, logistic
from typer.testing import CliRunner

from mpcompile.cli.sample import sample
from mpcompile.cli.train import train
from mpcompile.diagnostics import Source, SpecError
from mpcompile.distributions.sampling import Sampling
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import DType, Graph, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_inputs, example_weights

TEXT = """
model m
input x: category(6)[time]
x ~ autoregressive(likelihood = categorical) { embedding(4) -> shift -> conv1d(8, 3) -> relu -> dense(6) }"""
IMAGE = """
model m
input x: integer(0..4)[3, 3, 2]
x ~ autoregressive(order = pixel, likelihood = categorical) {
  conv(9, 3, pad = same, mask = causal2d(type = A, channels = rgb)) -> relu
  conv(15, 1, mask = causal2d(type = B, channels = rgb))
}"""
BINARY = """
model m
input x: binary[7]
x ~ autoregressive(order = natural, likelihood = bernoulli) { nade(5) }"""
REAL = """
model m
input x: real[5]
mask up = degrees(order = random, seed = 1)
x ~ autoregressive(order = random, seed = 1, likelihood = LAW) { dense(10, mask = strict(up)) -> tanh }"""
SPECS = {
    "text": TEXT,
    "image": IMAGE,
    "binary": BINARY,
    "normal": REAL.replace("LAW", "normal"),
    "laplace": REAL.replace("LAW", "laplace"),
    "logistic": REAL.replace("LAW", "logistic"),
}


def by_inversion(logits: np.ndarray, u: np.ndarray, t: float, axis: int) -> np.ndarray:
    cumulated = np.cumsum(softmax(logits / t, axis), axis)
    return np.asarray((cumulated < np.expand_dims(u, axis)).sum(axis))


DRAW: dict[str, Callable[[dict[str, np.ndarray], np.ndarray, float], np.ndarray]] = {
    "text": lambda p, u, t: by_inversion(p["logits"], u, t, 2),
    "image": lambda p, u, t: by_inversion(p["logits"], u, t, 1),
    "binary": lambda p, u, t: (u < expit(p["logits"] / t)) * 1.0,
    "normal": lambda p, u, t: p["loc"] + t * np.exp(p["log_scale"]) * u,
    "laplace": lambda p, u, t: p["loc"] + t * np.exp(p["log_scale"]) * laplace.ppf(u),
    "logistic": lambda p, u, t: p["loc"] + t * np.exp(p["log_scale"]) * logistic.ppf(u),
}


def made(name: str, options: Sampling | None = None) -> Module:
    text = SPECS[name]
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {}, options)


def drawn(name: str, options: Sampling, **given: np.ndarray) -> tuple[dict[str, np.ndarray], Any, Any]:
    """Parameters of the conditionals of a draw, its noise, and the draw, by the derived sampler."""
    m = made(name, options)
    fast = optimised(m)
    w = {k: np.asarray(v, np.float64) for k, v in example_weights(m).items()}
    inputs = example_inputs(m, "sample", 5, 9) | given
    x = interpret(fast.module.programs["sample"], w, inputs, {"time": 9})["x"]
    slow = interpret(m.programs["sample"], w, inputs, {"time": 9})["x"]
    np.testing.assert_allclose(x, slow, atol=1e-9)
    parameters = interpret(made(name).programs["conditionals"], w, {"x": x}, {"time": 9})
    return parameters, inputs["noise_x"], x


def listing(graph: Graph) -> list[str]:
    """Nodes with all that they hold, bodies of loops included, numbered in order."""
    place = {n.id: i for i, n in enumerate(graph.nodes())}

    def shown(value: object) -> str:
        if isinstance(value, Graph):
            return str(listing(value))
        return value.tobytes().hex() if isinstance(value, np.ndarray) else str(value)

    return [
        f"{[(place[v.node], v.index) for v in n.inputs]} {n.op.name} {n.types} "
        f"{[shown(v) for v in n.op.attributes().values()]}"
        for n in graph.nodes()
    ]


@pytest.mark.parametrize("name", SPECS)
def test_without_options_programs_are_the_same(name: str) -> None:
    """Node for node."""
    plain, default, other = (
        listing(made(name, o).programs["sample"]) for o in (None, Sampling(), Sampling(0.5))
    )
    assert plain == default != other


@pytest.mark.parametrize("t", [1.0, 0.3, 2.0])
@pytest.mark.parametrize("name", SPECS)
def test_temperature(name: str, t: float) -> None:
    parameters, noise, x = drawn(name, Sampling(t))
    np.testing.assert_allclose(x, DRAW[name](parameters, noise, t), atol=1e-9)


@pytest.mark.parametrize(("name", "axis"), [("text", 2), ("image", 1)])
def test_top_k(name: str, axis: int) -> None:
    """Draws from a softmax over the k largest logits; noise beside one finds no class outside of them."""
    m = made(name)
    noise = example_inputs(m, "sample", 5, 9)["noise_x"]
    noise[0] = 1 - 1e-17
    parameters, u, x = drawn(name, Sampling(0.8, 2), noise_x=noise)
    logits = parameters["logits"]
    second = np.sort(logits, axis).take([-2], axis)
    kept = np.where(logits >= second, logits, -np.inf)
    inner = slice(1, None)
    assert (x[inner] == by_inversion(kept, u, 0.8, axis)[inner]).all()
    assert (np.take_along_axis(kept, np.expand_dims(x, axis).astype(int), axis) > -np.inf).all()
    assert len(np.unique(x)) > 1
    parameters, _, x = drawn(name, Sampling(top_k=1))
    assert (x == parameters["logits"].argmax(axis)).all()


@pytest.mark.parametrize("name", SPECS)
def test_given_elements_stay_and_the_others_follow(name: str) -> None:
    m = made(name, Sampling(given=True))
    inputs = example_inputs(m, "sample", 5, 9)
    rng = np.random.default_rng(1)
    keep = rng.integers(0, 2, inputs["keep_x"].shape).astype(float)
    whole = m.programs["sample"].inputs["given_x"].type.dtype is DType.INT
    values = rng.integers(0, 2, keep.shape).astype(np.int64 if whole else np.float64)
    parameters, noise, x = drawn(name, Sampling(given=True), keep_x=keep, given_x=values)
    assert 0 < keep.mean() < 1
    np.testing.assert_allclose(x, np.where(keep == 1, values, DRAW[name](parameters, noise, 1.0)), atol=1e-9)


def test_options_that_do_not_apply() -> None:
    for wrong in ({"temperature": 0.0}, {"temperature": float("nan")}, {"top_k": 0}):
        with pytest.raises(ValueError, match=r"temperature|top_k"):
            Sampling(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="MP209"):
        made("binary", Sampling(top_k=2))


# The command ------------------------------------------------------------------------------------------


def command(*arguments: str) -> tuple[int, str]:
    """In this process: a new one would load the framework each time."""
    app = typer.Typer()
    app.command("train")(train)
    app.command("sample")(sample)
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of a step: digits given their class, in several orders, and text."""
    root = tmp_path_factory.mktemp("options")
    digits = """
        model digits
        input x: binary[1, 8, 8]
        condition label: category(10)
        x ~ autoregressive(likelihood = bernoulli) {
          conv(4, 3, pad = same, mask = causal2d(type = A)) -> add(label -> embedding(4))
          relu -> conv(1, 1)
        }
        train { data: binary_digits, batch: 8 }"""
    orders = """
        model orders
        input x: binary[64]
        mask up = degrees
        x ~ autoregressive(order = random, orders = 3) {
          dense(70, mask = up) -> relu -> dense(64, mask = strict(up))
        }
        train { data: binary_digits, batch: 8 }"""
    letters = TEXT.replace("6", "CLASSES") + "\ntrain { data: text, length: 10, batch: 8 }\n"
    texts = {"digits": digits, "orders": orders, "bytes": letters.replace("CLASSES", "256")}
    for name, text in texts.items():
        (root / f"{name}.mp").write_text(text, encoding="utf-8")
        code, said = command("train", str(root / f"{name}.mp"), "--out", str(root / name), "--steps", "1")
        assert code == 0, said
    return root


def arrays(runs: Path, name: str, *options: str) -> dict[str, np.ndarray]:
    target = runs / "s.npz"
    code, said = command("sample", str(runs / name), "-n", "7", "-o", str(target), *options)
    assert code == 0, said
    with np.load(target) as file:
        return dict(file)


def test_completion_keeps_the_first_half_and_the_label(runs: Path) -> None:
    from mpcompile import api
    from mpcompile.runner.data import load_data
    from mpcompile.runner.run import open_run

    opened = open_run(runs / "digits")
    test = load_data(api.load(opened.spec), "binary_digits").split("test").take(np.arange(7))
    free = arrays(runs, "digits")
    found = arrays(runs, "digits", "--given", "binary_digits", "--upto", "0.5")
    assert (found["x"][:, :, :4] == test["x"][:, :, :4]).all()
    assert (found["x"][:, :, 4:] != test["x"][:, :, 4:]).any()
    assert (found["given_label"] == test["label"]).all()
    assert (free["given_label"] == np.arange(7)).all()
    few = arrays(runs, "digits", "--given", "binary_digits", "--upto", "10", "--batch", "3")
    same = few["x"].reshape(7, 64) == test["x"].reshape(7, 64)
    assert same[:, :10].all() and not same[:, 10].all()


def test_conditions_and_batches(runs: Path) -> None:
    whole = arrays(runs, "digits", "--condition", "label=3,5")
    assert whole["given_label"].tolist() == [3, 5, 3, 5, 3, 5, 3]
    parts = arrays(runs, "digits", "--condition", "label=3,5", "--batch", "2")
    assert (whole["x"] == parts["x"]).all()


def test_draws_of_a_mixture_over_orders_are_those_of_its_members(runs: Path) -> None:
    """Each of a member that its place alone decides; a completion is in the first order."""
    from mpcompile import api
    from mpcompile.runner.noise import draw
    from mpcompile.runner.run import open_run
    from mpcompile.specialize import member

    found = arrays(runs, "orders")["x"]
    np.testing.assert_array_equal(found, arrays(runs, "orders", "--batch", "2")["x"])
    opened = open_run(runs / "orders")
    m = api.load(opened.spec)
    weights = opened.parameters(m)[0]
    noise = {"noise_x": draw("uniform", (64, 64), (0, "sample", "noise_x", 0))[:7]}
    each = [interpret(member(m, k).programs["sample"], weights, noise)["x"] for k in range(3)]
    which = draw("choice", (64,), (0, "sample", "member", 0), classes=3)[:7]
    assert set(which) == {0, 1, 2} and (each[0] != each[1]).any() and (each[0] != each[2]).any()
    np.testing.assert_array_equal(found, [each[k][i] for i, k in enumerate(which)])
    order = m.claims[0].ordering.ranks
    given = arrays(runs, "orders", "--given", "binary_digits", "--upto", "20")["x"]
    again = arrays(runs, "orders", "--given", "binary_digits", "--upto", "20", "--seed", "1")["x"]
    same = (given == again).all(0)
    assert same[order < 20].all() and not same[order >= 20].all()


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("digits", ("--condition", "lable=3"), 1, "it reads label"),
        ("digits", ("--condition", "label=10"), 1, "whole numbers from 0 to 9"),
        ("digits", ("--condition", "label=two"), 1, "is no number"),
        ("digits", ("--condition", "label"), 2, "--condition takes name=value"),
        ("digits", ("--prompt", "a"), 1, "MP542"),
        ("digits", ("--top-k", "3"), 1, "MP209"),
        ("digits", ("--temperature", "0"), 2, "positive"),
        ("digits", ("--upto", "3"), 2, "--given"),
        ("digits", ("--given", "binary_digits", "--upto", "65"), 1, "MP542"),
        ("bytes", ("--prompt", ""), 1, "empty"),
        ("bytes", ("--stream", "-o", "x.png"), 2, "--stream writes"),
        ("digits", ("--stream",), 1, "MP542"),
        ("orders", ("--stream",), 1, "MP542"),
        ("bytes", ("--prompt", "a", "--given", "text"), 2, "exclude"),
        ("digits", ("--reconstruct", "-o", "x.npz"), 1, "MP543"),
        ("digits", ("--interpolate", "-o", "x.npz"), 1, "MP543"),
        ("digits", ("--forward", "binary_digits", "-o", "x.npz"), 1, "MP543"),
    ],
)
def test_what_does_not_fit_is_said(
    runs: Path, name: str, options: tuple[str, ...], code: int, message: str
) -> None:
    found, said = command("sample", str(runs / name), *options)
    assert (found, message in said) == (code, True), said


def test_a_model_without_a_posterior_has_no_bound_of_it(runs: Path) -> None:
    from mpcompile import api
    from mpcompile.runner.evaluate import evaluate
    from mpcompile.runner.run import open_run

    opened = open_run(runs / "digits")
    with pytest.raises(SpecError, match="MP543"):
        evaluate(opened, api.load(opened.spec), samples=2)


def test_a_prompt_in_bytes(runs: Path) -> None:
    """UTF-8: two bytes for one letter, and as many new bytes as the length says."""
    target = runs / "s.txt"
    options = ("--prompt", "grün ", "--length", "6", "--top-k", "3", "-o", str(target))
    code, said = command("sample", str(runs / "bytes"), "-n", "2", *options)
    assert code == 0, said
    assert all(part.startswith("grün ") for part in target.read_text(encoding="utf-8").split("\n\n"))
    values = arrays(runs, "bytes", "--prompt", "grün ", "--length", "6")
    (x,) = values.values()
    assert x.shape == (7, 12) and x[:, 2:4].tolist() == [[0xC3, 0xBC]] * 7


@pytest.mark.parametrize("ending", [".txt", ".wav"])
def test_a_stream_is_the_sample(runs: Path, ending: str) -> None:
    """Byte for byte, to a file and to the terminal, whose pieces may end within a letter."""
    whole, file = runs / f"whole{ending}", runs / f"stream{ending}"
    options = ("-n", "3", "--prompt", "grün ", "--length", "75", "--seed", "4", "--temperature", "2")
    for target, extra in ((whole, ()), (file, ("--stream",))):
        code, said = command("sample", str(runs / "bytes"), *options, "-o", str(target), *extra)
        assert code == 0, said
    assert whole.read_bytes() == file.read_bytes()
    if ending == ".txt":
        code, said = command("sample", str(runs / "bytes"), *options, "--stream")
        assert (code, said) == (0, whole.read_text(encoding="utf-8"))


def test_a_model_without_an_order_has_no_temperature() -> None:
    from mpcompile.runner.completion import autoregressive

    text = "model m\ninput x: real[3]\ntarget y: real[2]\ny ~ normal(x -> dense(2))"
    with pytest.raises(SpecError, match="MP542"):
        autoregressive(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {}))


def test_log_softmax_is_not_what_a_temperature_changes() -> None:
    """`conditionals` and `log_prob` stay those of the law itself."""
    m, changed = made("text"), made("text", Sampling(0.2, 3))
    w = {k: np.asarray(v, np.float64) for k, v in example_weights(m).items()}
    x = example_inputs(m, "log_prob", 3, 9)
    plain, other = (interpret(p.programs["log_prob"], w, x, {"time": 9})["log_prob"] for p in (m, changed))
    np.testing.assert_array_equal(plain, other)
    logits = interpret(m.programs["conditionals"], w, x, {"time": 9})["logits"]
    picked = np.take_along_axis(log_softmax(logits, 2), x["x"][..., None], 2)
    np.testing.assert_allclose(plain, picked.sum((1, 2)), rtol=1e-9)
