"""Graphs without regions: every iteration where it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mpcompile.ir import Builder, Cut, Graph, Input, Node, Parameter, Scope, Stack, Type, Unsettled, Value
from mpcompile.ops.control import Scan
from mpcompile.ops.parts import Concat, Slice
from mpcompile.ops.repeating import Places, Repeat
from mpcompile.ops.structure import Reshape


def has_repeats(graph: Graph) -> bool:
    """Return whether a graph, or the body of a loop in it, has a region."""
    return any(True for _ in regions(graph))


def regions(graph: Graph) -> Iterator[tuple[Node, Repeat]]:
    """Return the regions of a graph and of the bodies of its loops."""
    for node in graph.nodes():
        if isinstance(node.op, Repeat):
            yield node, node.op
        for body in node.op.bodies():
            yield from regions(body)


def unrolled(graph: Graph, most: int = 0) -> Graph:
    """Return the same function without regions: each iteration where it runs, with its own frames and weights.

    Regions of more than `most` iterations stay, where that is given and their iterations have weights of their own.
    """
    return _Program(graph, None, most).run().live() if has_repeats(graph) else graph


def shortened(graph: Graph, most: int) -> Graph:
    """Return a graph unrolled with at most `most` iterations of each region, and with its `cuts`.

    It is the function of a model of fewer layers. What an analysis finds of it holds of the whole where `Graph.settle`
    says so.
    """
    return _Program(graph, most).run().live() if has_repeats(graph) else graph


class _Unrolling:
    """Unroll the regions of one graph."""

    def __init__(self, graph: Graph, most: int | None, outer: Builder | None = None) -> None:
        self.graph, self.most = graph, most
        self.new = Graph(graph.name)
        self.b = Builder(self.new, outer=outer)
        self.moved: dict[Value, Value] = {}
        self.cuts: list[Cut] = []

    def at(self, value: Value) -> Value:
        """Return the value in the new graph for one of the old graph."""
        return self.moved[value]

    def row(self, node: Node, scanned: Value, k: int, places: Places) -> Value:
        """Return row k of a scanned value, in place of `node`, the input of the body that stands for it."""
        one = self.b.emit(Slice(0, k, k + 1), self.at(scanned))
        return self.b.emit(Reshape(scanned.shape[1:]), one)

    def copy(self, node: Node, inputs: tuple[Value, ...]) -> None:
        """Copy a node of the graph."""
        self.moved.update(zip(node.outputs, self.new.copy(node, inputs).outputs, strict=True))

    def together(self, rows: Sequence[Value]) -> Value:
        """Stack values along a new first axis."""
        tall = [self.b.emit(Reshape((1, *v.shape)), v) for v in rows]
        return self.b.emit(Concat(0), *tall)

    def count(self, op: Repeat, inputs: Sequence[Value]) -> int:
        """Return how many iterations of a region are kept."""
        whole = op.iterations([v.type for v in inputs])
        return whole if self.most is None else min(whole, self.most)

    def iterations(self, node: Node, op: Repeat) -> None:
        """Put the iterations of a region into the new graph."""
        body, formals = op.body, op.formals
        starts, scanned, captured = op.split(node.inputs)
        count, left = self.count(op, node.inputs), op.iterations([v.type for v in node.inputs])
        left -= count
        carries = [self.at(v) for v in starts]
        fixed = dict(zip(formals.captured.values(), map(self.at, captured), strict=True))
        of_formal = dict(zip(formals.scanned.values(), scanned, strict=True))
        rows: list[list[Value]] = []
        for k in range(count):
            places = Places(node.scope, dict(op.frames), k)
            known = dict(zip(formals.carries.values(), carries, strict=True)) | fixed
            for n in body.nodes():
                (first, *_) = n.outputs
                if first in of_formal:
                    known[first] = self.row(n, of_formal[first], k, places)
                elif first not in known and first != formals.step:
                    inputs = tuple(known[v] for v in n.inputs)
                    placed = replace(n, op=places.op(n.op)) if n.op.bodies() else n
                    copy = self.new.copy(placed, inputs, places.scope(n.scope))
                    known.update(zip(n.outputs, copy.outputs, strict=True))
            before, (carries, ys) = carries, op.divide([known[v] for v in body.outputs.values()])
            rows.append(ys)
        if left and ys:
            raise Unsettled  # their type has the number of iterations
        if left:
            self.cuts.append(Cut(op, left, tuple(zip(before, carries, strict=True))))
        made = (*carries, *map(self.together, zip(*rows, strict=True)))
        self.moved.update(zip(node.outputs, made, strict=True))


class _Program(_Unrolling):
    """Unroll a program; a weight that is read twice stays one node."""

    def __init__(self, graph: Graph, most: int | None, kept: int = 0) -> None:
        """Regions of more iterations than `kept` stay, where that is not zero."""
        super().__init__(graph, most)
        self.kept = kept
        self.weights: dict[str, Value] = {}
        self.stacks: dict[Value, Value] = {}
        #: Stacks that a region in the body of a loop reads: the region as it stands there, with its number of iterations.
        self.within: dict[Value, tuple[Node, Repeat, int]] = {}
        for node in graph.nodes():
            if isinstance(node.op, Scan) and not isinstance(node.op, Repeat) and not self._stays(node):
                self._look_into(node, node.op)

    def _look_into(self, node: Node, loop: Scan) -> None:
        captured = dict(zip(loop.formals.captured.values(), loop.split(node.inputs).captured, strict=True))
        for n in loop.body.nodes():
            if isinstance(n.op, Repeat):
                for v in n.op.split(n.inputs).scanned:
                    if v in captured and isinstance(self.graph.node(captured[v]).op, Stack):
                        self.within[captured[v]] = n, n.op, self.count(n.op, n.inputs)

    def run(self) -> Graph:
        """Return the program without regions."""
        graph, new, stacks = self.graph, self.new, list[Node]()
        for node in graph.nodes():
            if isinstance(node.op, Stack):
                stacks += [node] if node.outputs[0] in self.within else []
                continue  # the weights of others stand where an iteration reads them
            self._weights(stacks)
            if self._stays(node):
                self.copy(node, tuple(self._given(v) for v in node.inputs))
            elif isinstance(node.op, Repeat):
                self.iterations(node, node.op)
            elif isinstance(node.op, Parameter):
                self.moved[node.outputs[0]] = self.weight(node, node.op.path, node.types[0], node.scope)
            elif isinstance(node.op, Scan) and has_repeats(node.op.body):
                loop = _Loop(self, node, node.op)
                self.moved.update(zip(node.outputs, loop.run(), strict=True))
                self.cuts += [replace(cut, ends=None) for cut in loop.cuts]
            else:
                self.copy(node, tuple(map(self.at, node.inputs)))
        new.inputs = {k: self.moved[v] for k, v in graph.inputs.items()}
        new.outputs = {k: self.at(v) for k, v in graph.outputs.items()}
        new.cuts = tuple(self.cuts)
        return new

    def _stays(self, node: Node) -> bool:
        """Return whether a node is a region that stays, or a loop with such regions alone."""
        found = [found for body in node.op.bodies() for found in regions(body)]
        found += [(node, node.op)] if isinstance(node.op, Repeat) else []
        return bool(self.kept and found) and all(
            op.scanned and op.iterations([v.type for v in n.inputs]) > self.kept for n, op in found
        )

    def _given(self, value: Value) -> Value:
        """Return the operand of a region that stays: a stack is one there."""
        leaf = self.graph.node(value)
        if not isinstance(leaf.op, Stack):
            return self.at(value)
        if value not in self.stacks:
            self.stacks[value] = self.new.copy(leaf, ()).outputs[0]
        return self.stacks[value]

    def at(self, value: Value) -> Value:
        """Return the value in the new graph; a stack that other nodes than regions read is stacked from its weights."""
        if value not in self.moved:
            leaf = self.graph.node(value)
            assert isinstance(leaf.op, Stack)
            rows = [self.weight(leaf, path, leaf.op.each, leaf.scope) for path in leaf.op.paths]
            self.moved[value] = self.together(rows)
        return self.moved[value]

    def weight(self, leaf: Node, path: str, type: Type, scope: Scope) -> Value:
        """Return the value of a weight, which all its readers share."""
        if path not in self.weights:
            node = self.new.add(Parameter(path, type), (), leaf.span, scope)
            self.weights[path] = node.outputs[0]
        return self.weights[path]

    def row(self, node: Node, scanned: Value, k: int, places: Places) -> Value:
        """Return row k of a scanned value; of a `Stack` this is a weight."""
        leaf = self.graph.node(scanned)
        return (
            self.row_of(leaf, k, places)
            if isinstance(leaf.op, Stack)
            else super().row(node, scanned, k, places)
        )

    def row_of(self, leaf: Node, k: int, places: Places) -> Value:
        """Return the weight that iteration k reads of a stack."""
        assert isinstance(leaf.op, Stack)
        return self.weight(leaf, leaf.op.paths[k], leaf.op.each, places.scope(leaf.scope))

    def _weights(self, stacks: list[Node]) -> None:
        """Put the weights of stacks that loops read where the stacks stand: iteration after iteration."""
        while stacks:
            node, op, count = self.within[stacks[0].outputs[0]]
            own = [leaf for leaf in stacks if self.within[leaf.outputs[0]][0] is node]
            for k in range(count):
                for leaf in own:
                    self.row_of(leaf, k, Places(node.scope, dict(op.frames), k))
            stacks[:] = [leaf for leaf in stacks if leaf not in own]


class _Loop(_Unrolling):
    """Unroll the body of a loop, which then captures each weight in place of a stack."""

    def __init__(self, program: _Program, node: Node, loop: Scan) -> None:
        super().__init__(loop.body, program.most, program.b)
        self.program, self.node, self.loop = program, node, loop
        self.inputs = loop.split(node.inputs)
        self.outside = dict(zip(loop.formals.captured.values(), self.inputs.captured, strict=True))

    def run(self) -> tuple[Value, ...]:
        """Emit the loop in the new program; return its results."""
        program, loop, old = self.program, self.loop, self.graph
        names = {v: name for name, v in old.inputs.items()}
        for node in old.nodes():
            (first, *_) = node.outputs
            if isinstance(node.op, Repeat):
                self.iterations(node, node.op)
            elif isinstance(node.op, Input):
                self._input(node, names[first])
            else:
                self.copy(node, tuple(map(self.at, node.inputs)))
        new = self.new
        new.cuts = tuple(self.cuts)
        new.outputs = {k: self.at(v) for k, v in old.outputs.items()}
        found = {v: name for name, v in new.inputs.items()}
        formals = loop.formals
        order = [
            *formals.carries,
            *formals.scanned,
            *(found[v] for v in self.b.captured.values()),
            names[formals.step],
        ]
        new.inputs = {name: new.inputs[name] for name in order}
        given = (*map(program.at, (*self.inputs.carries, *self.inputs.scanned)), *self.b.captured)
        return program.new.add(replace(loop, body=new), given, self.node.span, self.node.scope).outputs

    def _input(self, node: Node, name: str) -> None:
        """Declare an input of the body under its own name; a captured value gets the next number, as in lowering."""
        (first,) = node.outputs
        outer = self.outside.get(first)
        if outer is not None and outer in self.program.within:
            return
        with self.b.within((), node.span):
            if outer is not None and re.fullmatch(r"captured_\d+", name):
                self.moved[first] = self.b.here(self.program.at(outer))
                return
            self.moved[first] = self.b.input(name, node.types[0])
            if outer is not None:
                self.b.captured[self.program.at(outer)] = self.moved[first]

    def row(self, node: Node, scanned: Value, k: int, places: Places) -> Value:
        """Return row k of a scanned value; a weight of the program is captured where it is first read."""
        if scanned not in self.outside or self.outside[scanned] not in self.program.within:
            return super().row(node, scanned, k, places)
        leaf = self.program.graph.node(self.outside[scanned])
        with self.b.within((), node.span):
            return self.b.here(self.program.row_of(leaf, k, places))


__all__ = ["has_repeats", "regions", "shortened", "unrolled"]
