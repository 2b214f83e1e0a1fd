"""Sequences: memory, chorales, pen strokes, words spelled backwards, text."""

from __future__ import annotations

import numpy as np
import real_data
from training import HERE, SPECS, Bench, Figure, Fitted

from mpcompile.ir import Array
from mpcompile.runner.batches import chunks
from mpcompile.runner.bounds import importance_weighted
from mpcompile.runner.evaluate import evaluate, moments
from mpcompile.runner.reading import Reading
from mpcompile.runner.sampling import sample

CHORALES = "poly_music/JSB_Chorales.npz"
JSB = "RNN 8.71, LSTM 8.45, TCN 8.10 (Bai et al. 2018); DMM 6.388, bound 6.926 (Krishnan et al. 2017)"

#: What turns strokes_cvrnn.mp into a recurrent network whose law of a step has no latent.
WITHOUT_LATENT = (
    ("  latent z ~ normal(phi(2 * code)(concat(move, pen, h))) prior normal(phi(2 * code)(h))\n", ""),
    ("phi(4)(concat(z, h))", "phi(4)(h)"),
    ("concat(move, z, h)", "concat(move, h)"),
    ("concat(move, pen, z, style(script))", "concat(move, pen, style(script))"),
    (", code = 16", ""),
)


def adding(bench: Bench) -> list[Figure]:
    """specs/lstm_stacked.mp on the adding problem over 24 steps."""
    fitted = bench.fit("adding", SPECS / "lstm_stacked.mp", "adding")
    truth = fitted.whole()["total"]
    note = f"the mean for all: {truth.var():.4f} (Hochreiter and Schmidhuber 1997, experiment 4)"
    return [Figure.of("squared error of the sum", fitted.target("total", "mean_squared_error"), note)]


def jsb_lstm(bench: Bench) -> list[Figure]:
    """jsb_lstm.mp on the chorales, in nats a time step."""
    fitted = bench.fit("jsb", HERE / "jsb_lstm.mp", bench.file(CHORALES))
    return per_step(fitted, -fitted.outputs("log_prob", "log_prob", fitted.part()), "NLL", JSB)


def jsb_rnn_made(bench: Bench) -> list[Figure]:
    """jsb_rnn_made.mp on the chorales: the keys of a chord depend on each other."""
    fitted = bench.fit("jsb_rnn_made", HERE / "jsb_rnn_made.mp", bench.file(CHORALES))
    note = "NADE, frame by frame 7.19; RNN-NADE 5.56 (Boulanger-Lewandowski et al. 2012)"
    return per_step(fitted, -fitted.outputs("log_prob", "log_prob", fitted.part()), "NLL", note)


def gru(bench: Bench) -> list[Figure]:
    """specs/gru.mp with 88 keys on the chorales, in nats a time step."""
    fitted = bench.fit(
        "gru",
        SPECS / "gru.mp",
        bench.file(CHORALES),
        {"keys": "88", "hidden": "128"},
        steps=20_000,
        patience=15,
    )
    keys = per_step(fitted, keys_apart(fitted), "", "")[0]
    beside = f"keys apart {keys.value:.2f} +- {keys.error:.2g}; {JSB}"
    return per_step(fitted, -fitted.outputs("log_prob", "log_prob", fitted.part()), "NLL", beside)


def keys_apart(fitted: Fitted) -> Array:
    """Nats of each test sequence `x` `[n, time, d]` of `length` under keys that are drawn apart, at every step alike."""

    def steps(split: str) -> list[Array]:
        data = fitted.whole(split)
        return [x[:n] for x, n in zip(data["x"], data["length"].astype(int), strict=True)]

    seen = np.concatenate(steps("train"))
    on = (seen.sum(0) + 0.5) / (len(seen) + 1)
    return np.array([-np.where(x > 0, np.log(on), np.log(1 - on)).sum() for x in steps("test")])


def bilstm(bench: Bench) -> list[Figure]:
    """specs/bilstm.mp on windows of chorales: does the time of a piece run backwards?"""
    from sklearn.linear_model import LogisticRegression

    data = bench.prepared("turned", real_data.turned, bench.file(CHORALES))
    spec = bench.variant(SPECS / "bilstm.mp", "bilstm_turned", ("minor", "turned"))
    fitted = bench.fit("bilstm", spec, data, {"keys": "88", "hidden": "64"}, epochs=40, patience=15)
    (a, b), (c, d) = (
        (real_data.moves(p["x"]), p["turned"].ravel()) for p in map(fitted.whole, ("train", "test"))
    )
    line = moments((LogisticRegression(C=0.1, max_iter=1000).fit(a, b).predict(c) == d).astype(float))
    theirs = f"{line['mean']:.3f} +- {line['standard_error']:.2g}"
    note = f"logistic regression of moves of the lowest note {theirs}; chance 0.5"
    return [Figure.of("accuracy, forwards or backwards", fitted.target("turned"), note)]


def jsb_vrnn(bench: Bench) -> list[Figure]:
    """specs/vrnn.mp with 88 keys on the chorales: the bound and its importance-weighted form, in nats a time step."""
    fitted = bench.fit(
        "vrnn", SPECS / "vrnn.mp", bench.file(CHORALES),
        {"keys": "88", "hidden": "100", "code": "32"}, steps=20_000, patience=15,
    )  # fmt: skip
    return bounds(bench, fitted, JSB)


def bounds(bench: Bench, fitted: Fitted, beside: str) -> list[Figure]:
    """The bound of a model with latents and its importance-weighted form, by step."""
    part, few = fitted.part(), bench.options.importance
    elbo = fitted.outputs("elbo", "elbo", part)
    seed = int(fitted.run.facts["seed"])
    weighted = importance_weighted(Reading(fitted.session(), fitted.module, part, 100, seed, "float32"), few)
    return [
        *per_step(fitted, -elbo, "negative ELBO", beside),
        *per_step(fitted, -weighted, f"NLL, {few} importance samples", ""),
    ]


def per_step(fitted: Fitted, nats: Array, name: str, beside: str) -> list[Figure]:
    """Total nats over total steps, and the mean over pieces of each piece's mean: papers use either."""
    nats = nats.astype(np.float64)
    steps = np.concatenate([data["length"] for _, data in chunks(fitted.part(), 100)])
    ratio, n = nats.sum() / steps.sum(), len(steps)
    # The standard error of a ratio, by its linear part.
    spread = np.std(nats - ratio * steps, ddof=1) / (np.sqrt(n) * steps.mean())
    return [
        Figure(f"{name} a step: all steps", float(ratio), float(spread), beside),
        Figure.of(f"{name} a step: mean of pieces", moments(nats / steps), ""),
    ]


def strokes(bench: Bench) -> list[Figure]:
    """strokes_cvrnn.mp on kanji and Omniglot drawings, and the same network without a latent."""
    data = bench.prepared("strokes", real_data.strokes, *map(bench.file, real_data.SCRIPTS))
    spec = HERE / "strokes_cvrnn.mp"
    plain = bench.variant(spec, "strokes_rnn", *WITHOUT_LATENT)
    rnn = bench.fit("strokes_rnn", plain, data, share=0.4)
    score = -rnn.outputs("log_prob", "log_prob", rnn.part())
    fitted = bench.fit("strokes", spec, data, share=0.6)
    part = fitted.part()
    right = fitted.outputs("elbo", "elbo", part)
    return [
        *per_step(rnn, score, "without a latent, NLL", "")[:1],
        *(f for f in bounds(bench, fitted, "") if "all steps" in f.what),
        Figure.of(
            "bound lost by the other script, nats a drawing", moments(right - swapped(fitted)), "0: unused"
        ),
    ]


def swapped(fitted: Fitted) -> Array:
    """The bound of every test drawing under the script that it is not of."""
    from dataclasses import replace

    part = fitted.part()
    script = part.columns["script"]
    other = {**part.columns, "script": replace(script, array=1 - script.array)}  # type: ignore[union-attr,type-var]  # rows of an array
    return fitted.outputs("elbo", "elbo", replace(part, columns=other))


def seq2seq(bench: Bench) -> list[Figure]:
    """specs/seq2seq.mp on real first names of six letters, to be spelled backwards."""
    data = bench.prepared("names", real_data.backwards, bench.file("text/names.txt"))
    fitted = bench.fit("seq2seq", SPECS / "seq2seq.mp", data, {"tokens": "26", "hidden": "96"}, steps=20_000)
    score = -fitted.outputs("log_prob", "log_prob", fitted.part())
    count = min(500, len(fitted.part()))
    drawn = sample(fitted.run, fitted.module, count, length=6)
    right = (drawn.values["reply"] == drawn.given["source"][:, ::-1]).all(1)
    return [
        Figure.of("NLL, nats a letter", moments(score / 6), f"uniform: {np.log(26):.4f}"),
        Figure.of(
            "names that draws spell backwards", moments(right.astype(float)), "unseen names; 1 is exact"
        ),
    ]


def text(bench: Bench) -> list[Figure]:
    """specs/char_lstm.mp on tiny Shakespeare, windows of 64 characters read from an empty state."""
    path = bench.file("text/tinyshakespeare.txt")
    characters = len(set(path.read_text(encoding="utf-8")))
    fitted = bench.fit(
        "text", SPECS / "char_lstm.mp", path,
        {"characters": str(characters), "hidden": "256"}, steps=20_000, schedule="cosine",
    )  # fmt: skip
    found = evaluate(fitted.run, fitted.module)["nats_per_dim"]
    beside = "nanoGPT's setting for a CPU (transformer, other tenth): 1.88"
    return [Figure("NLL, nats a character", -found["mean"], found["standard_error"], beside)]
