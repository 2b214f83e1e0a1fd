"""Pictures with colours, pixel by pixel, beside what the pixel on the left says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import real_data
from training import SPECS, Bench, Figure, Fitted

from mpcompile.ir import Array
from mpcompile.runner.evaluate import evaluate, moments

SET = "cifar10/cifar10_lossless_4000.npz"
COSINE = {"kind": "cosine", "warmup": 100}


def rgb_pixelcnn(bench: Bench) -> list[Figure]:
    """specs/rgb_pixelcnn.mp on 4000 pictures of CIFAR-10 in 8 levels a colour."""
    return pictures(bench, "rgb_pixelcnn.mp", 8, {"width": "24", "layers": "3"})


def pixelcnn_mixture(bench: Bench) -> list[Figure]:
    """specs/vision/pixelcnn_mixture.mp on 4000 pictures of CIFAR-10 in all their 256 levels."""
    sizes = {"width": "16", "layers": "2", "components": "4"}
    return pictures(bench, "vision/pixelcnn_mixture.mp", 256, sizes, "; 2.92 (Salimans et al. 2017)")


def pictures(
    bench: Bench, name: str, levels: int, sizes: dict[str, str], published: str = ""
) -> list[Figure]:
    """Bits per dimension of one model of whole pictures, beside pixels apart and differences to the left."""
    data = bench.prepared(f"cifar_{levels}", coarse, bench.file(SET), levels)
    spec = SPECS / name
    fitted = bench.fit(
        spec.stem, spec, data, {**sizes, "size": "32", "levels": str(levels)}, batch=16, epochs=40,
        optimizer={"kind": "adam", "rate": 3e-3}, schedule=COSINE, clip=1.0, valid_every=200,
    )  # fmt: skip
    found = evaluate(fitted.run, fitted.module)
    apart, left = found["baselines"][0]["bits_per_dim"], moments(differences(fitted, levels))
    note = (
        f"from the left pixel {left['mean']:.3f} +- {left['standard_error']:.2g};"
        f" independent pixels {apart['mean']:.3f} +- {apart['standard_error']:.2g}{published}"
    )
    return [Figure.of(f"bits per dimension, {levels} levels", found["bits_per_dim"], note)]


def coarse(path: Path, levels: int) -> dict[str, Array]:
    """`x` `[n, 3, 32, 32]` of the parts of `real_data.cifar`, in fewer levels of equal width."""
    found = real_data.cifar(path)
    return {
        f"x_{part}": (found[f"image_{part}"].astype(np.int64) * levels // 256).astype(np.uint8)
        for part in ("train", "valid", "test")
    }


def differences(fitted: Fitted, levels: int) -> Array:
    """Bits a dimension `[n]` of test pictures, each level given that of the pixel on its left, modulo `levels`.

    One table for each channel; a pixel without a neighbour on its left is given zero.
    """

    def steps(split: str) -> Array:
        x = fitted.whole(split)["x"].astype(np.int64)
        return np.diff(x, axis=3, prepend=0) % levels

    train, test = steps("train"), steps("test")
    bits = np.zeros(len(test))
    for channel in range(train.shape[1]):
        count = np.bincount(train[:, channel].ravel(), minlength=levels) + 0.5
        bits -= np.log2(count / count.sum())[test[:, channel]].sum((1, 2))
    return np.asarray(bits / test[0].size)
