"""The protocol of passes: a pass rewrites one graph into another that means the same.

A pass is a frozen dataclass whose fields are its options. It states what a graph must hold before it (`requires`) and
what every graph that it gives holds (`ensures`); calling it enforces both, and that the signature stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from mpcompile.ir import Graph, Node, Primitive, Type
from mpcompile.ir.same import primitive_key, same_graph
from mpcompile.text.literals import attribute_text


@dataclass(frozen=True, slots=True)
class Condition:
    """A property of graphs. `fault` gives the reason why a graph does not have it, or None."""

    name: str
    fault: Callable[[Graph], str | None]


class Refused(Exception):
    """A rewrite that a pass does not make of a node; the graph keeps what it had there. The text says why."""

    def __init__(self, node: Node, reason: str) -> None:
        where = f"`{node.scope[-1].label}`" if node.scope else node.op.name
        self.node = node
        super().__init__(f"{where} ({node.op.name}) {reason}")


class BrokenContract(Exception):
    """A graph that a pass does not take, or that it should not have given."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """The result of a pass.

    graph    the rewritten graph; the one that was given where nothing changed
    changed  whether any node differs
    done     remarks on what was rewritten, in order
    refused  remarks on what could not be rewritten
    """

    graph: Graph
    changed: bool
    done: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite of graphs. A subclass states `name` and `call`."""

    name: ClassVar[str]
    requires: ClassVar[tuple[Condition, ...]] = ()
    ensures: ClassVar[tuple[Condition, ...]] = ()

    @abstractmethod
    def call(self, graph: Graph) -> Graph | PassResult:
        """The rewritten graph, with remarks where the pass has some. The graph that is given stays as it is."""

    def __call__(self, graph: Graph) -> PassResult:
        """Check `requires`, rewrite, and check the signature and `ensures`. Raises `BrokenContract`."""
        _hold(graph, self.requires, "requires")
        called = self.call(graph)
        result = called if isinstance(called, PassResult) else PassResult(called, True)
        if result.graph is graph or same_graph(graph, result.graph):
            result = replace(result, graph=graph, changed=False)
        if signature(result.graph) != signature(graph):
            raise BrokenContract("gives another signature than it was given")
        _hold(result.graph, self.ensures, "ensures")
        return result

    def __str__(self) -> str:
        """The pass as `mpcompile opt -p` takes it: options that are not usual in brackets."""
        values = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        changed = [f"{k}: {_text(v)}" for k, v, usual in values if v != usual]
        return self.name + (f"{{{', '.join(changed)}}}" if changed else "")


def _text(option: object) -> str:
    try:
        return attribute_text(option)
    except TypeError:  # an option that no text has, such as a function
        return repr(option)


def _hold(graph: Graph, conditions: tuple[Condition, ...], verb: str) -> None:
    for condition in conditions:
        reason = condition.fault(graph)
        if reason is not None:
            raise BrokenContract(f"{verb} a graph that is {condition.name}: {reason}")


def signature(graph: Graph) -> tuple[list[tuple[str, Type]], list[tuple[str, Type]]]:
    """Return the names and types of the inputs, and those of the outputs, in order."""
    return tuple([(k, v.type) for k, v in side.items()] for side in (graph.inputs, graph.outputs))  # type: ignore[return-value]  # two


def rewrite_bodies(op: Primitive, rewrite: Callable[[Graph], Graph]) -> Primitive:
    """Rewrite every body of a primitive; return the primitive itself where it has none, or none changes."""
    if not op.bodies():
        return op
    changed = {}
    for key, body in op.attributes().items():
        if isinstance(body, Graph) and (rewritten := rewrite(body)) is not body:
            changed[key] = rewritten
    return replace(op, **changed) if changed else op


# --- conditions ---


def _dead(graph: Graph) -> str | None:
    needed = graph.ancestors(graph.outputs.values()) | {v.node for v in graph.inputs.values()}
    dead = next((n for n in graph.nodes() if n.id not in needed), None)
    return None if dead is None else f"nothing reads {dead.path + '.' if dead.scope else ''}{dead.op.name}"


def _repeated(graph: Graph) -> str | None:
    outputs = {v.node for v in graph.outputs.values()}
    seen = set()
    for node in graph.nodes():
        key = (node.scope, primitive_key(node.op), node.inputs)
        if not node.inputs or node.id in outputs:
            continue
        if key in seen:
            return f"{node.path + '.' if node.scope else ''}{node.op.name} is computed twice"
        seen.add(key)
    return None


#: Every node is an input, or some output is made of it.
LIVE = Condition("live", _dead)
#: No scope holds two nodes of the same primitive on the same values, but for outputs.
WITHOUT_REPEATS = Condition("without repeats", _repeated)


__all__ = [
    "LIVE",
    "WITHOUT_REPEATS",
    "BrokenContract",
    "Condition",
    "Pass",
    "PassResult",
    "Refused",
    "rewrite_bodies",
    "signature",
]
