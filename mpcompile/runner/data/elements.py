"""Values of a column against the kind of their field: what is made of them, and what a field cannot take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcompile.diagnostics import SpecError, error
from mpcompile.ir import Array, Field
from mpcompile.runner.data.dataset import Raw, Runs, Survey, blocks, surveyed
from mpcompile.runner.data.sound import companded

#: Columns that a message names.
_NAMED = 5
#: The largest angle, in radians: [0, 2 pi] and [-pi, pi] are both in use.
_TURN = 2 * np.pi + 1e-4


def prepared(raw: Raw, embedded: bool, field: Field, column: str, values: Array) -> Array:
    """Convert values `[n, ...]` to what the field counts: sound to mu-law codes, grey levels of our pictures scaled.

    Everything else stays as it is in the file.
    """
    if field.optional and field.base == "category" and values.dtype.kind == "f":
        filled = np.empty(values.shape, values.dtype)
        for start, block in blocks(values):
            filled[start : start + len(block)] = np.where(np.isnan(block), -1, block)
        return filled
    levels, classes = raw.levels.get(column), field.classes
    whole = field.base in ("integer", "category")
    low = field.low if field.base == "integer" else 0
    if column in raw.sounds and whole and classes:
        small = np.min_scalar_type(max(low + classes - 1, 0)) if low >= 0 else np.dtype(np.int64)
        out = np.empty(values.shape, small)
        for start, block in blocks(values):
            out[start : start + len(block)] = companded(block, classes) + low
        return out
    if not embedded or not levels or column not in (*raw.images, "x"):
        return values
    if whole and column in raw.images and classes and classes != levels:
        if classes > levels:
            return np.rint(values * ((classes - 1) / (levels - 1))).astype(np.int64) + low
        return values.astype(np.int64) * classes // levels + low  # each of as many grey levels
    if field.base == "real" and values.dtype.kind in "ui":
        return (values / (levels - 1)).astype(np.float32)  # grey levels of our own sets as 0..1
    return values


def checked(
    data: str, field: Field, column: str, values: Array, rows: Array | Runs | None, threshold: float | None
) -> Survey:
    """Survey values that a field takes. Raises `SpecError` (MP504) for others, with their share and place."""
    binary = field.base == "binary"
    found = surveyed(values, rows, threshold if binary else None)

    def refuse(what: str, wrong: Callable[[Array], Array], help: str = "") -> SpecError:
        where = f"field '{field.name}': column '{column}' of data '{data}'"
        return error(
            "MP504", f"{where} {what}{share(field.name, values, rows, wrong)}", field.span, help=help
        )

    if found.bad and not (field.optional and not any(np.isinf(v).any() for _, v in blocks(values, rows))):
        help = (
            "a missing value is NaN"
            if field.optional
            else "leave examples with missing values out, or fill them in"
        )
        wrong = np.isinf if field.optional else (lambda v: ~np.isfinite(v))
        raise refuse("holds values that are not finite", wrong, help)
    if not found.count:
        return found
    low, high = found.low, found.high
    if binary and not (found.whole and low >= 0 and high <= 1):
        ours = "data: binary_digits is the digits' own, or " if data == "digits" else ""
        raise refuse(
            f"holds values from {low:g} to {high:g}, a binary field takes 0 and 1", lambda v: (v != 0) & (v != 1),
            f"{ours}train.threshold makes values above a number ones",
        )  # fmt: skip
    if field.base in ("integer", "category"):
        if not found.whole:
            raise refuse(f"holds fractions, '{field.name}' takes whole numbers", lambda v: v != np.rint(v))
        first = field.low if field.base == "integer" else 0
        least = -1 if field.optional and field.base == "category" else first
        most = 2**63 - 1 if field.classes is None else first + field.classes - 1
        if low < least or high > most:
            takes = f"{least} to {most}" if field.classes is not None else f"{least} and more"
            raise refuse(
                f"holds {int(low)} to {int(high)}, '{field.name}' takes {takes}",
                lambda v: (v < least) | (v > most),
            )
    if field.interval is not None and (low < field.interval[0] or high > field.interval[1]):
        floor, top = field.interval
        takes = f"{floor:g} and more" if top == np.inf else f"{floor:g} to {top:g}"
        raise refuse(
            f"holds {low:g} to {high:g}, '{field.name}' takes {takes}", lambda v: (v < floor) | (v > top)
        )
    if field.angle and max(-low, high) > _TURN:
        raise refuse(
            f"holds {low:g} to {high:g}, '{field.name}' takes angles in radians", lambda v: abs(v) > _TURN,
            "degrees times pi / 180 are radians",
        )  # fmt: skip
    widest = float(np.finfo(np.float32).max)
    if field.base == "real" and max(-low, high) > widest:
        raise refuse(
            f"holds values beyond float32 ({max(-low, high):.3g})", lambda v: abs(v) > widest, "scale it"
        )
    return found


def share(name: str, values: Array, rows: Array | Runs | None, wrong: Callable[[Array], Array]) -> str:
    """Return how many values are wrong, and in which places of an example, as text."""
    count, total = 0, 0
    places = np.zeros(int(np.prod(values.shape[1:])), np.int64)
    with np.errstate(invalid="ignore"):
        for _, block in blocks(values, rows):
            hit = wrong(block.reshape(len(block), -1))
            count, total = count + int(hit.sum()), total + hit.size
            places += hit.sum(0)
    said = f"{count} of {total} values"
    at = np.flatnonzero(places)
    if len(places) < 2 or len(at) == len(places):
        return f", {said}"
    names = ", ".join(f"{name}[{i}]" for i in at[:_NAMED])
    return f", {said}, in {names}" + (f" and {len(at) - _NAMED} more" if len(at) > _NAMED else "")


__all__ = ["checked", "prepared", "share"]
