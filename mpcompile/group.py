"""The processes that train one model together, and the fixed shards that a batch is cut into.

A batch of B examples is cut into S shards of B / S rows each, S a power of two. The gradient of the batch is the mean of
the shards' gradients, which are summed pairwise in one binary tree over the number of the shard. W processes, W a divisor
of S, hold S / W neighbouring shards each: the lower levels of the tree are within a process, the upper ones between
processes. So the sum is the same to the bit for every W, and one process with S shards accumulates gradients. (Fixed
virtual workers on changing hardware: Li et al. 2023, EasyScale.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from mpcompile.analysis.batch import batch_axis
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Graph

T = TypeVar("T")
Layout = Literal["replicated", "sharded"]


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train one model together, as one of them sees it.

    rank    the number of this process, from 0; process 0 alone writes and decides
    size    the number of processes (W)
    shards  the number of pieces that a batch is cut into (S), a power of two that W divides
    layout  `replicated`: each process holds all weights; `sharded`: it holds a part of each

    Raises `ValueError` for numbers that do not fit.
    """

    rank: int = 0
    size: int = 1
    shards: int = 1
    layout: Layout = "replicated"

    def __post_init__(self) -> None:
        if self.shards < 1 or self.shards & (self.shards - 1):
            raise ValueError(f"the number of shards is a power of two, not {self.shards}")
        if not 0 <= self.rank < self.size:
            raise ValueError(f"there is no process {self.rank} of {self.size}")
        if self.shards % self.size:
            raise ValueError(f"{self.size} processes cannot hold {self.shards} shards, as many each")

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.rank == 0

    @property
    def own(self) -> int:
        """The number of shards of one process."""
        return self.shards // self.size

    def rows(self, batch: int) -> slice:
        """Return the places of this process's rows in a batch of so many, which the shards divide."""
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def parts(self, graph: Graph, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """Yield the inputs of this process's shards in order, from those of its rows.

        Inputs without the batch are the same for all. Raises `ValueError` for rows that the shards do not divide.
        """
        for number in range(self.own):
            yield inputs_of(graph, inputs, self.own, number) if self.own > 1 else dict(inputs)


def inputs_of(graph: Graph, inputs: Mapping[str, Array], pieces: int, number: int) -> dict[str, Array]:
    """Return piece `number` of the rows of a program's inputs, cut into `pieces` of equal size.

    Raises `ValueError` for rows that cannot be cut so.
    """
    found: dict[str, Array] = {}
    for name, value in graph.inputs.items():
        array = np.asarray(inputs[name])
        at = batch_axis(value.type)
        if at is not None:
            each, left = divmod(array.shape[at], pieces)
            if left:
                raise ValueError(f"{array.shape[at]} rows of '{name}' are not {pieces} pieces of one size")
            array = array[(slice(None),) * at + (slice(number * each, (number + 1) * each),)]
        found[name] = array
    return found


def tree_sum(parts: Iterable[T], add: Callable[[T, T], T]) -> T:
    """Sum 2^k parts pairwise in a binary tree over their places; at most k + 1 of them are held at once.

    `add` may write into its first argument. Raises `ValueError` for a number of parts that is no power of two.
    """
    held: list[tuple[int, T]] = []  # a sum of 2^level parts, levels falling
    for part in parts:
        level = 0
        while held and held[-1][0] == level:
            part, level = add(held.pop()[1], part), level + 1
        held.append((level, part))
    if len(held) != 1:
        raise ValueError("the number of parts is no power of two")
    return held[0][1]


def processes() -> tuple[int, int]:
    """Return rank and size from the environment that torchrun sets (`RANK`, `WORLD_SIZE`); (0, 1) without it.

    Raises `SpecError` (MP534) where they are no numbers that fit.
    """
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise error("MP534", f"RANK={rank} and WORLD_SIZE={size} in the environment name no process", Span.none(),
                    help="torchrun sets both; else unset them")  # fmt: skip
    return int(rank), int(size)


def restarted() -> bool:
    """Return whether torchrun started this process again after a failure."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


#: One process that holds everything.
ALONE = Group()

__all__ = ["ALONE", "Group", "Layout", "inputs_of", "processes", "restarted", "tree_sum"]
