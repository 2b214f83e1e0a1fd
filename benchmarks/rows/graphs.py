"""Graphs of variables, and graphs as data: generated sets."""

from __future__ import annotations

import numpy as np
from scipy import stats
from training import SPECS, Bench, Figure

from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate

PARTS = {"train": 4000, "valid": 500, "test": 1000}


def dag_flow(bench: Bench) -> list[Figure]:
    """specs/dag_flow.mp on a system of equations over its graph, beside a flow that reads all earlier elements."""
    data = bench.prepared("equations", equations, bench.options.seed)
    fitted = bench.fit("dag_flow", SPECS / "dag_flow.mp", data, share=0.5)
    whole = bench.variant(
        SPECS / "dag_flow.mp", "whole_flow", ("adjacency = parents, ", ""), ("follows(x, parents); ", "")
    )
    other = bench.fit("whole_flow", whole, data, share=0.5)
    x = fitted.whole()["x"]
    beside = f"reading all before {evaluate(other.run, other.module)['nats']['mean']:.3f}; "
    beside += (
        f"the equations {log_density(x).mean():.3f}; a Gaussian {gaussian(fitted.whole('train')['x'], x):.3f}"
    )
    return [Figure.of("nats", evaluate(fitted.run, fitted.module)["nats"], beside)]


def equations(seed: int) -> dict[str, Array]:
    """x `[n, 5]`: x0 a two-humped cause of x1 and x2, which make x3, which makes x4."""
    out: dict[str, Array] = {}
    for k, (part, n) in enumerate(PARTS.items()):
        r = np.random.default_rng((seed, 7, k))
        noise = r.standard_normal((n, 5))
        x = np.zeros((n, 5))
        x[:, 0] = 0.5 * noise[:, 0] + np.where(r.random(n) < 0.5, -1.5, 1.5)
        for i in range(1, 5):
            loc, scale = _mechanism(x, i)
            x[:, i] = loc + scale * noise[:, i]
        out[f"x_{part}"] = x
    return out


def _mechanism(x: Array, i: int) -> tuple[Array, Array]:
    one = np.ones(len(x))
    return {
        1: (np.sin(2 * x[:, 0]), 0.4 * one), 2: (0.5 * x[:, 0] ** 2 - 1, 0.3 + 0.2 * abs(x[:, 0])),
        3: (x[:, 1] * x[:, 2], 0.5 * one), 4: (np.tanh(x[:, 3]), 0.2 + 0.1 * abs(x[:, 3])),
    }[i]  # fmt: skip


def log_density(x: Array) -> Array:
    """The log density `[n]` of the equations."""
    first = np.logaddexp(
        stats.norm.logpdf(x[:, 0], -1.5, 0.5), stats.norm.logpdf(x[:, 0], 1.5, 0.5)
    ) - np.log(2)
    return np.asarray(first + sum(stats.norm.logpdf(x[:, i], *_mechanism(x, i)) for i in range(1, 5)))


def gaussian(train: Array, test: Array) -> float:
    """Mean log density of a normal with the moments of the training part."""
    return float(stats.multivariate_normal.logpdf(test, train.mean(0), np.cov(train.T)).mean())


def graph_net(bench: Bench) -> list[Figure]:
    """specs/expressions/graph_net.mp: whether a graph is a ring, a star or a tree, beside a net that sees no edge."""
    spec = SPECS / "expressions" / "graph_net.mp"
    data = bench.prepared("graphs", graphs, bench.options.seed)
    sizes, train = {"hidden": "32"}, {"optimizer": {"kind": "adam", "rate": 3e-3}, "batch": 64, "steps": 1500}
    fitted = bench.fit("graph_net", spec, data, sizes, share=0.6, **train)
    blind = bench.variant(spec, "no_edges", ("told / (1 + sum(edge, over = neighbour))", "0 * told"))
    other = bench.fit("no_edges", blind, data, sizes, share=0.4, **train)
    alone = other.target("kind")
    return [Figure.of("accuracy", fitted.target("kind"), f"without edges {alone['mean']:.3f}; chance 0.333")]


def graphs(seed: int, most: int = 12) -> dict[str, Array]:
    """Rings, stars and random trees of 6 to `most` nodes, whose nodes by themselves tell nothing."""
    out: dict[str, Array] = {}
    for k, (part, n) in enumerate(PARTS.items()):
        r = np.random.default_rng((seed, 8, k))
        kind, count = r.integers(0, 3, n), r.integers(6, most + 1, n)
        edge = np.zeros((n, most, most), np.uint8)
        for row, (which, size) in enumerate(zip(kind, count, strict=True)):
            order = r.permutation(size)
            for i in range(0 if which == 0 else 1, size):
                other = {0: (i + 1) % size, 1: 0, 2: int(r.integers(0, i)) if i else 0}[int(which)]
                a, b = order[i], order[other]
                edge[row, a, b] = edge[row, b, a] = 1
        node = r.standard_normal((n, most, 9)) * (np.arange(most) < count[:, None])[..., None]
        out |= {
            f"node_{part}": node.astype(np.float32),
            f"edge_{part}": edge,
            f"count_{part}": count,
            f"kind_{part}": kind,
        }
    return out
