"""Patterns: formulas of primitives with holes, matched in a graph from the result back to the operands.

    X = Hole("x")
    X / sqrt(X * X + Scalar("eps"))

A hole is any value, and the same value wherever its name stands. A named term is the same node wherever it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mpcompile.ir import Constant, Graph, Primitive, Value
from mpcompile.ops import Add, Div, LogicalAnd, Mul, Sub

#: Primitives whose two operands may stand in either order.
COMMUTATIVE = (Add, Mul, LogicalAnd)


@dataclass(frozen=True)
class Pattern:
    """A formula over values. Arithmetic makes larger ones; a Python number is a constant of this value."""

    def __add__(self, other: Pattern | float) -> Term:
        return Term(Add, (self, _of(other)))

    def __sub__(self, other: Pattern | float) -> Term:
        return Term(Sub, (self, _of(other)))

    def __mul__(self, other: Pattern | float) -> Term:
        return Term(Mul, (self, _of(other)))

    def __truediv__(self, other: Pattern | float) -> Term:
        return Term(Div, (self, _of(other)))


@dataclass(frozen=True)
class Hole(Pattern):
    """Any value."""

    name: str


@dataclass(frozen=True)
class Scalar(Pattern):
    """A constant without axes: any number, under a name; or exactly `value`."""

    name: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Term(Pattern):
    """The first result of a primitive of this class. Its attributes are for the rule to read, by the name."""

    kind: type[Primitive]
    operands: tuple[Pattern, ...]
    name: str = ""

    def named(self, name: str) -> Term:
        """The same term under a name."""
        return replace(self, name=name)


@dataclass(frozen=True)
class Either(Pattern):
    """The first of some patterns that fits; what follows may ask for the next."""

    options: tuple[Pattern, ...]


def either(*options: Pattern) -> Either:
    """Return the pattern of any of some patterns."""
    return Either(options)


def _of(x: Pattern | float) -> Pattern:
    return x if isinstance(x, Pattern) else Scalar(value=float(x))


def roots(pattern: Pattern) -> tuple[type[Primitive], ...]:
    """Return the primitives that give what a pattern matches.

    Raises `TypeError` for a pattern that any node may match.
    """
    match pattern:
        case Term(kind):
            return (kind,)
        case Either(options):
            return tuple(dict.fromkeys(kind for option in options for kind in roots(option)))
    raise TypeError(f"{pattern} is no term")


@dataclass(frozen=True)
class Match:
    """Values under the names of a pattern, and the nodes between them and the result.

    graph    the graph that is matched in
    values   name -> value, of holes, scalars and named terms
    nodes    numbers of the nodes that the pattern covers, that of the result among them
    """

    graph: Graph
    values: Mapping[str, Value] = field(default_factory=dict)
    nodes: frozenset[int] = frozenset()

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> Value | None:
        return self.values.get(name)

    def number(self, name: str) -> float:
        """The number of a scalar."""
        number = scalar(self.graph, self.values[name])
        assert number is not None
        return number

    def op(self, name: str) -> Primitive:
        """The primitive of a named term, whose attributes a rule reads."""
        return self.graph.node(self.values[name]).op

    def bind(self, name: str, value: Value) -> Match | None:
        """Bind a name to a value; None where another value has it."""
        if not name:
            return self
        if name in self.values:
            return self if self.values[name] == value else None
        return replace(self, values={**self.values, name: value})


def scalar(graph: Graph, value: Value) -> float | None:
    """Return the number that a constant without axes is; None for any other value."""
    op = graph.node(value).op
    return float(op.stored.item()) if isinstance(op, Constant) and op.stored.ndim == 0 else None


def matches(pattern: Pattern, value: Value, found: Match, within: Collection[int]) -> Iterator[Match]:
    """Yield every way in which a value matches a pattern, over nodes of `within`."""
    match pattern:
        case Hole(name):
            bound = found.bind(name, value)
            if bound is not None:
                yield bound
        case Scalar(name, wanted):
            number = scalar(found.graph, value)
            bound = found.bind(name, value)
            if bound is not None and number is not None and wanted in (None, number):
                yield bound
        case Either(options):
            for option in options:
                yield from matches(option, value, found, within)
        case Term():
            yield from _term(pattern, value, found, within)


def _term(term: Term, value: Value, found: Match, within: Collection[int]) -> Iterator[Match]:
    if term.name in found:
        if found[term.name] == value:
            yield found
        return
    node = found.graph.node(value)
    if type(node.op) is not term.kind or value.index or value.node not in within:
        return
    bound = found.bind(term.name, value)
    assert bound is not None
    bound = replace(bound, nodes=bound.nodes | {node.id})
    orders = [node.inputs]
    if term.kind in COMMUTATIVE and node.inputs[0] != node.inputs[1]:
        orders.append(node.inputs[::-1])
    for operands in orders:
        yield from _each(term.operands, operands, bound, within)


def _each(
    patterns: tuple[Pattern, ...], values: tuple[Value, ...], found: Match, within: Collection[int]
) -> Iterator[Match]:
    if len(patterns) != len(values):
        return
    if not patterns:
        yield found
        return
    for one in matches(patterns[0], values[0], found, within):
        yield from _each(patterns[1:], values[1:], one, within)
