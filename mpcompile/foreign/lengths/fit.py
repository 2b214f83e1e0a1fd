"""Recordings of one model at several lengths -> one graph with a symbolic length, checked at a length of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from mpcompile.foreign.lengths.constants import Known, classify, shapes
from mpcompile.foreign.lengths.sizes import Apart, at, polynomial
from mpcompile.foreign.observed import Observed
from mpcompile.foreign.recording import Recording
from mpcompile.ir import Builder, Constant, Graph, Input, Node, Primitive, Symbolic, Type, TypeMismatch, Value
from mpcompile.ir.same import same_graph, same_primitive

#: A node of several recordings: the operation, or what is known of the constant; and its operands by their numbers.
Operands = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Fitted:
    """One program for every length.

    graph    its sizes are polynomials in `length`
    fitted   the lengths of the recordings that it was made of
    checked  lengths at which it is what another recording shows
    """

    graph: Graph
    fitted: tuple[int, ...]
    checked: tuple[int, ...]

    def __str__(self) -> str:
        at, held = (", ".join(map(str, lengths)) for lengths in (self.fitted, self.checked))
        return f"every length at which the model runs these operations: fitted at {at}, checked at {held}"


@dataclass(frozen=True)
class _Row:
    """One node of all recordings."""

    op: Primitive | Known
    operands: Operands
    types: tuple[Type, ...]
    of: Node


def fitted(recordings: Mapping[int, Recording], fit: int = 3) -> Fitted:
    """Fit the first `fit` recordings, by length, and compare the graph with the others node by node. Raises `Apart`."""
    lengths = tuple(recordings)
    made, held = lengths[:fit], lengths[fit:]
    live = {n: _nodes(recordings[n].graph) for n in lengths}
    rows = _rows([live[n] for n in made], made)
    for length in held:
        _hold(rows, live[length], length)
    graph = recordings[made[0]].graph
    given = [_outputs(recordings[n].graph, live[n]) for n in lengths]
    if any(outputs != given[0] for outputs in given):
        raise Apart("the outputs are others at another length")
    return Fitted(_emitted(rows, graph, live[made[0]]), made, held)


def _nodes(graph: Graph) -> list[Node]:
    """The nodes that outputs need, and inputs."""
    return graph.live().nodes()


def _numbered(nodes: Sequence[Node]) -> dict[int, int]:
    return {node.id: i for i, node in enumerate(nodes)}


def _outputs(graph: Graph, nodes: Sequence[Node]) -> dict[str, tuple[int, int]]:
    numbers = _numbered(nodes)
    return {name: (numbers[v.node], v.index) for name, v in graph.outputs.items()}


def _operands(node: Node, numbers: Mapping[int, int]) -> Operands:
    return tuple((numbers[v.node], v.index) for v in node.inputs)


# Fitting ----------------------------------------------------------------------------------------------


def _rows(recordings: Sequence[Sequence[Node]], lengths: Sequence[int]) -> list[_Row]:
    numbers = [_numbered(nodes) for nodes in recordings]
    rows = []
    for nodes in zip(*recordings, strict=False):
        operands = [_operands(n, at) for n, at in zip(nodes, numbers, strict=True)]
        first = nodes[0]
        if any(type(n.op) is not type(first.op) for n in nodes) or any(o != operands[0] for o in operands):
            raise _different(first, [_named(n) for n in nodes], lengths)
        rows.append(_row(nodes, lengths, operands[0]))
    counts = [len(nodes) for nodes in recordings]
    if len(set(counts)) > 1:
        longest = max(recordings, key=len)
        raise Apart(
            f"{_listed(counts)} operations run at lengths {_listed(lengths)}", longest[min(counts)].span
        )
    return rows


def _row(nodes: Sequence[Node], lengths: Sequence[int], operands: Operands) -> _Row:
    first = nodes[0]
    types = tuple(_fit([n.types[i] for n in nodes], lengths, first) for i in range(len(first.types)))
    if isinstance(first.op, Constant):
        arrays = [n.op.array for n in nodes if isinstance(n.op, Constant)]
        return _Row(classify(arrays, lengths, types[0]), operands, types, first)
    if isinstance(first.op, Observed):
        ops = [replace(n.op, results=(), again=None) for n in nodes if isinstance(n.op, Observed)]
        return _Row(_fit(ops, lengths, first), operands, types, first)
    return _Row(_fit([n.op for n in nodes], lengths, first), operands, types, first)


def _fit(values: Sequence[Any], lengths: Sequence[int], node: Node) -> Any:
    """One value of an attribute for every length. Raises `Apart`."""
    first = values[0]
    if all(v is first or (type(v) is type(first) and v == first) for v in values):
        return first
    if isinstance(first, Graph) and all(same_graph(first, v, places=False) for v in values):
        return first  # the body of a loop
    if any(type(v) is not type(first) for v in values):
        raise _unfitted(node, values, lengths)
    if type(first) is int:
        size = polynomial(values, lengths)
        if size is None:
            raise _unfitted(node, values, lengths)
        return size
    if isinstance(first, tuple) and len({len(v) for v in values}) == 1:
        return tuple(_fit(parts, lengths, node) for parts in zip(*values, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        changed = {
            f.name: _fit([getattr(v, f.name) for v in values], lengths, node) for f in fields(first) if f.init
        }
        return replace(first, **changed)
    raise _unfitted(node, values, lengths)


def _different(node: Node, names: Sequence[str], lengths: Sequence[int]) -> Apart:
    if len(set(names)) == 1:
        return Apart(f"{names[0]} is another at another length", node.span)
    return Apart(f"{_listed(names)} run at lengths {_listed(lengths)}", node.span)


def _unfitted(node: Node, values: Sequence[Any], lengths: Sequence[int]) -> Apart:
    shown = _listed(values) if all(isinstance(v, int | float) for v in values) else "what is no"
    if shown == "what is no":
        return Apart(f"an attribute of {_named(node)} is no function of the length", node.span)
    return Apart(
        f"a size of {_named(node)} is {shown} at lengths {_listed(lengths)}: no polynomial", node.span
    )


def _named(node: Node) -> str:
    """The operation of the model that a node is of."""
    return f"`{node.scope[-1].label if node.scope else node.op.name}`"


def _listed(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items))


# Checking ---------------------------------------------------------------------------------------------


def _hold(rows: Sequence[_Row], nodes: Sequence[Node], length: int) -> None:
    """Compare a program with a recording, node by node. Raises `Apart` at the first difference."""
    numbers = _numbered(nodes)
    for row, node in zip(rows, nodes, strict=False):
        shown = _named(row.of)
        if type(row.of.op) is not type(node.op) or row.operands != _operands(node, numbers):
            raise Apart(f"at length {length} {_named(node)} runs in the place of {shown}", node.span)
        if row.types and [shapes(t.shape, length) for t in row.types] != [t.shape for t in node.types]:
            raise Apart(f"at length {length} {shown} has another shape than fitted", node.span)
        if not _agrees(row, node, length):
            raise Apart(f"at length {length} {shown} is another than fitted", node.span)
    if len(rows) != len(nodes):
        end = (nodes[len(rows)] if len(nodes) > len(rows) else rows[len(nodes)].of).span
        raise Apart(f"at length {length} {len(nodes)} operations run, not {len(rows)}", end)


def _agrees(row: _Row, node: Node, length: int) -> bool:
    if not isinstance(row.op, Primitive):
        return isinstance(node.op, Constant) and row.op.agrees(node.op.array)
    found = replace(node.op, results=(), again=None) if isinstance(node.op, Observed) else node.op
    return same_primitive(_at(row.op, length), found)


def _at(value: Any, length: int) -> Any:
    """The inverse of `_fit`: an attribute at a length."""
    if isinstance(value, Symbolic):
        return at(value, length)
    if isinstance(value, tuple):
        return tuple(_at(v, length) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _at(getattr(value, f.name), length) for f in fields(value) if f.init}
        )
    return value


# The graph --------------------------------------------------------------------------------------------


def _emitted(rows: Sequence[_Row], like: Graph, nodes: Sequence[Node]) -> Graph:
    graph = Graph(like.name)
    b = Builder(graph)
    made: list[tuple[Value, ...]] = []
    for number, row in enumerate(rows):
        node = row.of
        with b.within(node.scope, node.span):
            try:
                if isinstance(row.op, Primitive):
                    inputs = (made[i][k] for i, k in row.operands)
                    results = graph.add(row.op, tuple(inputs), node.span, node.scope).outputs
                else:
                    results = (row.op.emit(b, f"constant.{number}"),)
            except TypeMismatch as wrong:
                raise Apart(f"{_named(node)} takes no symbolic length: {wrong}", node.span) from wrong
            except (ValueError, TypeError) as wrong:  # of a rule that compares numbers
                raise Apart(f"{_named(node)} takes no symbolic length", node.span) from wrong
        if tuple(v.type for v in results) != row.types:
            raise Apart(f"{_named(node)} has another shape at every length", node.span)
        made.append(results)
    numbers = _numbered(nodes)
    graph.inputs = {row.op.path: made[i][0] for i, row in enumerate(rows) if isinstance(row.op, Input)}
    graph.outputs = {name: made[numbers[v.node]][v.index] for name, v in like.outputs.items()}
    return graph
