"""Offsets at which a node reads its operands along an axis, given what is known of the operands."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile import ops
from mpcompile.ir import Abstract, Node, Reach, Value


def offsets(node: Node, facts: Mapping[Value, Abstract]) -> Reach:
    """Return the reach of a node, without the taps of a kernel that are zero whatever its weights are."""
    reach = node.reach
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
