"""Real sets as the runner's own file form: splits cut, crops taken. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpcompile.ir import Array

SIDE = 128
HELD_OUT, VALIDATION = 6, 2  # slices of the stack, from its end


class Missing(Exception):
    """A file that a row needs is not there; the message is for a person."""


def mnist(path: Path, kept: int = 5000) -> dict[str, Array]:
    """MNIST with the last training images as a validation part: `image` `[n, 1, 28, 28]`, `label` `[n]`."""
    with np.load(path, allow_pickle=False) as file:
        x, y = file["x_train"], file["y_train"]
        parts = {
            "train": (x[:-kept], y[:-kept]),
            "valid": (x[-kept:], y[-kept:]),
            "test": (file["x_test"], file["y_test"]),
        }
    out = {f"image_{name}": image[:, None] for name, (image, _) in parts.items()}
    return out | {f"label_{name}": label for name, (_, label) in parts.items()}


def _stack(path: Path) -> tuple[Array, Array]:
    """Slices `[n, 1, height, width]` of mean 0 and deviation 1, and where cells are (1) and membranes (0)."""
    with np.load(path, allow_pickle=False) as file:
        grey = file["image"].astype(np.float32)
        cells = np.unpackbits(file["label"], axis=2, count=grey.shape[2])
    spread = grey.std(axis=(1, 2), keepdims=True)
    image = (grey - grey.mean(axis=(1, 2), keepdims=True)) / spread
    return image[:, None], cells[:, None]


def crops(path: Path, seed: int, count: int = 2400) -> dict[str, Array]:
    """Random crops of the training slices, turned and mirrored; validation crops on a grid."""
    image, mask = _stack(path)
    r = np.random.default_rng(seed)
    known = len(image) - HELD_OUT - VALIDATION
    pairs = []
    for _ in range(count):
        top, left = r.integers(0, image.shape[2] - SIDE + 1), r.integers(0, image.shape[3] - SIDE + 1)
        at = (r.integers(known), slice(None), slice(top, top + SIDE), slice(left, left + SIDE))
        turns, mirrored = r.integers(4), r.integers(2)
        pair = [np.rot90(a[at], turns, (1, 2)) for a in (image, mask)]
        pairs.append([a[:, :, ::-1] if mirrored else a for a in pair])
    out = {"image_train": np.stack([p[0] for p in pairs]), "mask_train": np.stack([p[1] for p in pairs])}
    for name, a in (("image", image), ("mask", mask)):
        part = a[known : known + VALIDATION, 0]
        tiles = part.reshape(len(part), a.shape[2] // SIDE, SIDE, a.shape[3] // SIDE, SIDE).swapaxes(2, 3)
        out[f"{name}_valid"] = tiles.reshape(-1, 1, SIDE, SIDE)
    return out


def held_out_slices(path: Path) -> tuple[Array, Array]:
    """The last slices of the stack and their masks, whole."""
    image, mask = _stack(path)
    return image[-HELD_OUT:], mask[-HELD_OUT:]
