"""Small public data sets as package data; README.md says where each comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpcompile.ir import Array


def embedded(name: str) -> tuple[Array, Array]:
    """Return `x` `[n, ...]` and `y` `[n]` of the set `name`, as they are stored."""
    with np.load(Path(__file__).with_name(f"{name}.npz"), allow_pickle=False) as file:
        return file["x"], file["y"]


__all__ = ["embedded"]
