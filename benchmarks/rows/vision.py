"""Attention over patches, pixels and points, and pictures that find their captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import real_data
from training import SPECS, Bench, Figure, Fitted

from mpcompile.api import load
from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate, moments

EXPRESSIONS = SPECS / "expressions"
#: One channel where the spec has three.
GREY = ("[channel: 3, ", "[channel: 1, ")
COSINE = {"kind": "cosine", "warmup": 100}


def vit(bench: Bench) -> list[Figure]:
    """specs/expressions/vit.mp on digits and on 4000 of CIFAR-10, beside specs/cnn.mp and a linear classifier."""
    sizes = {"dim": "48", "heads": "3", "layers": "4"}
    train: dict[str, Any] = {"optimizer": {"kind": "adamw", "rate": 1e-3}, "schedule": COSINE, "batch": 64}
    spec = bench.variant(
        EXPRESSIONS / "vit.mp", "vit_grey", GREY, ("integer(0..255)", "integer(0..16)"), ("1 / 255", "1 / 16")
    )
    small = bench.fit(
        "vit_digits", spec, "digits", {**sizes, "size": "8", "patch": "2"}, 0.3, epochs=100, **train
    )
    cnn = bench.fit("vit_digits_cnn", SPECS / "cnn.mp", "digits", share=0.1)
    found = [labelled(small, cnn, "test accuracy, digits")]
    try:
        data = bench.prepared("cifar", real_data.cifar, bench.file("cifar10/cifar10_lossless_4000.npz"))
    except real_data.Missing as missing:
        print(f"vit, CIFAR-10: skipped, {missing}", flush=True)
        return found
    large = bench.fit("vit_cifar", EXPRESSIONS / "vit.mp", data, sizes, 0.4, epochs=30, **train)
    colours = (("integer(0..16)[1, 8, 8]", "integer(0..255)[3, 32, 32]"), ("1 / 16", "1 / 255"))
    cnn = bench.fit("vit_cifar_cnn", bench.variant(SPECS / "cnn.mp", "cnn_cifar", *colours), data, share=0.2)
    return [*found, labelled(large, cnn, "test accuracy, 4000 of CIFAR-10")]


def labelled(fitted: Fitted, cnn: Fitted, what: str) -> Figure:
    """Accuracy on the test part beside the CNN and logistic regression of the pixels on the same split."""
    from sklearn.linear_model import LogisticRegression

    (a, b), (c, d) = (
        (p["image"].reshape(len(p["label"]), -1), p["label"]) for p in map(fitted.whole, ("train", "test"))
    )
    top = a.max()
    line = (
        LogisticRegression(C=0.001 if a.shape[1] > 1000 else 1.0, max_iter=200)
        .fit(a / top, b)
        .score(c / top, d)
    )
    theirs = cnn.target("label")
    return Figure.of(
        what, fitted.target("label"),
        f"cnn.mp {theirs['mean']:.3f} +- {theirs['standard_error']:.2g}; logistic regression {line:.3f}",
    )  # fmt: skip


def pixelsnail(bench: Bench) -> list[Figure]:
    """specs/expressions/pixelsnail.mp on digits of 16 levels, beside specs/pixelcnn.mp with a softmax over levels."""
    mixture = ("head(10) -> colour_mixture(x, 10)", "head(3)")  # logits, places and scales of one channel
    spec = bench.variant(EXPRESSIONS / "pixelsnail.mp", "pixelsnail_grey", GREY, mixture)
    sizes = {"ch": "16", "heads": "2", "layers": "1", "size": "8", "levels": "16"}
    adam = {"optimizer": {"kind": "adam", "rate": 2e-3}, "schedule": COSINE, "clip": 1.0, "batch": 64}
    fitted = bench.fit("pixelsnail", spec, "digits", sizes, 0.7, **adam)
    grey = (
        ("binary[1, 8, 8]", "integer(0..15)[1, 8, 8]"),
        ("likelihood = bernoulli", "likelihood = categorical"),
        ("conv(1, 1) }", "conv(16, 1) }"),
    )
    cnn = bench.fit(
        "pixelsnail_cnn",
        bench.variant(SPECS / "pixelcnn.mp", "pixelcnn_grey", *grey),
        "digits",
        {"width": "16", "layers": "4"},
        0.3,
        epochs=200,
    )
    ours, theirs = (evaluate(f.run, f.module) for f in (fitted, cnn))
    alone, other = ours["baselines"][0]["bits_per_dim"]["mean"], theirs["bits_per_dim"]
    beside = (
        f"pixelcnn.mp {other['mean']:.3f} +- {other['standard_error']:.2g}; {alone:.3f}, independent pixels"
    )
    return [Figure.of("bits per dimension", ours["bits_per_dim"], beside)]


def set_transformer(bench: Bench) -> list[Figure]:
    """specs/expressions/set_transformer.mp on the largest of a set, beside the mean of features."""
    data = bench.prepared("largest", largest, bench.options.seed)
    train: dict[str, Any] = {
        "optimizer": {"kind": "adam", "rate": 1e-3},
        "schedule": COSINE,
        "batch": 64,
        "clip": 1.0,
    }
    sizes = {"dim": "32", "inducing": "8", "classes": str(MARKS)}
    spec = EXPRESSIONS / "set_transformer.mp"
    fitted = bench.fit("set_transformer", spec, data, sizes, 0.8, **train)
    pooled = (
        "dense(dim) -> isab -> isab -> pma -> dense(classes)",
        "dense(dim) -> relu -> dense(dim) -> relu -> mean(over = point) -> dense(dim) -> relu -> dense(classes)",
    )
    unused = (
        ("weight induce: real[seed: inducing, channel: dim] = glorot\n", ""),
        ("weight pool: real[seed: 1, channel: dim] = glorot\n", ""),
    )
    text = spec.read_text(encoding="utf-8")
    blocks = tuple((b, "") for b in text.split("\n\n") if b.startswith("block"))
    mean = bench.fit(
        "set_mean", bench.variant(spec, "set_mean", pooled, *unused, *blocks), data, sizes, 0.2, **train
    )
    theirs = mean.target("shape")
    note = f"mean pooling {theirs['mean']:.3f} +- {theirs['standard_error']:.2g}; chance {1 / MARKS:.3f}"
    return [Figure.of("accuracy, the largest of up to 12", fitted.target("shape"), note)]


MARKS, MOST = 20, 12


def largest(seed: int, count: int = 8000) -> dict[str, Array]:
    """Sets of 2 to `MOST` points: `cloud` `[n, MOST, 3]`, its first coordinate a mark; `shape` `[n]`, the largest mark.

    The largest is drawn evenly, the others evenly below it. The other coordinates are noise.
    """
    r = np.random.default_rng((seed, 3))
    size, top = r.integers(2, MOST + 1, count), r.integers(0, MARKS, count)
    marks = r.integers(0, top[:, None] + 1, (count, MOST))
    marks[np.arange(count), r.integers(0, size)] = top
    cloud = np.concatenate([marks[..., None] / MARKS, r.random((count, MOST, 2))], 2)
    cloud *= (np.arange(MOST) < size[:, None])[..., None]
    return {"cloud": cloud.astype(np.float32), "count": size, "shape": top}


CANDIDATES = 100


def two_towers(bench: Bench) -> list[Figure]:
    """specs/expressions/two_towers.mp: pictures of four digits and the numbers they show, among 100 of each."""
    data = bench.prepared("numbers", real_data.numbers, bench.options.seed)
    spec = bench.variant(EXPRESSIONS / "two_towers.mp", "two_towers_grey", GREY)
    fitted = bench.fit(
        "two_towers", spec, data, {"vocabulary": "10", "dim": "64", "size": "16"}, batch=64, length=4,
        optimizer={"kind": "adam", "rate": 2e-3}, schedule=COSINE,
    )  # fmt: skip
    a, b = (tower(bench, fitted, name) for name in ("a", "b"))
    found = []
    for what, ours, theirs in (("its number", a, b), ("its picture", b, a)):
        blocks = [
            ours[i : i + CANDIDATES] @ theirs[i : i + CANDIDATES].T for i in range(0, len(ours), CANDIDATES)
        ]
        first = np.concatenate([s.argmax(1) == np.arange(CANDIDATES) for s in blocks])
        found.append(Figure.of(f"recall@1, {what}", moments(first.astype(float)), f"chance {1 / CANDIDATES}"))
    return found


def tower(bench: Bench, fitted: Fitted, name: str) -> Array:
    """Vectors `[n, dim]` of one tower: the same weights in a spec that predicts them."""
    target = ("weight sharpness: real = constant(2.66)", "target seen: real[channel: dim]")
    law = ("minimise info_nce(a, b, scale = exp(sharpness))", f"seen ~ normal({name}, 1)")
    module = load(bench.variant(fitted.run.spec, f"tower_{name}", target, law), fitted.run.overrides)
    session, data = fitted.session(module), fitted.whole()
    inputs = {n: data[n] for n in module.programs["predict"].inputs}
    return np.asarray(session.run("predict", inputs)["seen"], np.float64)
