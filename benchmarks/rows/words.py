"""Attention over words: GPT-2, Llama, XLNet, and an encoder with a decoder that attends to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import real_data
from training import SPECS, Bench, Figure, Fitted

from mpcompile.api import load
from mpcompile.distributions.sampling import Sampling
from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate, moments
from mpcompile.runner.sampling import sample

EXPRESSIONS = SPECS / "expressions"
#: nanoGPT's setting for a CPU: 4 layers, 4 heads, 128 wide, windows of 64 characters, 12 at a time, 2000 steps.
CPU_SETTING: dict[str, Any] = {
    "optimizer": {"kind": "adamw", "rate": 2e-3}, "schedule": {"kind": "cosine", "warmup": 100, "final": 0.1},
    "clip": 1.0, "batch": 12, "length": 64, "steps": 2000, "valid_every": 500,
}  # fmt: skip
ORDER = 6  # characters that the n-gram model counts together


def gpt2(bench: Bench) -> list[Figure]:
    """specs/expressions/gpt2.mp: its parameters as published, and a small one on tiny Shakespeare."""
    size = sum(p.live for p in load(EXPRESSIONS / "gpt2.mp", {}).parameters.values())
    sizes = {"dim": "128", "heads": "4", "layers": "4", "longest": "64"}
    published = Figure("parameters of the spec as it is", size, None, "124,439,808 (Radford et al. 2019)")
    return [published, *shakespeare(bench, "gpt2", sizes)]


def llama(bench: Bench) -> list[Figure]:
    """specs/expressions/llama.mp on tiny Shakespeare, about as large as the small GPT-2."""
    sizes = {"dim": "128", "groups": "2", "heads": "2", "layers": "4", "hidden": "344"}
    return shakespeare(bench, "llama", sizes)


def shakespeare(bench: Bench, name: str, sizes: dict[str, str]) -> list[Figure]:
    """Nats a character of the test part, in windows that are read from an empty context."""
    path = bench.file("text/tinyshakespeare.txt")
    characters = len(set(path.read_text(encoding="utf-8")))
    given = {"vocabulary": str(characters), **sizes}
    fitted = bench.fit(name, EXPRESSIONS / f"{name}.mp", path, given, **CPU_SETTING)
    found = evaluate(fitted.run, fitted.module)["nats_per_dim"]
    stream = fitted.part("train").columns["text"].stream  # type: ignore[union-attr]  # a text is a stream
    counted = moments(-counts(np.asarray(stream), fitted.whole()["text"], characters).mean(1))
    beside = (
        f"{ORDER}-gram (Witten and Bell 1991): {counted['mean']:.4f} +- {counted['standard_error']:.2g}; "
        "nanoGPT's setting for a CPU, another tenth: 1.88"
    )
    return [Figure("NLL, nats a character", -found["mean"], found["standard_error"], beside)]


def counts(stream: Array, windows: Array, classes: int) -> Array:
    """Log-probabilities `[n, t]` of windows under an n-gram model of a stream of classes.

    A context of k classes, counted n times and followed by u different ones, has
    p_k(c) = (n(c) + u p_{k-1}(c)) / (n + u) (Witten and Bell 1991, method C, interpolated). A context never seen, or
    longer than the window so far, leaves p_{k-1}.
    """
    p = np.full(windows.shape, 1 / classes)
    stream, windows = stream.astype(np.int64), windows.astype(np.int64)
    seen, asked = np.zeros(len(stream), np.int64), np.zeros(windows.shape, np.int64)  # contexts, as numbers
    for size in range(ORDER):
        grams, n_gram = np.unique(seen[size:] * classes + stream[size:], return_counts=True)
        contexts, start = np.unique(grams // classes, return_index=True)
        n_context, unlike = np.add.reduceat(n_gram, start), np.diff(np.append(start, len(grams)))
        at = np.minimum(np.searchsorted(contexts, asked), len(contexts) - 1)
        known = (contexts[at] == asked) & (np.arange(windows.shape[1]) >= size)
        wanted = asked * classes + windows
        place = np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)
        hits = np.where(grams[place] == wanted, n_gram[place], 0)
        p = np.where(known, (hits + unlike[at] * p) / (n_context[at] + unlike[at]), p)
        # the next context has one class more, at its front
        seen[size + 1 :] += stream[: len(stream) - size - 1] * classes**size
        asked[:, size + 1 :] += windows[:, : windows.shape[1] - size - 1] * classes**size
    return np.log(p)


def translate(bench: Bench) -> list[Figure]:
    """specs/expressions/translate.mp spells words backwards: random ones of 6 letters, and first names of 2 to 12."""
    sizes = {"dim": "64", "heads": "4", "layers": "2", "longest": "16"}
    adam = {
        "optimizer": {"kind": "adam", "rate": 1e-3},
        "schedule": {"kind": "cosine", "warmup": 100},
        "clip": 1.0,
    }
    found = []
    r = np.random.default_rng(bench.options.seed)
    random = r.integers(0, 8, (4000, 6))
    sets = {
        "random words of 6 letters": (8, lambda: reversal(list(random), 6)),
        "first names": (26, lambda: reversal(real_data.names(bench.file("text/names.txt")), 12)),
    }
    for number, (what, (letters, make)) in enumerate(sets.items()):
        data = bench.prepared(f"reversal_{number}", make)
        fitted = bench.fit(
            f"translate_{number}", EXPRESSIONS / "translate.mp", data, {"vocabulary": str(letters), **sizes}, 0.5,
            batch=64, length=12, **adam,
        )  # fmt: skip
        found.append(exact(fitted, f"{what}, exact", letters))
    return found


def reversal(words: list[Array], longest: int) -> dict[str, Array]:
    """Words and their reversals, filled up with 0: `source`, `reply` `[n, longest]`, and their lengths."""
    lengths = np.array([len(w) for w in words])
    source, reply = (np.zeros((len(words), longest), np.int64) for _ in range(2))
    for row, word in enumerate(words):
        source[row, : len(word)], reply[row, : len(word)] = word, word[::-1]
    return {"source": source, "source_length": lengths, "reply": reply, "length": lengths}


def exact(fitted: Fitted, what: str, letters: int) -> Figure:
    """The share of test examples whose most probable letters, one after the other, are the reply, beside chance."""
    count = min(500, len(fitted.part()))
    likeliest = load(fitted.run.spec, fitted.run.overrides, Sampling(top_k=1))
    drawn = sample(fitted.run, likeliest, count, length=fitted.whole()["reply"].shape[1])
    source, length = drawn.given["source"], drawn.given["length"].astype(int)
    right = [
        bool((reply[:n] == word[:n][::-1]).all())
        for reply, word, n in zip(drawn.values["reply"], source, length, strict=True)
    ]
    chance = moments(float(letters) ** -length)
    return Figure.of(what, moments(np.array(right, float)), f"chance {chance['mean']:.1e}")


def xlnet(bench: Bench) -> list[Figure]:
    """specs/expressions/xlnet.mp on binary digits as 64 words of two kinds, beside specs/made.yaml in one order."""
    sizes = {"vocabulary": "2", "dim": "32", "heads": "2", "layers": "2", "longest": "64", "orders": "4"}
    fitted = bench.fit(
        "xlnet", EXPRESSIONS / "xlnet.mp", "binary_digits", sizes, 0.9,
        optimizer={"kind": "adam", "rate": 2e-3}, schedule={"kind": "cosine", "warmup": 50}, clip=1.0, batch=64,
    )  # fmt: skip
    made = bench.fit("xlnet_made", SPECS / "made.yaml", "binary_digits", share=0.1)
    ours, theirs = (evaluate(f.run, f.module)["nats"] for f in (fitted, made))
    note = f"made.yaml: {-theirs['mean']:.2f} +- {theirs['standard_error']:.2g}"
    return [Figure("NLL, nats, mean of 4 orders", -ours["mean"], ours["standard_error"], note)]
