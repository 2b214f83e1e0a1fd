"""Every mask of a program, found in its graph: what multiplies by zeros and ones, or hides with minus infinity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpcompile.ir import Array, Node, Parameter
from mpcompile.report.page.raster import Blobs
from mpcompile.report.page.reach import Reach

#: Pixels of masks a page holds; the largest side of each is halved from 512 until they fit.
LARGEST_SIDE, ALL_PIXELS = 512, 1 << 19


def masks(reach: Reach, nodes: Sequence[Node]) -> list[tuple[str, Array]]:
    """Return (kind, Boolean array) of each mask that these primitives apply, in order.

    `weight`: an array of zeros and ones times a parameter; `data`: times a value, as in a coupling; `attention`:
    entries that get minus infinity are false.
    """
    found: list[tuple[str, Array]] = []
    for node in nodes:
        known = [reach.memory.get(v) for v in node.inputs]
        if node.op.name == "mul":
            for i, fact in enumerate(known):
                array = None if fact is None else fact.constant
                if array is None or array.ndim == 0 or not ((array == 0) | (array == 1)).all():
                    continue
                weight = isinstance(reach.graph.node(node.inputs[1 - i]).op, Parameter)
                found.append(("weight" if weight else "data", array.astype(bool)))
        elif node.op.name == "where" and known[0] is not None and known[0].constant is not None:
            seen = known[0].constant.astype(bool)
            for hidden, mask in ((known[2], seen), (known[1], ~seen)):
                if hidden is not None and hidden.neginf.all() and mask.ndim and not _known(found, mask):
                    found.append(("attention", mask))
    return found


def _known(found: Sequence[tuple[str, Array]], mask: Array) -> bool:
    """Whether scores were hidden by the same mask just before."""
    return (
        bool(found) and found[-1][0] == "attention" and np.array_equal(found[-1][1].squeeze(), mask.squeeze())
    )


def classes(mask: Array) -> tuple[Array, list[int], list[int]]:
    """Group taps by class of channels: (bool [out classes, in classes, *taps], sizes of out classes, of in classes).

    Output channels are of one class when their taps are the same for every input channel, and the other way round.
    """
    outs, of = _distinct(mask)
    ins, inn = _distinct(np.swapaxes(mask[outs], 0, 1))
    return mask[np.ix_(outs, ins)], of, inn


def _distinct(rows: Array) -> tuple[list[int], list[int]]:
    """Positions of the first of each kind of row, in order, and how many there are of each."""
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    sizes: list[int] = []
    for i, row in enumerate(rows):
        k = seen.setdefault(np.packbits(row).tobytes(), len(firsts))
        if k == len(firsts):
            firsts.append(i)
            sizes.append(0)
        sizes[k] += 1
    return firsts, sizes


def side(found: Sequence[Array]) -> int:
    """Return the largest side, in pixels, at which all of these masks fit on a page."""
    large = {(a.shape, a.tobytes()) for a in found if max(matrix(a).shape) > LARGEST_SIDE // 4}
    limit = LARGEST_SIDE
    while limit > 64 and len(large) * limit * limit > ALL_PIXELS:
        limit //= 2
    return limit


def matrix(mask: Array) -> Array:
    """Reshape a mask that is not a kernel's to a matrix: leading axes stacked."""
    return mask.reshape(-1, mask.shape[-1])


def picture(kind: str, mask: Array, limit: int, blobs: Blobs) -> dict[str, Any]:
    """Shape, share of ones and pixels of one mask."""
    fact: dict[str, Any] = {"kind": kind, "shape": list(mask.shape), "fill": round(float(mask.mean()), 6)}
    if kind == "weight" and mask.ndim >= 3:
        taps, outs, ins = classes(mask)
        if len(outs) * len(ins) <= 64:
            spatial = taps.shape[2:] if taps.ndim >= 4 else (1, taps.shape[2])
            rows = int(np.prod(spatial[:-1]))
            grid = taps.reshape(len(outs), len(ins), rows, spatial[-1])
            return fact | {
                "outs": outs, "ins": ins, "taps": [rows, int(spatial[-1])],
                "raster": blobs.raster(grid.reshape(-1, spatial[-1]), 1 << 14),
            }  # fmt: skip
        return fact | {"raster": blobs.raster(mask.reshape(mask.shape[0], -1), limit)}
    return fact | {"raster": blobs.raster(matrix(mask), limit)}
