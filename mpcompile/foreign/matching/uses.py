"""The uses of weights in a program: which elements of a weight act as which matrix, table or vector, and where.

The shapes in which weights are stored do not count. What counts is the element of the weight that stands at each place of
the matrix [out, in] of a product, of the kernel of a convolution, of a table, or of a vector that acts on features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from mpcompile import ops
from mpcompile.ir import Array, Constant, Graph, Input, Node, Parameter, Value
from mpcompile.ops.traits import Elementwise, Movement

#: Operations behind a use that tell it from others of the same size, and how many of them are looked at.
_TELLING = (
    ops.MatMul,
    ops.Conv,
    ops.Softmax,
    ops.Sigmoid,
    ops.Tanh,
    ops.Relu,
    ops.Erf,
    ops.Exp,
    ops.Sin,
    ops.Cos,
)
_AHEAD = 3
#: Uses before a use that tell it from others, counted along a path.
_BEHIND = 4


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a weight, or of a part of its features that goes its own way.

    path      of the weight
    kind      `product`, `kernel`, `table`, or the operation by which a vector acts
    elements  the number of the element of the weight at each place: [out, in, ...], [rows, features] or [features]
    level     uses before it on the longest path from an input
    role      the next operations that tell uses apart, with the number of the operand, until other weights are used
    before    a digest of the kinds and sizes of the uses that lead to it, of those that lead to them, and so on
    order     its place in the program
    """

    path: str
    kind: str
    elements: Array
    level: int
    role: tuple[tuple[int, str], ...]
    before: str
    order: int

    @property
    def size(self) -> tuple[int, ...]:
        """The shape in which the weight acts."""
        return tuple(self.elements.shape)

    @property
    def key(self) -> tuple[object, ...]:
        """The place of a use among those of a program, whatever order the program was written in."""
        return self.level, self.kind, self.size, self.role, self.before, self.order


@dataclass(frozen=True)
class _Weight:
    """A value that is made of one weight, element by element."""

    path: str
    elements: Array


class Uses:
    """Finds the uses of weights in a graph whose values are known for one call."""

    def __init__(self, graph: Graph, values: Mapping[Value, Array], sizes: Mapping[str, int]) -> None:
        self.graph, self.values, self.sizes = graph, values, sizes
        self.weights: dict[Value, _Weight] = {}
        self.known: set[Value] = set()  # made of constants alone
        self.levels: dict[Value, int] = {}
        self.atoms: set[int] = set()  # numbers of nodes that use a weight
        self.last: dict[Value, frozenset[int]] = {}  # uses that lead to a value, without others between
        self.behind: list[frozenset[int]] = []  # those that lead to each use

    def find(self) -> list[Use]:
        """Return all uses, in an order that depends on the structure of the program alone."""
        found: list[tuple[Use, Node, Array]] = []
        for node in self.graph.nodes():
            if not self._made_of_weights(node):
                level = max((self.levels.get(v, 0) for v in node.inputs), default=0)
                last = frozenset[int]().union(*(self.last.get(v, ()) for v in node.inputs))
                made = self._used(node, level, len(found))
                if made is not None:
                    self.behind.append(last)
                    level, last = level + 1, frozenset([len(found)])
                    self.atoms.add(node.id)
                    found.append((made[0], node, made[1]))
                self.levels.update(dict.fromkeys(node.outputs, level))
                self.last.update(dict.fromkeys(node.outputs, last))
        told = [f"{use.kind} {use.size}" for use, _, _ in found]
        for _ in range(_BEHIND):
            told = [
                _short(use.kind, use.size, sorted(told[i] for i in behind))
                for (use, _, _), behind in zip(found, self.behind, strict=True)
            ]
        parts = [
            part
            for (use, node, features), before in zip(found, told, strict=True)
            for part in self._parts(replace(use, before=before), node, features)
        ]
        return sorted(parts, key=lambda use: use.key)

    def _made_of_weights(self, node: Node) -> bool:
        """Note a value that is a constant, or one weight element by element."""
        op, inputs = node.op, node.inputs
        if isinstance(op, Parameter):
            shape = self.values[node.outputs[0]].shape
            self.weights[node.outputs[0]] = _Weight(op.path, np.arange(int(np.prod(shape))).reshape(shape))
            return True
        if isinstance(op, Constant) or (not isinstance(op, Input) and all(v in self.known for v in inputs)):
            self.known.update(node.outputs)
            return True
        own = [v for v in inputs if v not in self.known]
        if len(own) != 1 or own[0] not in self.weights:
            return False
        weight = self.weights[own[0]]
        if isinstance(op, Movement):
            moved = op.bind(self.sizes).evaluate(weight.elements)[0]
        elif (
            isinstance(op, Elementwise | ops.Cast)
            and self.values[node.outputs[0]].shape == weight.elements.shape
        ):
            moved = weight.elements
        else:
            return False
        self.weights[node.outputs[0]] = replace(weight, elements=moved)
        return True

    def _used(self, node: Node, level: int, order: int) -> tuple[Use, Array] | None:
        """The use that a node makes of a weight, and which of its features each element of the result is."""
        operands = [(i, self.weights[v]) for i, v in enumerate(node.inputs) if v in self.weights]
        if len(operands) != 1:
            return None
        (place, weight), result = operands[0], self.values[node.outputs[0]]
        elements, op = weight.elements, node.op
        if isinstance(op, ops.MatMul):
            while elements.ndim > 2 and elements.shape[0] == 1:
                elements = elements[0]
            if elements.ndim != 2:
                return None
            elements = elements.T if place == 1 else elements
            axis, kind = (-1 if place == 1 else -2), "product"
        elif isinstance(op, ops.Conv) and place == 1:
            axis, kind = 1, "kernel"
        elif isinstance(op, ops.Gather) and place == 0 and op.axis == 0:
            axis, kind = -1, "table"
        elif isinstance(op, Elementwise):
            return self._vector(node, weight, level, order)
        else:
            return None
        shape = [1] * result.ndim
        shape[axis] = result.shape[axis]
        features = np.broadcast_to(np.arange(result.shape[axis]).reshape(shape), result.shape)
        return Use(weight.path, kind, elements, level, (), "", order), features

    def _vector(self, node: Node, weight: _Weight, level: int, order: int) -> tuple[Use, Array]:
        """A weight that acts element by element: a table of positions where it has two axes, else a vector."""
        elements, shape = weight.elements, self.values[node.outputs[0]].shape
        kept = elements.reshape([s for s in elements.shape if s > 1] or [1])
        if kept.ndim == 2:
            whole = self._whole(weight.path)
            features = (
                np.broadcast_to(np.arange(kept.shape[1]), shape)
                if shape[-1:] == kept.shape[1:]
                else np.zeros(shape)
            )
            return Use(
                weight.path, "table", whole if whole.ndim == 2 else kept, level, (), "", order
            ), features
        numbers = np.empty(int(elements.max()) + 1, np.int64)
        numbers[kept.reshape(-1)] = np.arange(kept.size)
        features = np.broadcast_to(numbers[elements], shape)
        return Use(weight.path, node.op.name, kept.reshape(-1), level, (), "", order), features

    def _whole(self, path: str) -> Array:
        return next(w.elements for v, w in self.weights.items()
                    if isinstance(self.graph.node(v).op, Parameter) and w.path == path)  # fmt: skip

    # --- parts ---

    def _parts(self, use: Use, node: Node, features: Array) -> list[Use]:
        """The use as it is; or one for each set of features that goes its own way."""
        ends = list(self._followed(node.outputs[0], features))
        groups: dict[tuple[int, ...], list[tuple[Node, int]]] = {}
        for user, place, seen in ends:
            first = np.unique(seen.reshape(-1), return_index=True)[1]
            groups.setdefault(tuple(int(n) for n in seen.reshape(-1)[np.sort(first)]), []).append(
                (user, place)
            )
        ways = self._apart(groups)
        disjoint = sum(len(rows) for rows, _ in ways) == len({n for rows, _ in ways for n in rows})
        if use.kind == "table" or len(ways) < 2 or not disjoint:
            return [replace(use, role=self._role([(u, p) for u, p, _ in ends]))]
        return [replace(use, elements=use.elements[rows], role=self._role(users)) for rows, users in ways]

    def _apart(
        self, groups: Mapping[tuple[int, ...], list[tuple[Node, int]]]
    ) -> list[tuple[list[int], list[tuple[Node, int]]]]:
        """The features that go their own way, with what reads them: those that are joined again soon go together."""
        ways: list[tuple[list[int], list[tuple[Node, int]], set[int]]] = []
        for rows, users in groups.items():
            joins = self._joins([node for node, _ in users])
            same = [w for w in ways if set(w[0]) == set(rows) or w[2] & joins]
            for way in same:
                ways.remove(way)
            alike = all(set(w[0]) == set(rows) for w in same)
            every = list(rows) if alike else sorted({*rows, *(n for w in same for n in w[0])})
            read = [*(u for w in same for u in w[1]), *users]
            ways.append((every, read, joins.union(*(w[2] for w in same))))
        return [(rows, users) for rows, users, _ in ways]

    def _joins(self, todo: list[Node]) -> set[int]:
        """Numbers of the concatenations that nodes lead to element by element, as halves do that are rotated."""
        found: set[int] = set()
        seen: set[int] = set()
        while todo:
            node = todo.pop()
            if isinstance(node.op, ops.Concat):
                found.add(node.id)
            elif isinstance(node.op, Elementwise | Movement | ops.Cast) and node.id not in seen | self.atoms:
                seen.add(node.id)
                todo += self.graph.users(node.id)
        return found

    def _followed(self, value: Value, features: Array) -> Iterator[tuple[Node, int, Array]]:
        """The operations that read a value behind movements of elements, and what vectors do to it."""
        for user in self.graph.users(value.node):
            for place, v in enumerate(user.inputs):
                if v != value:
                    continue
                others = [w for w in user.inputs if w != value]
                fixed = all(w in self.known or w in self.weights for w in others)
                shape = self.values[user.outputs[0]].shape
                if isinstance(user.op, Movement | ops.Cast):
                    yield from self._followed(user.outputs[0], user.op.bind(self.sizes).evaluate(features)[0]
                                              if isinstance(user.op, Movement) else features)  # fmt: skip
                elif (
                    isinstance(user.op, Elementwise)
                    and fixed
                    and shape == features.shape
                    and len(user.inputs) > 1
                ):
                    yield from self._followed(user.outputs[0], features)
                else:
                    yield user, place, features

    def _role(self, users: Sequence[tuple[Node, int]]) -> tuple[tuple[int, str], ...]:
        """The next operations that tell uses apart, with the operand that is read; none behind another weight's use."""
        found: set[tuple[int, str]] = set()
        todo = [(node, place, 0) for node, place in users]
        seen: set[tuple[int, int]] = set()
        while todo:
            node, place, depth = todo.pop()
            if depth >= _AHEAD or (node.id, depth) in seen:
                continue
            seen.add((node.id, depth))
            step = depth
            if isinstance(node.op, _TELLING):
                step += 1
                found.add(
                    (depth, f"{node.op.name} {place}" if isinstance(node.op, ops.MatMul) else node.op.name)
                )
            if node.id in self.atoms:
                continue
            for value in node.outputs:
                for user in self.graph.users(node.id):
                    todo += [(user, i, step) for i, v in enumerate(user.inputs) if v == value]
        return tuple(sorted(found))


def _short(*facts: object) -> str:
    """A text of a few letters that is equal for equal facts."""
    return blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def uses(graph: Graph, values: Mapping[Value, Array], sizes: Mapping[str, int]) -> list[Use]:
    """Return the uses of weights of a graph, of which `values` has the value of each node, and `sizes` of each symbol."""
    return Uses(graph, values, sizes).find()


__all__ = ["Use", "uses"]
