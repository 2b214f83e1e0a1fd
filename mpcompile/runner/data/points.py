"""Generated sets in the plane, and small tables: what models are first tried on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.dataset import Raw
from mpcompile.runner.data.tables import embedded
from mpcompile.runner.noise import generator

SIZES = {"train": 8000, "valid": 2000, "test": 2000}
Points = tuple[Array, Array]  # x [n, 2], y [n]: which part of the figure a point is of


def moons(r: np.random.Generator, n: int) -> Points:
    """Draw two half moons that reach into each other: x `[n, 2]` and the moon."""
    y = r.integers(0, 2, n)
    t = r.uniform(0, np.pi, n)
    x = np.stack(
        [np.where(y == 0, np.cos(t), 1 - np.cos(t)), np.where(y == 0, np.sin(t), 0.5 - np.sin(t))], 1
    )
    return x + 0.1 * r.standard_normal((n, 2)), y


def circles(r: np.random.Generator, n: int) -> Points:
    """Draw two circles of radius 1 and 0.5 about the origin: x `[n, 2]` and the circle."""
    y = r.integers(0, 2, n)
    t = r.uniform(0, 2 * np.pi, n)
    radius = np.where(y == 0, 1.0, 0.5)
    return radius[:, None] * np.stack([np.cos(t), np.sin(t)], 1) + 0.07 * r.standard_normal((n, 2)), y


def rings(r: np.random.Generator, n: int) -> Points:
    """Draw four rings about the origin: x `[n, 2]` and the ring."""
    y = r.integers(0, 4, n)
    t = r.uniform(0, 2 * np.pi, n)
    x = (y[:, None] + 1) * np.stack([np.cos(t), np.sin(t)], 1) * 0.75
    return x + 0.08 * r.standard_normal((n, 2)), y


def checkerboard2d(r: np.random.Generator, n: int) -> Points:
    """Draw from eight of the sixteen squares of [-4, 4]^2 with side 2: x `[n, 2]` and the square."""
    y = r.integers(0, 8, n)
    row, column = y // 2, 2 * (y % 2) + (y // 2) % 2
    corner = np.stack([column, row], 1) * 2.0 - 4
    return corner + r.uniform(0, 2, (n, 2)), y


def spirals(r: np.random.Generator, n: int) -> Points:
    """Draw two spirals that wind around each other: x `[n, 2]` and the spiral."""
    y = r.integers(0, 2, n)
    t = np.sqrt(r.uniform(0, 1, n)) * 3 * np.pi
    x = (1 - 2 * y)[:, None] * np.stack([-np.cos(t) * t, np.sin(t) * t], 1) / 3
    return x + 0.1 * r.standard_normal((n, 2)), y


def pinwheel(r: np.random.Generator, n: int) -> Points:
    """Draw five bent arms about the origin: x `[n, 2]` and the arm."""
    y = r.integers(0, 5, n)
    x = r.standard_normal((n, 2)) * [0.3, 0.1] + [1.0, 0.0]
    t = 2 * np.pi * y / 5 + 0.25 * np.exp(x[:, 0])
    c, s = np.cos(t), np.sin(t)
    return 2 * np.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], 1), y


def gaussians8(r: np.random.Generator, n: int) -> Points:
    """Draw eight normals on a circle of radius 3, of deviation 0.3: x `[n, 2]` and the normal."""
    y = r.integers(0, 8, n)
    t = 2 * np.pi * y / 8
    return 3 * np.stack([np.cos(t), np.sin(t)], 1) + 0.3 * r.standard_normal((n, 2)), y


def separable(r: np.random.Generator, n: int) -> Points:
    """Draw two classes with a margin of 0.2 to each side of a line through the plane (not through the origin)."""
    direction = np.array([0.8, 0.6])
    y = r.integers(0, 2, n)
    along = r.uniform(-2, 2, n)
    off = (2 * y - 1) * (0.2 + np.abs(r.standard_normal(n)))
    return (off + 0.3)[:, None] * direction + along[:, None] * np.array([-0.6, 0.8]), y


def blobs(r: np.random.Generator, n: int) -> Points:
    """Draw two round classes that hardly overlap."""
    y = r.integers(0, 2, n)
    return (2 * y - 1)[:, None] * np.array([1.5, 1.5]) + 0.6 * r.standard_normal((n, 2)), y


def sine(r: np.random.Generator, n: int) -> Points:
    """Draw a curve to fit: x in [-3, 3], y = sin(2x) + x/3 with a little noise."""
    x = r.uniform(-3, 3, (n, 1))
    return x, np.sin(2 * x) + x / 3 + 0.05 * r.standard_normal((n, 1))


def line(r: np.random.Generator, n: int) -> Points:
    """Draw a linear regression in three variables: y = 2 x1 - x2 + x3 / 2 + 1 with noise of deviation 0.1."""
    x = r.standard_normal((n, 3))
    return x, x @ np.array([[2.0], [-1.0], [0.5]]) + 1 + 0.1 * r.standard_normal((n, 1))


SHAPES: dict[str, Callable[[np.random.Generator, int], Points]] = {
    f.__name__: f
    for f in (
        moons, circles, rings, checkerboard2d, spirals, pinwheel, gaussians8, separable, blobs, sine, line
    )
}  # fmt: skip


def points(name: str) -> Raw:
    """Generate a set of points by its name, the same in every run."""
    sizes = {"train": 400, "valid": 200, "test": 200} if name in ("separable", "blobs") else SIZES
    splits = {}
    for split, n in sizes.items():
        x, y = SHAPES[name](generator("data", name, split), n)
        splits[split] = {
            "x": x.astype(np.float32),
            "y": y.astype(np.float32 if y.dtype.kind == "f" else np.int64),
        }
    return Raw(splits)


def xor() -> Raw:
    """Return all four cases, in every split."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.uint8)
    part = {"x": x, "y": (x[:, 0] ^ x[:, 1]).astype(np.uint8)}
    return Raw({split: dict(part) for split in SIZES})


def table(name: str) -> Raw:
    """Load an embedded table: x `[n, columns]` standardised, y as it is (of diabetes standardised, too)."""
    x, y = embedded(name)
    x = (x - x.mean(0)) / x.std(0)
    y = (y - y.mean()) / y.std() if name == "diabetes" else y
    y = y.astype(np.float32 if y.dtype.kind == "f" else np.int64)
    return Raw({"train": {"x": x.astype(np.float32), "y": y}}, fixed=False)
