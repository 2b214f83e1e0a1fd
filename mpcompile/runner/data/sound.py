"""Sound as classes: mu-law companding (ITU-T G.711; van den Oord et al. 2016, section 2.2), mu = levels - 1."""

from __future__ import annotations

import numpy as np

from mpcompile.ir import Array


def companded(wave: Array, levels: int) -> Array:
    """Codes 0 .. levels - 1 of sound in [-1, 1]: sign(x) log(1 + mu |x|) / log(1 + mu), to the nearest level."""
    mu = levels - 1
    x = np.clip(np.asarray(wave, np.float64), -1, 1)
    y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    return np.asarray(np.rint((y + 1) / 2 * mu).astype(np.int64))


def expanded(codes: Array, levels: int) -> Array:
    """Sound in [-1, 1] from codes 0 .. levels - 1."""
    mu = levels - 1
    y = 2 * np.asarray(codes, np.float64) / mu - 1
    return np.asarray(np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu)
