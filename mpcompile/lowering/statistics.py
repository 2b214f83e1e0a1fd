"""The program `statistics`: mean and spread of what each `standardise` reads, for one batch.

Outputs, for the path of each layer or bijector:

    count/<path>    [C]  numbers that are there: neither missing nor padding
    mean/<path>     [C]  their mean; 0 where there are none
    squares/<path>  [C]  the sum of their squared distances from that mean

Two such triples of different batches add up to that of both (Chan, Golub and LeVeque 1983, eq. 1.5), so the runner reads
the training split once, in batches (`runner/beginning.py`). Before the first step no weight means anything: so values
that weights make have no statistics, and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpcompile import ops
from mpcompile.diagnostics import error
from mpcompile.ir import STATISTICS, Parameter, Stack, Value
from mpcompile.layers.context import Context, Standardised
from mpcompile.lowering import terms
from mpcompile.lowering.inference import objective
from mpcompile.lowering.statements import Statements
from mpcompile.ops import build as F
from mpcompile.ops.traits import Elementwise, Movement

PROGRAM = "statistics"


def derive(m: Statements, loss: Context) -> None:
    """Derive the program, if the loss standardises a value.

    Raises `SpecError` (MP217) for a value that is not made of variables alone.
    """
    for uses in loss.standardised.values():
        for seen in uses:
            _check(loss, seen)
    if loss.standardised:
        p = m.start(PROGRAM)
        m.read(p, *m.fields)
        objective(m, p)
        terms.penalty(m, p)
        m.finish(p, _outputs(p.ctx))


def _check(ctx: Context, seen: Standardised) -> None:
    if seen.looped:
        raise error("MP217", "`standardise` stands in a loop, and statistics are taken of the data as a whole", seen.span,
                    help="name the value before it: `u = v -> standardise` at the top, and read `u`")  # fmt: skip
    if any(isinstance(n.op, Parameter | Stack) for n in ctx.b.graph.made_of(seen.value)):
        raise error(
            "MP217", "`standardise` reads a value that weights make, and statistics are taken before training",
            seen.span, help="put `standardise` first, on the variable itself: `x -> standardise -> dense(8)`; what "
            "weights make is normalised by layer_norm, batch_norm, or in a flow by actnorm",
        )  # fmt: skip


def _outputs(ctx: Context) -> dict[str, Value]:
    """Build the statistics of all values that a program standardises; several uses of one layer are counted together."""
    found: dict[str, Value] = {}
    there: dict[Value, Value | None] = {}
    for path, uses in ctx.standardised.items():
        with ctx.b.within((), uses[0].span):
            found |= _moments(ctx, path, [(s, _present(ctx, s, there)) for s in uses])
    return found


def _moments(ctx: Context, path: str, uses: Sequence[tuple[Standardised, Value]]) -> Mapping[str, Value]:
    b = ctx.b

    def total(parts: Sequence[Value]) -> Value:
        sums = [
            F.sum_axes(b, v, [a for a in range(v.type.rank) if a != s.axis])
            for v, (s, _) in zip(parts, uses, strict=True)
        ]
        result = sums[0]
        for other in sums[1:]:
            result = F.add(b, result, other)
        return result

    count = total([w for _, w in uses])
    mean = F.div(b, total([F.mul(b, s.value, w) for s, w in uses]), F.maximum(b, count, 1.0))
    squares = []
    for s, w in uses:
        shape = (*mean.shape, *(1,) * (s.value.type.rank - s.axis - 1))
        centred = F.mul(b, F.sub(b, s.value, F.reshape(b, mean, shape)), w)
        squares.append(F.mul(b, centred, centred))
    results = (count, mean, total(squares))
    return {f"{kind}{path}": value for kind, value in zip(STATISTICS, results, strict=True)}


def _present(ctx: Context, seen: Standardised, there: dict[Value, Value | None]) -> Value:
    """Return 1 for each number that counts and 0 for the others, in the shape of the value."""
    b, x = ctx.b, seen.value
    weight = F.add(b, ctx.zeros(x.shape), 1.0)
    if (observed := _observed(ctx, x, there)) is not None:
        weight = F.mul(b, weight, observed)
    for axis in range(1, x.type.rank):
        present = ctx.present_along(x.shape[axis]) if ctx.lengths else None
        if present is not None:
            shape = (x.shape[0], *(x.shape[a] if a == axis else 1 for a in range(1, x.type.rank)))
            weight = F.mul(b, weight, F.to_float(b, F.reshape(b, present, shape)))
    return weight


def _observed(ctx: Context, x: Value, there: dict[Value, Value | None]) -> Value | None:
    """Return which elements are made of values that are there, 0 or 1, by the operations that lead to x.

    None where all are. It follows operations of single elements, and those that move elements; what another one makes
    counts as there.
    """
    if x in there:
        return there[x]
    b, node = ctx.b, ctx.b.graph.node(x)
    found: Value | None = None
    if x in ctx.missing:
        found = F.to_float(b, ctx.missing[x])
    elif isinstance(node.op, Elementwise):
        for v in node.inputs:
            if (one := _observed(ctx, v, there)) is not None:
                found = one if found is None else F.mul(b, found, one)
        if found is not None and found.shape != x.shape:
            found = F.add(b, ctx.zeros(x.shape), found)
    elif isinstance(node.op, Movement | ops.Concat):
        parts = [_observed(ctx, v, there) for v in node.inputs]
        if any(p is not None for p in parts):
            whole = [
                F.add(b, ctx.zeros(v.shape), 1.0) if p is None else p
                for v, p in zip(node.inputs, parts, strict=True)
            ]
            found = b.emit(node.op, *whole)
    there[x] = found
    return found


__all__ = ["derive"]
