"""Flows on images: NICE in nats, RealNVP and Glow in bits per dimension."""

from __future__ import annotations

from math import log, pi
from pathlib import Path

import numpy as np
import real_data
from scipy import stats
from training import HERE, SPECS, Bench, Figure

from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate

SET, LEVELS = "mnist/mnist.npz", 256
GREY = ("integer(0..16)", f"integer(0..{LEVELS - 1})")


def nice(bench: Bench) -> list[Figure]:
    """mnist_nice.mp: the log density of pixels in [0, 1], which has no logit to squeeze them through."""
    data = bench.prepared("mnist_rows", real_data.mnist_pixels, bench.file(SET), True)
    fitted = bench.fit("nice", HERE / "mnist_nice.mp", data)
    found = evaluate(fitted.run, fitted.module)
    volume = found["dimensions"] * log(
        LEVELS
    )  # of a bin: from the probability of levels to a density in [0, 1]
    alone = found["baselines"][0]["nats"]["mean"] + volume
    beside = f"1980.50 (Dinh et al. 2015); {alone:.2f}, independent pixels"
    error = found["nats"]["standard_error"]
    return [
        Figure("log-likelihood, nats, of pixels in [0, 1]", found["nats"]["mean"] + volume, error, beside)
    ]


def realnvp(bench: Bench) -> list[Figure]:
    """specs/realnvp.yaml at 28 x 28 pixels of 256 levels."""
    spec = bench.variant(SPECS / "realnvp.yaml", "mnist_realnvp", GREY)
    sizes = {"size": "28", "width": "16", "blocks": "1"}
    return bits(bench, "realnvp", spec, sizes, "1.06, much larger (Dinh et al. 2017)")


def glow(bench: Bench) -> list[Figure]:
    """specs/glow.mp at 28 x 28 pixels of 256 levels, without classes."""
    plain = (("condition y: category(10)\n", ""), (", condition = y", ""))
    spec = bench.variant(SPECS / "glow.mp", "mnist_glow", GREY, *plain)
    sizes = {"size": "28", "width": "64", "steps": "8"}
    return bits(bench, "glow", spec, sizes, "1.05, much larger (Kingma and Dhariwal 2018)")


def bits(bench: Bench, name: str, spec: Path, sizes: dict[str, str], published: str) -> list[Figure]:
    data = bench.prepared("mnist_images", real_data.mnist_pixels, bench.file(SET), False)
    fitted = bench.fit(name, spec, data, sizes, batch=32, epochs=100)
    found = evaluate(fitted.run, fitted.module)
    alone = found["baselines"][0]["bits_per_dim"]["mean"]
    beside = f"{published}; {alone:.3f}, independent pixels"
    return [Figure.of("bits per dimension", found["bits_per_dim"], beside)]


def realnvp_notes(bench: Bench) -> list[Figure]:
    """specs/realnvp_notes.mp on two moons, beside specs/realnvp2d.mp, whose scales are bounded."""
    fitted, other = (
        bench.fit(name, SPECS / f"{name}.mp", "moons", share=0.5) for name in ("realnvp_notes", "realnvp2d")
    )
    ours, theirs = (evaluate(f.run, f.module) for f in (fitted, other))
    a, b, normal = ours["nats"], theirs["nats"], ours["baselines"][0]["nats"]["mean"]
    beside = f"realnvp2d.mp: {-b['mean']:.4f} +- {b['standard_error']:.2g}; a Gaussian {-normal:.4f}"
    return [Figure("NLL, nats a point", -a["mean"], a["standard_error"], beside)]


def naf(bench: Bench) -> list[Figure]:
    """specs/naf.mp on two moons, beside the same flow with affine maps."""
    fitted = bench.fit("naf", SPECS / "naf.mp", "moons", share=0.7)
    affine = bench.variant(SPECS / "naf.mp", "affine_flow", (", law = monotone(units)", ""))
    other = bench.fit("affine_flow", affine, "moons", share=0.3)
    beside = f"affine maps {evaluate(other.run, other.module)['nats']['mean']:.3f}"
    return [Figure.of("nats a point", evaluate(fitted.run, fitted.module)["nats"], beside)]


def circular(bench: Bench) -> list[Figure]:
    """specs/circular.mp on a density of three angles that is known, beside laws of each angle."""
    data = bench.prepared("angles", angles, bench.options.seed)
    fitted = bench.fit("circular", SPECS / "circular.mp", data)
    x, seen = fitted.whole()["x"], fitted.whole("train")["x"]
    alone = sum(
        stats.gaussian_kde(np.concatenate([seen[:, i] + t for t in TURNS]), 0.02).logpdf(x[:, i])
        for i in range(3)
    )
    beside = f"each angle alone {(alone + 3 * log(3)).mean():.3f}; the density that drew them {of_angles(x).mean():.3f}"
    return [Figure.of("nats", evaluate(fitted.run, fitted.module)["nats"], beside)]


TURNS = (-2 * pi, 0.0, 2 * pi)


def angles(seed: int) -> dict[str, Array]:
    """x `[n, 3]` in [-pi, pi]: two von Mises humps, an angle that follows it, and one that follows both."""
    out: dict[str, Array] = {}
    for k, (part, n) in enumerate({"train": 4000, "valid": 500, "test": 1000}.items()):
        r = np.random.default_rng((seed, 9, k))
        first = r.vonmises(np.where(r.random(n) < 0.6, -2.0, 2.5), 6.0)
        second = r.vonmises(2 * first, 4.0)
        x = np.stack([first, second, r.vonmises(first - second, 3.0)], 1)
        out[f"x_{part}"] = (x + pi) % (2 * pi) - pi
    return out


def of_angles(x: Array) -> Array:
    """The log density `[n]` of `angles`."""
    humps = np.log([0.6, 0.4])[:, None] + [stats.vonmises.logpdf(x[:, 0], 6.0, m) for m in (-2.0, 2.5)]
    rest = stats.vonmises.logpdf(x[:, 1], 4.0, 2 * x[:, 0]) + stats.vonmises.logpdf(
        x[:, 2], 3.0, x[:, 0] - x[:, 1]
    )
    return np.asarray(np.logaddexp(*humps) + rest)


def posterior(bench: Bench) -> list[Figure]:
    """specs/posterior.mp, and one affine map in its place: nats from the target, whose log Z is a quadrature."""
    spec = SPECS / "posterior.mp"
    flow = "repeat i in 1..4 { coupling(mask = checkerboard(parity = i % 2), law = affine, net = dense(hidden) -> relu) }"
    affine = bench.variant(spec, "posterior_affine", (flow, "affine"))
    made = [bench.fit(s.stem, s, None, share=share) for s, share in ((spec, 0.8), (affine, 0.2))]
    z = np.stack(np.meshgrid(*[np.linspace(-8, 8, 1601)] * 2), -1)
    energy = 0.5 * ((z**2 - 1) ** 2).sum(-1) - np.logaddexp(0, -z.sum(-1))
    log_z = np.log(np.exp(-energy - 0.5 * (z**2).sum(-1)).sum() * 0.01**2 / (2 * np.pi))
    found = [evaluate(f.run, f.module, samples=100) for f in made]
    away = [log_z - f["nats"]["mean"] for f in found]
    tight = found[0]["importance_weighted"]["nats"]
    return [
        Figure(
            "KL from the target", away[0], found[0]["nats"]["standard_error"], f"one affine map {away[1]:.4f}"
        ),
        Figure.of("log Z by 100 importance samples", tight, f"quadrature {log_z:.5f}"),
    ]
