"""Modules of a list that a call runs one after the other, found again as a region: a loop over layers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby

from mpcompile import ops
from mpcompile.ir import Builder, Constant, Graph, Input, Node, Parameter, Scope, Stack, Value
from mpcompile.ir.names import element

#: The names of the scope that holds a list, and the name of the list.
_List = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class _Layer:
    """The nodes of an element of a list, and what they read from elsewhere.

    code      equal for elements of the same code
    outside   values of other nodes, in the order in which they are first read
    weights   names of own weights, in the order in which they are first read
    """

    nodes: tuple[Node, ...]
    code: Hashable
    outside: tuple[Value, ...]
    weights: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    """Elements of a list that follow each other, from number `start` on.

    carried  the places among `outside` that the element before gives, with the number of its node and of the result
    """

    stem: str
    start: int
    scope: Scope
    layers: tuple[_Layer, ...]
    carried: dict[int, tuple[int, int]]


def rolled(graph: Graph) -> Graph:
    """Return a graph with a region for each list of modules of the same code, each of which hands on to the next.

    Lists within elements of a list are left as they are.
    """
    lists: dict[_List, dict[int, list[Node]]] = {}
    scopes: dict[_List, Scope] = {}
    for node in graph.nodes():
        for depth, frame in enumerate(node.scope):
            found = element(frame.name)
            if found is not None and frame.function:
                key = tuple(f.name for f in node.scope[:depth]), found[0]
                scopes[key] = node.scope[:depth]
                lists.setdefault(key, {}).setdefault(found[1], []).append(node)
                break
    runs = [run for key, parts in lists.items() for run in _runs(graph, key[1], scopes[key], parts)]
    return _with_regions(graph, runs) if runs else graph


def _runs(graph: Graph, stem: str, scope: Scope, parts: dict[int, list[Node]]) -> list[_Run]:
    layers = {n: _layer(graph, ".".join([*(f.name for f in scope), f"{stem}.{n}"]), parts[n]) for n in parts}
    found: list[_Run] = []
    numbers = sorted(layers)
    for _, same in groupby(enumerate(numbers), key=lambda pair: (pair[1] - pair[0], layers[pair[1]].code)):
        run = [n for _, n in same]
        members = tuple(layers[n] for n in run)
        carried = _carried(graph, members) if len(run) > 1 else None
        if carried:
            found.append(_Run(stem, run[0], scope, members, carried))
    return found


def _is_leaf(node: Node) -> bool:
    return isinstance(node.op, Parameter | Constant | Input)


def _layer(graph: Graph, path: str, nodes: Sequence[Node]) -> _Layer:
    """The code of the module at a path; constants count by their values."""
    prefix, own = f"{path}.", tuple(n for n in nodes if not _is_leaf(n))
    numbers = {n.id: i for i, n in enumerate(own)}
    outside: dict[Value, int] = {}
    weights: dict[str, int] = {}

    def reference(value: Value) -> Hashable:
        op = graph.node(value).op
        if value.node in numbers:
            return "own", numbers[value.node], value.index
        if isinstance(op, Parameter) and op.path.startswith(prefix):
            weights.setdefault(op.path, len(weights))
            return "weight", op.path.removeprefix(prefix), value.type
        if isinstance(op, Constant):
            return "constant", op.key
        return "outside", outside.setdefault(value, len(outside)), value.type

    code = tuple(
        (type(n.op), repr(n.op.attributes()), tuple(map(reference, n.inputs)), _inner(n, prefix)) for n in own
    )
    return _Layer(own, code, tuple(outside), tuple(weights))


def _inner(node: Node, prefix: str) -> Hashable:
    """The frames of a node within the module."""
    path, names = "", []
    for frame in node.scope:
        path += f"{frame.name}."
        if path.startswith(prefix) and path != prefix:
            names.append((frame.name, frame.label, frame.function))
    return tuple(names)


def _carried(graph: Graph, layers: Sequence[_Layer]) -> dict[int, tuple[int, int]] | None:
    """The values that each layer hands on to the next; None where others read them, or where layers read other things."""
    carried: dict[int, tuple[int, int]] = {}
    for place, values in enumerate(zip(*(layer.outside for layer in layers), strict=True)):
        sources = []
        for before, value in zip(layers, values[1:], strict=False):
            number = next((i for i, n in enumerate(before.nodes) if n.id == value.node), None)
            sources.append(None if number is None else (number, value.index))
        if sources[0] is None and set(values) == {values[0]}:
            continue
        if sources[0] is None or set(sources) != {sources[0]}:
            return None
        carried[place] = sources[0]
    handed = set(carried.values())
    outputs = set(graph.outputs.values())
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        inside = {n.id for n in layer.nodes} | ({n.id for n in after.nodes} if after else set())
        for number, node in enumerate(layer.nodes):
            for value in node.outputs:
                others = value in outputs or any(
                    value in u.inputs for u in graph.users(node.id) if u.id not in inside
                )
                nexts = after is not None and any(value in n.inputs for n in after.nodes)
                if (others and after is not None) or (
                    (others or nexts) and (number, value.index) not in handed
                ):
                    return None
    return carried


def _with_regions(graph: Graph, runs: Sequence[_Run]) -> Graph:
    made = Graph(graph.name)
    builder = Builder(made)
    values: dict[Value, Value] = {}
    gone = {n.id for run in runs for layer in run.layers for n in layer.nodes}
    place = {run.layers[0].nodes[-1].id: run for run in runs}
    for node in graph.nodes():
        if node.id not in gone:
            copied = made.copy(node, tuple(values[v] for v in node.inputs))
            values.update(zip(node.outputs, copied.outputs, strict=True))
        elif (run := place.get(node.id)) is not None:
            _region(graph, builder, run, values)
    made.inputs.update({k: values[v] for k, v in graph.inputs.items()})
    made.outputs.update({k: values[v] for k, v in graph.outputs.items()})
    return made.live()


def _region(graph: Graph, b: Builder, run: _Run, values: dict[Value, Value]) -> None:
    """Emit the loop; what the last layer hands on gets its values."""
    first, last = run.layers[0], run.layers[-1]
    with b.within(run.scope, first.nodes[0].span):
        loop = ops.RegionBuilder(b, ((f"{run.stem}.{run.start}", 1),), len(run.layers))
        inside: dict[Value, Value] = {}
        sources: list[tuple[int, int]] = []
        for place, source in run.carried.items():
            sources.append(source)
            inside[first.outside[place]] = loop.carry(loop.fresh("h"), values[first.outside[place]])
        stacks: dict[str, Value] = {}
        for paths in zip(*(layer.weights for layer in run.layers), strict=True):
            kind = graph.parameters()[paths[0]].type
            stack = b.emit(Stack.of(paths, kind))
            stacks[paths[0]] = loop.scan(loop.fresh(paths[0].rpartition(".")[2]), stack)

        def here(value: Value) -> Value:
            op = graph.node(value).op
            if isinstance(op, Parameter) and op.path in stacks:
                return stacks[op.path]
            if value not in inside:
                own = isinstance(op, Constant)
                inside[value] = loop.body.emit(op) if own else loop.body.here(values[value])
            return inside[value]

        for node in first.nodes:
            with loop.body.within(node.scope, node.span):
                inside.update(
                    zip(node.outputs, loop.body.emit_all(node.op, *map(here, node.inputs)), strict=True)
                )
        ends, _ = loop.close([inside[first.nodes[n].outputs[i]] for n, i in sources])
    values.update({last.nodes[n].outputs[i]: end for (n, i), end in zip(sources, ends, strict=True)})


__all__ = ["rolled"]
