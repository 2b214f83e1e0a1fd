"""Generated sets of several columns, some with holes: a table, series of counts, an inverse problem, marked pictures."""

from __future__ import annotations

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.dataset import Raw
from mpcompile.runner.noise import generator

SIZES = {"train": 4000, "valid": 500, "test": 500}
#: Shares of cells of the table, of days of the series, and of boxes that are missing.
HOLES = {"people": 0.2, "sales": 0.05, "boxes": 0.2}


def inverse() -> Raw:
    """Generate an inverse problem (Bishop 1994): x = y + 0.3 sin(2 pi y) + noise, so that some x have three y."""
    splits: dict[str, dict[str, Array]] = {}
    for split, n in SIZES.items():
        r = generator("data", "inverse", split)
        y = r.uniform(0, 1, n)
        x = y + 0.3 * np.sin(2 * np.pi * y) + r.uniform(-0.1, 0.1, n)
        splits[split] = {"x": x.astype(np.float32), "y": y.astype(np.float32)}
    return Raw(splits)


def people() -> Raw:
    """Generate a table of five columns that two hidden numbers of a person make: a fifth of the cells is missing.

    age > 0, income real with heavy tails, visits counts with many zeros, job one of four, health 1 to 5. All are [n],
    float64, and NaN is missing.
    """
    splits: dict[str, dict[str, Array]] = {}
    for split, n in SIZES.items():
        r = generator("data", "people", split)
        skill, ill = r.standard_normal((2, n))
        age = r.gamma(12.0, np.exp(3.5 + 0.3 * ill) / 12.0)
        income = 1 + 0.9 * skill - 0.3 * ill + 0.3 * r.standard_t(5, n)
        visits = r.poisson(r.gamma(3.0, np.exp(0.8 + 0.7 * ill) / 3.0)) * (r.random(n) > 0.2)
        scores = np.stack([0 * skill, 1.5 * skill, 2 * skill - ill, -skill - 1], 1)
        job = (scores + r.gumbel(size=scores.shape)).argmax(1)
        health = 1 + (1.5 * (skill - ill) + r.logistic(size=n) > np.array([[-2.5], [-1], [0.5], [2]])).sum(0)
        columns = {"age": age, "income": income, "visits": visits, "job": job, "health": health}
        splits[split] = {k: _with_holes(r, v, "people") for k, v in columns.items()}
    return Raw(splits)


def sales(length: int, items: int, covariates: int) -> Raw:
    """Generate daily counts of items in a shop: negative binomial, with a weekly season and a slow drift.

    sales [n, length] with NaN where a day is unknown and 0 behind the end, known [n, length, covariates] (waves of the
    week), item [n], scale [n] (the item's mean), and length [n].
    """
    splits: dict[str, dict[str, Array]] = {}
    level = np.exp(generator("data", "sales", "items", items).normal(1.5, 1.0, items))
    peak = generator("data", "sales", "peaks", items).uniform(0, 2 * np.pi, items)
    for split, n in {k: v // 4 for k, v in SIZES.items()}.items():
        r = generator("data", "sales", split, length, items)
        item, day = r.integers(0, items, n), r.integers(0, 7, (n, 1)) + np.arange(length)
        drift = 0.15 * r.standard_normal((n, length)).cumsum(1)
        mean = level[item][:, None] * np.exp(0.8 * np.sin(2 * np.pi * day / 7 + peak[item][:, None]) + drift)
        counts = _with_holes(r, r.poisson(r.gamma(4.0, mean / 4.0)), "sales")
        ends = r.integers(max(1, length // 2), length + 1, n)
        turn = 2 * np.pi * day / 7
        waves = [f((1 + k // 2) * turn) for k, f in enumerate((np.sin, np.cos) * covariates)][:covariates]
        splits[split] = {
            "sales": np.where(np.arange(length) < ends[:, None], counts, 0.0),
            "known": np.stack(waves, 2).astype(np.float32), "item": item,
            "scale": level[item].astype(np.float32), "length": ends,
        }  # fmt: skip
    return Raw(splits)


def boxes(size: int) -> Raw:
    """Generate pictures of one bright rectangle in noise.

    image [n, 3, size, size] in 0..1, mask [n, size, size] of 0/1, box [n, 4] (left, top, width, height as shares of the
    side, NaN where nobody drew it), and level [n]: how bright it is, 0 to 10.
    """
    splits: dict[str, dict[str, Array]] = {}
    for split, n in {k: v // 4 for k, v in SIZES.items()}.items():
        r = generator("data", "boxes", split, size)
        extent = r.integers(max(1, size // 8), max(2, size // 2), (n, 2))
        start = r.integers(0, size - extent + 1)
        at = np.arange(size)
        inside = (at >= start[:, :, None]) & (at < (start + extent)[:, :, None])
        mask = inside[:, 0, :, None] & inside[:, 1, None, :]
        level = r.integers(0, 11, n)
        bright = 0.3 + 0.06 * level[:, None, None] * mask + 0.2 * mask
        image = np.clip(
            bright[:, None] * r.uniform(0.7, 1, (n, 3, 1, 1)) + 0.05 * r.standard_normal((n, 3, size, size)),
            0,
            1,
        )
        box = np.concatenate([start[:, ::-1], extent[:, ::-1]], 1) / size
        box[r.random(n) < HOLES["boxes"]] = np.nan
        splits[split] = {
            "image": image.astype(np.float32), "mask": mask.astype(np.uint8),
            "box": box.astype(np.float32), "level": level,
        }  # fmt: skip
    return Raw(splits)


def _with_holes(r: np.random.Generator, values: Array, name: str) -> Array:
    """Return the values as float64, with NaN for a share of them."""
    return np.where(r.random(values.shape) < HOLES[name], np.nan, values)
