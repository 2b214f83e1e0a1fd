"""Verify that a graph is well formed, as every rewrite must leave it, and as every analysis and backend relies on."""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile.ir.graph import Frame, Graph, Node, Value
from mpcompile.ir.leaves import Input
from mpcompile.ir.module import Module
from mpcompile.ir.types import TypeMismatch


class IllFormed(Exception):
    """A graph that breaks a law of the intermediate representation. The message says where, and which."""


def verify_graph(graph: Graph) -> None:
    """Raise `IllFormed` for the first law that a graph breaks, bodies of loops included."""
    for fault in faults(graph):
        raise IllFormed(f"`{graph.name}`: {fault}")


def verify_module(module: Module) -> None:
    """Raise `IllFormed` for a program that is not well formed, or does not fit its module."""
    for name, graph in module.programs.items():
        verify_graph(graph)
        for fault in _unfit(module, name, graph):
            raise IllFormed(f"`{name}`: {fault}")


def faults(graph: Graph) -> Iterator[str]:
    """Yield the laws that a graph breaks.

    ordered   a node reads what stands before it, so that there is no cycle
    typed     every primitive, applied to the types that it reads, infers the types that the node states; a value
              has the type of the result that it is
    closed    each `Input` is the value of the signature under its own name, and outputs are values of the graph
    loops     a body is well formed and reads no parameter; that it fits its loop is in the type rule of `scan`
    scopes    frames have names and roles, and a path is that of a function everywhere or nowhere
    """
    yield from _signature(graph)
    frames: dict[tuple[str, ...], Frame] = {}
    before: set[int] = set()
    for node in graph.nodes():
        where = f"{node.path + '.' if node.scope else ''}{node.op.name}"
        yield from (f"{where} {fault}" for fault in _node(graph, node, before))
        before.add(node.id)
        yield from (f"{where} {fault}" for fault in _scope(node, frames))
        for body in node.op.bodies():
            yield from (f"{where}: {fault}" for fault in faults(body))
            if read := body.parameters():
                yield f"{where}: its body reads the parameter {next(iter(read))}"
    for name, value in graph.outputs.items():
        if not _known(graph, value):
            yield f"its output {name} is no value of it"


def _signature(graph: Graph) -> Iterator[str]:
    for name, value in graph.inputs.items():
        if value not in graph or graph.node(value).op != Input(name, value.type):
            yield f"its input {name} is no leaf of this name and type"
    leaves = {n.outputs[0] for n in graph.nodes() if isinstance(n.op, Input)}
    if stray := leaves - set(graph.inputs.values()):
        paths = sorted(str(graph.node(v).op.attributes()["path"]) for v in stray)
        yield f"{', '.join(paths)} is not in its signature"


def _known(graph: Graph, value: Value) -> bool:
    return value in graph and value in graph.node(value).outputs


def _node(graph: Graph, node: Node, before: set[int]) -> Iterator[str]:
    for value in node.inputs:
        if not _known(graph, value):
            yield f"reads {value}, which no node of the graph makes"
            return
        if value.node not in before:
            yield "reads what stands behind it"
            return
    try:
        types = node.op.infer(*(v.type for v in node.inputs))
    except (TypeMismatch, TypeError, ValueError, IndexError) as mismatch:
        yield f"does not take what it reads: {mismatch}"
        return
    if types != node.types:
        yield f"is stated to give {', '.join(map(str, node.types))} and gives {', '.join(map(str, types))}"


def _scope(node: Node, frames: dict[tuple[str, ...], Frame]) -> Iterator[str]:
    path: tuple[str, ...] = ()
    for frame in node.scope:
        path = (*path, frame.name)
        known = frames.setdefault(path, frame)
        if not frame.name or not frame.role:
            yield "stands in a frame without a name or a role"
        if known.function != frame.function:
            yield f"stands in {'.'.join(path)}, which is a function and is none"


def _unfit(module: Module, name: str, graph: Graph) -> Iterator[str]:
    """Yield the parameters that a program reads and its module lacks or states otherwise."""
    for path, value in graph.parameters().items():
        spec = module.parameters.get(path)
        if spec is None:
            yield f"reads the parameter {path}, which the module has not"
        elif spec.shape != value.shape:
            yield f"reads the parameter {path} as {value.type}, and it is {list(spec.shape)}"
    for noise in module.noise.get(name, {}):
        if noise not in graph.inputs:
            yield f"has no input for its noise {noise}"


__all__ = ["IllFormed", "faults", "verify_graph", "verify_module"]
