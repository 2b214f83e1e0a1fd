"""The surroundings of a function that is written, and the values that it knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mpcompile.emission.names import free
from mpcompile.emission.roles import carried
from mpcompile.emission.text import Expr
from mpcompile.ir import Constant, Graph, Node, Value, symbols
from mpcompile.kernels import Kernel, read_by
from mpcompile.outline import Block, Call, Loop, Path

Values = tuple[Value, ...]


@dataclass(frozen=True)
class Target:
    """The target of a call: its text, the symbols that it must be told, good names for its results.

    `before` and `after` are arguments besides the values of the block. Results lie in a dict where they have
    `keys`.
    """

    text: str
    told: list[str]
    results: list[str]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Owner(Protocol):
    """The place that a function is written into, as far as the function may ask about it."""

    path: Path

    def parameter(self, path: str) -> str | None:
        """The text that reads an own parameter."""
        ...

    def constant(self, constant: Constant) -> str: ...

    def fixed(self, constant: Constant) -> bool:
        """Whether an array constant is the same in every instance that this text is for."""
        ...

    def started(self, block: Block) -> Collection[Value]:
        """Masks of real steps that are true at the first step of each example, in every instance."""
        ...

    def target(self, call: Call) -> Target: ...


@dataclass
class State:
    """Values of one graph."""

    graph: Graph
    uses: Counter[Value]
    env: dict[Value, Expr] = field(default_factory=dict)
    preferred: dict[Value, str] = field(default_factory=dict)
    within: frozenset[int] = frozenset()  # numbers of the nodes of the function, or of the body of a loop


def masked_as(state: State, value: Value) -> str | None:
    """Return the name that a value has behind the mask that alone reads it; None where there is none."""
    users = state.graph.users(value.node)
    readers = [u for u in users if value in u.inputs]
    if len(readers) != 1 or readers[0].op.name != "where":
        return None
    return state.preferred.get(readers[0].outputs[0])


def count_uses(
    block: Block, kernels: Mapping[int, Kernel] | None = None, absorbed: Collection[int] = ()
) -> Counter[Value]:
    """Count how often each value is read by the items of a block, where kernels replace the items they stand for."""
    uses: Counter[Value] = Counter(block.outputs)
    for item in block.items:
        if isinstance(item, Call):
            uses.update(item.block.inputs)
        else:
            uses.update(read_by(_node(item), kernels or {}, absorbed))
    return uses


def _node(item: Node | Loop) -> Node:
    return item.node if isinstance(item, Loop) else item


def prefer_carries(block: Block) -> dict[Value, str]:
    """Name the first carries of a loop as the loop names them."""
    names: dict[Value, str] = {}
    for item in block.items:
        if isinstance(item, Loop):
            op: Any = item.node.op
            for value, name in zip(op.split(item.node.inputs).carries, op.formals.carries, strict=True):
                names.setdefault(value, free(carried(name)))
    return names


def found_symbols(block: Block) -> list[str]:
    """Return the symbolic sizes of the values of a function, in the order in which they are met."""
    found: dict[str, None] = {}
    for node in block.graph.nodes():
        for t in node.types:
            for s in t.shape:
                found.update(dict.fromkeys(sorted(symbols(s))))
    for item in block.items:
        if isinstance(item, Loop):
            found.update(dict.fromkeys(found_symbols(item.body)))
    return list(found)
