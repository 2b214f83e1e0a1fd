"""Tables with holes, series of counts and an inverse problem: generated sets, of which two have a known density."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats
from scipy.special import expit, logsumexp
from training import SPECS, Bench, Figure, Fitted

from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate, moments

#: The laws of the columns of mixed_table.mp, each on its own: all read the same learned numbers.
APART = (
    ("latent z ~ normal(encoder(concat(column(age), column(income), column(visits), column(health), jobs))) "
     "prior normal(0, 1)", ""),
    ("h = body(z)", "weight h: real[channel: hidden] = normal(1)"),
    ("net encoder = dense(hidden) -> relu -> dense(2 * code)\nnet body = dense(hidden) -> relu\n", ""),
    ("jobs = concat(onehot(fill(job, 0)) * observed(job), observed(job))\n", ""),
    ("block column on v { yield concat(standardise(fill(v, 0)) * observed(v), observed(v)) }\n", ""),
)  # fmt: skip


def mixed_table(bench: Bench) -> list[Figure]:
    """specs/mixed_table.mp: log p of rows beside laws of columns apart and the truth, and cells that are taken away."""
    fitted = bench.fit("mixed_table", SPECS / "mixed_table.mp", "people", share=0.7)
    bound = evaluate(fitted.run, fitted.module, samples=50)["importance_weighted"]["nats"]
    apart = bench.variant(SPECS / "mixed_table.mp", "columns_apart", *APART)
    alone = bench.fit("columns_apart", apart, "people", share=0.3)
    beside = f"columns apart {evaluate(alone.run, alone.module)['nats']['mean']:.3f}; "
    beside += f"the density that drew them {people(fitted.whole()).mean():.3f}"
    return [Figure.of("nats a row, 50 importance samples", bound, beside), *_imputed(fitted)]


def _imputed(fitted: Fitted) -> list[Figure]:
    """What the model says of cells that are there when they are taken away, beside median or mode of the column."""
    train, test, session = fitted.whole("train"), fitted.whole(), fitted.session()
    figures = []
    for name in ("age", "income", "visits", "job", "health"):
        hole = -1 if name == "job" else np.nan
        seen, known = (v[(v != hole) & ~np.isnan(v)] for v in (test[name], train[name]))
        there = (test[name] != hole) & ~np.isnan(test[name])
        guess = session.run("reconstruct", {**test, name: np.full_like(test[name], hole)})[name][there]
        if name == "job":
            hit, mode = (guess.argmax(1) == seen).astype(float), seen == np.bincount(known).argmax()
            figures.append(Figure.of("job, accuracy", moments(hit), f"the mode {mode.mean():.3f}"))
        else:
            error, median = abs(guess - seen), abs(np.median(known) - seen).mean()
            figures.append(Figure.of(f"{name}, absolute error", moments(error), f"the median {median:.3f}"))
    return figures


def people(rows: dict[str, Array]) -> Array:
    """The log density [n] of rows of the set `people`, by quadrature over the two hidden numbers of a person."""
    at, weight = np.polynomial.hermite_e.hermegauss(60)
    skill, ill = (v.reshape(-1) for v in np.meshgrid(at, at, indexing="ij"))
    log_weight = np.log(np.outer(weight, weight).reshape(-1) / (2 * np.pi))
    full = {k: np.where(np.isnan(v), 1.0, v)[:, None] for k, v in rows.items()}
    mean = np.exp(0.8 + 0.7 * ill)
    scores = np.stack([0 * skill, 1.5 * skill, 2 * skill - ill, -skill - 1])
    edges = np.array([-np.inf, -2.5, -1, 0.5, 2, np.inf])
    level, lean = full["health"].astype(int), 1.5 * (skill - ill)
    count = np.log(0.8) + stats.nbinom.logpmf(full["visits"], 3.0, 3 / (3 + mean))
    each = {
        "age": stats.gamma.logpdf(full["age"], 12.0, scale=np.exp(3.5 + 0.3 * ill) / 12),
        "income": stats.t.logpdf(full["income"], 5, 1 + 0.9 * skill - 0.3 * ill, 0.3),
        "visits": np.where(full["visits"] == 0, np.logaddexp(np.log(0.2), count), count),
        "job": (scores - logsumexp(scores, 0))[np.maximum(full["job"].astype(int)[:, 0], 0)],
        "health": np.log(expit(edges[level] - lean) - expit(edges[level - 1] - lean) + 1e-300),
    }  # fmt: skip
    missing = {k: np.isnan(v) if k != "job" else v < 0 for k, v in rows.items()}
    known = sum(np.where(missing[k][:, None], 0.0, v) for k, v in each.items())
    return np.asarray(logsumexp(known + log_weight, axis=1))


def mdn(bench: Bench) -> list[Figure]:
    """specs/mdn.mp, beside one normal and the density of the problem."""
    fitted = bench.fit("mdn", SPECS / "mdn.mp", "inverse", share=0.6)
    one = bench.fit("one_normal", SPECS / "mdn.mp", "inverse", {"components": "1"}, share=0.4)
    test, grid = fitted.whole(), np.linspace(0, 1, 20001)
    near = abs(test["x"][:, None] - grid - 0.3 * np.sin(2 * np.pi * grid)) < 0.1
    beside = f"one normal {evaluate(one.run, one.module)['nats']['mean']:.3f}; "
    beside += f"the density that drew them {-np.log(near.mean(1)).mean():.3f}"
    return [Figure.of("nats of y given x", evaluate(fitted.run, fitted.module)["nats"], beside)]


def deepar(bench: Bench) -> list[Figure]:
    """specs/deepar.mp: log p of a day that is known, beside one negative binomial in the scale of each item."""
    fitted = bench.fit("deepar", SPECS / "deepar.mp", "sales", length=28)

    def days(part: dict[str, Array]) -> Array:
        return (np.arange(part["sales"].shape[1]) < part["length"][:, None]) & ~np.isnan(part["sales"])

    def constant(at: Array, part: dict[str, Array]) -> Array:
        mean, size = np.exp(at[0]) * part["scale"][:, None], np.exp(at[1])
        each = stats.nbinom.logpmf(np.nan_to_num(part["sales"]), size, size / (size + mean))
        return np.asarray(np.where(days(part), each, 0).sum(1) / days(part).sum(1))

    train, test = fitted.whole("train"), fitted.whole()
    best = optimize.minimize(lambda at: -constant(at, train).mean(), np.zeros(2), method="Nelder-Mead").x
    nats = fitted.outputs("log_prob", "log_prob", fitted.part()) / days(test).sum(1)
    return [Figure.of("nats a day", moments(nats), f"a constant rate {constant(best, test).mean():.3f}")]


def detector(bench: Bench) -> list[Figure]:
    """specs/detector.mp: masks and levels beside a threshold of brightness that is fitted, and the median level."""
    fitted = bench.fit("detector", SPECS / "detector.mp", "boxes", steps=1500)
    train, test, session = fitted.whole("train"), fitted.whole(), fitted.session()
    guess = session.run("predict", {"image": test["image"]})

    def overlap(masks: Array, drawn: Array) -> Array:
        both, either = ((f(masks, drawn)).sum((1, 2)) for f in (np.logical_and, np.logical_or))
        return np.asarray(both / np.maximum(either, 1))

    cuts = np.linspace(0, 1, 101)
    scores = [overlap(train["image"].mean(1) > cut, train["mask"] > 0).mean() for cut in cuts]
    plain = overlap(test["image"].mean(1) > cuts[int(np.argmax(scores))], test["mask"] > 0)
    error = abs(guess["level"] - test["level"])
    median = abs(np.median(train["level"]) - test["level"]).mean()
    found = moments(overlap(guess["mask"] > 0.5, test["mask"] > 0))
    return [
        Figure.of("overlap of the mask (IoU)", found, f"a threshold of brightness {plain.mean():.3f}"),
        Figure.of("level, absolute error", moments(error), f"the median {median:.3f}"),
    ]
