"""Networks that depend on stated parents alone (Wehenkel and Louppe 2021, Graphical normalizing flows)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpcompile.ir import Array
from mpcompile.layers.masks import Literal


@dataclass(frozen=True, eq=False)
class Parents:
    """A directed acyclic graph of the elements of a vector, and the masks of a network that follows it.

    matrix  bool [D, D]: row i is true at the parents of element i
    ranks   the place of each element in a topological order, int [D]: parents first, of several the smallest index
    """

    matrix: Array
    ranks: Array

    @classmethod
    def of(cls, matrix: Array) -> Parents:
        """Order a graph. Raises `ValueError` that names a cycle."""
        missing = matrix.sum(1)
        ready = [int(i) for i in np.flatnonzero(missing == 0)]
        order: list[int] = []
        while ready:
            i = heapq.heappop(ready)
            order.append(i)
            for child in np.flatnonzero(matrix[:, i]):
                missing[child] -= 1
                if missing[child] == 0:
                    heapq.heappush(ready, int(child))
        if len(order) < len(matrix):
            cycle = _cycle(matrix, set(range(len(matrix))) - {*order})
            raise ValueError(f"a cycle of parents and children: {' -> '.join(map(str, cycle))}")
        return cls(matrix, np.argsort(order))

    @cached_property
    def sets(self) -> Array:
        """The distinct sets of parents but the empty one, bool [sets, D]; the empty one where there is no other."""
        found = np.unique(self.matrix, axis=0)
        some = found[found.any(1)]
        return some if len(some) else found[:1]

    def units(self, width: int) -> Array:
        """The set of each unit of a hidden layer, bool [width, D]: one after the other, and again from the first."""
        return np.asarray(self.sets[np.arange(width) % len(self.sets)])

    def mask(self, outputs: Array, inputs: Array | None) -> Literal:
        """The mask [outputs, inputs] between units of these sets: a unit reads those whose set lies in its own.

        Without `inputs` those are the elements themselves, and a unit reads the elements of its set.
        """
        if inputs is None:
            return Literal.of(outputs)
        return Literal.of((~outputs).astype(np.int64) @ inputs.T.astype(np.int64) == 0)


def _cycle(matrix: Array, open_: set[int]) -> list[int]:
    """A cycle among elements each of which has a parent among them, every element before its child."""
    path = [min(open_)]
    while path.count(path[-1]) == 1:
        path.append(next(int(j) for j in np.flatnonzero(matrix[path[-1]]) if int(j) in open_))
    return path[path.index(path[-1]) :][::-1]
