"""Image sets: embedded digits, and generated scenes with a mask for segmentation."""

from __future__ import annotations

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.dataset import Raw
from mpcompile.runner.data.tables import embedded
from mpcompile.runner.noise import generator, permutation

SCENES = {"train": 1000, "valid": 200, "test": 200}


def digits(binary: bool = False) -> Raw:
    """Load 1797 handwritten digits, x `[n, 1, 8, 8]` of integers 0..16 (binary: 1 where above 7), y the digit."""
    x, y = embedded("digits")
    x = x[:, None]
    if binary:
        x = (x > 7).astype(np.uint8)
    levels = {"x": 2 if binary else 17, "y": 10}
    return Raw({"train": {"x": x, "y": y.astype(np.int64)}}, levels, frozenset({"x"}), fixed=False)


def few_labels(labels: int = 100) -> Raw:
    """Load the binary digits, of which but `labels` of the training split, as many of each class, have their class.

    The class y of the others is missing, -1. The other splits, a tenth of the digits each, have all classes.
    """
    columns = digits(binary=True).splits["train"]
    order = permutation(len(columns["y"]), "data", "few_labels")
    tenth = len(order) // 10
    parts = {"valid": order[:tenth], "test": order[tenth : 2 * tenth], "train": order[2 * tenth :]}
    splits = {s: {k: v[rows] for k, v in columns.items()} for s, rows in parts.items()}
    y = splits["train"]["y"]
    for digit in range(10):
        y[np.flatnonzero(y == digit)[labels // 10 :]] = -1
    return Raw(splits, {"x": 2, "y": 10}, frozenset({"x"}))


def shapes(height: int = 32, width: int = 32, channels: int = 3, sizes: dict[str, int] | None = None) -> Raw:
    """Generate scenes of a disc, a square and a triangle on a noisy ground.

    x `[n, channels, height, width]` of integers 0..255, y `[n, height, width]`: 0 ground, 1 disc, 2 square,
    3 triangle. Later shapes lie on top.
    """
    splits = {}
    for split, n in (sizes or SCENES).items():
        r = generator("data", "shapes", split, height, width, channels)
        scenes = [_scene(r, height, width, channels) for _ in range(n)]
        splits[split] = {"x": np.stack([s[0] for s in scenes]), "y": np.stack([s[1] for s in scenes])}
    return Raw(splits, {"x": 256, "y": 4}, frozenset({"x"}))


def _scene(r: np.random.Generator, height: int, width: int, channels: int) -> tuple[Array, Array]:
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    mask = np.zeros((height, width), np.uint8)
    picture = np.broadcast_to(r.uniform(0, 90, (channels, 1, 1)), (channels, height, width)).copy()
    side = min(height, width)
    for kind in r.permutation(3) + 1:
        cy, cx, radius = (
            r.uniform(0.2, 0.8) * height,
            r.uniform(0.2, 0.8) * width,
            r.uniform(0.1, 0.25) * side,
        )
        dy, dx = rows - cy, columns - cx
        if kind == 1:
            inside = dy**2 + dx**2 <= radius**2
        elif kind == 2:
            inside = np.maximum(abs(dy), abs(dx)) <= 0.85 * radius
        else:
            inside = (dy <= radius) & (dy >= 2 * abs(dx) - radius)
        mask[inside] = kind
        picture[:, inside] = r.uniform(100, 255, (channels, 1))
    picture += 12 * r.standard_normal(picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), mask
