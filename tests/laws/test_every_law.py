"""Every law of a single element against SciPy: its mass, densities, gradients, draws and mean, on every backend.

A law of the registry without a row in `tests/support/laws_table.py` fails. Docs/laws.md, row 31.
"""

from __future__ import annotations

import re
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from laws_table import LAWS, Row
from scipy import special as sp
from scipy import stats
from scipy.integrate import quad
from written import lowered

from mpcompile.backend import SessionOptions, find_backend, installed
from mpcompile.diagnostics import Source, Span
from mpcompile.distributions import COMBINATORS, DISTRIBUTIONS, Elementwise, special
from mpcompile.distributions.counts import Poisson
from mpcompile.distributions.elementwise import Bernoulli, Categorical
from mpcompile.distributions.interval import Beta, ContinuousBernoulli, Uniform
from mpcompile.distributions.location_scale import Laplace, Logistic, Normal, StudentT
from mpcompile.distributions.positive import Gamma, LogNormal
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, Graph, Init, Module, Value
from mpcompile.layers import Context
from mpcompile.ops import build as F
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.runner.noise import draw

ROOT = Path(__file__).parents[2]
DRAWS = 4000


def module(row: Row) -> Module:
    """The law as a spec states it, its net a bias."""
    law = row.law.replace("NET", "c -> dense")
    return lowered(f"model m\ncondition c: real[1]\ntarget x: {row.type}[1]\nx ~ {law}\n")


def weights(m: Module, row: Row, raw: tuple[float, ...], prefix: str = "x") -> dict[str, Array]:
    found = {f"{prefix}.dense_0.weight": np.zeros((len(raw), 1)), f"{prefix}.dense_0.bias": np.array(raw)}
    return {k: v for k, v in found.items() if k in m.parameters} | {
        f"{prefix}{k[1:]}": v for k, v in (row.extra or {}).items()
    }


def log_density(m: Module, w: dict[str, Array], x: Array) -> Array:
    given = {"x": x[:, None], "c": np.zeros((len(x), 1))}
    program = m.programs["log_prob"]
    return interpret(program, w, {k: v for k, v in given.items() if k in program.inputs})["log_prob"]


def exact(row: Row, raw: tuple[float, ...], x: Array) -> Array:
    law = row.exact(np.array(raw))
    return np.asarray(law.logpmf(x) if row.discrete else law.logpdf(x))


def noise(m: Module, program: str, count: int) -> dict[str, Array]:
    inputs = m.programs[program].inputs
    specs = m.noise[program]
    return {k: draw(n.kind, inputs[k].type.concrete({"N": count}), ("laws", k)) for k, n in specs.items()}


def drawn(m: Module, w: dict[str, Array], count: int) -> Array:
    program = m.programs["sample"]
    env = {"N": count}
    given = {
        k: draw(n.kind, program.inputs[k].type.concrete(env), ("laws", k))
        for k, n in m.noise["sample"].items()
    }
    given["c"] = np.zeros((count, 1))
    return interpret(program, w, {k: v for k, v in given.items() if k in program.inputs}, env)["x"][:, 0]


def test_every_law_of_an_element_has_a_row() -> None:
    known = {
        k for k, c in DISTRIBUTIONS.items() if issubclass(c, Elementwise) and c.support.measure != "criterion"
    }
    assert known | set(COMBINATORS) == {name.split(":")[0] for name in LAWS}


def test_every_other_law_has_a_spec_that_all_backends_run() -> None:
    """Laws of whole variables and criteria: `tests/backends` compares the programs of each spec with the oracle."""
    paths = [
        p for p in (ROOT / "specs").rglob("*.*") if p.suffix in (".mp", ".yaml") and "invalid" not in p.parts
    ]
    specs = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    for name in DISTRIBUTIONS.keys() - {row.split(":")[0] for row in LAWS} | {"mixture"}:
        assert re.search(rf"[~=] *{name}\b", specs), name


def integral(row: Row, m: Module, w: dict[str, Array]) -> float:
    """The integral of the density: by Gauss and Legendre in pieces that shrink towards the ends and the centre."""
    low, high = row.grid
    node, weight = np.polynomial.legendre.leggauss(40)
    if low == 0 or row.type.startswith("real("):
        left = low + (high - low) * np.concatenate([[0], np.logspace(-11 if high < 10 else -24, -1e-3, 70)])
        inner = left[left < (low + high) / 2]
        ends = np.concatenate([inner, (low + high) - inner[::-1]]) if high < 10 else np.append(left, high)
    else:
        ends = high * np.sinh(np.linspace(-9, 9, 121)) / np.sinh(9)
    half = np.diff(ends)[:, None] / 2
    x = ((ends[:-1, None] + half) + half * node).reshape(-1)
    return float((np.exp(log_density(m, w, x)) * (half * weight).reshape(-1)).sum())


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_scipys(name: str) -> None:
    """Densities to 1e-9, the sum of masses to 1e-9 or the integral to 1e-4, and the mean."""
    row = LAWS[name]
    m = module(row)
    for raw in row.raw:
        w = weights(m, row, raw)
        np.testing.assert_allclose(
            log_density(m, w, row.points), exact(row, raw, row.points), rtol=1e-9, atol=1e-9
        )
        if isinstance(row.grid, np.ndarray):
            assert abs(np.exp(log_density(m, w, row.grid)).sum() - 1) < 1e-6
        else:
            assert abs(integral(row, m, w) - 1) < 1e-4, raw
        if row.mean:
            program = m.programs["predict"]
            given = {"c": np.zeros((2, 1))} if "c" in program.inputs else {}
            found = interpret(program, w, given, {"N": 2})["x"][0, 0]
            wanted = raw[0] if name == "student_t" else row.exact(np.array(raw)).mean()
            np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_draws_have_their_law(name: str) -> None:
    """Kolmogorov and Smirnov, or chi-square over counts that are expected at least five times."""
    row = LAWS[name]
    m = module(row)
    for raw in row.raw:
        x, law = drawn(m, weights(m, row, raw), DRAWS), row.exact(np.array(raw))
        if not row.discrete:
            assert stats.kstest(x, law.cdf).pvalue > 1e-3, raw
            continue
        grid = np.asarray(row.grid)
        expected = np.exp(law.logpmf(grid)) * DRAWS
        often = expected >= 5
        seen = np.array([(x == k).sum() for k in grid[often]])
        rest, of_rest = DRAWS - seen.sum(), DRAWS - expected[often].sum()
        kept = [*seen, rest] if of_rest >= 5 else [*seen]
        wanted = [*expected[often], of_rest] if of_rest >= 5 else [*expected[often]]
        wanted = np.array(wanted) * sum(kept) / sum(wanted)
        assert rest <= of_rest + 5 * np.sqrt(of_rest + 1) + 1
        assert len(kept) == 1 or stats.chisquare(kept, wanted).pvalue > 1e-3, raw


#: Second rows of a law that are built by other primitives: an interval without an end, counts, levels of a mixture.
BRANCHES = ("truncated: half", "discretized: counts", "discretized: mixture")


@cache
def joint() -> tuple[Module, dict[str, Array], dict[str, Array]]:
    """One model with every law, and those of `BRANCHES`: its weights, and a value of every variable."""
    rows = [row for name, row in LAWS.items() if ":" not in name or name in BRANCHES]
    lines, w, x = ["model m", "condition c: real[1]"], {}, {"c": np.zeros((5, 1))}
    stated = []
    for i, row in enumerate(rows):
        lines.append(f"target x{i}: {row.type}[1]")
        stated.append(f"x{i} ~ {row.law.replace('NET', 'c -> dense')}")
        x[f"x{i}"] = np.resize(row.points, 5)[:, None]
    m = lowered("\n".join([*lines, *stated]) + "\n")
    for i, row in enumerate(rows):
        w |= weights(m, row, row.raw[0], f"x{i}")
    return m, w, x


@cache
def slopes() -> dict[str, tuple[Array, float]]:
    """Of every bias and every weight of a law a direction, and the central difference of the loss along it."""
    m, w, x = joint()
    out, rng = {}, np.random.default_rng(0)
    for name in w:
        if name.endswith("dense_0.weight"):
            continue
        way = rng.standard_normal(w[name].shape)
        low, high = (
            float(interpret(m.programs["loss"], w | {name: w[name] + s * way}, x)["loss"])
            for s in (-1e-5, 1e-5)
        )
        out[name] = way, (high - low) / 2e-5
    return out


def test_gradients_are_differences() -> None:
    m, w, x = joint()
    found = interpret(differentiate(m.programs["loss"], "loss", list(slopes())), w, x)
    for name, (way, slope) in slopes().items():
        np.testing.assert_allclose(
            (found[gradient_name(name)] * way).sum(), slope, rtol=2e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("backend", installed())
def test_every_backend_has_every_law(backend: str) -> None:
    """Log density, gradients, draws and means of all laws in single precision, in one model."""
    m, w, x = joint()
    session = find_backend(backend).session(m, w)
    found = session.run("log_prob", x)["log_prob"]
    np.testing.assert_allclose(found, interpret(m.programs["log_prob"], w, x)["log_prob"], rtol=1e-5)
    _, gradients = session.gradients(x)
    for name, (way, slope) in slopes().items():
        np.testing.assert_allclose((gradients[name] * way).sum(), slope, rtol=2e-3, atol=2e-4, err_msg=name)
    for program in ("sample", "predict"):
        given = noise(m, program, 5) | {"c": x["c"]}
        expected = interpret(m.programs[program], w, given)
        for key, value in session.run(program, given).items():
            np.testing.assert_allclose(value, expected[key], rtol=2e-4, atol=2e-5, err_msg=key)


#: Two laws of one family: its class, and two rows of what it holds.
FAMILIES = {
    "normal": (Normal, (0.3, -0.4), (-1.2, 0.9)), "laplace": (Laplace, (0.3, -0.4), (-1.2, 0.9)),
    "log_normal": (LogNormal, (0.3, -0.4), (-1.2, 0.5)), "gamma": (Gamma, (0.3, -0.4), (1.2, 0.9)),
    "beta": (Beta, (0.3, 0.8), (1.2, 0.9)), "continuous_bernoulli": (ContinuousBernoulli, (0.7,), (-8.0,)),
    "bernoulli": (Bernoulli, (0.7,), (-3.0,)), "poisson": (Poisson, (0.7,), (1.6,)),
    "categorical": (lambda logits: Categorical(logits, 0, 1), (0.1, -1.0, 1.2), (0.4, 0.9, -2.0)),
}  # fmt: skip
#: Laws whose divergence from another one of their family has no closed form here, and `uniform`, which has no slots.
OPEN = {"logistic", "student_t", "von_mises", "ordinal", "negative_binomial", "uniform", *COMBINATORS}


def test_every_law_has_its_divergence_or_none() -> None:
    stated = {k for k, c in DISTRIBUTIONS.items() if issubclass(c, Elementwise) and "element_kl" in vars(c)}
    assert stated == FAMILIES.keys()
    assert stated | OPEN == {name.split(":")[0] for name in LAWS}


@pytest.mark.parametrize("name", FAMILIES)
def test_divergences_are_means_of_log_ratios(name: str) -> None:
    """By sums or quadrature of SciPy's laws, and by draws; gradients are differences; 0 from itself."""
    made, *rows = FAMILIES[name]
    b = Builder(Graph("loss"))
    ctx = Context(b, {})
    with b.within((), Span.none()):
        fields = [ctx.param(f"law{i}", (len(row),), Init("zeros")) for i, row in enumerate(rows)]
        p, q = (
            made(v)
            if name == "categorical"
            else made(*(F.slice_axis(b, v, 0, i, i + 1) for i in range(len(row))))
            for v, row in zip(fields, rows, strict=True)
        )
        kl = p.element_kl(ctx, q)
        assert kl is not None and p.element_kl(ctx, Logistic(0.0, 0.0)) is None
        b.graph.outputs["loss"] = F.reshape(b, kl, ())
    w = {f"law{i}": np.array(row) for i, row in enumerate(rows)}
    found = float(interpret(b.graph, w, {})["loss"])
    one, two = (LAWS[name].exact(np.array(row)) for row in rows)
    grid = LAWS[name].grid
    if isinstance(grid, np.ndarray):
        log_p, log_q = one.logpmf(grid), two.logpmf(grid)
        wanted = float((np.exp(log_p) * (log_p - log_q))[log_p > -700].sum())
    else:
        ratio = lambda x: np.exp(one.logpdf(x)) * (one.logpdf(x) - two.logpdf(x))  # noqa: E731
        cuts = [grid[0], *(x for x in (-1.2, 0.0, 0.3, 3.0, 20.0) if grid[0] < x < grid[1]), grid[1]]
        wanted = sum(quad(ratio, a, z, epsabs=1e-10, limit=200)[0] for a, z in pairwise(cuts))
    assert found > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    itself = float(interpret(b.graph, {"law0": np.array(rows[0]), "law1": np.array(rows[0])}, {})["loss"])
    assert abs(itself) < 1e-12
    m = module(LAWS[name])
    drawn_ = drawn(m, weights(m, LAWS[name], rows[0]), DRAWS)
    each = [log_density(m, weights(m, LAWS[name], row), drawn_) for row in rows]
    ratios = each[0] - each[1]
    assert abs(ratios.mean() - found) < 4 * ratios.std() / np.sqrt(DRAWS) + 1e-9
    slopes_ = interpret(differentiate(b.graph, "loss", list(w)), w, {})
    for key, value in w.items():
        for i in range(len(value)):
            ends = [
                interpret(b.graph, w | {key: value + s * (np.arange(len(value)) == i)}, {})["loss"]
                for s in (-1e-5, 1e-5)
            ]
            np.testing.assert_allclose(
                slopes_[gradient_name(key)][i], (ends[1] - ends[0]) / 2e-5, rtol=1e-5, atol=1e-8
            )


#: Laws whose entropy is known in closed form, made of what they hold; `uniform` has no slots.
ENTROPIES = {name: made for name, (made, *_) in FAMILIES.items() if name != "poisson"} | {
    "logistic": Logistic, "student_t": StudentT,
}  # fmt: skip
#: Laws without: sums over counts, integrals of mixtures and of cut laws, and the ratio of two Bessel functions.
WITHOUT_ENTROPY = {"poisson", "negative_binomial", "ordinal", "von_mises", *COMBINATORS}


@cache
def entropies() -> tuple[Module, dict[str, Array], dict[str, float]]:
    """The entropy of every row of the table, and the exact ones, in one program."""
    b = Builder(Graph("loss"))
    ctx = Context(b, {})
    w, exact_ = dict[str, Array](), dict[str, float]()
    with b.within((), Span.none()):
        for name, made in ENTROPIES.items():
            for number, raw in enumerate(LAWS[name].raw):
                key, row = f"{name}_{number}", LAWS[name]
                w[key] = np.array(raw)
                v = ctx.param(key, (len(raw),), Init("zeros"))
                parts = [F.slice_axis(b, v, 0, i, i + 1) for i in range(len(raw))]
                entropy = (made(v) if name == "categorical" else made(*parts)).element_entropy(ctx)
                assert entropy is not None
                b.graph.outputs[key] = F.reshape(b, entropy, ())
                law = row.exact(w[key])
                if isinstance(row.grid, np.ndarray):
                    log_p = law.logpmf(row.grid)
                    exact_[key] = -float((np.exp(log_p) * log_p).sum())
                elif hasattr(law, "entropy"):
                    exact_[key] = float(law.entropy())
                else:
                    surprise = lambda x, law=law: -np.exp(law.logpdf(x)) * law.logpdf(x)  # noqa: E731
                    exact_[key] = quad(surprise, *row.grid, epsabs=1e-12)[0]
        total = b.constant(0.0)
        for value in list(b.graph.outputs.values()):
            total = F.add(b, total, value)
    b.graph.outputs["loss"] = total
    return Module("entropies", Source("entropies.mp", ""), {"loss": b.graph}, ctx.parameters), w, exact_


def test_every_law_has_its_entropy_or_none() -> None:
    laws = {k: c for k, c in DISTRIBUTIONS.items() if k in {n.split(":")[0] for n in LAWS}} | COMBINATORS
    stated = {k for k, c in laws.items() if c.element_entropy is not Elementwise.element_entropy}
    assert stated == ENTROPIES.keys() | {"uniform"} and not stated & WITHOUT_ENTROPY
    assert stated | WITHOUT_ENTROPY == laws.keys()
    assert stats.uniform(-1, 4).entropy() == np.log(4)  # what `uniform` on (-1, 3) has


def test_entropies_are_scipys() -> None:
    """In torch to 1e-5 or 1e-9 of max(1, |entropy|); slopes of each along one direction are those of differences."""
    m, w, exact_ = entropies()
    rng = np.random.default_rng(0)
    way = {key: rng.standard_normal(len(value)) for key, value in w.items()}
    low, high = (
        interpret(m.programs["loss"], {k: v + s * way[k] for k, v in w.items()}, {}) for s in (-1e-5, 1e-5)
    )
    for precision, near, steep in (("float32", 1e-5, 5e-4), ("float64", 1e-9, 1e-6)):
        out, gradients = (
            find_backend("torch").session(m, w, options=SessionOptions(precision=precision)).gradients({})
        )
        for key, value in exact_.items():
            assert abs(out[key] - value) < near * max(1, abs(value)), key
            slope = float(high[key] - low[key]) / 2e-5
            assert abs(gradients[key] @ way[key] - slope) < steep * max(1, abs(slope)), key


#: Exact divergences between families: of a law with a variance from a normal one, and of a law of an interval from the
#: uniform one.
BETWEEN = {
    ("laplace", "normal"): (Laplace, (0.3, -0.4), Normal(-1.2, 0.9)),
    ("logistic", "normal"): (Logistic, (0.3, -0.4), Normal(-1.2, 0.9)),
    ("beta", "uniform"): (partial(Beta, low=-1.0, high=3.0), (0.3, 0.8), Uniform(-1.0, 3.0)),
    ("continuous_bernoulli", "uniform"): (ContinuousBernoulli, (0.7,), Uniform(0.0, 1.0)),
}


@pytest.mark.parametrize("pair", BETWEEN)
def test_divergences_between_families_are_means_of_log_ratios(pair: tuple[str, str]) -> None:
    made, raw, other = BETWEEN[pair]
    b = Builder(Graph("loss"))
    ctx = Context(b, {})
    with b.within((), Span.none()):
        law = made(*(b.constant(v) for v in raw))
        found = law.element_divergence(ctx, other)
        assert found is not None and other.element_divergence(ctx, law) is None
        b.graph.outputs["kl"] = found
    q = LAWS[pair[0]].exact(np.array(raw))
    p = stats.norm(-1.2, np.exp(0.9)) if pair[1] == "normal" else stats.uniform(0, 1)
    ends = (-60, 60) if pair[1] == "normal" else (0, 1)
    ratio = lambda x: np.exp(q.logpdf(x)) * (q.logpdf(x) - p.logpdf(x))  # noqa: E731
    wanted = sum(
        quad(ratio, a, z, limit=200)[0]
        for a, z in pairwise((ends[0], *(np.array([0.3]) if ends[0] else []), ends[1]))
    )
    np.testing.assert_allclose(float(interpret(b.graph, {}, {})["kl"]), wanted, rtol=1e-7)


def rising(ctx: Context, r: Value) -> Value:
    return special.log_rising(ctx, r, ctx.b.constant(7.0), special.log1p(ctx, F.div(ctx.b, 7.0, r)))


#: A special function, its exact values and slopes, and where it is asked for.
SPECIAL = {
    "log_gamma": (special.log_gamma, sp.gammaln, sp.digamma, np.logspace(-6, 4, 400)),
    "digamma": (special.digamma, sp.digamma, lambda x: sp.polygamma(1, x), np.logspace(-3, 4, 400)),
    "log_erfc": (special.log_erfc, lambda z: np.log(sp.erfcx(z)) - z * z,
                 lambda z: -2 / np.sqrt(np.pi) / sp.erfcx(z), np.linspace(0, 12, 400)),
    "log_bessel": (special.log_bessel, lambda k: np.log(sp.i0e(k)), lambda k: sp.i1e(k) / sp.i0e(k) - 1,
                   np.logspace(-4, 4, 400)),
    "log1p": (special.log1p, np.log1p, lambda x: 1 / (1 + x), np.logspace(-9, 4, 400)),
    "expm1": (special.expm1, np.expm1, np.exp, np.logspace(-9, 1, 400)),
    "log_rising": (rising, lambda r: np.log1p(np.outer(range(1, 7), 1 / r)).sum(0),
                   lambda r: -(1 / r - 1 / (r + np.outer(range(1, 7), np.ones(len(r))))).sum(0), np.logspace(-3, 5, 400)),
    "log1m_exp": (special.log1m_exp, lambda x: np.log(-np.expm1(x)), lambda x: 1 / (1 - np.exp(-x)),
                  -np.logspace(-5, 1.5, 400)),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_special_functions_are_scipys(precision: str) -> None:
    """Values to 5e-5 or 1e-11 of max(1, |value|), and slopes to 1e-5 or 1e-8 of max(1, |slope|), in torch."""
    for name, (emit, value, slope, x) in SPECIAL.items():
        b = Builder(Graph("loss"))
        ctx = Context(b, {})
        at = ctx.param("x", x.shape, Init("zeros"))
        with b.within((), Span.none()):
            made = emit(ctx, at)
        b.graph.outputs |= {"loss": F.sum_axes(b, made, [0]), "made": made}
        m = Module("special", Source("special.mp", ""), {"loss": b.graph}, ctx.parameters)
        x = x.astype(precision).astype(np.float64)
        outputs, gradients = (
            find_backend("torch")
            .session(m, {"x": x}, options=SessionOptions(precision=precision))
            .gradients({})
        )
        near, steep = (5e-5, 1e-5) if precision == "float32" else (1e-11, 1e-8)
        for found, exact_, bound in ((outputs["made"], value(x), near), (gradients["x"], slope(x), steep)):
            assert (abs(found - exact_) / np.maximum(1, abs(exact_))).max() < bound, name
