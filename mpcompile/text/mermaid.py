"""A graph drawn as a Mermaid flowchart: a box for each primitive, a frame for each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpcompile.ir import Constant, Graph, Input, Node, Parameter
from mpcompile.text.literals import type_text


def mermaid(graph: Graph) -> str:
    """Format a graph as a Mermaid chart. Constants are left out; a loop is one box."""
    nodes = [n for n in graph.nodes() if not isinstance(n.op, Constant)]
    shown = {n.id: f"n{i}" for i, n in enumerate(nodes)}
    lines = ["flowchart TD", *_framed(nodes, shown, 0, "  ", [0])]
    lines += [
        f'  {shown[v.node]} -->|"{type_text(v.type)}"| {shown[n.id]}'
        for n in nodes
        for v in n.inputs
        if v.node in shown
    ]
    for i, (name, value) in enumerate(graph.outputs.items()):
        lines.append(f'  out{i}(["{_escaped(name)}"])')
        if value.node in shown:
            lines.append(f"  {shown[value.node]} --> out{i}")
    return "\n".join(lines) + "\n"


def _framed(
    nodes: Sequence[Node], shown: dict[int, str], depth: int, indent: str, count: list[int]
) -> Iterator[str]:
    """Boxes of nodes whose scopes agree down to a depth, those of one layer in a frame."""
    layers: dict[str | None, list[Node]] = {}
    for node in nodes:
        layers.setdefault(node.scope[depth].name if len(node.scope) > depth else None, []).append(node)
    for name, inside in layers.items():
        if name is None:
            yield from (f"{indent}{shown[n.id]}{_box(n)}" for n in inside)
            continue
        count[0] += 1
        yield f'{indent}subgraph f{count[0]} ["{_escaped(name)}"]'
        yield from _framed(inside, shown, depth + 1, indent + "  ", count)
        yield f"{indent}end"


def _box(node: Node) -> str:
    match node.op:
        case Input(path=path):
            return f'(["{_escaped(path)}"])'
        case Parameter(path=path):
            return f'[/"{_escaped(path)}"/]'
    return f'["{_escaped(node.op.name)}"]'


def _escaped(text: str) -> str:
    """Text that Mermaid shows as it is, whatever a spec names its parts."""
    return "".join(c if c.isalnum() or c in " ._-/()" else f"#{ord(c)};" for c in text)
