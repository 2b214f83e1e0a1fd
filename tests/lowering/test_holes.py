"""Missing values: laws of single elements leave them out, exactly, and nothing reads them as if they were there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.analysis import prove
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.batches import Batches
from mpcompile.runner.data import load_data
from mpcompile.runner.examples import example_weights

#: Models of discrete variables that may be missing, with the classes of each element in order.
MODELS = {
    "bits and a class": (
        "input x: binary[3]?\ninput k: category(3)?\ncondition one: real[1]\nx ~ bernoulli(logits = one -> dense(3))\n"
        "k ~ categorical(logits = one -> dense(3))\n"
    ),
    "a recurrence": (
        "input x: binary[time, 3]?\ncondition one: real[1]\nrecurrence over time {\n  carry h[3] = 0\n"
        "  x ~ bernoulli(logits = concat(h, one) -> dense(3))\n  h = h -> dense(3) -> tanh\n}\n"
    ),
    "a hidden Markov model": (
        "input x: binary[time, 3]?\nrecurrence over time {\n  carry k: category(2) = 0\n"
        "  latent s: category(2) ~ exact prior categorical(logits = k -> embedding(2))\n"
        "  x ~ bernoulli(logits = s -> embedding(3))\n  k = s\n}\n"
    ),
}  # fmt: skip


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


@pytest.mark.parametrize("name", MODELS)
def test_the_likelihood_is_the_sum_over_all_fillings(name: str) -> None:
    module = module_of("model m\n" + MODELS[name])
    weights = {k: np.asarray(v) for k, v in example_weights(module, 0, spread=0.8).items()}
    rng = np.random.default_rng(0)
    full: dict[str, Array] = {"one": np.ones((1, 1))}
    full["x"] = rng.integers(0, 2, (1, 2, 3) if "time" in MODELS[name] else (1, 3)).astype(float)
    full["k"] = rng.integers(0, 3, 1)
    full = {k: v for k, v in full.items() if k in module.programs["log_prob"].inputs}
    holes = {"x": [0, 2]} | ({"k": [0]} if "k" in full else {})

    def with_values(values: tuple[float, ...]) -> dict[str, Array]:
        given, at = {k: v.copy() for k, v in full.items()}, iter(values)
        for n, places in holes.items():
            for i in places:
                given[n].reshape(-1)[i] = next(at)
        return given

    def log_prob(given: dict[str, Array]) -> float:
        return float(interpret(module.programs["log_prob"], weights, given)["log_prob"][0])

    missing = tuple(-1 if n == "k" else np.nan for n, places in holes.items() for _ in places)
    states = [range(3 if n == "k" else 2) for n, places in holes.items() for _ in places]
    total = sum(np.exp(log_prob(with_values(s))) for s in itertools.product(*states))
    assert log_prob(with_values(missing)) == pytest.approx(np.log(total), rel=1e-10)
    assert {v.status for v in prove(module)} == {"proved"}


VAE = (
    "model m\ninput x: real[3]?\ninput y: real(0..)?\n"
    "latent z ~ normal(concat({x}, {y}) -> dense(4)) prior normal(0, 1)\n"
    "x ~ normal(z -> dense(6))\ny ~ gamma(z -> dense(2))\n"
)


def test_what_is_missing_has_no_effect_and_no_gradient_is_nan() -> None:
    """Whatever the column has there: the divergence and the likelihood of the rest are those of any filling."""
    from mpcompile.passes.gradient import differentiate

    module = module_of(VAE.format(x="fill(x, 0), observed(x)", y="fill(y, 1), observed(y)"))
    weights = {k: np.asarray(v) for k, v in example_weights(module, 0, spread=0.5).items()}
    x, y = np.random.default_rng(0).normal(size=(4, 3)), np.array([0.5, np.nan, 2.0, np.nan])
    x[0, 1] = x[2] = np.nan
    given = {"x": x, "y": y, "noise_z": np.zeros((4, 2))}
    graph = differentiate(module.programs["loss"], "loss", [*weights])
    assert all(np.isfinite(v).all() for v in interpret(graph, weights, given).values())
    assert not any("observed" in name for name in module.programs["sample"].outputs)


BARE = {
    "a posterior": VAE.format(x="x", y="fill(y, 1)"),
    "an autoregressive law": "model m\ninput x: binary[3]?\nmask up = degrees(order = natural)\n"
    "x ~ autoregressive { dense(4, mask = up) -> dense(3, mask = strict(up)) }\n",
    "a flow": "model m\ninput x: real[2]?\nx ~ flow(base = normal) { affine }\n",
    "a step": "model m\ninput x: binary[time, 2]?\nrecurrence over time {\n  carry h[3] = 0\n"
    "  x ~ bernoulli(logits = h -> dense(2))\n  h = gru(x, h)\n}\n",
    "a value at the top": "model m\ninput x: real[3]?\ntarget t: real[1]\nh = x -> dense(3)\n"
    "t ~ normal(h -> dense(1), 1)\n",
}  # fmt: skip


@pytest.mark.parametrize("text", BARE.values(), ids=BARE)
def test_bare_reading_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        module_of(text)
    (found,) = caught.value.diagnostics
    assert found.code == "MP216" and found.help


def test_a_law_fills_in_no_later_variable() -> None:
    text = "model m\ninput a: real[2]?\ninput b: real[2]?\na ~ normal(fill(b, 0), 1)\nb ~ normal(0, 1)\n"
    with pytest.raises(SpecError, match="`a` reads `b`, which is stated after it"):
        module_of(text)


def test_holes_of_a_file(tmp_path: Path) -> None:
    """NaN in numbers and classes of a file; a variable without `?` refuses them (MP504)."""
    spec = tmp_path / "m.mp"
    spec.write_text("model m\n" + MODELS["bits and a class"].replace("condition one", "input one"))
    rng = np.random.default_rng(0)
    x, k = rng.integers(0, 2, (40, 3)).astype(float), rng.integers(0, 3, 40).astype(float)
    x[::3, 1] = k[::2] = np.nan
    np.savez(tmp_path / "d.npz", x=x, k=k, one=np.ones((40, 1)))
    module = api.load(spec)
    data = load_data(module, str(tmp_path / "d.npz"))
    batch = Batches(module, data.splits["train"], 16, 0).at(0)
    assert (
        np.isnan(batch["x"]).any()
        and set(np.unique(batch["k"])) == {-1, 0, 1, 2}
        and batch["k"].dtype.kind == "i"
    )
    spec.write_text(spec.read_text().replace("[3]?", "[3]"))
    with pytest.raises(SpecError, match="MP504"):
        load_data(api.load(spec), str(tmp_path / "d.npz"))


PEOPLE = (
    'model m\ninput age: real(0..)?\ninput job: category("clerk", "nurse", "teacher")?\ninput visits: integer(0..)?\n'
    "input ok: category(2)?\nage ~ gamma(2, 1)\njob ~ categorical(logits = 0)\nvisits ~ poisson(1)\n"
    "ok ~ categorical(logits = 0)\n"
)


def test_holes_of_a_table(tmp_path: Path) -> None:
    """Empty cells and marks of missing values are holes; words have the numbers of the spec, or of the alphabet."""
    module, path = module_of(PEOPLE), tmp_path / "d.csv"
    rows = ["age,job,visits,ok", ",teacher,0,", "31.5,,?,yes", "NA,nurse,4,no", "20, clerk ,,yes"]
    path.write_text("\n".join(rows) + "\n")
    train = load_data(module, str(path), whole=True).splits["train"]
    got = Batches(module, train, 4, 0).at(0)
    order = np.argsort(np.nan_to_num(got["visits"], nan=9) * 10 + np.nan_to_num(got["age"]))
    np.testing.assert_array_equal(got["job"][order], [2, 1, 0, -1])
    np.testing.assert_array_equal(got["ok"][order], [-1, 0, 1, 1])
    np.testing.assert_array_equal(got["visits"][order], [0, 4, np.nan, np.nan])
    np.testing.assert_array_equal(got["age"][order], [np.nan, np.nan, 20, 31.5])
    for bad, code, said in (
        ("31,nurze,1,no", "MP505", "'nurze', which is no class of the spec, first in row 6"),
        ("-3,nurse,1,no", "MP504", "age"),
        ("31,7,1,no", "MP506", "row 6, column 2 (job) holds '7'"),
        ("31,nurse,inf,no", "MP506", "row 6, column 3 (visits) holds 'inf'"),
        ("31,nurse,1.5,no", "MP504", "fractions"),
    ):
        path.write_text("\n".join([*rows, bad]) + "\n")
        with pytest.raises(SpecError) as caught:
            load_data(module, str(path), whole=True)
        (found,) = caught.value.diagnostics
        assert found.code == code and said in found.message, found
        assert code != "MP505" or "did you mean 'nurse'?" in found.help
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(SpecError, match="the cell is empty"):
        load_data(module_of(PEOPLE.replace("real(0..)?", "real(0..)")), str(path))


def test_a_block_reads_the_holes_of_its_argument() -> None:
    """`v` of a block is the variable with its holes: `fill(v, 0)` and `observed(v)` are those of the variable."""
    body = "target t: real[1]\nblock column on v {{ yield {} }}\nt ~ normal(column(x), 1)\n"
    good = body.format("concat(fill(v, 7), observed(v)) -> dense(1, init = constant(1))")
    module = module_of(f"model m\ninput x: real?\n{good}")
    weights = {k: np.asarray(v) * 0 + 1 for k, v in example_weights(module, 0).items()}
    given = {"x": np.array([2.0, np.nan]), "t": np.array([[4.0], [8.0]])}
    found = interpret(module.programs["log_prob"], weights, given)["log_prob"]
    np.testing.assert_allclose(found, -0.5 * np.log(2 * np.pi))
    with pytest.raises(SpecError, match="`v` may be missing"):
        module_of(f"model m\ninput x: real?\n{body.format('v -> dense(1)')}")


def test_what_is_filled_in_keeps_the_axes_of_the_variable() -> None:
    """One channel stands for a number; more would pair each example with those of others, and are refused."""
    text = "model m\ninput x: real?\ncondition c: real[3]\ntarget t: real\nt ~ normal(fill(x, c -> dense({})), 1)\n"
    module = module_of(text.format(1))
    weights = {k: np.asarray(v) for k, v in example_weights(module, 0, spread=1.0).items()}
    c = np.random.default_rng(0).normal(size=(3, 3))
    given = {"x": np.array([np.nan, 0.3, np.nan]), "c": c, "t": np.zeros(3)}
    one = c @ next(v for k, v in weights.items() if k.endswith("weight")).reshape(3, 1)
    mean = np.where(
        np.isnan(given["x"]), one[:, 0] + next(v for k, v in weights.items() if "bias" in k), given["x"]
    )
    found = interpret(module.programs["log_prob"], weights, given)["log_prob"]
    np.testing.assert_allclose(found, -0.5 * np.log(2 * np.pi) - mean**2 / 2)
    with pytest.raises(SpecError, match="`channel` is no axis of it"):
        module_of(text.format(2))
