"""Kernels and the rules that recognise one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from mpcompile.ir import Constant, Graph, Node, Primitive, Value
from mpcompile.kernels.pattern import Match, Pattern, matches, roots


@dataclass(frozen=True)
class Kernel:
    """Nodes of a graph that together are one operation of a library, as its class says.

    A subclass has a field for each operand (a `Value`, or None where there is none) and each option.

    result    what the operation gives
    absorbed  numbers of the nodes that it stands for, besides that in whose place it is written; nobody else reads them
    """

    name: ClassVar[str]
    #: Good names of variables for operands, by the fields.
    called: ClassVar[Mapping[str, str]] = {}

    result: Value
    absorbed: frozenset[int]

    @property
    def results(self) -> tuple[Value, ...]:
        """The values that the operation gives."""
        return (self.result,)

    @property
    def place(self) -> int:
        """The number of the node in whose place it is written: all operands are there, nobody has read a result."""
        return self.result.node

    @property
    def operands(self) -> dict[str, Value]:
        """The values that it reads, by the names of the fields."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "result"}
        return {name: v for name, v in found.items() if isinstance(v, Value)}


@dataclass(frozen=True)
class Site:
    """A node that may be the result of a kernel.

    within   numbers of the nodes that may be absorbed: those of one function
    fixed    whether an array constant is the same wherever the code of this function runs
    started  masks bool [N, time] that are true at the first step of each example, wherever this code runs
    """

    graph: Graph
    node: Node
    within: Collection[int]
    fixed: Callable[[Constant], bool]
    started: Collection[Value] = ()


@dataclass(frozen=True)
class Rule:
    """One row of the table: every way in which a node of one of these primitives is a kernel, the best one first."""

    kernel: type[Kernel]
    roots: tuple[type[Primitive], ...]
    find: Callable[[Site], Iterator[Kernel]]


def formula(
    kernel: type[Kernel],
    pattern: Pattern,
    build: Callable[[Site, Match, frozenset[int]], Kernel | None],
) -> Rule:
    """Return the rule of a pattern.

    `build` reads the match and the numbers of its inner nodes, and refuses with None.
    """

    def find(site: Site) -> Iterator[Kernel]:
        (result, *_) = site.node.outputs
        for match in matches(pattern, result, Match(site.graph), site.within):
            made = build(site, match, match.nodes - {site.node.id})
            if made is not None:
                yield made

    return Rule(kernel, roots(pattern), find)
