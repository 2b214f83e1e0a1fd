"""Path lengths: the shortest path between two positions (Vaswani et al. 2017, table 1).

A path runs from an element of an input along the operations that read it. Its length is the number of operations on
it that *mix*: that join, within one of their inputs, elements which differ in what they see, or in how far away
they see it. Attention, a convolution and a masked dense layer mix; a function of one element, a sum of two values
(a skip), a shift, and a dense layer over the features of one position do not. A step of a loop counts as one where a
carry is handed to the next. The path length of a model is that of the shortest path from a source position to an
output, maximised over all pairs that any path joins: 1 for attention, n - 1 for a recurrence over n steps, one for
each layer of convolutions without skips, log n of them where they are dilated.

A min-plus run of the primitives' own dependence rules, exact at the length at which it runs. A layer after which all
elements see the same at the same distance has no positions any more, and what follows it does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import TooLarge, environment_for
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.stencils import axes_of, spatial_axes
from mpcompile.ir import (
    Abstract,
    Array,
    Claim,
    Domain,
    Graph,
    Input,
    Module,
    Node,
    Parameter,
    Primitive,
    Symbolic,
    Value,
)
from mpcompile.ir.facts import same
from mpcompile.ops.traits import OneToOne

#: More source positions than this are not attempted.
MAX_POSITIONS = 1 << 10
#: More facts (elements of one mixing operation, times positions) than this are not attempted.
MAX_FACTS = 1 << 27

#: A fact is FAR minus the distance, so that the nearest wins a maximum; 0 says that no path joins them.
FAR = 1 << 20

#: Lengths at which a sequence of symbolic length is measured, each twice the one before.
LENGTHS = (8, 16, 32, 64)


class Distances(Domain):
    """Facts are one closeness for each source position."""

    def _contract_words(self, facts: Array, live: Array) -> Array:
        """The union of bits does not do here: take the maximum over k for one column j after the other."""
        columns = [
            self.join.reduce(np.where(live[..., j, None], facts, self.dtype.type(0)), axis=-2, keepdims=True)
            for j in range(live.shape[-1])
        ]
        return np.concatenate(columns, -2)


def distances(
    graph: Graph, source: str, environment: Mapping[str, int], positions: Array
) -> dict[str, Array]:
    """Return, for each output, [*shape, positions]: the length of the shortest path, -1 where there is none.

    `positions` numbers the position of each element of the source, in its shape or in that of one example.
    Raises `NoRule` and `TooLarge`.
    """
    count = int(positions.max()) + 1
    if count > MAX_POSITIONS:
        raise TooLarge(
            f"paths between {count} positions are more than the {MAX_POSITIONS} that are attempted"
        )
    domain = Distances(np.maximum, np.dtype(np.int32), count)
    seed = np.zeros((*positions.shape, count), np.int32)
    np.put_along_axis(seed, positions[..., None], FAR, -1)
    memory: dict[Value, Abstract] = {}
    last = {v: node for node in graph.nodes() for v in node.inputs} | dict.fromkeys(graph.outputs.values())
    last |= dict.fromkeys(v for cut in graph.cuts for pair in cut.ends or () for v in pair)
    for node in graph.nodes():
        if isinstance(node.op, Input | Parameter):
            shape = node.types[0].concrete(environment)
            own = isinstance(node.op, Input) and node.op.path == source
            batched = seed if positions.ndim == len(shape) else seed[None]
            memory[node.outputs[0]] = domain.make(shape, batched if own else None)
        else:
            results = _apply(domain, node, [memory[v] for v in node.inputs], environment)
            memory.update(zip(node.outputs, results, strict=True))
        for v in {v for v in node.inputs if last[v] is node}:  # nobody else asks: tables are large
            del memory[v]
    graph.settle(lambda v, w: same(memory[v], memory[w]))
    return {
        name: np.where(memory[v].full() > 0, FAR - memory[v].full(), -1) for name, v in graph.outputs.items()
    }


def _apply(
    domain: Domain, node: Node, inputs: Sequence[Abstract], environment: Mapping[str, int]
) -> Sequence[Abstract]:
    op = node.op.bind(environment) if environment else node.op  # within a loop all is bound
    if isinstance(op, ops.Scan):
        return _loop(domain, op, inputs)
    results = op.depend(domain, *inputs)
    if isinstance(op, OneToOne) or not any(x.facts.any() for x in inputs):
        return results
    mixed = [_mixes(domain, op, inputs, i) for i, x in enumerate(inputs) if _varies(x)]
    return [_longer(domain, r, [m[k] for m in mixed]) if mixed else r for k, r in enumerate(results)]


def _varies(x: Abstract) -> bool:
    """Whether elements of a value differ in what they see."""
    return any(s > 1 for s in x.facts.shape[:-1])


def _mixes(domain: Domain, op: Primitive, inputs: Sequence[Abstract], position: int) -> list[Array]:
    """Return, for each result, which elements join elements of one input that differ: bool, broadcastable to its
    shape.

    The farthest of what is read comes from the rule itself: a maximum over complements is a minimum. It is compared
    with the nearest; elements that see nothing (zeros, weights) are not counted.
    """
    read = inputs[position]
    if read.facts.size > MAX_FACTS:
        raise TooLarge(
            f"distances of {read.facts.size} facts are more than the {MAX_FACTS} that are attempted"
        )
    quiet = [replace(x, facts=domain.make(x.shape).facts) for x in inputs]
    some = read.facts.any(-1, keepdims=True)
    nearest = op.depend(domain, *quiet[:position], read, *quiet[position + 1 :])
    flipped = np.where(some, FAR + 1 - read.facts, 0).astype(domain.dtype)
    farthest = op.depend(domain, *quiet[:position], replace(read, facts=flipped), *quiet[position + 1 :])
    return [
        ((near.facts != FAR + 1 - far.facts) & (far.facts > 0)).any(-1)
        for near, far in zip(nearest, farthest, strict=True)
    ]


def _longer(domain: Domain, x: Abstract, where: Sequence[Array]) -> Abstract:
    """One more on every path through the elements where any of these holds."""
    any_of = np.logical_or.reduce(np.broadcast_arrays(*where)) if len(where) > 1 else where[0]
    if not any_of.any():
        return x
    facts = x.facts - (any_of[..., None] & (x.facts > 0)).astype(domain.dtype)
    return domain.make(x.shape, facts, x.zero, x.neginf, x.constant)


def _loop(domain: Domain, op: ops.Scan, inputs: Sequence[Abstract]) -> Sequence[Abstract]:
    """A loop step by step; handing a carry on costs one."""
    carries, scanned, captured = op.split(inputs)
    steps = scanned[0].shape[op.axis] if scanned else op.length
    assert isinstance(steps, int)  # bound, and `Scan.infer` has refused a loop without either
    plan, rows = op.body.nodes(), dict[int, list[Abstract]]()
    for n, t in enumerate(reversed(range(steps)) if op.reverse else range(steps)):
        handed = [_longer(domain, c, [np.ones((1,) * len(c.shape), bool)]) if n else c for c in carries]
        slices = [_take(domain, x, op.axis, t) for x in scanned]
        step = domain.constant(np.asarray(t))
        given = zip(op.body.inputs.values(), (*handed, *slices, *captured, step), strict=True)
        memory = dict(given)
        for node in plan:
            if not isinstance(node.op, Input):
                results = _apply(domain, node, [memory[v] for v in node.inputs], {})
                memory.update(zip(node.outputs, results, strict=True))
        made = [memory[v] for v in op.body.outputs.values()]
        carries, rows[t] = op.divide(made)
    stacks = zip(*(rows[t] for t in range(steps)), strict=True)
    return (*carries, *(_stack(domain, ys, op.axis) for ys in stacks))


def _take(domain: Domain, x: Abstract, axis: int, t: int) -> Abstract:
    (one,) = ops.Slice(axis, t, t + 1).depend(domain, x)
    (slice_,) = ops.Reshape(x.shape[:axis] + x.shape[axis + 1 :]).depend(domain, one)
    return slice_


def _stack(domain: Domain, parts: Sequence[Abstract], axis: int) -> Abstract:
    wide = [ops.Reshape((*x.shape[:axis], 1, *x.shape[axis:])).depend(domain, x)[0] for x in parts]
    (whole,) = ops.Concat(axis).depend(domain, *wide)
    return whole


# --- a model ---


@dataclass(frozen=True, slots=True)
class Reach:
    """The pair of positions that is farthest apart at one length of the sequence (None: every size is fixed).

    source, output  an element of each, without its batch
    joined, pairs   of how many pairs (source position, output element) some path joins
    missing         a pair (source, output) that the order of the variable allows and that no path joins, if there is one
    unjoined        how many such pairs there are, of how many that the order allows (`possible`)
    """

    length: int | None
    longest: int
    source: tuple[int, ...]
    output: tuple[int, ...]
    name: str
    joined: int
    pairs: int
    missing: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    unjoined: int = 0
    possible: int = 0


def program_of(module: Module, name: str) -> Graph | None:
    """Return the program in which paths from a variable are asked for; None where none reads it."""
    for wanted in ("conditionals", "predict", "forward", "reconstruct"):
        for program in (f"{wanted}_{name}", wanted):  # the variable's own, where several have one
            graph = module.programs.get(program)
            if graph is not None and name in graph.inputs:
                return graph
    return None


def positions_of(graph: Graph, source: str, environment: Mapping[str, int]) -> Array:
    """Return the position of each element of an input: its step in a sequence, its pixel in an image, else itself."""
    type = graph.inputs[source].type
    shape = type.concrete(environment)[1:]
    along = [a - 1 for a in spatial_axes(type, axes_of(graph, source))] or range(len(shape))
    sizes = [size if a in along else 1 for a, size in enumerate(shape)]
    return np.broadcast_to(np.arange(int(np.prod(sizes))).reshape(sizes), shape)


def order_of(module: Module, name: str) -> Claim | None:
    """Return the claim that a variable is autoregressive, which states its order; None for another variable."""
    claims = (c for c in module.claims if c.kind == "autoregressive" and c.subject == name)
    return next((c for c in claims if c.program in ("conditionals", f"conditionals_{name}")), None)


def before(
    graph: Graph, order: Claim, environment: Mapping[str, int], positions: Array, table: Array
) -> Array:
    """Return a table [*output, positions] of whether all elements at a position come before an output's own element."""
    ranks, axis = ranks_of(graph, order, environment), order.ordering.axis
    own = ranks if axis is None else np.expand_dims(ranks, axis - 1)
    latest = np.zeros(int(positions.max()) + 1, int)
    np.maximum.at(latest, positions.reshape(-1), ranks.reshape(-1))
    return np.broadcast_to(own[..., None], table.shape) > latest


def reach(module: Module, name: str, length: int) -> Reach:
    """Find the farthest pair for one length. Raises `NoRule` and `TooLarge`."""
    graph = program_of(module, name)
    assert graph is not None  # the caller has asked
    environment = environment_for(graph, length)
    positions = positions_of(graph, name, environment)
    found = distances(graph, name, environment, positions)
    best = Reach(length if set(environment) - {"N"} else None, -1, (), (), "", 0, 0)
    joined = pairs = unjoined = possible = 0
    order = order_of(module, name)
    for output, table in found.items():
        per_example = table[0] if table.ndim > 1 else table
        if order is not None:
            may = before(graph, order, environment, positions, per_example)
        else:  # a sequence may be read in one direction only; which, its offset sets say
            may = np.full((), best.length is None)
        open_ = np.logical_and(per_example < 0, may)
        unjoined, possible = (
            unjoined + int(open_.sum()),
            possible + int(np.broadcast_to(may, open_.shape).sum()),
        )
        if open_.any() and best.missing is None:
            *element, position = np.argwhere(open_)[0]
            source = np.argwhere(positions == position)[0]
            best = replace(best, missing=(tuple(map(int, source)), tuple(map(int, element))), name=output)
        joined, pairs = joined + int((per_example >= 0).sum()), pairs + per_example.size
        if per_example.size and int(per_example.max()) > best.longest:
            *element, position = np.unravel_index(int(per_example.argmax()), per_example.shape)
            source = np.argwhere(positions == position)[0]
            best = replace(
                best, longest=int(per_example.max()), name=output, output=tuple(map(int, element)),
                source=tuple(map(int, source)),
            )  # fmt: skip
    return replace(best, joined=joined, pairs=pairs, unjoined=unjoined, possible=possible)


def growth(longest: Sequence[int]) -> str:
    """Return how a quantity grows that was measured at doubling lengths: constant, logarithmic, linear or irregular."""
    steps = [b - a for a, b in pairwise(longest)]
    if not steps or not any(steps):
        return "constant"
    if all(s == steps[0] for s in steps) and steps[0] > 0:
        return "logarithmic"
    if steps[0] > 0 and all(b == 2 * a for a, b in pairwise(steps)):
        return "linear"
    return "irregular"


def reaches(module: Module, name: str) -> list[Reach]:
    """Find the farthest pair at each of `LENGTHS`; once where every size is fixed."""
    first = reach(module, name, LENGTHS[0])
    return [first] if first.length is None else [first, *(reach(module, name, n) for n in LENGTHS[1:])]


def sampling_steps(module: Module, name: str) -> int | Symbolic | None:
    """Return the sequential passes of the network that a draw takes: the distinct ranks of an autoregressive order.

    None for another density.
    """
    for claim in module.claims:
        if claim.kind == "autoregressive" and claim.subject == name:
            ranks, first = claim.ordering.ranks, module.fields[name].type.shape[1]
            if ranks is None:
                return first
            many = int(np.unique(ranks).size)
            return (
                many * first if isinstance(first, Symbolic) else many
            )  # the order within a step of a recurrence
    return None
