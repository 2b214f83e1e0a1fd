"""Variables of a type with `?`: values may be missing, and what is missing is never read by accident.

A missing number is NaN in the data, a missing class is -1. A program replaces it by a value within the type, which a mask
goes with (`Context.missing`), before anything reads it. Laws of single elements leave missing elements out: given their
parents the elements are independent, so the law of the others is the marginal one. An expression says what it reads:
`fill(x, v)` is x with v where it is missing, `observed(x)` is 1 where it is there and 0 elsewhere.
"""

from __future__ import annotations

from mpcompile import ops
from mpcompile.diagnostics import Span, error
from mpcompile.distributions import Distribution, Elementwise
from mpcompile.ir import DType, Field, Value
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers import Context
from mpcompile.layers.axes import aligned, described
from mpcompile.ops import build as F

#: Functions of a variable with missing values, by name.
FUNCTIONS = ("fill", "observed")
USAGE = "fill(x, 0), observed(x)"
#: Every number of the data is larger; no comparison with NaN holds.
_LEAST = -1e38


def split(ctx: Context, raw: Value, field: Field) -> tuple[Value, Value]:
    """Return the values of a variable, within its type where they are missing, and a mask of those that are there."""
    b = ctx.b
    if raw.dtype is DType.INT:
        there = b.emit(ops.Less(), b.constant(-1), raw)
        return b.emit(ops.Where(), there, raw, b.constant(0)), there
    there = F.less(b, _LEAST, raw)
    return F.where(b, there, raw, _within(field)), there


def _within(field: Field) -> float:
    """A number at which laws of the type are finite."""
    if field.interval is not None:
        low, high = field.interval
        return low + 1.0 if high == float("inf") else (low + high) / 2
    return float(field.low)


def check_law(field: Field, law: Distribution, span: Span) -> None:
    """Raise MP216 for a law that reads elements of its own variable, which may be missing."""
    if field.optional and not isinstance(law, Elementwise):
        raise error("MP216", f"{law.keyword} reads elements of `{field.name}`, which may be missing", span,
                    help="laws of single elements leave missing ones out: normal, ... (mpcompile list)")  # fmt: skip


def check_filled(name: str, field: Field | None, law: bool, exact: bool, span: Span) -> None:
    """Raise MP411 for what no step sums over where it is missing.

    `field` is the variable, `law` whether the recurrence has its law, and `exact` whether it is stated to be summed out.
    """
    if field is None or not law:
        raise error("MP411", f"`{name}` has no law in this recurrence, so no class has a probability", span,
                    help=f"{name} ~ categorical(logits = ...)")  # fmt: skip
    if not field.optional:
        raise error("MP411", f"`{name}` is never missing: its type has no `?`", span,
                    help=f"{field.role} {name}: category(10)[time]?")  # fmt: skip
    if field.base not in ("category", "binary"):
        raise error("MP411", f"`{name}` is {field.kind}, and no sum over its values is taken", span,
                    help=f"its law leaves a missing one out; fill({name}, 0) reads it")  # fmt: skip
    if any(size != 1 for size in field.type.shape[2:]):
        raise error("MP411", f"`{name}` of a step has axes, and all of its elements at once have too many states", span,
                    help=f"one class for each step; or fill({name}, 0) reads it")  # fmt: skip
    if not exact:
        raise error("MP411", f"the missing `{name}` of a step is summed out, and has no posterior of its own", span,
                    help=f"missing {name} ~ exact")  # fmt: skip


def refuse(name: str, span: Span) -> None:
    """Raise MP216 for a variable with missing values that is read as it is."""
    raise error("MP216", f"`{name}` may be missing, and is read as if it were there", span,
                help=f"fill({name}, 0) reads 0 where it is missing; observed({name}) says where it is there")  # fmt: skip


def filled(ctx: Context, x: Value, by: Value) -> Value:
    """Emit `fill(x, by)`: a value with another one where it is missing.

    Axes of `by` are within those of x; one channel stands for a number, too. Raises `SpecError` (MP214) for others.
    """
    if x not in ctx.missing:
        return x
    b = ctx.b
    own, wide = ctx.axes_of(x), ctx.axes_of(by)
    if (
        CHANNEL in wide
        and CHANNEL not in own
        and by.shape[by.type.rank - len(wide) + wide.index(CHANNEL)] == 1
    ):
        wide = tuple(name for name in wide if name != CHANNEL)
        shape = [s for s, name in zip(ctx.sizes_of(by), ctx.axes_of(by), strict=True) if name != CHANNEL]
        by = ctx.name_axes(F.reshape(b, by, (*by.shape[: by.type.rank - len(ctx.axes_of(by))], *shape)), wide)
    if alone := [name for name in wide if name not in own]:
        raise ctx.fail("MP214", f"`fill` has {described(ctx, by)} for {described(ctx, x)}, and `{alone[0]}` is "
                       "no axis of it", help=f"{alone[0]} has to go first: drop, at, mean or sum over it")  # fmt: skip
    (x_, by_), axes = aligned(ctx, "`fill`", (x, F.cast(b, by, x.dtype)))
    value = ctx.name_axes(b.emit(ops.Where(), ctx.missing[x], x_, by_), axes)
    classes = ctx.classes_of(x)
    if classes is not None:
        ctx.classes[value] = classes
    return value


def observed(ctx: Context, x: Value) -> Value:
    """Emit `observed(x)`: 1 where a value is there, and 0 where it is missing."""
    axes = ctx.axes_of(x)
    if x not in ctx.missing:
        return ctx.name_axes(F.add(ctx.b, ctx.zeros(x.shape), 1.0), axes)
    return ctx.name_axes(F.to_float(ctx.b, ctx.missing[x]), axes)
