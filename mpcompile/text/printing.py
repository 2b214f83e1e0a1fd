"""A graph written as text, one primitive a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields

from mpcompile.diagnostics import Span
from mpcompile.diagnostics.render import printable
from mpcompile.ir import Constant, Frame, Graph, Input, Node, Parameter, Primitive, Scope, Stack, Value
from mpcompile.text.arrays import constant_text, table_text
from mpcompile.text.literals import attribute_text, type_text, types_text
from mpcompile.text.tokens import SCOPE_WORDS, quoted


@dataclass(frozen=True, slots=True)
class Style:
    """The parts of a text beside the function itself.

    data    the table of large constants, without which the text does not parse
    scopes  scopes and spans as lines that are read back; else they are comments
    """

    data: bool = True
    scopes: bool = True


def printed(graph: Graph, style: Style = Style()) -> str:  # frozen
    """Print a graph as text; with the whole of `style` it parses back to the same graph, places included."""
    return printed_all({graph.name: graph}, style)


def printed_all(graphs: Mapping[str, Graph], style: Style = Style()) -> str:  # frozen
    """Print several graphs, each under the name of its key, and one table of their large constants."""
    table: dict[str, bytes] = {}
    parts = ["\n".join(_Page(g, style, table).lines(f"program {quoted(k)}")) for k, g in graphs.items()]
    if table and style.data:
        parts.append(table_text(table))
    return "\n\n".join(parts) + "\n"


class Names:
    """Names of the values of a graph: after inputs, parameters and layers, numbered where they repeat."""

    def __init__(self, graph: Graph) -> None:
        self._taken: dict[str, int] = {}
        self.of: dict[Value, str] = {}
        for node in graph.nodes():
            for value, stem in zip(node.outputs, _stems(node), strict=True):
                self.of[value] = self._unique(re.sub(r"[^A-Za-z0-9_.]", "_", stem))

    def _unique(self, stem: str) -> str:
        name = stem
        while name in self._taken:
            self._taken[stem] += 1
            name = f"{stem}_{self._taken[stem]}"
        self._taken[name] = 0
        return name


def _stems(node: Node) -> list[str]:
    """Return the names of a node's results where no other value has them."""
    match node.op:
        case Input(path=path) | Parameter(path=path):
            return [path]
        case Constant():
            return ["const"]
    layer = f"{node.scope[-1].name}." if node.scope else ""
    bodies = [a for a in node.op.attributes().values() if isinstance(a, Graph)]
    if bodies and len(bodies[0].outputs) == len(node.types):
        return [f"{layer}{name}" for name in bodies[0].outputs]
    return [f"{layer}{node.op.name}"] * len(node.types)


class _Page:
    """One graph, its bodies of loops included."""

    def __init__(self, graph: Graph, style: Style, table: dict[str, bytes]) -> None:
        self.graph, self.style, self.table = graph, style, table
        self.names = Names(graph).of

    def lines(self, head: str) -> Iterable[str]:
        inputs, outputs = self.graph.inputs, self.graph.outputs
        yield f"{head}({_signature(inputs)}) -> ({_signature(outputs)}) {{"
        nodes = self.graph.nodes()
        leading = nodes[: len(inputs)]
        placed = all(
            n.outputs[0] == v and self._plain(n, k)
            for n, (k, v) in zip(leading, inputs.items(), strict=False)
        )
        start = len(inputs) if placed and len(leading) == len(inputs) else 0
        scope: Scope = ()
        span = Span.none()
        for node in nodes[start:]:
            if self.style.scopes and (node.scope, node.span) != (scope, span):
                yield f"  {_scope_line(node)}"
            elif not self.style.scopes and node.scope != scope and node.inputs:
                yield f"  # {_comment(node)}"
                scope = node.scope
            if self.style.scopes:
                scope, span = node.scope, node.span
            yield from (f"  {line}" for line in self._node(node))
        yield from (f"  return {quoted(k)} = %{self.names[v]}" for k, v in outputs.items())
        yield "}"

    def _plain(self, node: Node, name: str) -> bool:
        """Whether the signature says all there is to say of an input."""
        here = not self.style.scopes or (not node.scope and node.span == Span.none())
        return node.op == Input(name, node.types[0]) and here

    def _node(self, node: Node) -> Iterable[str]:
        made = ", ".join(f"%{self.names[v]}" for v in node.outputs)
        line = f"{made} = {self._operation(node)} : {types_text(node.types)}"
        bodies = [(k, a) for k, a in node.op.attributes().items() if isinstance(a, Graph)]
        yield line
        for name, body in bodies:
            page = _Page(body, self.style, self.table)
            yield from (f"  {inner}" for inner in page.lines(f"{name} {quoted(body.name)}"))

    def _operation(self, node: Node) -> str:
        match node.op:
            case Input(path=path):
                return f"input {quoted(path)}"
            case Stack(paths=paths):
                return f"stack {attribute_text(paths)}"
            case Parameter(path=path):
                return f"parameter {quoted(path)}"
            case Constant():
                return f"constant {constant_text(node.op, self.table)}"
        read = ", ".join(f"%{self.names[v]}" for v in node.inputs)
        return f"{node.op.name}({read}){_attributes(node.op)}"


def _signature(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{quoted(k)}: {type_text(v.type)}" for k, v in values.items())


def _attributes(op: Primitive) -> str:
    """Attributes that are not what they are by default; bodies stand behind the type."""
    shown = []
    for f in fields(op):
        value = getattr(op, f.name)
        default = f.default if f.default is not MISSING else None
        usual = f.default is not MISSING and type(value) is type(default) and value == default
        if not isinstance(value, Graph) and not usual:
            shown.append(f"{f.name}: {attribute_text(value)}")
    return f" {{{', '.join(shown)}}}" if shown else ""


# --- places ---


def _comment(node: Node) -> str:
    """Describe where a node comes from, for people: path, the words of the spec, place."""
    if not node.scope:
        return "outside of any layer"
    last = node.scope[-1]
    label = "" if last.label == last.name else f": {last.label}"
    place = f"  ({last.span})" if last.span.path else ""
    return printable(f"{node.path}{label}{place}")


def _scope_line(node: Node) -> str:
    frames = " / ".join(map(_frame, node.scope))
    at = "" if node.span == Span.none() else f" at {_span(node.span)}"
    return f"scope {frames}".rstrip() + at


def _frame(frame: Frame) -> str:
    parts = [json.dumps(frame.name) if frame.name in SCOPE_WORDS else quoted(frame.name)]
    if frame.label != frame.name:
        parts.append(json.dumps(frame.label))
    if frame.function:
        parts.append("function")
    if frame.role != "forward":
        parts.append(f"role {quoted(frame.role)}")
    if frame.span != Span.none():
        parts.append(f"in {_span(frame.span)}")
    return " ".join(parts)


def _span(span: Span) -> str:
    return f"{json.dumps(span.path)}:{span.line}:{span.column}-{span.end_line}:{span.end_column}"


__all__ = ["Names", "Style", "printed", "printed_all"]
