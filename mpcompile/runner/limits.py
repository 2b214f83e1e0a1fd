"""Limits of sizes that an environment variable states."""

from __future__ import annotations

import os


def gibibytes(variable: str, usual: float) -> int:
    """Return the bytes of a number of GiB that an environment variable states, or `usual` GiB where it is not set.

    Raises `ValueError`, in words, for anything but a positive number.
    """
    text = os.environ.get(variable, "")
    try:
        size = float(text) if text else usual
    except ValueError:
        size = 0.0
    if not 0 < size < 2**33:
        raise ValueError(f"{variable} is {text!r}, not a positive number of GiB")
    return max(1, int(size * 2**30))


__all__ = ["gibibytes"]
