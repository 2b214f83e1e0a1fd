"""Graphs of primitives: the one file of the project that sees networkx.

A `Graph` is a pure function. Its nodes are primitives applied to values; three leaf primitives bring values in:
`Input` (data and noise), `Parameter` (weights, by name) and `Constant` (a literal array, e.g. a mask).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, islice

import networkx as nx
import numpy as np

from mpcompile.budget import tick
from mpcompile.diagnostics import InternalError, Span, error
from mpcompile.ir.axes import Axes
from mpcompile.ir.primitive import Array, Primitive
from mpcompile.ir.size import Symbolic, multiple_of, symbols
from mpcompile.ir.traits import Along, Reach, Work
from mpcompile.ir.types import DType, Shape, Type, TypeMismatch


@dataclass(frozen=True, slots=True)
class Frame:
    """One level of the scope a node was made in.

    `name` is unique among its siblings (`encoder`, `coupling.3`, `dense_0`), `label` is how the user wrote it
    (`dense(hidden, mask=up)`), `function` marks a net, block or bijector that backends may emit as a function of
    its own; `role` tells its uses apart (`forward`, `inverse`).
    """

    name: str
    label: str
    span: Span
    function: bool = False
    role: str = "forward"


Scope = tuple[Frame, ...]

#: Node ids are unique in the process, so that a value tells which graph it belongs to; only their order means anything.
_ids = count()


@dataclass(frozen=True, slots=True)
class Node:
    """A primitive applied to values. `scope` tells which layers it came from, outermost first."""

    id: int
    op: Primitive
    inputs: tuple[Value, ...]
    types: tuple[Type, ...]
    span: Span
    scope: Scope
    outputs: tuple[Value, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        made = tuple(Value(self.id, i, t) for i, t in enumerate(self.types))
        object.__setattr__(self, "outputs", made)

    @property
    def path(self) -> str:
        """Dotted scope, e.g. `encoder.dense_0`."""
        return ".".join(f.name for f in self.scope)

    # --- traits of the primitive, asked about its operands here ---

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the operands."""
        return tuple(v.shape for v in self.inputs)

    @property
    def along(self) -> tuple[Along, ...]:
        """The axes of each operand that run along with one of the first result. Raises `NoRule`."""
        return self.op.along(self.shapes, self.types[0].shape)

    @property
    def reach(self) -> Reach:
        """Axes along which an element reads the first operand beside its own place, and the offsets."""
        return self.op.reach(self.shapes)

    @property
    def cost(self) -> Work:
        """Operations that the results take. Raises `NoRule`."""
        return self.op.cost([v.type for v in self.inputs], self.types)

    @property
    def view(self) -> bool:
        """Whether the result is the memory of the first operand, seen otherwise."""
        return self.op.view(self.shapes)


@dataclass(frozen=True, slots=True)
class Value:
    """One result of one node."""

    node: int
    index: int
    type: Type

    def __hash__(self) -> int:
        """Hash the place alone, which tells values apart: every interpreter looks values up all the time."""
        return self.node * 8 + self.index

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype


#: What may replace the outputs of a node: given the builder of the new graph, the node, and its inputs there.
Rewrite = Callable[["Builder", Node, tuple[Value, ...]], tuple[Value, ...] | None]

#: More elements than this in one value of one example (1 GiB in single precision) are refused when it is stated.
MAX_VALUE = 1 << 28


@contextmanager
def uncollected() -> Iterator[None]:
    """Suspend the garbage collector, which would visit all nodes again and again and free none of them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Cut:
    """A region of which a graph has the first iterations alone (`ops.unrolling.shortened`).

    `op` is the region, `left` how many iterations were left out, `ends` pairs each carry before the last iteration that
    is there with the same carry after it; None where the region is in the body of a loop.
    """

    op: Primitive
    left: int
    ends: tuple[tuple[Value, Value], ...] | None


class Unsettled(Exception):
    """Raised where facts of a shortened graph do not hold for the whole: they still change in the last iteration."""


class Graph:
    """A pure function as a directed acyclic graph.

    `inputs` and `outputs` map names to values, in the order of the signature. The nodes are the whole of it, in a
    topological order; who reads a node is asked of a networkx graph, which is made when it is first asked.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self._nodes: dict[int, Node] = {}
        self._edges: nx.DiGraph[int] | None = None
        self.cuts: tuple[Cut, ...] = ()

    def settle(self, same: Callable[[Value, Value], bool], bodies: bool = True) -> None:
        """Raise `Unsettled` unless the facts of an analysis are the same before and after the last iteration of each cut.

        A rule is a function of facts. If the last iteration finds the facts that it makes, each iteration that was left
        out has the facts of the last one, and so has everything behind the region. With `bodies` facts also go through
        the bodies of loops, about whose regions nothing is known here.
        """
        for cut in self.cuts:
            if (cut.ends is None and bodies) or not all(same(*pair) for pair in cut.ends or ()):
                raise Unsettled

    def uncut(self) -> None:
        """Raise `Unsettled` where iterations were left out: for an analysis that cannot say whether it is settled."""
        if self.cuts:
            raise Unsettled

    def add(self, op: Primitive, inputs: Sequence[Value], span: Span, scope: Scope) -> Node:
        """Append a node. Raises `TypeMismatch` from the primitive's own rule."""
        tick()
        types = op.infer(*(v.type for v in inputs))
        return self._append(Node(next(_ids), op, tuple(inputs), types, span, scope))

    def copy(self, node: Node, inputs: tuple[Value, ...], scope: Scope | None = None) -> Node:
        """Append a node of another graph, in its own scope or another.

        Its types are known where those of its inputs are as they were.
        """
        scope = node.scope if scope is None else scope
        if any(a.type != b.type for a, b in zip(node.inputs, inputs, strict=True)):
            return self.add(node.op, inputs, node.span, scope)
        tick()
        return self._append(Node(next(_ids), node.op, inputs, node.types, node.span, scope))

    def forget(self, count: int) -> None:
        """Forget all nodes but the first `count`, and inputs that are of the others; nothing may use those."""
        self._nodes = dict(islice(self._nodes.items(), count))
        self.inputs = {name: v for name, v in self.inputs.items() if v in self}
        self._edges = None

    def _append(self, node: Node) -> Node:
        self._nodes[node.id] = node
        if self._edges is not None:
            _connect(self._edges, [node])
        return node

    def node(self, value: Value | int) -> Node:
        """The node that makes a value."""
        return self._nodes[value if isinstance(value, int) else value.node]

    def nodes(self) -> list[Node]:
        """Return all nodes, inputs before their users: they are appended in a topological order."""
        tick()
        return list(self._nodes.values())

    def __contains__(self, value: Value) -> bool:
        return value.node in self._nodes

    def users(self, node: int) -> list[Node]:
        """Nodes that read a node, in order."""
        if self._edges is None:
            self._edges = nx.DiGraph()
            with uncollected():
                _connect(self._edges, self._nodes.values())
        return [self._nodes[i] for i in sorted(self._edges.successors(node))]

    def parameters(self) -> dict[str, Value]:
        """Parameters that the graph reads, by name; one of a `Stack` with the value of the stack."""
        from mpcompile.ir.leaves import Parameter

        return {
            path: n.outputs[0] for n in self.nodes() if isinstance(n.op, Parameter) for path in n.op.names
        }

    def symbols(self) -> dict[str, tuple[str, int, int]]:
        """Return every symbolic size with the input and the axis that fix it, and the divisor of that axis's length.

        The divisor is 2 where `2 * time` is all that is known of `time`.
        """
        found: dict[str, tuple[str, int, int]] = {}
        for name, value in self.inputs.items():
            for axis, size in enumerate(value.shape):
                if (fixed := multiple_of(size)) is not None:
                    symbol, times = fixed
                    if symbol not in found or times < found[symbol][2]:
                        found[symbol] = name, axis, times
        return found

    def unsized(self) -> set[str]:
        """Symbols of the shapes of its values that no input fixes."""
        shapes = {s for n in self.nodes() for t in n.types for s in t.shape if isinstance(s, Symbolic)}
        return {name for s in shapes for name in symbols(s)} - set(self.symbols())

    def ancestors(self, values: Iterable[Value], known: Container[Value] = ()) -> set[int]:
        """Nodes that some values are made of, those that make them included; what is `known` is not followed."""
        keep = set[int]()
        todo = list(values)
        while todo:  # one walk for all values, and no edges; networkx's ancestors would be one for each
            value = todo.pop()
            if value.node not in keep and value not in known:
                keep.add(value.node)
                todo += self._nodes[value.node].inputs
        return keep

    def made_of(self, *values: Value, known: Container[Value] = ()) -> list[Node]:
        """The nodes that some values are made of, beside what is `known`, in the order of the graph."""
        return [self._nodes[i] for i in sorted(self.ancestors(values, known))]

    def live(self, unread: Callable[[str], bool] = lambda name: True) -> Graph:
        """The same function without the nodes that no output needs; an input that none needs stays if `unread(name)`."""
        ends = [v for cut in self.cuts for pair in cut.ends or () for v in pair]
        keep = self.ancestors([*self.outputs.values(), *ends])
        new = Graph(self.name)
        new.cuts = self.cuts
        new.inputs = {k: v for k, v in self.inputs.items() if v.node in keep or unread(k)}
        keep.update(v.node for v in new.inputs.values())
        new._nodes = {i: self._nodes[i] for i in sorted(keep)}  # shared: a node never changes
        new.outputs = dict(self.outputs)
        return new

    def fork(self, name: str) -> Graph:
        """Another graph of the same nodes and inputs, without outputs; what is added to one is not in the other."""
        new = Graph(name)
        new._nodes, new.inputs, new.cuts = dict(self._nodes), dict(self.inputs), self.cuts
        return new

    def rebuild(self, rewrite: Rewrite, retype: bool = False) -> Graph:
        """A copy in which `rewrite(builder, node, inputs)` may replace a node's outputs by other values.

        `rewrite` returns None to copy the node as it is, or the tuple of values to use in its place. Those have the
        types of what they replace, unless `retype`: then the graph is another function, such as that of one size.
        Raises `InternalError` (MP903) for a rewrite that breaks this.
        """
        new = Graph(self.name)
        b = Builder(new)
        moved: dict[Value, Value] = {}
        for node in self.nodes():
            inputs = tuple(moved[v] for v in node.inputs)
            with b.within(node.scope, node.span):
                results = rewrite(b, node, inputs)
                if results is None:
                    results = new.copy(node, inputs).outputs
                elif not retype and tuple(v.type for v in results) != node.types:
                    raise _wrong_rewrite(self, node, results)
            moved.update(zip(node.outputs, results, strict=True))
        new.inputs = {k: moved[v] for k, v in self.inputs.items()}
        new.outputs = {k: moved[v] for k, v in self.outputs.items()}
        new.cuts = tuple(
            replace(cut, ends=cut.ends and tuple((moved[v], moved[w]) for v, w in cut.ends))
            for cut in self.cuts
        )
        return new

    def __len__(self) -> int:
        return len(self._nodes)


def _connect(edges: nx.DiGraph[int], nodes: Collection[Node]) -> None:
    edges.add_nodes_from(n.id for n in nodes)
    edges.add_edges_from((v.node, n.id) for n in nodes for v in n.inputs)


def _wrong_rewrite(graph: Graph, node: Node, results: Sequence[Value]) -> InternalError:
    """Return the error of `rebuild` for values that do not fit in the place of a node's."""
    before, after = (
        ", ".join(map(str, types)) or "nothing" for types in (node.types, [v.type for v in results])
    )
    where = f"{node.path}.{node.op.name}" if node.scope else node.op.name
    return InternalError("MP903", f"in `{graph.name}` {where} gives {before}; its replacement gives {after}")


@dataclass
class Builder:
    """Appends nodes to a graph under a current scope and span, turning type errors into located ones.

    A builder with an `outer` one builds the body of a loop: a value of the outer graph that the body uses becomes an
    input of the body, recorded in `captured` (outer value -> body input).
    """

    graph: Graph
    scope: Scope = ()
    span: Span = field(default_factory=Span.none)
    outer: Builder | None = None
    captured: dict[Value, Value] = field(default_factory=dict)

    @contextmanager
    def within(self, scope: Scope, span: Span) -> Iterator[None]:
        before = self.scope, self.span
        self.scope, self.span = scope, span
        try:
            yield
        finally:
            self.scope, self.span = before

    @contextmanager
    def frame(self, frame: Frame) -> Iterator[None]:
        with self.within((*self.scope, frame), frame.span):
            yield

    def emit(self, op: Primitive, *inputs: Value) -> Value:
        """Append a node and give its only (or first) result."""
        return self.emit_all(op, *inputs)[0]

    def emit_all(self, op: Primitive, *inputs: Value) -> tuple[Value, ...]:
        """Append a node and return its results.

        Raises `SpecError`: MP201 for operands that do not fit, MP112 for a result that is too large.
        """
        try:
            here = [self.here(v) for v in inputs]
            outputs = self.graph.add(op, here, self.span, self.scope).outputs
        except TypeMismatch as mismatch:
            where = self.scope[-1].label if self.scope else op.name
            raise error("MP201", f"shapes do not fit in {where}: {mismatch}", self.span) from mismatch
        for value in outputs:
            size = 1
            for s in value.type.shape:
                if type(s) is int:
                    size *= s
            if size > MAX_VALUE:
                where = self.scope[-1].label if self.scope else op.name
                raise error(
                    "MP112", f"{where} gives {size} numbers for an example, more than {MAX_VALUE}", self.span
                )
        return outputs

    def here(self, value: Value) -> Value:
        """The value as this graph sees it: itself, or the input that captures it from an outer graph."""
        if value in self.graph or self.outer is None:
            return value
        outer = self.outer.here(value)
        if outer not in self.captured:
            number = len(self.captured)
            while (name := f"captured_{number}") in self.graph.inputs:
                number += 1
            self.captured[outer] = self.input(name, outer.type)
        return self.captured[outer]

    def forget(self, count: int) -> None:
        """Forget all nodes of the graph but the first `count`, and what they captured; nothing may use those."""
        self.graph.forget(count)
        self.captured = {outer: inner for outer, inner in self.captured.items() if inner in self.graph}

    def input(self, name: str, type: Type, axes: Axes = ()) -> Value:
        """Declare an input of the function, or give the one already declared under this name."""
        from mpcompile.ir.leaves import Input

        if name not in self.graph.inputs:
            self.graph.inputs[name] = self.graph.add(Input(name, type, axes), (), self.span, ()).outputs[0]
        return self.graph.inputs[name]

    def constant(self, array: Array | float | int | bool) -> Value:
        """A literal array; Python numbers become scalars of the fitting kind."""
        from mpcompile.ir.leaves import Constant

        return self.emit(Constant.of(np.asarray(array)))


def topological_order(edges: Mapping[int, Sequence[int]]) -> list[int] | None:
    """Return an order of the keys in which every edge `i -> j` goes forward, or None when there is a cycle."""
    g: nx.DiGraph[int] = nx.DiGraph()
    g.add_nodes_from(edges)
    g.add_edges_from((i, j) for i, js in edges.items() for j in js)
    try:
        return list(nx.lexicographical_topological_sort(g))
    except nx.NetworkXUnfeasible:
        return None
