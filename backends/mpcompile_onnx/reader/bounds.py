"""The size of what a node gives, before it runs: a file may ask for more than there is memory."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import NodeProto

from mpcompile.ir import Array


def elements(node: NodeProto, inputs: Sequence[Array | None]) -> int:
    """Return the number of elements of the largest result of a node that may give more than it takes; else 0."""
    given = [x for x in inputs if x is not None]
    shapes = [x.shape for x in given]
    match node.op_type:
        case "ConstantOfShape":
            return prod(map(int, given[0].reshape(-1)))
        case "Expand":
            return prod(np.broadcast_shapes(shapes[0], tuple(_small(given[1]))))
        case "Tile":
            return prod(s * int(r) for s, r in zip(shapes[0], given[1].reshape(-1), strict=True))
        case "Range":
            start, stop, step = (float(x.item()) for x in given)
            return int((stop - start) / step) if step else 0
        case "Pad":
            pads, rank = np.abs(given[1]).reshape(-1), len(shapes[0])
            if len(pads) != 2 * rank:
                return 0
            return prod(s + int(pads[i]) + int(pads[i + rank]) for i, s in enumerate(shapes[0]))
        case "OneHot":
            return int(prod(shapes[0]) * int(given[1].reshape(-1)[0]))
        case "Gather":
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            return int(prod(shapes[0]) // max(shapes[0][axis], 1) * prod(shapes[1]))
        case "MatMul" if all(len(s) > 1 for s in shapes):
            lead = np.broadcast_shapes(*(s[:-2] for s in shapes))
            return int(prod(lead) * shapes[0][-2] * shapes[1][-1])
        case _ if len(shapes) > 1 and node.op_type in BROADCASTING:
            return prod(np.broadcast_shapes(*shapes))
    return 0


def _small(shape: Array) -> list[int]:
    """A shape as numbers that a shape can have."""
    return [min(int(s), 1 << 40) for s in shape.reshape(-1)]


BROADCASTING = frozenset(
    "Add Sub Mul Div Pow Max Min Sum Mean Mod Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Where".split()
)
