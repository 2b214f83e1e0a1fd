"""Find out if the outputs of a program on a batch are the means of its outputs on the shards of that batch.

Shards have equally many rows. One walk over the graph gives each value without a batch its kind; a value with a batch has
rows that are functions of the same rows of the inputs, or it is `OTHER`.

| kind    | the value on a batch is                                    | made by                                   |
| ------- | ---------------------------------------------------------- | ----------------------------------------- |
| `FIXED` | that on each shard                                         | weights, constants, inputs without a batch |
| `COUNT` | the sum over shards, each of which has the same            | a sum over the batch of equal rows        |
| `TOTAL` | the sum over shards                                        | a sum over the batch                      |
| `MEAN`  | the mean over shards                                       | `TOTAL` / `COUNT`, and affine maps of it  |
| `OTHER` | something else                                             | everything else                           |

The rule is conservative: `OTHER` may be a mean that the walk does not see, and no other kind is wrong. A loop whose
operands are all `FIXED`, or rows, keeps them; any other loop is `OTHER`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mpcompile import ops
from mpcompile.analysis.batch import batch_axis, mixing
from mpcompile.ir import STATE, Graph, Node, Primitive, Symbolic, symbols
from mpcompile.ops.traits import Elementwise, Movement, Product


class Kind(StrEnum):
    """The relation of a value on a batch to the same value on its shards."""

    FIXED = "fixed"
    COUNT = "count"
    TOTAL = "total"
    MEAN = "mean"
    ROWS = "rows"
    EQUAL = "equal rows"
    OTHER = "other"


FIXED, COUNT, TOTAL, MEAN, ROWS, EQUAL, OTHER = Kind


@dataclass(frozen=True, slots=True)
class Sharding:
    """The relation of a program to the shards of a batch.

    mixed  a node that keeps an output from being a mean over shards, the first one; None where every output is a mean
    apart  a node that acts along the batch otherwise than by a sum, so that processes cannot share it; None without one
    """

    mixed: Node | None
    apart: Node | None


def sharding(graph: Graph) -> Sharding:
    """Return how a program that gives scalars, and values that are written back, relates to shards of its batch."""
    acting = {m.node.id: m for m in mixing(graph)}
    apart = next((m.node for m in acting.values() if not _sums(m.node)), None)
    kinds: dict[int, Kind] = {}
    for node in graph.nodes():
        kinds[node.id] = _kind(node, [kinds[v.node] for v in node.inputs], node.id in acting)
    wrong = [
        value.node
        for name, value in graph.outputs.items()
        if (not value.shape or name.startswith(STATE)) and kinds[value.node] not in (FIXED, MEAN)
    ]
    if not wrong:
        return Sharding(None, apart)
    behind = graph.ancestors([v for v in graph.outputs.values() if v.node in wrong])
    first = next((n for n in graph.nodes() if n.id in behind and kinds[n.id] is OTHER), graph.node(wrong[0]))
    read = [v.node for v in first.inputs if v.node in acting]
    return Sharding(graph.node(read[0]) if read else first, apart)


def _sums(node: Node) -> bool:
    """Whether a node that acts along the batch sums over it, and keeps nothing of it."""
    sizes = [s for s in node.types[0].shape if isinstance(s, Symbolic)]
    return isinstance(node.op, ops.Sum) and not any("N" in symbols(s) for s in sizes)


def _kind(node: Node, of: Sequence[Kind], acts: bool) -> Kind:
    """Return the kind of a node's results from those of its inputs; `acts` says that it acts along the batch."""
    if acts:
        if not _sums(node):
            return OTHER
        return {EQUAL: COUNT, ROWS: TOTAL}.get(of[0], OTHER)
    if any(batch_axis(t) is not None for t in node.types):
        if not all(k in (FIXED, ROWS, EQUAL) for k in of):
            return OTHER
        if not of:
            return EQUAL if _repeats(node) else ROWS
        if all(k in (FIXED, EQUAL) for k in of) and (_repeats(node) or EQUAL in of):
            return EQUAL if isinstance(node.op, Elementwise | ops.BroadcastTo) else ROWS
        return ROWS
    if all(k is FIXED for k in of):
        return FIXED
    rule = next((rule for kind, rule in _RULES.items() if isinstance(node.op, kind)), None)
    return rule(of) if rule is not None else OTHER


def _repeats(node: Node) -> bool:
    at = batch_axis(node.types[0])
    return at is not None and at in node.op.repeats(node.shapes, node.types[0].shape)


def _same(of: Sequence[Kind]) -> Kind:
    """Keep the kind of linear maps of one operand, and of operands side by side."""
    kinds = set(of)
    if len(kinds) == 1:
        return of[0]
    if kinds <= {FIXED, MEAN}:
        return MEAN
    return TOTAL if kinds <= {COUNT, TOTAL} else OTHER


def _product(of: Sequence[Kind]) -> Kind:
    others = [k for k in of if k is not FIXED]
    return others[0] if len(others) == 1 else OTHER


def _quotient(of: Sequence[Kind]) -> Kind:
    above, below = of
    if below is FIXED:
        return above
    if below is COUNT:
        return {TOTAL: MEAN, COUNT: FIXED}.get(above, OTHER)
    return OTHER


#: Kinds of the results of what takes values without a batch, some of which are not fixed.
_RULES: Mapping[type[Primitive], Callable[[Sequence[Kind]], Kind]] = {
    ops.Div: _quotient,
    ops.Mul: _product,
    Product: _product,
    ops.Add: _same,
    ops.Sub: _same,
    ops.Neg: _same,
    ops.Sum: _same,
    ops.Concat: _same,
    ops.StopGradient: _same,
    Movement: _same,
}

__all__ = ["Kind", "Sharding", "sharding"]
