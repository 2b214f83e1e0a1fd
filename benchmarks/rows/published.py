"""The networks of four papers at sizes that one core can train: three that see objects, and a U-Net without padding."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import real_data
from training import SPECS, Bench, Figure

from mpcompile.api import load
from mpcompile.ir import Array
from mpcompile.runner.evaluate import moments
from rows.pictures import PUBLISHED, SET, one_class

VISION = SPECS / "vision"
#: Pictures of MNIST to train on, and to choose by and test: a core has time for a few hundred steps.
SEEN, TOLD = 6000, 1000
#: MNIST has no colours.
GREY = ("image: real[3, size, size]", "image: real[1, size, size]")


def alexnet_v2(bench: Bench) -> list[Figure]:
    """specs/vision/alexnet_v2.mp on 6000 pictures of MNIST, twice as large and framed; its head has a kernel of 1."""
    return classifier(bench, "alexnet_v2", 67, 1e-4, ("conv(4096, 5,", "conv(4096, 1,"))


def vgg_16(bench: Bench) -> list[Figure]:
    """specs/vision/vgg_16.mp on 6000 pictures of MNIST, framed; its head has a kernel of 1."""
    return classifier(bench, "vgg_16", 32, 1e-4, ("conv(4096, 7,", "conv(4096, 1,"))


def resnet_v1_50(bench: Bench) -> list[Figure]:
    """specs/vision/resnet_v1_50.mp on 6000 pictures of MNIST, framed; its batch norm forgets within ten steps."""
    return classifier(bench, "resnet_v1_50", 32, 1e-3, ("momentum = 0.003", "momentum = 0.1"))


def classifier(bench: Bench, name: str, side: int, rate: float, *changes: tuple[str, str]) -> list[Figure]:
    """Accuracy of one network beside logistic regression on the same pictures."""
    from sklearn.linear_model import LogisticRegression

    data = bench.prepared(f"framed_{side}", framed, bench.file("mnist/mnist.npz"), side)
    claim = re.compile(r"^check .*\n", re.M)  # counts the weights of the network as published
    text = (VISION / f"{name}.mp").read_text(encoding="utf-8")
    spec = bench.variant(VISION / f"{name}.mp", name, GREY, *changes, *((c, "") for c in claim.findall(text)))
    sizes = {"size": str(side), "classes": "10"}
    fitted = bench.fit(
        name, spec, data, sizes, optimizer={"kind": "adam", "rate": rate}, batch=32, clip=1.0,
        schedule={"kind": "cosine", "warmup": 20}, epochs=20, valid_every=100,
    )  # fmt: skip
    train, test = (fitted.whole(part) for part in ("train", "test"))
    line = LogisticRegression(C=0.1, max_iter=300).fit(
        train["image"].reshape(len(train["label"]), -1), train["label"]
    )
    right = moments(
        (line.predict(test["image"].reshape(len(test["label"]), -1)) == test["label"]).astype(float)
    )
    note = f"logistic regression {right['mean']:.3f} +- {right['standard_error']:.2g}"
    return [Figure.of("test accuracy", fitted.target("label"), note)]


def framed(path: Path, side: int) -> dict[str, Array]:
    """The first pictures of MNIST in [0, 1], as large as fits, in a frame of zeros.

    `image` `[n, 1, side, side]`, `label` `[n]`.
    """
    parts, count = real_data.mnist(path), {"train": SEEN, "valid": TOLD, "test": TOLD}
    out: dict[str, Array] = {}
    for part, n in count.items():
        image = parts[f"image_{part}"][:n].astype(np.float32) / 255
        times = side // image.shape[-1]
        image = image.repeat(times, 2).repeat(times, 3)
        before = (side - image.shape[-1]) // 2
        after = side - image.shape[-1] - before
        out[f"image_{part}"] = np.pad(image, ((0, 0), (0, 0), (before, after), (before, after)))
        out[f"label_{part}"] = parts[f"label_{part}"][:n]
    return out


#: Pixels that the U-Net of the paper loses on each side; sizes of 12 modulo 16 halve four times without rest.
LOST, CROP, WHOLE, CHANNELS = 92, 268, 700, "8"


def unet_paper(bench: Bench) -> list[Figure]:
    """specs/vision/unet_paper.mp on crops of 22 slices with mirrored borders (figure 2 there).

    It is tested on six whole slices, and has 8 channels on its first level in place of 64.
    """
    path = bench.file(SET)
    data = bench.prepared("mirrored", mirrored, path, bench.options.seed)
    spec = bench.variant(VISION / "unet_paper.mp", "unet_paper", ("unet(64)", f"unet({CHANNELS})"))
    fitted = bench.fit(
        "unet_paper", spec, data, {"size": str(CROP)}, optimizer={"kind": "adam", "rate": 1e-3}, batch=4,
        schedule={"kind": "cosine", "warmup": 20}, clip=1.0, epochs=40, valid_every=50,
    )  # fmt: skip
    image, mask = real_data.held_out_slices(path)
    session = fitted.session(load(spec, {"size": str(WHOLE)}))
    more = (WHOLE - image.shape[-1]) // 2
    wide = np.pad(image, ((0, 0), (0, 0), (more, more), (more, more)), mode="reflect")
    kept = slice(more - LOST, more - LOST + image.shape[-1])
    wrong = [
        float(
            np.mean(session.run("predict", {"image": one[None]})["mask"][0].argmax(0)[kept, kept] != truth[0])
        )
        for one, truth in zip(wide, mask, strict=True)
    ]
    note = f"one class for all {one_class(path):.4f}; {PUBLISHED}"
    return [Figure.of("pixel error, whole slices", moments(np.array(wrong)), note)]


def mirrored(path: Path, seed: int, count: int = 400) -> dict[str, Array]:
    """Random crops `image` `[n, 1, CROP, CROP]` of slices with mirrored borders, and the middle of each, `mask`."""
    image, mask = real_data.stack(path)
    wide = np.pad(image, ((0, 0), (0, 0), (LOST, LOST), (LOST, LOST)), mode="reflect")
    r, inner = np.random.default_rng(seed), CROP - 2 * LOST
    known = len(image) - real_data.HELD_OUT - real_data.VALIDATION
    out: dict[str, Array] = {}
    for part, slices, n in (
        ("train", np.arange(known), count),
        ("valid", known + np.arange(real_data.VALIDATION), 16),
    ):
        seen, told = [], []
        for _ in range(n):
            at, top, left = r.choice(slices), *r.integers(0, image.shape[-1] - inner + 1, 2)
            pair = (
                wide[at, 0, top : top + CROP, left : left + CROP],
                mask[at, 0, top : top + inner, left : left + inner],
            )
            turns = r.integers(4)
            seen.append(np.rot90(pair[0], turns))
            told.append(np.rot90(pair[1], turns))
        out |= {f"image_{part}": np.stack(seen)[:, None], f"mask_{part}": np.stack(told)}
    return out
