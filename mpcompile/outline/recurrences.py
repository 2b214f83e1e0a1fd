"""Loops that several programs run, such as the steps of a latent of sequences: each becomes a function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, count

from mpcompile.ir import (
    Builder,
    Constant,
    DType,
    Graph,
    Module,
    Node,
    Parameter,
    Stack,
    Value,
    multiple_of,
)
from mpcompile.ir.same import ValueNumbers
from mpcompile.ops import Scan
from mpcompile.outline.cut import origin
from mpcompile.outline.shared import find_uses, is_leaf, operations

#: A loop with fewer operations than this is written where it stands.
SMALLEST_LOOP = 10
#: One loop, as several programs have it.
Copies = list[tuple[Graph, Node]]


def with_recurrences(
    module: Module, alone: Collection[str], kernel: Callable[[Graph, Node], bool] = lambda graph, node: False
) -> tuple[Module, frozenset[str]]:
    """Return the module with a program for each loop that several programs run, and the names of these programs.

    The new program runs the loop, and computes what only the loop reads. Programs named in `alone` do not count, nor
    do loops for which `kernel` says that the backend has one operation.
    """
    graphs = {name: graph.live() for name, graph in module.programs.items()}
    found: dict[str, Graph] = {}
    names = _names(module)
    for copies in _copies(graphs, alone, kernel):
        part = _part(copies)
        if part is not None:
            found[next(names)] = part
    if not found:
        return module, frozenset()
    return replace(module, programs={**found, **module.programs}), frozenset(found)


def _names(module: Module) -> Iterator[str]:
    """Generate names that no program, weight or variable has."""
    taken = {*module.programs, *(p.split(".")[0] for p in module.parameters)}
    for graph in module.programs.values():
        taken |= {*graph.inputs, *graph.outputs}
    names = (f"recurrence_{n}" if n > 1 else "recurrence" for n in count(1))
    return (name for name in names if name not in taken)


def _copies(
    graphs: Mapping[str, Graph], alone: Collection[str], kernel: Callable[[Graph, Node], bool]
) -> list[Copies]:
    """Return the loops that more than one of the graphs has, outside of functions and of what a graph calls."""
    numbers = ValueNumbers()
    found: dict[Hashable, dict[str, tuple[Graph, Node]]] = {}
    uses = (
        find_uses(graphs, alone)
        if any(type(n.op) is Scan for g in graphs.values() for n in g.nodes())
        else {}
    )
    for name, graph in ((n, g) for n, g in graphs.items() if n not in alone):
        called = {i for use in uses.get(name, ()) for i in use.nodes}  # which the program that is called has
        for node in graph.nodes():
            if (
                node.id not in called
                and type(node.op) is Scan
                and not any(frame.function for frame in node.scope)
                and operations(node) >= SMALLEST_LOOP
                and not kernel(graph, node)
            ):
                found.setdefault(numbers.of(graph, node.outputs[0]), {})[name] = graph, node
    return [list(copies.values()) for copies in found.values() if len(copies) > 1]


def _part(copies: Copies) -> Graph | None:
    """Return the graph of a loop and of what only it reads; None where its inputs do not fix all sizes."""
    graph, loop = copies[0]
    inside = _own(copies)
    b = Builder(Graph("recurrence"))
    moved: dict[Value, Value] = {}
    for node in graph.made_of(*loop.inputs):
        leaf = isinstance(node.op, Parameter | Constant | Stack)
        if leaf or node.id in inside:
            made = b.graph.copy(node, tuple(moved[v] for v in node.inputs))
            moved.update(zip(node.outputs, made.outputs, strict=True))
            continue
        readers = [u for u in graph.users(node.id) if u.id in inside or u is loop]
        for v in node.outputs:
            if any(v in u.inputs for u in readers):
                moved[v] = b.input(_free(_name(graph, v), b.graph), v.type)
    made = b.graph.copy(loop, tuple(moved[v] for v in loop.inputs))
    used = [i for i, v in enumerate(loop.outputs) if any(_is_read(g, n.outputs[i]) for g, n in copies)]
    b.graph.outputs = {f"y_{i}": made.outputs[i] for i in used}
    part = b.graph.live()
    known = {found[0] for v in part.inputs.values() for s in v.shape if (found := multiple_of(s))}
    return part if set(part.symbols()) <= known else None


def _own(copies: Copies) -> set[int]:
    """Return the nodes of the first graph that only the loop reads, in each of the graphs, outside of functions."""
    own = [{loop.id} for _, loop in copies]
    todo = [tuple(loop for _, loop in copies)]
    while todo:
        for makers in (
            tuple(g.node(v) for (g, _), v in zip(copies, values, strict=True))
            for values in zip(*(n.inputs for n in todo.pop()), strict=True)
        ):
            if makers[0].id in own[0] or any(is_leaf(n) or isinstance(n.op, Stack) for n in makers):
                continue
            if any(f.function for n in makers for f in n.scope):
                continue
            if all(
                not any(v in g.outputs.values() for v in n.outputs)
                and all(u.id in nodes for u in g.users(n.id))
                for (g, _), n, nodes in zip(copies, makers, own, strict=True)
            ):
                for n, nodes in zip(makers, own, strict=True):
                    nodes.add(n.id)
                todo.append(makers)
    return own[0] - {copies[0][1].id}


def _is_read(graph: Graph, value: Value) -> bool:
    return value in graph.outputs.values() or any(value in u.inputs for u in graph.users(value.node))


def _name(graph: Graph, value: Value) -> str:
    """Name an argument after what it is made of, and after the mask on it."""
    name = (origin(graph, value) or "x").rpartition(".")[2]
    if value.dtype is DType.BOOL:
        return "keep"
    return f"{name}_masked" if graph.node(value).op.name == "where" else name


def _free(name: str, graph: Graph) -> str:
    """Return a name that no input of a graph has."""
    return next(n for n in chain([name], (f"{name}_{i}" for i in count(2))) if n not in graph.inputs)


__all__ = ["with_recurrences"]
