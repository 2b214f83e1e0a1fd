"""Every law of every type in every role: refused with its code, or a density or mass that adds up to one.

The table below is written by hand. In float64, by the numpy interpreter: masses to 1e-9, integrals to 1e-4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.distributions import DISTRIBUTIONS, REMOVED
from mpcompile.distributions.support import BASES
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering.supports import laws_of
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights

ROOT = Path(__file__).parents[2]
#: Laws of a variable of each type.
ALLOWED = {
    "bernoulli": {"binary", "bit"},
    "perceptron": {"binary", "bit"},
    "normal": {"real"},
    "laplace": {"real"},
    "logistic": {"real"},
    "student_t": {"real"},
    "log_normal": {"real(0..)"},
    "gamma": {"real(0..)"},
    "beta": {"real(a..b)"},
    "continuous_bernoulli": {"real(a..b)"},
    "uniform": {"real(a..b)", "angle"},
    "von_mises": {"angle"},
    "ordinal": {"integer", "bit"},
    "poisson": {"integer(0..)"},
    "negative_binomial": {"integer(0..)"},
    "categorical": {"category", "integer", "bit"},
    "mixture": {"real"},
    "zero_inflated": {"real(0..)", "integer(0..)"},
    "truncated": {"real(0..)", "real(a..b)"},
    "discretized": {"integer", "integer(0..)", "bit"},
    "autoregressive": {*BASES, "bit"},  # that of its likelihood
    "flow": {"real", "angle", "binary", "integer", "bit"},  # the last three behind `dequantize`
    "ctc": {"category"},
    "diffusion": {"real", "integer", "bit"},
    "delta": set[str](),
}
#: Laws of a single element that an autoregressive density may have, and how many parameters they read of a net.
PARAMETERS = {
    "bernoulli": 1, "normal": 2, "laplace": 2, "logistic": 2,
    "student_t": 3, "log_normal": 2, "gamma": 2, "beta": 2, "continuous_bernoulli": 1, "von_mises": 2, "ordinal": 1,
    "poisson": 1, "negative_binomial": 2,
}  # fmt: skip
#: Each type, of few states, and its levels. `bit`: integers that are the values of a `binary`.
TYPES = {
    "real": "real", "binary": "binary", "integer": "integer(-1..2)", "category": "category(3)", "bit": "integer(0..1)",
}  # fmt: skip
#: How far densities are integrated: the tails of student_t are those of a power.
ACROSS = {"student_t": (1e7, 50_001, 16)}
#: Types whose values no list has, beside the reals: `tests/laws/test_every_law.py` integrates over them.
WIDE = {
    "real(0..)": "real(0..)",
    "real(a..b)": "real(-1..2)",
    "angle": "angle",
    "integer(0..)": "integer(0..)",
}
STATES = {"binary": (0, 1), "integer": (-1, 0, 1, 2), "category": (0, 1, 2), "bit": (0, 1)}


def law(keyword: str, base: str, net: str, rank: int = 1, flow: str = "affine") -> str:
    """A law of one element, its parameters from a value `net`."""
    classes = len(STATES.get(base, (0, 1, 2)))
    match keyword:
        case "bernoulli":
            return f"bernoulli(logits = {net} -> dense(1))"
        case "perceptron":
            return f"perceptron(activation = {net} -> dense(1))"
        case "zero_inflated":
            return (
                f"zero_inflated({'gamma' if base == 'real(0..)' else 'negative_binomial'}, {net} -> dense(3))"
            )
        case "truncated" | "discretized":
            return f"{keyword}(normal, {net} -> dense(2))"
        case "uniform":
            return "uniform"
        case "categorical":
            places = f" -> reshape(channel = {classes}, place = 1)" if rank and base == "category" else ""
            return f"categorical(logits = {net} -> dense({classes}){places})"
        case "ctc":
            frames = f"dense({2 * classes + 2}) -> reshape(time = 2, channel = {classes + 1})"
            return f"ctc(logits = {net} -> {frames}, blank = {classes})"
        case "diffusion":
            return "diffusion(denoise, 3)"
        case "mixture":
            return "mixture(components = 2)"
        case "flow":
            return (
                "flow(base = uniform) { rotate }" if base == "angle" else f"flow(base = normal) {{ {flow} }}"
            )
        case "autoregressive":
            return "autoregressive(likelihood = normal) { dense(2, mask = strict(degrees)) }"
        case "delta":
            return f"delta({net} -> dense(1))"
    return f"{keyword}({net} -> dense({PARAMETERS[keyword]}))"


def load(folder: Path, text: str) -> Module:
    path = folder / "m.mp"
    net = (
        "block denoise on x, t { yield (x -> dense(1)) + (t -> embedding(1)) }\n" if "denoise" in text else ""
    )
    path.write_text(f"model m\n{net}{text}\n")
    return api.load(path)


def codes(folder: Path, text: str) -> set[str]:
    try:
        load(folder, text)
    except SpecError as caught:
        assert all(d.help for d in caught.diagnostics)
        return {d.code for d in caught.diagnostics}
    return set()


def total(m: Module, points: Array, weight: Array) -> float:
    """The weighted sum of exp(log_prob) over values of x, under weights drawn at random, with noise in the middle."""
    program = m.programs["log_prob"]
    rng = np.random.default_rng(3)
    given: dict[str, Array] = {"x": points}
    for name, value in program.inputs.items():
        if name != "x":
            shape = tuple(len(points) if i == 0 else int(s) if isinstance(s, int) else points.shape[1]
                          for i, s in enumerate(value.shape))  # fmt: skip
            given[name] = np.broadcast_to(rng.normal(size=shape[1:]), shape)
    weights = {k: np.asarray(v, np.float64) for k, v in example_weights(m, np.random.default_rng(5)).items()}
    out = interpret(program, weights, given)
    return float((np.exp(out["log_prob"]) * weight).sum())


def cells(m: Module, levels: Sequence[int]) -> float:
    """The sum over all levels of x of the mean over the dequantiser's noise of exp(log_prob): the mass of a flow."""
    program, count = m.programs["log_prob"], 1_000
    (noise,) = (k for k in program.inputs if k.startswith("noise"))
    weights = {k: np.asarray(v, np.float64) for k, v in example_weights(m, np.random.default_rng(5)).items()}
    total = 0.0
    for level in levels:
        given = {"x": np.full((count, 1), float(level)), noise: ((np.arange(count) + 0.5) / count)[:, None]}
        total += float(np.exp(interpret(program, weights, given)["log_prob"]).mean())
    return total


def line(width: float, steps: int, bend: float = 6) -> tuple[Array, Array]:
    """Points across the reals, dense in the middle, with the weights of the trapezoidal rule."""
    t = np.linspace(-1, 1, steps)
    x = width * np.sinh(bend * t) / np.sinh(bend)
    return x[:, None], np.gradient(x)


def test_the_table_is_that_of_the_registry() -> None:
    assert {k: set(v.support.types) for k, v in DISTRIBUTIONS.items()} == {
        k: v - {"bit"} for k, v in ALLOWED.items()
    }
    for types in ALLOWED.values():
        assert ("bit" in types) == (not types.isdisjoint(("binary", "integer")))
    assert set(BASES) == set(TYPES) - {"bit"} | set(WIDE)
    assert [k for k in ALLOWED if "real" in ALLOWED[k]] == laws_of("real")


def one(base: str) -> str:
    """The axis of one element."""
    return "[place: 1]" if base == "category" else "[1]"


@pytest.mark.parametrize("role", ["input", "target"])
@pytest.mark.parametrize("base", TYPES)
@pytest.mark.parametrize("keyword", [k for k in DISTRIBUTIONS if k != "autoregressive"])
def test_a_law_has_the_values_of_its_variable(tmp_path: Path, keyword: str, base: str, role: str) -> None:
    """As an observed variable or a target; what is allowed sums or integrates to one."""
    discrete = base != "real"
    flow = "dequantize -> logit(alpha = 0) -> affine" if discrete else "affine"
    text = (
        f"condition c: real[3]\n{role} x: {TYPES[base]}{one(base)}\nx ~ {law(keyword, base, 'c', flow=flow)}"
    )
    expected = set() if base in ALLOWED[keyword] else {"MP209"}
    assert codes(tmp_path, text) == expected
    if expected or role == "target":
        return
    m = load(tmp_path, text)
    if keyword in ("perceptron", "diffusion"):
        assert "log_prob" not in m.programs and ("elbo" in m.programs) == (keyword == "diffusion")
    elif keyword == "flow" and discrete:
        assert abs(cells(m, STATES[base]) - 1) < 1e-4
    elif discrete:
        states = np.array(STATES[base])[:, None]
        mass = total(m, states, np.ones(len(states)))
        assert mass < 1 if keyword == "ctc" else abs(mass - 1) < 1e-9  # texts of other lengths have the rest
    else:
        assert abs(total(m, *line(*ACROSS.get(keyword, (400, 50_001)))) - 1) < 1e-4


@pytest.mark.parametrize("base", WIDE)
def test_laws_of_bounded_numbers_counts_and_angles(tmp_path: Path, base: str) -> None:
    """Alone, and as likelihoods over time: all others are refused, in words that name a law of the type."""
    for keyword in DISTRIBUTIONS:
        expected = set() if base in ALLOWED[keyword] else {"MP209"}
        if keyword != "autoregressive":
            text = f"condition c: real[3]\ninput x: {WIDE[base]}[1]\nx ~ {law(keyword, base, 'c')}"
            assert codes(tmp_path, text) == expected, keyword
        if keyword in PARAMETERS:
            net = f"shift -> dense({PARAMETERS[keyword]})"
            text = f"input x: {WIDE[base]}[time, 1]\nx ~ autoregressive(likelihood = {keyword}"
            assert codes(tmp_path, f"{text}) {{ {net} }}") == expected, keyword


@pytest.mark.parametrize(
    ("declared", "stated", "message"),
    [
        (
            "real",
            "truncated(normal, c -> dense(2))",
            "MP209 truncated(normal) is a law of the numbers of an interval",
        ),
        (
            "real(0..1)",
            "truncated(student_t, c -> dense(3))",
            "MP209 `truncated` is of a law with a distribution function",
        ),
        (
            "integer(0..3)",
            "discretized(mixture(student_t), c -> dense(9))",
            "MP209 `discretized` is of a law with",
        ),
        (
            "real",
            "mixture(mixture(logistic), c -> dense(9))",
            "MP209 `mixture` is of a law with slots of its own",
        ),
        (
            "real",
            "zero_inflated(normal, c -> dense(3))",
            "MP209 `zero_inflated` is of counts or positive numbers",
        ),
        (
            "integer(0..3)",
            "mixture(poisson, c -> dense(10))",
            "MP209 mixture(poisson) is a law of the counts 0, 1, 2",
        ),
        ("integer(0..)", "zero_inflated(poisson)", "MP123 `zero_inflated` needs `net`"),
        ("integer(0..)", "zero_inflated(net = c -> dense(3))", "MP123 `zero_inflated` needs `law`"),
        (
            "integer(0..)",
            "zero_inflated(mixture(poisson, c), c)",
            "MP128 `mixture` within a law takes no net",
        ),
        (
            "integer(0..)",
            "zero_inflated(poisson, c -> dense(3))",
            "MP207 the network gives [channel: 3] for x, [channel: 1]",
        ),
        ("integer(0..)", "poisson(c -> dense(1), mean = 2)", "MP124 poisson has a `net`"),
        (
            "integer(0..)",
            "negative_binomial(mean = c -> dense(1))",
            "MP123 `negative_binomial` needs `dispersion`",
        ),
    ],
)
def test_what_a_law_over_another_one_refuses(
    tmp_path: Path, declared: str, stated: str, message: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        load(tmp_path, f"condition c: real[3]\ninput x: {declared}[1]\nx ~ {stated}")
    assert all(d.help for d in caught.value.diagnostics)


@pytest.mark.parametrize(
    ("declared", "stated"),
    [
        ("real(0..1)", "truncated(normal, c -> dense(2), low = 0)"),
        ("integer(0..3)", "discretized(normal, c -> dense(2), high = 3)"),
        ("real(0..1)", "uniform(low = 0)"),
        ("real(0..1)", "beta(c -> dense(2), high = 1)"),
    ],
)
def test_the_ends_of_an_interval_are_those_of_the_type(tmp_path: Path, declared: str, stated: str) -> None:
    with pytest.raises(SpecError, match=r"MP110 .* takes no `(low|high)`") as caught:
        load(tmp_path, f"condition c: real[3]\ninput x: {declared}[1]\nx ~ {stated}")
    (found,) = caught.value.diagnostics
    assert found.help is not None and found.help.startswith("the type of its variable has the ends")


@pytest.mark.parametrize(
    ("declared", "stated", "now"),
    [
        (
            "real",
            "logistic_mixture(c -> dense(6), components = 2)",
            "mixture(logistic, c -> dense(6), components = 2)",
        ),
        (
            "real",
            "logistic_mixture(components = 5, net = c -> dense(15))",
            "mixture(logistic, net = c -> dense(15), components = 5)",
        ),
        (
            "integer(0..3)",
            "discretized_logistic_mixture(c -> dense(6), components = 2)",
            "discretized(mixture(logistic, components = 2), c -> dense(6))",
        ),
    ],
)
def test_a_law_that_was_removed_says_how_it_is_stated_now(
    tmp_path: Path, declared: str, stated: str, now: str
) -> None:
    head = f"condition c: real[3]\ninput x: {declared}[1]\nx ~ "
    with pytest.raises(SpecError, match="MP110 unknown distribution") as caught:
        load(tmp_path, head + stated)
    assert [d.help for d in caught.value.diagnostics] == [now]
    assert codes(tmp_path, head + now) == set()
    likelihood = f"input x: {declared}[1]\nx ~ autoregressive(likelihood = LAW) {{ shift -> dense(15) }}"
    keyword = stated.split("(")[0]
    with pytest.raises(SpecError, match=f"MP110 unknown law `{keyword}`") as caught:
        load(tmp_path, likelihood.replace("LAW", keyword))
    assert [d.help for d in caught.value.diagnostics] == [f"it is {REMOVED[keyword]}"]
    likelihood = likelihood.replace("[1]", "[time, 1]").replace("LAW", REMOVED[keyword])
    assert codes(tmp_path, likelihood) == set()


@pytest.mark.parametrize(
    ("declared", "family", "count"),
    [
        ("integer(0..)", "zero_inflated(negative_binomial)", 3),
        ("integer(0..)", "zero_inflated(mixture(poisson, components = 2))", 5),
        ("real", "mixture(student_t, components = 2)", 8),
        ("real(0..1)", "truncated(logistic)", 2),
        ("integer(0..9)", "mixture(discretized(normal), components = 3)", 9),
        ("angle", "von_mises", 2),
        ("integer(0..9)", "ordinal", 1),
    ],
)
def test_laws_over_laws_are_likelihoods(tmp_path: Path, declared: str, family: str, count: int) -> None:
    """Proved, and drawn step by step by the derived sampler as by the reference one, with the same noise."""
    net = f"shift -> dense(4) -> tanh -> dense({2 * count})"
    m = load(tmp_path, f"input x: {declared}[time, 2]\nx ~ autoregressive(likelihood = {family}) {{ {net} }}")
    assert all(v.status.accepted for v in api.verdicts(m))
    w, given = example_weights(m, spread=0.3), example_inputs(m, "sample", 3, 4)
    derived = optimise(m).module.programs["sample"]
    np.testing.assert_allclose(
        interpret(derived, w, given)["x"],
        interpret(m.programs["sample"], w, given)["x"],
        rtol=1e-9,
        atol=1e-9,
    )


def test_zeros_beside_a_density(tmp_path: Path) -> None:
    """A mass at 0, and the rest of it as a density."""
    m = load(tmp_path, "condition c: real[3]\ninput x: real(0..)[1]\nx ~ zero_inflated(gamma, c -> dense(3))")
    x = np.concatenate([[0.0], np.logspace(-20, 2, 50_000)])[:, None]
    zero = total(m, x[:1], np.ones(1))
    assert 0.01 < zero < 0.99
    assert abs(zero + total(m, x[1:], np.gradient(x[1:, 0])) - 1) < 1e-3


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("real(1..)", "MP113 a range without an end starts at 0, not at 1"),
        ("integer(3..)", "MP113 a range without an end starts at 0, not at 3"),
        ("real(2..1)", "MP112 an interval goes from a lower to a higher number, not from 2 to 1"),
        ("angle(0..1)", "MP108 `angle` takes no parenthesis"),
        ("binary(0..)", "MP108 `binary` takes no parenthesis"),
        ("category(0..)", "MP108 `category` needs a number of classes"),
    ],
)
def test_ranges_that_no_type_has(tmp_path: Path, declared: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        load(tmp_path, f"input x: {declared}[1]\nx ~ gamma(1, 1)")


@pytest.mark.parametrize("base", TYPES)
@pytest.mark.parametrize("keyword", [*PARAMETERS, "categorical"])
def test_likelihoods_of_autoregressive_densities(tmp_path: Path, keyword: str, base: str) -> None:
    """Of two steps for discrete types, of one for reals."""
    outputs = PARAMETERS.get(keyword, len(STATES.get(base, "123")))
    net = f"embedding(4) -> shift -> dense({outputs})" if base == "category" else f"shift -> dense({outputs})"
    shape = "[time]" if base == "category" else "[time, 1]"
    text = f"input x: {TYPES[base]}{shape}\nx ~ autoregressive(likelihood = {keyword}) {{ {net} }}"
    expected = set() if base in ALLOWED[keyword] else {"MP209"}
    assert codes(tmp_path, text) == expected
    if expected:
        return
    m = load(tmp_path, text)
    if base == "real":
        points, weight = line(*ACROSS.get(keyword, (400, 50_001)))
        assert abs(total(m, points[:, None], weight) - 1) < 1e-4
        return
    states = np.array(list(product(STATES[base], repeat=2)))
    assert (
        abs(total(m, states if base == "category" else states[:, :, None], np.ones(len(states))) - 1) < 1e-9
    )


@pytest.mark.parametrize("base", TYPES)
@pytest.mark.parametrize(
    "keyword", [k for k in DISTRIBUTIONS if k not in ("autoregressive", "flow", "mixture")]
)
def test_laws_of_a_step(tmp_path: Path, keyword: str, base: str) -> None:
    shape, seen = ("[time]", "embedding(2)(x)") if base == "category" else ("[time, 1]", "x")
    text = (
        f"input x: {TYPES[base]}{shape}\nrecurrence over time {{\n  carry h[3] = 0\n"
        f"  x ~ {law(keyword, base, 'h', rank=int(base != 'category'))}\n  h = gru({seen}, h)\n}}"
    )
    allowed = base in ALLOWED[keyword] and keyword not in ("perceptron", "ctc", "diffusion")
    assert codes(tmp_path, text) == (set() if allowed else {"MP209"})
    if allowed and base != "real":
        states = np.array(list(product(STATES[base], repeat=2)))
        points = states if base == "category" else states[:, :, None]
        assert abs(total(load(tmp_path, text), points, np.ones(len(states))) - 1) < 1e-9


@pytest.mark.parametrize("keyword", DISTRIBUTIONS)
def test_bases_priors_and_posteriors_are_laws_of_real_numbers(tmp_path: Path, keyword: str) -> None:
    bound = keyword == "diffusion"  # which has no density of real numbers
    real = "real" in ALLOWED[keyword] and not bound
    base = (
        f"condition c: real[3]\ninput x: real[1]\nx ~ flow(base = {law(keyword, 'real', 'c')}) {{ affine }}"
    )
    assert codes(tmp_path, base) == (set() if real else {"MP209"})
    if real:
        assert abs(total(load(tmp_path, base), *line(*ACROSS.get(keyword, (400, 50_001)))) - 1) < 1e-4
    head = "condition c: real[3]\ninput x: real[2]\n"
    prior = f"latent z ~ normal(x -> dense(2)) prior {law(keyword, 'real', 'c')}\nx ~ normal(z -> dense(4))"
    assert codes(tmp_path, head + prior) == (set() if real else {"MP209" if bound else "MP411"})
    posterior = f"latent z ~ {law(keyword, 'real', 'x')} prior normal(0, 1)\nx ~ normal(z -> dense(4))"
    if keyword != "flow":  # its base reads what is observed
        allowed = keyword in ("normal", "laplace", "logistic", "student_t", "delta")
        assert codes(tmp_path, head + posterior) == (set() if allowed else {"MP411"})


@pytest.mark.parametrize("keyword", DISTRIBUTIONS)
def test_a_condition_has_no_law(tmp_path: Path, keyword: str) -> None:
    """Whatever its type: it is given, also beside a density and within a recurrence."""
    for base in TYPES:
        for text in (
            "condition c: real[3]\ncondition x: {}\nx ~ {}",
            "condition c: real[3]\ncondition x: {}\ninput y: real[1]\ny ~ normal(c -> dense(2))\nx ~ {}",
        ):
            with pytest.raises(SpecError, match="x is a condition: it is given") as caught:
                load(tmp_path, text.format(TYPES[base] + one(base), law(keyword, base, "c")))
            assert [d.code for d in caught.value.diagnostics] == ["MP209"]
    step = f"recurrence over time {{ carry h[3] = 0; x ~ {law(keyword, 'real', 'h')}; h = gru(x, h) }}"
    with pytest.raises(SpecError, match="x is a condition: it is given"):
        load(tmp_path, f"condition x: real[time, 1]\n{step}")


@pytest.mark.parametrize("base", ["binary", "integer", "category"])
def test_a_flow_of_levels_begins_with_dequantize(tmp_path: Path, base: str) -> None:
    found = codes(tmp_path, f"input x: {TYPES[base]}{one(base)}\nx ~ flow(base = normal) {{ affine }}")
    assert found == ({"MP209"} if base == "category" else {"MP404"})
    assert codes(tmp_path, "input x: real[2]\nx ~ flow(base = normal) { dequantize -> affine }") == {"MP209"}


def test_a_scale_is_never_learned_of_levels(tmp_path: Path) -> None:
    """Were it allowed, the density of data in levels would grow without bound; a fixed scale has no place either."""
    for base, stated in product(
        ("binary", "integer", "category"), ("c -> dense(2)", "loc = c -> dense(1), scale = 1")
    ):
        for keyword in ("normal", "laplace", "logistic"):
            text = f"condition c: real[3]\ntarget x: {TYPES[base]}{one(base)}\nx ~ {keyword}({stated})"
            assert codes(tmp_path, text) == {"MP209"}


def test_a_number_of_steps_has_no_law(tmp_path: Path) -> None:
    text = "input x: real[time, 2]\ncondition n: integer(1..time)\nx ~ normal(0, 1)"
    text += "\nn ~ categorical(logits = x -> last -> dense(3))"
    assert codes(tmp_path, text) == {"MP209"}


def test_the_documented_table_is_that_of_the_registry() -> None:
    text = (ROOT / "docs" / "language" / "laws.md").read_text(encoding="utf-8")
    for keyword, law_class in DISTRIBUTIONS.items():
        support = law_class.support
        types = ", ".join(f"`{t}`" for t in support.types) or "latents"
        assert f"| `{keyword}` | {support.values} ({support.measure}) | {types} |\n" in text, keyword
