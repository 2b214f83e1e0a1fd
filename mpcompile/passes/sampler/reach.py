"""What a primitive reads beside its own place along an axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile import ops
from mpcompile.ir import Abstract, Node, Value

#: First and last offset, counted from the place of the result.
Range = tuple[int, int]

#: Axis -> the offsets that are read along it.
Reach = dict[int, Range]


def reaches(node: Node) -> Reach:
    """Axes along which element p of the result reads elements p + first .. p + last of the (first) input.

    A recurrence and a running sum read all that comes before through their state: their offset is 0.
    """
    op = node.op
    match op:
        case ops.Conv():
            sizes = node.inputs[1].shape[2:]
            taps = zip(op.padding, op.dilation, op.stride, sizes, strict=True)
            return {
                2 + i: (-lo, (size - 1) * d - lo)
                for i, ((lo, _), d, stride, size) in enumerate(taps)
                if isinstance(size, int) and (stride == 1)
            }
        case ops.Pad():
            return {a: (-n, -n) for a, n in enumerate(op.before) if n or op.after[a]} if not op.value else {}
        case ops.Slice():
            fits = isinstance(op.start, int) and op.step == 1
            return {op.axis: (op.start, op.start)} if fits and isinstance(op.start, int) else {}
        case ops.Scan():
            return {} if op.reverse else {op.axis: (0, 0)}
        case ops.CumSum():
            return {} if op.reverse else {op.axis: (0, 0)}
        case _:
            return {}


def offsets(node: Node, facts: Mapping[Value, Abstract]) -> Reach:
    """`reaches`, without the taps of a kernel that are zero whatever its weights are."""
    reach = reaches(node)
    if not isinstance(node.op, ops.Conv):
        return reach
    kernel = facts[node.inputs[1]]
    live = np.broadcast_to(kernel.live, kernel.shape)
    for i, axis in enumerate(a for a in range(2, live.ndim)):
        alive = np.flatnonzero(live.any(tuple(a for a in range(live.ndim) if a != axis)))
        if axis in reach and alive.size:
            low, d = node.op.padding[i][0], node.op.dilation[i]
            reach[axis] = (int(alive[0]) * d - low, int(alive[-1]) * d - low)
    return reach
