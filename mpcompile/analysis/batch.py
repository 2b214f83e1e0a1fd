"""The axis of every value that counts the examples, and the operations that act along it.

A row of a result is a function of the same row of the inputs when every operation on the way keeps the examples apart.
Sizes say where they are: the batch is the axis of size `N`, and a value without one is the same for all examples.
Each primitive says along which axes its operands run with its result; so one walk over a graph, bodies of loops included,
decides for every size of a batch.

Other axes may be merged behind the batch, `N k`: then a block of k rows is that of one example. Such an axis runs with
one of the same size, and a reshape keeps the examples apart where as many elements stand before them as after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mpcompile import ops
from mpcompile.ir import (
    EXAMPLES,
    STATE,
    TERMS,
    Graph,
    Module,
    Node,
    Primitive,
    Symbolic,
    Type,
    product,
    symbol,
    symbols,
)
from mpcompile.ir.leaves import Leaf

BATCH = symbol("N")
#: The role of the frame of a term of the loss that compares the examples of a batch.
WHOLE = "batch"

#: Where the examples of a node's inputs are, and of its results; None for what has none.
Axes = Sequence[int | None]


@dataclass(frozen=True, slots=True)
class Mixing:
    """An operation that acts along the axis of the examples. `node` stands outside of every loop."""

    node: Node
    reason: str
    op: Primitive


class _Acts(Exception):
    """A value in which examples are not one axis of their own."""


def mixing(graph: Graph, apart: set[int] | None = None) -> Iterator[Mixing]:
    """Yield the operations of a program that act along the batch, in order.

    Raises `NoRule` for a primitive without a rule.

    `apart` has the nodes that are known to act along no batch, of programs that share some, and takes those of
    this one.
    """
    apart = set() if apart is None else apart
    for node in graph.nodes():
        if node.id in apart:
            continue
        if found := _mixes(node):
            yield Mixing(node, *found)
        else:
            apart.add(node.id)


def _mixes(node: Node) -> tuple[str, Primitive] | None:
    op = node.op
    try:
        inputs, results = [batch_axis(v.type) for v in node.inputs], [batch_axis(t) for t in node.types]
    except _Acts as reason:
        return str(reason), op
    if isinstance(op, ops.Scan):
        return _loop(op, inputs)
    read = inputs.count(None) < len(inputs)
    if read and None in results:
        return "it joins all examples", op
    if results[0] is None or isinstance(op, Leaf):
        return None
    if isinstance(op, ops.Reshape) and inputs[0] is not None:
        before, after = product(node.shapes[0][: inputs[0]]), product(node.types[0].shape[: results[0]])
        return None if before == after else (f"it {op.mixes}", op)
    rows = {t.shape[a] for t, a in zip((v.type for v in node.inputs), inputs, strict=True) if a is not None}
    if read and rows != {node.types[0].shape[results[0]]}:
        return "it lays examples end to end", op
    if read:
        maps = node.along
        apart = all(a is None or m.get(a) == results[0] for a, m in zip(inputs, maps, strict=True))
    else:
        apart = results[0] in op.repeats(node.shapes, node.types[0].shape)
    return None if apart else (f"it {op.mixes}", op)


@lru_cache(1 << 12)  # programs have many values of few types
def batch_axis(type_: Type) -> int | None:
    """Return the axis that counts the examples, or None. Raises `_Acts` where it is not one axis alone."""
    found = [i for i, size in enumerate(type_.shape) if not isinstance(size, int) and "N" in symbols(size)]
    if len(found) > 1:
        raise _Acts("it pairs every example with every other")
    if found and not _in_blocks(type_.shape[found[0]]):
        raise _Acts("it lays examples end to end")
    return found[0] if found else None


def _in_blocks(size: int | Symbolic) -> bool:
    """Whether a size is the number of examples times that of one's rows."""
    try:
        each = size // BATCH if isinstance(size, Symbolic) else size
    except ValueError:
        return False
    return isinstance(each, int) or "N" not in symbols(each)


def _counts(op: Primitive) -> bool:
    """Whether the number of examples is an attribute."""
    return any(
        isinstance(s, Symbolic) and "N" in symbols(s)
        for a in op.attributes().values()
        for s in (a if isinstance(a, tuple) else (a,))
    )


def _loop(op: ops.Scan, inputs: Axes) -> tuple[str, Primitive] | None:
    _, scanned, _ = op.split(inputs)
    if op.axis in scanned or _counts(op):
        return "it goes from example to example", op
    for node in op.body.nodes():
        if found := _mixes(node):
            return found
    return None


# --- what is meant to read the whole batch ---


@dataclass(frozen=True, slots=True)
class WholeBatch:
    """The reads of the whole batch by `loss`: layers and terms that mean to, as the spec writes them, and all others."""

    statistics: Mapping[str, Sequence[Node]]
    others: Sequence[Mixing]


def whole_batch(module: Module, apart: set[int] | None = None) -> WholeBatch:
    """Separate the statistics of layers from all else that acts along the batch in `loss`.

    A layer that keeps statistics takes them of its batch, and a term may compare examples; outside of every layer `loss`
    takes means.

    `apart` is that of `mixing`.
    """
    loss = module.programs["loss"]
    kept = [name.removeprefix(STATE) for name in loss.outputs if name.startswith(STATE)]
    statistics: dict[str, list[Node]] = {}
    others: list[Mixing] = []
    for found in mixing(loss, apart):
        node = found.node
        summed = isinstance(found.op, ops.Sum) and found.op is node.op
        if terms := [frame for frame in node.scope if frame.role == WHOLE]:
            statistics.setdefault(terms[0].label, []).append(node)
        elif summed and node.scope and any(name.startswith(f"{node.path}.") for name in kept):
            statistics.setdefault(node.scope[-1].label, []).append(node)
        elif not summed or node.scope or node.types[0].rank:
            others.append(found)
    return WholeBatch(statistics, others)


def loss_is(module: Module, layers: Iterable[str]) -> str:
    """Return, as text, what `loss` averages over a batch, and why it is not -log_prob.

    `layers` take statistics of the batch.
    """
    programs, loss = module.programs, module.programs["loss"]
    score = next((programs[k] for k in ("log_prob", "elbo") if k in programs), None)
    if score is None:
        return "a criterion over the batch, and no likelihood"
    reasons: list[str] = []
    if "elbo" in programs:
        reasons.append("a bound of log Z" if TERMS in score.outputs else "a bound of it")
    if "objective" in score.outputs:
        reasons.append("a divergence with a weight of its own")
    if layers := list(layers):
        reasons.append(f"statistics of the batch in {', '.join(layers)}")
    if TERMS in loss.outputs and TERMS not in score.outputs:
        reasons.append("terms that are no density")
    if module.weighted:
        reasons.append(f"weights or smoothed labels of {', '.join(sorted(module.weighted))}")
    if drawn := [n for n in module.noise["loss"] if n not in module.noise[score.name]]:
        reasons.append(f"noise while training ({', '.join(drawn)})")
    if EXAMPLES in loss.inputs and EXAMPLES not in module.fields:
        reasons.append("a prior on weights")
    text = "the mean of -log_prob over the batch"
    return f"not {text}: {', '.join(reasons)}" if reasons else text


__all__ = ["BATCH", "Mixing", "WholeBatch", "batch_axis", "loss_is", "mixing", "whole_batch"]
