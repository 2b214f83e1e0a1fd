"""Latents that are summed out, relaxed, stacked or diffused, and states inferred from both sides."""

from __future__ import annotations

from math import log

import numpy as np
from training import SPECS, Bench, Figure, Fitted

from mpcompile.ir import Array
from mpcompile.runner.batches import complete
from mpcompile.runner.evaluate import evaluate, moments
from rows.sequences import CHORALES, JSB, bounds, keys_apart, per_step

STATES, KEYS = 4, 24


def hmm(bench: Bench) -> list[Figure]:
    """specs/hmm.mp on sequences of a hidden Markov model of as many states, beside their true NLL."""
    law = markov(bench.options.seed)
    data = bench.prepared("hidden_markov", generated, law, bench.options.seed)
    fitted = bench.fit("hmm", SPECS / "hmm.mp", data, {"states": str(STATES)}, steps=3000, schedule="cosine")
    part = fitted.part()
    nats = -fitted.outputs("log_prob", "log_prob", part)
    held = fitted.whole()
    true = -forward(law, held["x"], held["length"].astype(int))
    rate = moments(true)["mean"] / held["length"].mean()
    alone = per_step(fitted, keys_apart(fitted), "", "")[0].value
    return [
        per_step(fitted, nats, "NLL", f"of the model that drew it {rate:.4f}; keys alone {alone:.4f}")[0],
        Figure.of("nats a sequence above the truth", moments(nats - true), "0: nothing left to learn"),
    ]


def markov(seed: int) -> tuple[Array, Array, Array]:
    """Probabilities of the first state `[k]`, of the next `[k, k]`, mostly the same, and of keys `[k, d]`."""
    r = np.random.default_rng((seed, 1))
    stay = 0.8 * np.eye(STATES) + 0.2 * r.dirichlet(np.ones(STATES), STATES)
    return r.dirichlet(np.ones(STATES)), stay, r.beta(0.5, 0.5, (STATES, KEYS)).clip(0.02, 0.98)


def generated(
    law: tuple[Array, Array, Array], seed: int, count: int = 2000, steps: int = 32
) -> dict[str, Array]:
    """Sequences of 8 to `steps` steps: `x` `[n, steps, d]`, `length` `[n]`; a fifth of them is the test part."""
    first, move, keys = law
    r = np.random.default_rng((seed, 2))
    state = _drawn(r, np.tile(first, (count, 1)))
    x = []
    for _ in range(steps):
        x.append(r.random((count, KEYS)) < keys[state])
        state = _drawn(r, move[state])
    length = r.integers(8, steps + 1, count)
    cut = np.stack(x, 1) & (np.arange(steps) < length[:, None])[..., None]
    out: dict[str, Array] = {}
    for part, rows in (("train", slice(0, -800)), ("valid", slice(-800, -400)), ("test", slice(-400, None))):
        out |= {f"x_{part}": cut[rows].astype(np.uint8), f"length_{part}": length[rows]}
    return out


def _drawn(r: np.random.Generator, p: Array) -> Array:
    return np.asarray((p.cumsum(1) < r.random((len(p), 1))).sum(1).clip(max=p.shape[1] - 1))


def forward(law: tuple[Array, Array, Array], x: Array, length: Array) -> Array:
    """Log-probabilities `[n]` of sequences `x` `[n, t, d]` (Rabiner 1989, eq. 19 to 21, scaled)."""
    first, move, keys = law
    emitted = np.einsum("ntd,kd->ntk", x, np.log(keys)) + np.einsum("ntd,kd->ntk", 1 - x, np.log(1 - keys))
    belief, score = np.tile(first, (len(x), 1)), np.zeros(len(x))
    for t in range(x.shape[1]):
        top = emitted[:, t].max(1)
        joint = belief * np.exp(emitted[:, t] - top[:, None])
        mass = joint.sum(1)
        score += np.where(t < length, np.log(mass) + top, 0)
        belief = joint / mass[:, None] @ move
    return score


def deep_markov(bench: Bench) -> list[Figure]:
    """specs/deep_markov.mp with 88 keys on the chorales."""
    sizes = {"keys": "88", "hidden": "100", "code": "32", "warm": "1000"}
    fitted = bench.fit(
        "deep_markov", SPECS / "deep_markov.mp", bench.file(CHORALES), sizes, steps=20_000, patience=15
    )
    return bounds(bench, fitted, JSB)


def cvrnn_styles(bench: Bench) -> list[Figure]:
    """specs/cvrnn_styles.mp with 88 keys on the chorales, beside specs/vrnn.mp of the same sizes."""
    data, sizes = bench.file(CHORALES), {"keys": "88", "hidden": "100", "code": "32"}
    vrnn = bench.fit("styles_vrnn", SPECS / "vrnn.mp", data, sizes, 0.45, steps=20_000, patience=15)
    (theirs,) = per_step(vrnn, -vrnn.outputs("elbo", "elbo", vrnn.part()), "", "")[:1]
    fitted = bench.fit(
        "cvrnn_styles", SPECS / "cvrnn_styles.mp", data, sizes, 0.55, steps=20_000, patience=15
    )
    ours = -fitted.outputs("elbo", "elbo", fitted.part())
    beside = f"vrnn.mp: {theirs.value:.2f} +- {theirs.error:.2g}"
    return per_step(fitted, ours, "negative ELBO", beside)


def gumbel(bench: Bench) -> list[Figure]:
    """specs/gumbel.mp on binary digits."""
    return beside_vae(bench, "gumbel", weighted=False)


def ladder(bench: Bench) -> list[Figure]:
    """specs/ladder.mp on binary digits."""
    return beside_vae(bench, "ladder", weighted=True)


def beside_vae(bench: Bench, name: str, weighted: bool) -> list[Figure]:
    """The negative ELBO on binary digits, beside that of specs/vae.yaml trained for as many epochs."""
    plain = bench.fit(f"{name}_vae", SPECS / "vae.yaml", "binary_digits", share=0.4, epochs=200)
    fitted = bench.fit(name, SPECS / f"{name}.mp", "binary_digits", share=0.6, epochs=200)
    few = bench.options.importance
    ours, theirs = (evaluate(f.run, f.module, samples=few if weighted else None) for f in (fitted, plain))

    def figure(what: str, a: dict[str, float], b: dict[str, float]) -> Figure:
        beside = f"vae.yaml: {-b['mean']:.2f} +- {b['standard_error']:.2g}"
        return Figure(what, -a["mean"], a["standard_error"], beside)

    found = [figure("negative ELBO, nats", ours["nats"], theirs["nats"])]
    if weighted:
        a, b = (e["importance_weighted"]["nats"] for e in (ours, theirs))
        found.append(figure(f"NLL, {few} importance samples", a, b))
    return found


#: What makes specs/vae.yaml one of grey levels, as specs/ddpm.mp has them.
GREY = (
    ("binary[pixels]", "integer(0..15)[pixels]"),
    ("dense(pixels)]", "dense(2 * pixels)]"),
    ("x ~ bernoulli(logits = decoder(z))", "x ~ discretized(logistic, decoder(z))"),
)


#: The schedule of the paper (section 4), which has more terms, each of them tighter.
PUBLISHED = ("noise = linear(0.01, 0.3)", "noise = linear(1e-4, 0.02)")


def ddpm(bench: Bench) -> list[Figure]:
    """specs/ddpm.mp on digits of 16 levels, its own steps and the paper's, beside a VAE of discretized logistics."""
    grey = bench.variant(SPECS / "vae.yaml", "ddpm_vae", *GREY)
    plain = bench.fit("ddpm_vae", grey, "digits", share=0.2, epochs=200)
    theirs = evaluate(plain.run, plain.module)
    other, alone = theirs["bits_per_dim"], theirs["baselines"][0]["bits_per_dim"]["mean"]
    beside = (
        f"vae.yaml: {other['mean']:.3f} +- {other['standard_error']:.2g}; {alone:.3f}, independent pixels"
    )
    many = bench.variant(SPECS / "ddpm.mp", "ddpm_published", PUBLISHED)
    found = []
    for what, spec, sizes in (("30 steps", SPECS / "ddpm.mp", {}), ("1000 steps", many, {"steps": "1000"})):
        fitted = bench.fit(f"ddpm_{what[:-6]}", spec, "digits", sizes, 0.4, steps=20_000, schedule="cosine")
        scale = 1 / (log(2) * fitted.whole()["x"][0].size)
        by_step = -by_steps(fitted, DRAWS) * scale
        found.append(Figure.of(f"bound, bits per dimension, {what}", moments(by_step.mean(0)), beside))
        last = moments(by_step[0] / len(by_step))  # what the decoder adds to the mean over steps
        found.append(Figure.of("  of it the last step, which gives levels", last, "0: exact"))
    return found


#: Draws of the noise of every step of each example.
DRAWS = 4


def by_steps(fitted: Fitted, draws: int) -> Array:
    """Return the bound of each test example by the step that is drawn, `[steps, n]`; its mean over steps is the bound."""
    data, session, seed = fitted.whole(), fitted.session(), fitted.run.facts["seed"]
    steps = int(fitted.module.params["steps"])
    out = np.zeros((steps, len(data["x"])))
    for step in range(steps):
        for draw in range(draws):
            given = complete(fitted.module, "elbo", data, (seed, "bound", step, draw))
            given["noise_x_step"] = np.full(len(data["x"]), (step + 0.5) / steps, np.float32)
            out[step] += session.run("elbo", given)["elbo"] / draws
    return out


def vq_vae(bench: Bench) -> list[Figure]:
    """specs/vq_vae.mp on binary digits, beside specs/vae.yaml."""
    fitted = bench.fit("vq_vae", SPECS / "vq_vae.mp", "binary_digits", share=0.5, epochs=150)
    other = bench.fit("vae", SPECS / "vae.yaml", "binary_digits", share=0.5, epochs=150)
    found = evaluate(fitted.run, fitted.module)
    nats = found["nats"]
    beside = f"vae.yaml {-evaluate(other.run, other.module)['nats']['mean']:.2f}; "
    beside += f"independent pixels {-found['baselines'][0]['nats']['mean']:.2f}"
    return [Figure("negative bound", -nats["mean"], nats["standard_error"], beside)]


def semi_supervised(bench: Bench) -> list[Figure]:
    """specs/semi_supervised.mp with 100 labels of digits, beside its classifier trained by these alone."""
    spec = SPECS / "semi_supervised.mp"
    fitted = bench.fit("semi_supervised", spec, "few_labels", share=0.7)
    text = spec.read_text(encoding="utf-8")
    laws = text[text.index("y ~ categorical") : text.index("train {")]
    nets = text[text.index("net encoder") : text.index("y ~ categorical")]
    changes = ((laws, "y ~ categorical(logits = classifier(x))\n"), (nets, ""))
    supervised = bench.variant(spec, "hundred_labels", *changes)
    other = bench.fit("hundred_labels", supervised, "few_labels", share=0.3)
    alone = other.target("y")
    beside = f"the classifier alone {alone['mean']:.3f} +- {alone['standard_error']:.3f}"
    return [Figure.of("accuracy", fitted.target("y"), beside)]
