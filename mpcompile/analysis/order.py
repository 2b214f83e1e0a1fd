"""The order of an autoregressive variable, as arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile.analysis.stencils import axes_of
from mpcompile.ir import Abstract, Array, Claim, Graph
from mpcompile.ir.axes import CHANNEL, SPACES


def ranks_of(graph: Graph, claim: Claim, env: Mapping[str, int]) -> Array:
    """Return the ranks of the elements of the subject, in its shape."""
    shape = graph.inputs[claim.subject].type.concrete(env)[1:]
    ranks = claim.ordering.ranks
    if ranks is None:
        return np.broadcast_to(np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)), shape)
    return np.asarray(ranks).reshape(shape)


def allowed(ranks: Array, facts: Abstract, axis: int | None) -> Array:
    """Return the rank of the variable that each element of a parameter belongs to, in the parameter's shape."""
    wide = ranks[None] if axis is None else np.expand_dims(ranks[None], axis)
    return np.broadcast_to(wide, facts.shape)


def raster(graph: Graph, claim: Claim) -> bool:
    """Return whether an image [C, H, W] is ordered by rows, columns, channels at every size, by the order's name.

    `pixel` is that order; `natural` is the order in memory, which it is with one channel only. A random order may look
    like it at one size.
    """
    shape, order = graph.inputs[claim.subject].type.shape[1:], claim.ordering.name
    if axes_of(graph, claim.subject) != (CHANNEL, *SPACES[2]) or not all(isinstance(s, int) for s in shape):
        return False
    return order == "pixel" or (order == "natural" and shape[0] == 1)
