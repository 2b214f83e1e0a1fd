"""Lengths at which a program is tried, and the length beyond which longer ones show nothing new.

Where the sets of a dependence analysis are exact, a path that leads ahead fixes one place for each value on it. Each
place differs from the source's by an element of that value's offset set, and a set that goes on for ever can be left at
its last break point. So all places of some path fit in a window of the span of the break points, and a longer sequence
contains the window. After a flip or an operation over a whole axis the sets are "everything" and a shift behind it no
longer shows in them; so what operations move by themselves is counted beside the span. Where sets are upper bounds the
horizon is no argument; a claim that reaches it without an answer is undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Generic, TypeVar

from mpcompile import ops
from mpcompile.analysis.stencils import offset_sets
from mpcompile.analysis.verdict import Sizes, free_symbols
from mpcompile.ir import Constant, DType, Graph, Node, NoRule, Symbolic, numbers, substitute, symbols
from mpcompile.ir.stencils import Stencil
from mpcompile.ops.truth import Comparison

T = TypeVar("T")

#: The first lengths that are tried; then they double. A leak can be there at two steps and not at nine.
FIRST = (1, 2, 3, 5, 8)
#: A value with more elements than this is not attempted.
MAX_ELEMENTS = 1 << 24
#: All runs of one search together may evaluate the rules of this many nodes, those of a loop once for each step.
MAX_NODES = 1 << 17
#: Where lengths of several symbols combine to more than this, only the first of `_combinations` are tried.
MAX_COMBINATIONS = 64


@dataclass(frozen=True, slots=True)
class Search(Generic[T]):
    """The result of a search: `found` at the sizes `at`, or nothing at all of `checked`.

    `complete` says whether the horizon was reached.
    """

    found: T | None
    at: Sizes
    checked: tuple[Sizes, ...]
    horizon: Sizes
    complete: bool


def search(graph: Graph, run: Callable[[Sizes], T | None]) -> Search[T]:
    """Run something at growing sizes of a program until it finds something, then at the shortest that still does."""
    limit, checked, work = horizon(graph), list[Sizes](), 0
    complete = True
    for sizes in _combinations(limit):
        if not _feasible(graph, sizes):
            continue
        work += _cost(graph, sizes)
        if work > MAX_NODES or _largest(graph, sizes) > MAX_ELEMENTS:
            complete = False
            break
        found = run(sizes)
        if found is not None:
            return _shortest(graph, run, found, sizes, checked, limit)
        checked.append(sizes)
    return Search(None, {}, tuple(checked), limit, complete)


def _shortest(
    graph: Graph, run: Callable[[Sizes], T | None], found: T, sizes: Sizes, checked: list[Sizes], limit: Sizes
) -> Search[T]:
    """Bisect each symbol between the last sizes that were clean and those that are not."""
    at = dict(sizes)
    for name in limit:
        clean = [
            c[name] for c in checked if c[name] < at[name] and all(c[k] == at[k] for k in at if k != name)
        ]
        low, high = max(clean, default=0), at[name]
        while high - low > 1:
            middle = (low + high) // 2
            tried = {**at, name: middle}
            shorter = run(tried) if _feasible(graph, tried) else None
            if shorter is None:
                low = middle
            else:
                high, found = middle, shorter
        at[name] = high
    return Search(found, at, tuple(checked), limit, True)


def _combinations(limit: Sizes) -> Iterator[dict[str, int]]:
    """Lengths of every symbol, each once, short ones first.

    Of several symbols first those in which one alone is long, or all are; then the others, while there are few.
    """
    each, longest = {name: lengths(top) for name, top in limit.items()}, max(limit.values(), default=1)
    told: set[tuple[int, ...]] = set()
    first = [
        tuple(min(n if alone in (name, "") else 1, top) for name, top in limit.items())
        for n in lengths(longest)
        for alone in (*limit, "")
    ]
    rest = list(islice(product(*each.values()), MAX_COMBINATIONS + 1))
    others = sorted(rest, key=lambda v: (sum(v), v)) if len(rest) <= MAX_COMBINATIONS else []
    for chosen in (*first, *others):
        if chosen not in told:
            told.add(chosen)
            yield {"N": 1, **dict(zip(limit, chosen, strict=True))}


def lengths(top: int) -> list[int]:
    """Return 1, 2, 3, 5, 8, 16, 32, ... up to a number, which is the last."""
    found, n = [k for k in FIRST if k < top], 16
    while n < top:
        found.append(n)
        n *= 2
    return [*found, top]


# --- the horizon ---


def horizon(graph: Graph) -> dict[str, int]:
    """Return the length of every free symbol from which on nothing new shows: max(A, B) + 2 x the largest period + 2.

    A is the span of the break points of all offset sets about inputs along that symbol, of all values; B what
    operations move by themselves, in places of the source.
    """
    names = sorted(free_symbols(graph))
    spans, period = dict.fromkeys(names, 0), 1
    for source, value in graph.inputs.items():
        along = {
            i: symbols(s) & set(names) for i, s in enumerate(value.shape) if i and isinstance(s, Symbolic)
        }
        if not along:
            continue
        sets = offset_sets(graph, source)
        for found in sets.values.values():
            if isinstance(found, NoRule):
                continue
            period = max(period, *(max(a.own, a.step) for a in found.axes if a is not None), 1)
            for k, axis in enumerate(sets.axes):
                for name in along[axis]:
                    spans[name] = max(spans[name], _span(found, k))
    moved = _moved(graph) * period
    return {name: max(span, moved) + 2 * period + 2 for name, span in spans.items()}


def _span(x: Stencil, axis: int) -> int:
    """Return the distance between the lowest and highest break points of all sets of a value along one axis.

    Its own place is one of the points.
    """
    low = high = 0
    for region in x.regions:
        if region.where.bits.shape[0] > 1:
            low = min(low, region.where.origin[0])
            high = max(high, region.where.origin[0] + len(region.where.bits))
        seen = {id(r): r for r in region.cell.facts.reshape(-1) if r}
        for reads in seen.values():
            for _, s in reads.sets:
                if s.bits.shape[axis] > 1:
                    low = min(low, s.origin[axis])
                    high = max(high, s.origin[axis] + s.bits.shape[axis])
    return high - low


def _moved(graph: Graph) -> int:
    """Return by how many places operations move elements along symbolic axes, all of them together."""
    total = 0
    for node in graph.nodes():
        long = [isinstance(s, Symbolic) for s in node.inputs[0].shape] if node.inputs else []
        match node.op:
            case ops.Pad() as op:
                total += sum(sum(pad) for *pad, grows in zip(op.before, op.after, long, strict=True) if grows)
            case ops.Slice() as op if long[op.axis]:
                total += abs(_fixed_part(op.start))
            case ops.Concat() as op if isinstance(node.types[0].shape[op.axis], Symbolic):
                parts = [v.shape[op.axis] for v in node.inputs]
                total += sum(s for s in parts if isinstance(s, int)) if len(parts) > 1 else 0
            case ops.Conv() | ops.ConvTranspose() as op:
                kernel = numbers(node.inputs[1].shape[2:])
                fields = zip(kernel, op.dilation, op.padding, long[2:], strict=True)
                total += sum((k - 1) * d + max(pad) for k, d, pad, grows in fields if grows)
            case ops.MaxPool() | ops.AvgPool() as op:
                total += sum(k - 1 for k, grows in zip(op.kernel, long[2:], strict=True) if grows)
            case Constant() as op if op.stored.size == 1 and node.types[0].dtype is DType.INT:
                total += abs(int(op.stored.item())) if _compares(graph, node) else 0
            case ops.Scan() as op:
                total += 1 + _moved(op.body)
    return total + sum(cut.left * _moved(body) for cut in graph.cuts for body in cut.op.bodies())


def _compares(graph: Graph, node: Node) -> bool:
    """Whether a number meets others in a comparison, a sum or a difference of whole numbers."""
    return any(isinstance(user.op, Comparison | ops.Add | ops.Sub) for user in graph.users(node.id))


def _fixed_part(size: int | Symbolic) -> int:
    if isinstance(size, int):
        return size
    return sum(c for monomial, c in size.terms if not monomial)


# --- cost ---


def _feasible(graph: Graph, sizes: Sizes) -> bool:
    """Whether every value has at least one element at some sizes."""
    return all(n >= 1 for node in graph.nodes() for t in node.types for n in t.concrete(sizes))


def _largest(graph: Graph, sizes: Sizes) -> int:
    """Elements of the largest value."""
    largest = 0
    for node in graph.nodes():
        for t in node.types:
            count = 1
            for n in t.concrete(sizes):
                count *= n
            largest = max(largest, count)
    return largest


def _cost(graph: Graph, sizes: Sizes) -> int:
    """Nodes that a run evaluates, the body of a loop once for each step."""
    total = 0
    for node in graph.nodes():
        total += 1
        if isinstance(node.op, ops.Scan):
            op = node.op
            steps = substitute(op.trip_count([v.type for v in node.inputs]), sizes)
            total += steps * _cost(op.body, sizes)
    return total


__all__ = ["FIRST", "Search", "horizon", "lengths", "search"]
