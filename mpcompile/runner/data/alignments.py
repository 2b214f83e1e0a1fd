"""The limit of the length of a text that a law aligns with frames: `ctc` gives a longer one the mass 0."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile.diagnostics import error
from mpcompile.ir import Array, Module, Symbolic, multiple_of
from mpcompile.runner.data.dataset import Split, shape_of

#: Texts that are looked at once.
_BLOCK = 4096


def require_alignments(module: Module, data: str, splits: Mapping[str, Split]) -> None:
    """Check that each text has an alignment with its frames. Raises `SpecError` (MP507).

    Each symbol takes a frame, and so does a blank between two equal neighbours: a text of `n` symbols, `r` of which
    repeat the symbol before them, needs `n + r` frames.
    """
    aligned = {name: a.frames for name, a in module.answers.items() if a.frames is not None}
    for name, size in aligned.items():
        for split, part in splits.items():
            for start in range(0, len(part) if name in part.columns else 0, _BLOCK):
                rows = np.arange(start, min(start + _BLOCK, len(part)))
                text, lengths = part.columns[name].take(rows), _lengths(module, part, rows)
                length = _evaluated(module.fields[name].type.shape[1], lengths)
                frames = _evaluated(size, lengths)
                inside = np.arange(1, text.shape[1]) < np.reshape(length, (-1, 1))
                repeats = ((text[:, 1:] == text[:, :-1]) & inside).sum(1)
                found = np.stack(np.broadcast_arrays(rows, length, repeats, frames))
                if (wrong := found[:, length + repeats > frames]).size:
                    raise error(
                        "MP507", "data '{}': example {} of {}: '{}' has {} symbols, {} of which repeat the one before, "
                        "and {} frames: no alignment has it".format(data, wrong[0, 0], split, name, *wrong[1:, 0]),
                        module.fields[name].span,
                        help=f"leave the example out, or give it {wrong[1:3, 0].sum()} frames: one for each symbol, and "
                        "one for a blank between equal neighbours",
                    )  # fmt: skip


def _lengths(module: Module, part: Split, rows: Array) -> dict[str, Array]:
    """Return the lengths that some examples state, or that all have, by the symbols of sizes: numbers, or [n]."""
    found, stated = {}, {}
    for name, column in part.columns.items():
        field = module.fields[name]
        for size, number in zip(field.type.shape[1:], shape_of(column), strict=True):
            if (fixed := multiple_of(size)) is not None:
                found[fixed[0]] = np.asarray(number // fixed[1])
        if field.counts:
            stated[field.counts] = column.take(rows).reshape(len(rows)).astype(np.int64)
    return found | stated


def _evaluated(size: int | Symbolic, lengths: Mapping[str, Array]) -> Array:
    if not isinstance(size, Symbolic):
        return np.asarray(size)
    terms = [times * np.prod([lengths[s] for s in monomial], 0) for monomial, times in size.terms]
    return np.asarray(sum(terms))
