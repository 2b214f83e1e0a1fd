"""Columns with holes, series of counts, an inverse problem, of known densities: nats beside a baseline and the truth.

    python benchmarks/columns.py --rows mixed_table,deepar,mdn

Figures are of a test split that training never sees, in nats an example, with their standard errors. No file is needed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.special import expit, logsumexp

from mpcompile import api
from mpcompile.runner.evaluate import evaluate
from mpcompile.runner.loop import Options, train
from mpcompile.runner.run import open_run

SPECS = Path(__file__).parents[1] / "specs"
SIZES = {"train": 4000, "valid": 500, "test": 500}
Columns = dict[str, np.ndarray]
JOBS = np.array([[0.0, 0.0], [1.5, -0.5], [-0.5, 1.5], [-1.5, -1.0]])
CUTS = np.array([-3.0, -1.0, 1.0, 3.0])
#: The laws of the columns of `mixed_table.mp`, each on its own: their parameters are read from a constant.
APART = """model apart
input age: real(0..)?
input income: real?
input visits: integer(0..)?
input job: category("clerk", "nurse", "teacher", "other")?
input health: integer(1..5)?
condition one: real[1]
age ~ gamma(one -> dense(2))
income ~ student_t(one -> dense(3))
visits ~ zero_inflated(negative_binomial, one -> dense(3))
job ~ categorical(logits = one -> dense(4))
health ~ ordinal(one -> dense(1))
train { optimizer: adam(1e-2), batch: 128 }
"""
ONE_NORMAL = "model one\ninput x: real\ntarget y: real\ny ~ normal(x -> dense(32) -> tanh -> dense(2))\n"
ONE_NORMAL += "train { optimizer: adam(5e-3), batch: 128 }\n"


def people(r: np.random.Generator, n: int) -> tuple[Columns, np.ndarray]:
    """Draw rows with a fifth of the cells missing, and the true log p of each, by quadrature over the two traits."""
    z = r.standard_normal((n, 2))
    a, b = z.T
    visits = r.poisson(np.exp(1 + 0.8 * a - 0.5 * b) * r.standard_gamma(2.0, n) / 2)
    rows = {
        "age": r.standard_gamma(8.0, n) / 8 * 40 * np.exp(0.3 * a),
        "income": 30 + 8 * a + 5 * b + 4 * r.standard_t(5, n),
        "visits": np.where(r.random(n) < expit(-1 - a), 0, visits).astype(float),
        "job": (z @ JOBS.T + r.gumbel(size=(n, 4))).argmax(1).astype(float),
        "health": 1.0 + ((b - 2 * a + r.logistic(size=n))[:, None] > CUTS).sum(1),
    }
    rows = {k: np.where(r.random(n) < 0.2, np.nan, v) for k, v in rows.items()}
    at, weight = np.polynomial.hermite_e.hermegauss(40)
    a, b = (v.reshape(-1) for v in np.meshgrid(at, at))
    log_weight = np.log(np.outer(weight, weight).reshape(-1) / (2 * np.pi))
    full = {k: np.where(np.isnan(v), 1.0, v)[:, None] for k, v in rows.items()}
    mean, zero = np.exp(1 + 0.8 * a - 0.5 * b), expit(-1 - a)
    scores = np.stack([a, b], 1) @ JOBS.T
    log_jobs = scores - logsumexp(scores, 1, keepdims=True)
    edges = np.concatenate([[-np.inf], CUTS, [np.inf]])
    level = full["health"].astype(int)
    count = np.log1p(-zero) + stats.nbinom.logpmf(full["visits"], 2.0, 2 / (2 + mean))
    each = {
        "age": stats.gamma.logpdf(full["age"], 8.0, scale=40 * np.exp(0.3 * a) / 8),
        "income": stats.t.logpdf(full["income"], 5, 30 + 8 * a + 5 * b, 4),
        "visits": np.where(full["visits"] == 0, np.logaddexp(np.log(zero), count), count),
        "job": log_jobs.T[full["job"].astype(int)[:, 0]],
        "health": np.log(expit(edges[level] - b + 2 * a) - expit(edges[level - 1] - b + 2 * a) + 1e-300),
    }
    known = sum(np.where(np.isnan(rows[k])[:, None], 0.0, v) for k, v in each.items())
    return rows, logsumexp(known + log_weight, axis=1)


def inverse(r: np.random.Generator, n: int) -> tuple[Columns, np.ndarray]:
    """Draw x = y + 0.3 sin(2 pi y) + noise of deviation 0.05, y uniform, and the true log p(y given x)."""
    y, grid = r.uniform(0, 1, n), np.linspace(0, 1, 4001)

    def bend(v: np.ndarray) -> np.ndarray:
        return v + 0.3 * np.sin(2 * np.pi * v)

    x = bend(y) + 0.05 * r.standard_normal(n)
    total = np.trapezoid(stats.norm.pdf(x[:, None], bend(grid), 0.05), grid, axis=1)
    return {"x": x, "y": y}, stats.norm.logpdf(x, bend(y), 0.05) - np.log(total)


def series(r: np.random.Generator, n: int, days: int = 28) -> tuple[Columns, np.ndarray]:
    """Draw daily counts of 20 items with a week and a level of each series, and log p given what drew them.

    The truth knows each series' level, which a model has to find: it is a bound that no model reaches.
    """
    shape = np.random.default_rng(9)
    phase, swing = shape.uniform(0, 2 * np.pi, 20), shape.uniform(0.3, 0.9, 20)
    item, scale = r.integers(0, 20, n), np.exp(r.normal(2, 0.7, n))
    turn = 2 * np.pi * (r.integers(0, 7, (n, 1)) + np.arange(days)) / 7
    level = scale * np.exp(0.3 * r.standard_normal(n))
    mean = level[:, None] * (1 + swing[item][:, None] * np.sin(turn + phase[item][:, None]))
    sales = r.poisson(mean * r.standard_gamma(5.0, mean.shape) / 5).astype(float)
    there = r.random(mean.shape) > 0.1
    true = np.where(there, stats.nbinom.logpmf(sales, 5.0, 5 / (5 + mean)), 0).sum(1)
    known = np.stack([np.sin(turn), np.cos(turn)], 2)
    rows = {"sales": np.where(there, sales, np.nan), "known": known, "item": item, "scale": scale}
    return rows | {"length": np.full(n, days)}, true


def constant_rate(sets: dict[str, Columns]) -> np.ndarray:
    """Return log p of the test series [n]: negative binomial of mean c scale; c and dispersion are fitted."""

    def score(rows: Columns, c: float, size: float) -> np.ndarray:
        mean = np.broadcast_to(c * rows["scale"][:, None], rows["sales"].shape)
        there = ~np.isnan(rows["sales"])
        counts = np.where(there, rows["sales"], 0)
        return np.where(there, stats.nbinom.logpmf(counts, size, size / (size + mean)), 0).sum(1)

    grid = [(c, s) for c in np.linspace(0.7, 1.4, 15) for s in np.geomspace(0.3, 10, 25)]
    best = max(grid, key=lambda p: score(sets["train"], *p).mean())
    return score(sets["test"], *best)


def fitted(spec: Path, data: Path, out: Path, steps: int, **overrides: str) -> dict[str, float]:
    """Train a spec, and return the figures of its best weights on the test split."""
    module = api.load(spec, overrides)
    train(module, out, Options("torch", str(data), 0, steps, overrides=overrides))
    samples = 50 if "log_weight" in module.programs else None
    found = evaluate(open_run(out), module, samples=samples)
    return dict((found["importance_weighted"] if samples else found)["nats"])


def shown(name: str, values: np.ndarray) -> str:
    """Return the mean of values with its standard error."""
    return f"  {name:<34} {values.mean():9.3f} +- {values.std() / len(values) ** 0.5:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="mixed_table,deepar,mdn", help="some of these, by comma")
    parser.add_argument("--steps", type=int, default=1500, help="of training, for each model")
    options = parser.parse_args()
    makers: dict[str, Callable[[np.random.Generator, int], tuple[Columns, np.ndarray]]] = {
        "mixed_table": people, "deepar": series, "mdn": inverse,
    }  # fmt: skip
    for row in options.rows.split(","):
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            made = {s: makers[row](np.random.default_rng([i]), n) for i, (s, n) in enumerate(SIZES.items())}
            sets = {s: columns for s, (columns, _) in made.items()}
            arrays = {f"{k}_{s}": v for s, columns in sets.items() for k, v in columns.items()}
            if row == "mixed_table":
                arrays |= {f"one_{s}": np.ones((n, 1)) for s, n in SIZES.items()}
            np.savez(at / "data.npz", **arrays)
            sizes = {"covariates": "2", "items": "20"} if row == "deepar" else {}
            ours = fitted(SPECS / f"{row}.mp", at / "data.npz", at / "ours", options.steps, **sizes)
            lines = [f"  {row + '.mp':<34} {ours['mean']:9.3f} +- {ours['standard_error']:.3f}"]
            if row == "deepar":
                lines.append(shown("constant rate", constant_rate(sets)))
            else:
                (at / "beside.mp").write_text(APART if row == "mixed_table" else ONE_NORMAL)
                other = fitted(at / "beside.mp", at / "data.npz", at / "other", options.steps)
                name = "independent columns" if row == "mixed_table" else "one normal"
                lines.append(f"  {name:<34} {other['mean']:9.3f} +- {other['standard_error']:.3f}")
            lines.append(shown("the density that drew the data", made["test"][1]))
        print(f"{row}: {time.process_time() - start:.0f} s", *lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
