"""Codes: linear and other autoencoders, and what a variational one pays for its code."""

from __future__ import annotations

import numpy as np
import real_data
from training import HERE, SPECS, Bench, Figure, Fitted

from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate, moments
from mpcompile.runner.metrics import read_metrics


def linear(bench: Bench) -> list[Figure]:
    """specs/linear_autoencoder.mp: what its reconstruction spans, beside the principal components.

    The eighth component has hardly more variance than the ninth, so gradients are those of all images, for 6000 steps.
    """
    fitted = bench.fit(
        "linear", SPECS / "linear_autoencoder.mp", bench.prepared("digits", real_data.digits),
        batch=2000, steps=6000, optimizer={"kind": "adam", "rate": 3e-2},
    )  # fmt: skip
    seen, code = fitted.whole("train")["x"], int(fitted.module.params["code"])
    _, axes = principal(seen, code)
    points = np.concatenate([np.zeros((1, seen.shape[1])), np.eye(seen.shape[1])]).astype(np.float32)
    mapped = fitted.reconstructed({"x": points})
    found = np.linalg.svd((mapped[1:] - mapped[0]).T.astype(np.float64))[0][:, :code]
    cosines = np.linalg.svd(axes.T @ found)[1]
    worst = np.degrees(np.arccos(np.clip(cosines.min(), 0, 1)))
    note = f"0 is exact; {code} components (Baldi and Hornik 1989)"
    return [Figure("largest principal angle, degrees", float(worst), None, note), against_pca(fitted)]


def autoencoder(bench: Bench) -> list[Figure]:
    """specs/autoencoder.mp beside principal components with a code of the same size."""
    return [against_pca(bench.fit("autoencoder", SPECS / "autoencoder.mp", "digits", epochs=300))]


def against_pca(fitted: Fitted) -> Figure:
    """Squared error of reconstruction per test image, and that of PCA of the training images."""
    x, code = fitted.whole()["x"], int(fitted.module.params["code"])
    mean, axes = principal(fitted.whole("train")["x"], code)
    of_pca = moments(((x - mean - (x - mean) @ axes @ axes.T) ** 2).sum(1))
    ours = moments(((x - fitted.reconstructed({"x": x})) ** 2).sum(1))
    return Figure.of(
        "squared error per test image", ours,
        f"PCA, {code} components: {of_pca['mean']:.4f} +- {of_pca['standard_error']:.2g}",
    )  # fmt: skip


def principal(x: Array, count: int) -> tuple[Array, Array]:
    """Mean `[d]` and the first principal axes `[d, count]` of rows."""
    mean = x.mean(0, dtype=np.float64)
    return mean, np.linalg.svd(x - mean, full_matrices=False)[2][:count].T


def denoising(bench: Bench) -> list[Figure]:
    """specs/denoising.mp on digits with noise, with holes and with both: what is left of the corruption."""
    settings = {"noise and holes": (0.3, 0.3), "noise": (0.3, 0.0), "holes": (0.0, 0.3)}
    found = []
    for what, (noise, holes) in settings.items():
        fitted = bench.fit(
            f"denoising_{what.replace(' ', '_')}", SPECS / "denoising.mp", "digits",
            {"noise": str(noise), "holes": str(holes)}, 1 / len(settings), epochs=200,
        )  # fmt: skip
        rng = np.random.default_rng(bench.options.seed)

        def corrupted(
            x: Array, noise: float = noise, holes: float = holes, rng: np.random.Generator = rng
        ) -> Array:
            y = (x + noise * rng.standard_normal(x.shape)) * (rng.random(x.shape) >= holes)
            return np.asarray(y, np.float32)

        seen, clean = fitted.whole("train")["x"], fitted.whole()["x"]
        broken = corrupted(clean)
        ours = moments(((fitted.reconstructed({"x": broken}) - clean) ** 2).sum(1))
        before = float(((broken - clean) ** 2).sum(1).mean())
        many = np.repeat(seen, 20, axis=0)
        best = least_squares(corrupted(many), many, broken)
        line = moments(((best - clean) ** 2).sum(1))
        found.append(
            Figure.of(
                f"squared error per test image, {what}", ours,
                f"left as it is: {before:.2f}; best affine map: {line['mean']:.4f} +- {line['standard_error']:.2g}",
            )
        )  # fmt: skip
    return found


def least_squares(a: Array, b: Array, at: Array) -> Array:
    """The affine map that takes rows of `a` to those of `b` with the least squared error, of the rows of `at`."""
    one = lambda x: np.concatenate([x, np.ones((len(x), 1))], 1)  # noqa: E731
    return np.asarray(one(at) @ np.linalg.lstsq(one(a), b, rcond=None)[0])


def vae(bench: Bench) -> list[Figure]:
    """mnist_vae.mp on the fixed binarisation of MNIST."""
    fitted = bench.fit("vae", HERE / "mnist_vae.mp", bench.file("mnist/binarized_mnist.npz"))
    few = bench.options.importance
    found = evaluate(fitted.run, fitted.module, samples=few)
    bound, estimate = found["nats"], found["importance_weighted"]["nats"]
    return [
        Figure("negative ELBO, nats", -bound["mean"], bound["standard_error"], ""),
        Figure(
            f"NLL, {few} importance samples", -estimate["mean"], estimate["standard_error"],
            "VAE, one layer, 5000 samples: 86.76, other binarisation; this one about 2 nats worse (Burda et al. 2016)",
        ),
    ]  # fmt: skip


OBJECTIVE = "beta: warmup(steps, beta)"


def beta_vae(bench: Bench) -> list[Figure]:
    """specs/beta_vae.mp on binary digits: the divergence against beta, its constrained form, and beta = 1."""
    spec, found = SPECS / "beta_vae.mp", []
    forms = {f"beta {b}": (f"beta: {b}", b) for b in (0.5, 1, 2, 4, 8)}
    forms |= {
        "constrained(10)": ("beta: constrained(10)", None),
        "warmup(200, 4)": ("beta: warmup(200, 4)", None),
    }
    losses = {}
    for what, (objective, _) in {**forms, "VAE": ("beta: 1", None)}.items():
        changes = [(OBJECTIVE, objective)]
        if what == "VAE":
            changes = [("objective { " + OBJECTIVE + " }", "")]
        name = "beta_" + "".join(c if c.isalnum() else "_" for c in what)
        fitted = bench.fit(
            name, bench.variant(spec, name, *changes), "binary_digits", share=1 / (len(forms) + 1)
        )
        losses[what] = [line["loss"] for line in read_metrics(fitted.run.metrics) if line["split"] == "train"]
        if what == "VAE":
            continue
        part = fitted.part()
        kl, error = (moments(fitted.outputs("elbo", k, part)) for k in ("kl", "reconstruction"))
        found.append(
            Figure.of(
                f"KL on test, {what}",
                kl,
                f"reconstruction {error['mean']:.2f} +- {error['standard_error']:.2g}",
            )
        )
    shared = min(len(losses["VAE"]), len(losses["beta 1"]))
    gap = max(abs(a - b) for a, b in zip(losses["VAE"][:shared], losses["beta 1"][:shared], strict=True))
    note = f"0: the same model ({shared} lines of the metrics)"
    return [*found, Figure("largest gap of losses, beta 1 to VAE", gap, None, note)]
