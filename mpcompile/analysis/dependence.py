"""Structural dependence: one abstract interpreter, run over availability (tau) or over bitsets.

Exact for generic weights: an output element is said to depend on an input element when some path of operations with
no structurally zero weight joins them. Cancellation (x - x) and dead units are not seen, so the result is always an
upper bound on the true support.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.bounds import AtMost
from mpcompile.budget import reserve
from mpcompile.ir import (
    Abstract,
    Array,
    Constant,
    Domain,
    Graph,
    Input,
    Node,
    Parameter,
    Primitive,
    Value,
    availability,
    bitsets,
)
from mpcompile.ir.facts import same
from mpcompile.ops import Scan


def interpret(
    graph: Graph,
    domain: Domain,
    seeds: Mapping[str, Array],
    environment: Mapping[str, int],
    kept: Collection[Value] | None = None,
) -> dict[Value, Abstract]:
    """Compute the facts of every value, or of those to be `kept` alone.

    `seeds` gives facts of inputs, [*shape, words]; other inputs depend on nothing. What is not kept is forgotten when the
    last node has read it, so that a deep graph takes as much memory as its widest place.
    """
    memory: dict[Value, Abstract] = {}
    if kept is not None:
        kept = {*kept, *(v for cut in graph.cuts for pair in cut.ends or () for v in pair)}
    readers = Counter(v for node in graph.nodes() for v in node.inputs) if kept is not None else Counter()
    shared = _Shared()
    for node in graph.nodes():
        if isinstance(node.op, Input | Parameter):
            shape = node.types[0].concrete(environment)
            seed = seeds.get(node.op.path) if isinstance(node.op, Input) else None
            memory[node.outputs[0]] = shared.one(domain.make(shape, seed))
        else:
            results = shared.results(domain, node.op.bind(environment), *(memory[v] for v in node.inputs))
            memory.update(zip(node.outputs, results, strict=True))
            results = ()
        if kept is not None:
            readers.subtract(node.inputs)
            for v in {*node.inputs, *node.outputs}:
                if not readers[v] and v not in kept:
                    memory.pop(v, None)
    graph.settle(lambda v, w: same(memory[v], memory[w]))
    return memory


#: Facts of at most this many bytes are compared as what they are.
SMALL = 1 << 16
#: Larger ones that are remembered take no more bytes than this together.
HELD = 5 << 26


class _Shared:
    """Facts that occur again, as they do from one repeated layer to the next: an operation on them is asked once.

    Small facts are compared as what they are, large ones as objects, and large results are forgotten in their order.
    """

    def __init__(self) -> None:
        self._small: dict[tuple[object, ...], Abstract] = {}
        self._memo: dict[tuple[object, ...], tuple[Sequence[Abstract], Sequence[Abstract]]] = {}
        self._large: deque[tuple[object, ...]] = deque()
        self._holders: Counter[int] = Counter()
        self._held = 0

    def one(self, x: Abstract) -> Abstract:
        """The same facts as one object, where they are small."""
        if _large(x):
            return x
        return self._small.setdefault(
            (x.shape, *((p.shape, p.dtype.char, p.tobytes()) for p in _arrays(x))), x
        )

    def results(self, domain: Domain, op: Primitive, *inputs: Abstract) -> Sequence[Abstract]:
        """Return the results of an operation's rule."""
        if isinstance(op, Scan):  # its body is a graph of its own
            return op.depend(domain, *inputs)
        of: tuple[object, ...] = (op,)
        if isinstance(op, Constant):  # by where its numbers are, which may be many
            of = (op.stored.ctypes.data, op.stored.shape, op.stored.strides, op.dtype)
        key = (type(op), *of, *(id(x) for x in inputs))
        if (known := self._memo.get(key)) is not None:
            return known[1]
        results = [self.one(x) for x in op.depend(domain, *inputs)]
        self._memo[key] = inputs, results  # with the inputs, so that their ids stay theirs
        if self._hold(key, 1):
            self._large.append(key)
        while self._held > HELD:
            oldest = self._large.popleft()
            self._hold(oldest, -1)
            del self._memo[oldest]
        return results

    def _hold(self, key: tuple[object, ...], change: int) -> bool:
        """Count the bytes of large facts that are remembered, each array once; whether there are any."""
        inputs, results = self._memo[key]
        arrays = {id(p): p.nbytes for x in (*inputs, *results) if _large(x) for p in _arrays(x)}
        for at, size in arrays.items():
            before = self._holders[at]
            self._holders[at] += change
            self._held += size * (bool(before + change) - bool(before))
        return bool(arrays)


def _arrays(x: Abstract) -> list[Array]:
    return [x.facts, x.zero, x.neginf] + ([] if x.constant is None else [x.constant])


def _large(x: Abstract) -> bool:
    return sum(p.nbytes for p in _arrays(x)) > SMALL


def environment_for(graph: Graph, length: int) -> dict[str, int]:
    """Return the sizes at which a graph is analysed: one example of the batch, `length` for every other symbol."""
    return {s: 1 if s == "N" else length for s in graph.symbols()}


def tau(
    graph: Graph,
    source: str,
    ranks: Array,
    environment: Mapping[str, int],
    kept: Collection[Value] | None = None,
) -> dict[Value, Abstract]:
    """Compute availability: an element of `source` is there at its rank + 1, others at the latest element they read.

    `ranks` has the shape of the source without its batch axis.
    """
    seed = (np.asarray(ranks, np.int32) + 1)[None, ..., None]
    return interpret(graph, availability(), {source: seed}, environment, kept)


#: Exact sets of more input elements than this are not attempted.
MAX_SET = 1 << 14


class TooLarge(Exception):
    """An analysis that would need more memory than it may take; the claim stays undecided."""


def support(
    graph: Graph, source: str, output: str, environment: Mapping[str, int], over: int | None = None
) -> AtMost[Array]:
    """Bound from above which inputs each output element depends on: bool [output elements, source elements].

    The elements along axis `over` of the output count as one, which depends on what any of them does.

    The sets are those of one example.
    """
    return AtMost(sets(graph, source, output, environment, over).value.unpack())


def sets(
    graph: Graph,
    source: str,
    output: str,
    environment: Mapping[str, int],
    over: int | None = None,
    colours: Array | None = None,
) -> AtMost[BitMatrix]:
    """Compute `support` with 64 inputs to a word: [output elements, source elements], or colours with `colours`."""
    shape = graph.inputs[source].type.concrete(environment)
    size = int(np.prod(shape))
    count = size if colours is None else int(colours.max()) + 1
    domain, seed = identity(count)
    seed = seed if colours is None else seed[colours]
    value = graph.outputs[output]
    found = interpret(graph, domain, {source: seed.reshape(*shape, domain.words)}, environment, (value,))[
        value
    ]
    if over is not None:  # before the facts are spread out: channels mostly share them
        kept = found.shape[:over] + found.shape[over + 1 :]
        found = domain.make(kept, domain.reduce(found, [over]).squeeze(over))
    return AtMost(BitMatrix(np.ascontiguousarray(found.full()).reshape(-1, domain.words), count))


def identity(size: int) -> tuple[Domain, Array]:
    """Return the domain of sets of `size` elements, and the set of each element alone, [size, words].

    Raises `TooLarge`.
    """
    if size > MAX_SET:
        raise TooLarge(f"exact sets of {size} inputs are more than the {MAX_SET} that are attempted")
    domain, index = bitsets(size), np.arange(size, dtype=np.uint64)
    reserve(2 * size * domain.words * 8)
    seed = np.zeros((size, domain.words), np.uint64)
    seed[np.arange(size), (index >> np.uint64(6)).astype(int)] = np.uint64(1) << (index & np.uint64(63))
    return domain, seed


@dataclass(frozen=True, slots=True)
class Step:
    """One element on a path: of which node's which output."""

    node: Node
    output: int
    index: tuple[int, ...]


def witness(
    graph: Graph,
    memory: Mapping[Value, Abstract],
    environment: Mapping[str, int],
    value: Value,
    index: tuple[int, ...],
) -> list[Step]:
    """Trace a path from an input element to element `index` of `value`, along which tau never changes; input first.

    At each node the element it read is found by bisection over the candidates with the same tau, asking the
    primitive's own dependence rule; so no primitive needs a rule of its own for this.
    """
    domain = availability()
    target = int(memory[value].full()[(*index, 0)])
    path: list[Step] = []
    while True:
        node = graph.node(value)
        path.append(Step(node, value.index, index))
        if not node.inputs:
            return path[::-1]
        for position, source in enumerate(node.inputs):
            candidates = np.flatnonzero(memory[source].full()[..., 0] == target)
            if candidates.size and _reaches(
                node, memory, environment, domain, position, candidates, value, index
            ):
                break
        else:
            raise AssertionError(f"no input of {node.op.name} explains tau {target}")
        while candidates.size > 1:
            half = candidates[: candidates.size // 2]
            hit = _reaches(node, memory, environment, domain, position, half, value, index)
            candidates = half if hit else candidates[candidates.size // 2 :]
        index = tuple(int(i) for i in np.unravel_index(candidates[0], memory[source].shape))
        value = source


def _reaches(
    node: Node,
    memory: Mapping[Value, Abstract],
    environment: Mapping[str, int],
    domain: Domain,
    position: int,
    candidates: Array,
    value: Value,
    index: tuple[int, ...],
) -> bool:
    """Whether an output element depends on any of these elements of one input."""
    inputs: list[Abstract] = []
    for i, source in enumerate(node.inputs):
        known = memory[source]
        facts = np.zeros((*known.shape, 1), np.int32)
        if i == position:
            facts.reshape(-1)[candidates] = 1
        inputs.append(replace(known, facts=facts))
    result = node.op.bind(environment).depend(domain, *inputs)[value.index]
    return bool(result.full()[(*index, 0)])


def elements(indices: Sequence[int]) -> str:
    """Format the index of an element without its batch axis: `[3, 1]`."""
    return f"[{', '.join(str(i) for i in indices[1:])}]"
