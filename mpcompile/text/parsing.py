"""Text read as graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mpcompile.diagnostics import Span
from mpcompile.ir import Frame, Graph, Input, Parameter, Primitive, Scope, Stack, Type, TypeMismatch, Value
from mpcompile.ops import PRIMITIVES
from mpcompile.text.arrays import ConstantText, read_table
from mpcompile.text.literals import listed, read_attribute, read_type, read_types
from mpcompile.text.tokens import Reader, TextError

#: Loops within loops.
DEEPEST = 16


def parse(text: str) -> Graph:
    """Parse the only graph of a text. Raises `TextError`."""
    graphs = list(parse_all(text).values())
    if len(graphs) != 1:
        raise TextError(f"line 1: expected one program, found {len(graphs)}")
    return graphs[0]


def parse_all(text: str) -> dict[str, Graph]:
    """Parse the graphs of a text by name. Raises `TextError` with the line of the first fault."""
    r = Reader(text)
    try:
        pages, table = _read(r)
    except TextError:
        raise
    except ValueError as fault:  # an escape or a number that is none
        raise TextError(f"line {r.tokens[max(r.at - 1, 0)].line}: {fault}") from fault
    graphs = {page.name: _Build(page, table).graph for page in pages}
    if len(graphs) != len(pages):
        raise TextError("line 1: two programs have one name")
    return graphs


@dataclass(slots=True)
class _Line:
    """One node as it is written, unresolved."""

    line: int
    results: list[str]
    op: str
    argument: Any = None  # path of a leaf, or the text of a constant
    operands: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    types: tuple[Type, ...] | None = None
    scope: Scope = ()
    span: Span = field(default_factory=Span.none)


@dataclass(slots=True)
class _Page:
    """One graph as it is written: its signature, its lines, and its results."""

    name: str
    inputs: dict[str, Type]
    outputs: dict[str, Type]
    lines: list[_Line] = field(default_factory=list)
    returns: list[tuple[int, str, str]] = field(default_factory=list)


# --- reading ---


def _read(r: Reader) -> tuple[list[_Page], dict[str, bytes]]:
    pages: list[_Page] = []
    table: dict[str, bytes] = {}
    while r.next.kind != "end":
        if r.skip("data"):
            r.expect("{")
            table |= read_table(r)
        else:
            r.expect("program")
            pages.append(_read_page(r))
    return pages, table


def _read_page(r: Reader, depth: int = 0) -> _Page:
    if depth > DEEPEST:
        raise r.fault("fewer loops within loops")
    page = _Page(r.name("the name of a program"), _read_signature(r), {})
    r.expect("->")
    page.outputs = _read_signature(r)
    r.expect("{")
    scope: Scope = ()
    span = Span.none()
    while not r.skip("}"):
        if r.skip("scope"):
            scope, span = _read_scope(r)
        elif r.sees("return"):
            line = r.next.line
            r.expect("return")
            name = r.name("the name of an output")
            r.expect("=")
            page.returns.append((line, name, r.take("value")))
        else:
            page.lines.append(_read_line(r, scope, span, depth))
    return page


def _read_signature(r: Reader) -> dict[str, Type]:
    def one(r: Reader) -> tuple[str, Type]:
        name = r.name()
        r.expect(":")
        return name, read_type(r)

    r.expect("(")
    start = r.at
    found = listed(r, ")", one)
    if len(dict(found)) != len(found):
        r.at = start
        raise r.fault("names that differ")
    return dict(found)


def _read_line(r: Reader, scope: Scope, span: Span, depth: int) -> _Line:
    line = _Line(r.next.line, [r.take("value", "a value, scope, return or }")], "", scope=scope, span=span)
    while r.skip(","):
        line.results.append(r.take("value"))
    r.expect("=")
    line.op = r.take("name", "a primitive")
    if line.op in ("input", "parameter"):
        line.argument = r.name()
    elif line.op == "stack":
        line.argument = read_attribute(r)
    elif line.op == "constant":
        line.argument = ConstantText(r)
    else:
        r.expect("(")
        line.operands = listed(r, ")", lambda inner: inner.take("value"))
        if r.skip("{"):
            line.attributes = dict(listed(r, "}", _read_pair))
    if r.skip(":"):
        line.types = read_types(r)
    while r.next.kind == "name" and r.next.text in _bodies(line.op):
        name = r.name()
        line.attributes[name] = _read_page(r, depth + 1)
    return line


def _read_pair(r: Reader) -> tuple[str, Any]:
    name = r.name("an attribute")
    r.expect(":")
    return name, read_attribute(r)


def _bodies(op: str) -> set[str]:
    """Attributes of a primitive that are graphs."""
    cls = PRIMITIVES.get(op)
    return {f.name for f in fields(cls) if f.type == "Graph"} if cls is not None else set()


def _read_scope(r: Reader) -> tuple[Scope, Span]:
    frames: list[Frame] = []
    line = r.next.line
    while r.next.kind in ("name", "text") and not r.sees("at") and (frames or r.next.line == line):
        frames.append(_read_frame(r))
        if not r.skip("/"):
            break
    return tuple(frames), _read_span(r) if r.skip("at") else Span.none()


def _read_frame(r: Reader) -> Frame:
    name = r.name("a frame")
    label = r.text() if r.next.kind == "text" else name
    function = r.skip("function")
    role = r.name("a role") if r.skip("role") else "forward"
    return Frame(name, label, _read_span(r) if r.skip("in") else Span.none(), function, role)


def _read_span(r: Reader) -> Span:
    path, numbers = r.text(), []
    for mark in (":", ":", "-", ":"):
        r.expect(mark)
        numbers.append(r.integer())
    return Span(path, *numbers)


# --- building ---


def _stack(line: _Line, type_: Type) -> Stack:
    paths = line.argument
    if not isinstance(paths, tuple) or not paths or not all(isinstance(p, str) for p in paths):
        raise TextError(f"line {line.line}: a stack has the names of its weights, as texts between brackets")
    return Stack.of(paths, type_.with_shape(type_.shape[1:]))


class _Build:
    """The graph of a page."""

    def __init__(self, page: _Page, table: Mapping[str, bytes]) -> None:
        self.page, self.table = page, table
        self.graph = Graph(page.name)
        self.values: dict[str, Value] = {}
        stated = {line.argument for line in page.lines if line.op == "input"}
        for name, type_ in page.inputs.items():
            if name not in stated:
                value = self.graph.add(Input(name, type_), (), Span.none(), ()).outputs[0]
                self._bind(0, f"%{name}", value)
        for line in page.lines:
            self._add(line)
        self.graph.inputs = self._signature()
        for number, name, result in page.returns:
            self.graph.outputs[name] = self._value(number, result)
        found = {k: v.type for k, v in self.graph.outputs.items()}
        if found != page.outputs or list(found) != list(page.outputs):
            raise TextError(
                f"line {page.returns[-1][0] if page.returns else 1}: the results are not those of the signature"
            )

    def _signature(self) -> dict[str, Value]:
        leaves = {n.op.path: n for n in self.graph.nodes() if isinstance(n.op, Input)}
        if set(leaves) != set(self.page.inputs):
            raise TextError(f"line 1: the inputs of {self.page.name} are not those of its signature")
        return {name: leaves[name].outputs[0] for name in self.page.inputs}

    def _bind(self, line: int, name: str, value: Value) -> None:
        if name in self.values:
            raise TextError(f"line {line}: {name} is there already")
        self.values[name] = value

    def _value(self, line: int, name: str) -> Value:
        if name not in self.values:
            raise TextError(f"line {line}: {name} is not there yet")
        return self.values[name]

    def _add(self, line: _Line) -> None:
        operands = [self._value(line.line, v) for v in line.operands]
        try:
            node = self.graph.add(self._primitive(line), operands, line.span, line.scope)
        except (TypeMismatch, TypeError, ValueError, AttributeError, IndexError) as fault:
            raise (
                fault if isinstance(fault, TextError) else TextError(f"line {line.line}: {line.op}: {fault}")
            ) from fault
        if line.types is not None and line.types != node.types:
            found = ", ".join(map(str, node.types))
            raise TextError(f"line {line.line}: {line.op} gives {found}")
        if len(line.results) != len(node.types):
            raise TextError(f"line {line.line}: {line.op} has {len(node.types)} results")
        for name, value in zip(line.results, node.outputs, strict=True):
            self._bind(line.line, name, value)

    def _primitive(self, line: _Line) -> Primitive:
        if line.op in ("input", "parameter", "stack"):
            if line.types is None or len(line.types) != 1:
                raise TextError(f"line {line.line}: a leaf needs its type")
            if line.op == "stack":
                return _stack(line, line.types[0])
            return (Input if line.op == "input" else Parameter)(line.argument, line.types[0])
        if line.op == "constant":
            constant: Primitive = line.argument.constant(line.types[0] if line.types else None, self.table)
            return constant
        if line.op not in PRIMITIVES:
            raise TextError(f"line {line.line}: no primitive is named {line.op!r}")
        make: Callable[..., Primitive] = PRIMITIVES[line.op]
        attributes = {
            k: _Build(v, self.table).graph if isinstance(v, _Page) else v for k, v in line.attributes.items()
        }
        return make(**attributes)
