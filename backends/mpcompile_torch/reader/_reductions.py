"""Operations that join elements along axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from mpcompile import ops
from mpcompile.foreign.formulas import smallest
from mpcompile.ir import DType, Value, numbers
from mpcompile.ops import build
from mpcompile_torch.reader.tape import Call

FLOAT, INT, BOOL = DType.FLOAT, DType.INT, DType.BOOL


def _keep(c: Call) -> bool:
    return bool(c.given.get("keepdim", False))


def _sum(c: Call) -> Value:
    x = c.value("self", c.kind)
    axes = c.axes() if "dim" in c.given else tuple(range(c["self"].ndim))
    return build.sum_axes(c.b, x, axes, _keep(c)) if axes else x


def _mean(c: Call) -> Value:
    x = c.value("self", FLOAT)
    axes = c.axes() if "dim" in c.given else tuple(range(c["self"].ndim))
    return build.mean_axes(c.b, x, axes, _keep(c)) if axes else x


def _largest(sign: int) -> Callable[[Call], Value]:
    def rule(c: Call) -> Value:
        axes = c.axes() if "dim" in c.given else tuple(range(c["self"].ndim))
        return _extreme(c, axes, _keep(c), sign)

    return rule


def _extreme(c: Call, axes: tuple[int, ...], keep: bool, sign: int) -> Value:
    like = INT if c.kind is BOOL else c.kind
    x = c.value("self", like)
    if not axes:
        return c.cast(x, c.kind)
    if sign > 0 and len(axes) == 1 and like is FLOAT:
        found = c.b.emit(ops.Max(axes, keep), c.tape.seen(x, axes[0]))  # a masked score is no maximum
        c.tape.peaks[found] = (x, axes[0])
        return found
    if sign > 0:
        return c.cast(c.b.emit(ops.Max(axes, keep), x), c.kind)
    return c.cast(smallest(c.b, x, axes, keep), c.kind)


def _extreme_at(sign: int) -> Callable[[Call], Value | tuple[Value, ...]]:
    """max and min along an axis, with places; without an axis of everything."""

    def rule(c: Call) -> Value | tuple[Value, ...]:
        if "dim" not in c.given:
            return _extreme(c, tuple(range(c["self"].ndim)), False, sign)
        return _extreme(c, (c.axis(),), _keep(c), sign), _place(c, sign)

    return rule


def _argmax(sign: int) -> Callable[[Call], Value | tuple[Value, ...]]:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        if c["dim"] is None:
            return c.observe(None)
        return _place(c, sign)

    return rule


def _place(c: Call, sign: int) -> Value:
    """The place of the largest or smallest element along an axis; a masked score is not the largest."""
    axis, x = c.axis(), c.value("self", FLOAT)
    x = c.tape.seen(x, axis) if sign > 0 else build.neg(c.b, x)
    return c.b.emit(ops.ArgMax(axis, _keep(c)), x)


def _some(every: bool) -> Callable[[Call], Value]:
    def rule(c: Call) -> Value:
        axes = c.axes() if c.given.get("dim") is not None else tuple(range(c["self"].ndim))
        x = c.value("self", BOOL)
        if not axes:
            return x
        x = c.b.emit(ops.LogicalNot(), x) if every else x
        found = c.cast(c.b.emit(ops.Max(axes, _keep(c)), c.cast(x, INT)), BOOL)
        return c.b.emit(ops.LogicalNot(), found) if every else found

    return rule


def _logsumexp(c: Call) -> Value:
    x, axes = c.value("self", FLOAT), c.axes()
    return c.b.emit(ops.LogSumExp(axes, _keep(c)), c.tape.seen(x, axes[0]) if len(axes) == 1 else x)


def _cumsum(c: Call) -> Value:
    x = c.value("self", c.kind)
    return c.b.emit(ops.CumSum(c.axis()), x) if c["self"].ndim else x


def _variance(root: bool, with_mean: bool) -> Callable[[Call], Value | tuple[Value, ...]]:
    def rule(c: Call) -> Value | tuple[Value, ...]:
        b, x = c.b, c.value("self", FLOAT)
        axes = c.axes() if c.given.get("dim") is not None else tuple(range(c["self"].ndim))
        correction = c.given.get("correction")
        if correction is None:
            correction = 1 if c.given.get("unbiased", True) else 0
        count = float(prod(numbers(x.shape)[a] for a in axes))
        mean = build.mean_axes(b, x, axes, True)
        apart = build.sub(b, x, mean)
        spread = build.sum_axes(b, build.mul(b, apart, apart), axes, _keep(c))
        spread = build.div(b, spread, max(count - float(correction), 0.0))
        spread = b.emit(ops.Sqrt(), spread) if root else spread
        if not with_mean:
            return spread
        return spread, mean if _keep(c) else build.mean_axes(b, x, axes, False)

    return rule


def _norm(c: Call) -> Value | tuple[Value, ...]:
    b, x, order = c.b, c.value("self", FLOAT), c.given.get("p", c.given.get("ord"))
    axes = c.axes() if c.given.get("dim") is not None else tuple(range(c["self"].ndim))
    if order in (None, 2):
        return b.emit(ops.Sqrt(), build.sum_axes(b, build.mul(b, x, x), axes, _keep(c)))
    if order == 1:
        return build.sum_axes(b, b.emit(ops.Abs(), x), axes, _keep(c))
    return _joined(c, axes)


def _joined(c: Call, axes: tuple[int, ...]) -> tuple[Value, ...]:
    """Bound a reduction without a primitive: it reads what a sum over the same axes reads."""
    return c.observe((), operands=[build.sum_axes(c.b, c.value("self", FLOAT), axes, _keep(c))])


def _product(c: Call) -> tuple[Value, ...]:
    return _joined(c, c.axes() if c.given.get("dim") is not None else tuple(range(c["self"].ndim)))


def _distances(c: Call) -> Value | tuple[Value, ...]:
    """Distances of every row of x1 to every row of x2."""
    b, x, y = c.b, c.value("x1", FLOAT), c.value("x2", FLOAT)
    rank, order = x.type.rank, float(c["p"])
    apart = build.sub(
        b,
        build.reshape(b, x, (*x.shape[:-1], 1, x.shape[-1])),
        build.reshape(b, y, (*y.shape[:-2], 1, *y.shape[-2:])),
    )
    if order == 2:
        return b.emit(ops.Sqrt(), build.sum_axes(b, build.mul(b, apart, apart), (rank,)))
    return c.observe((), operands=[build.sum_axes(b, apart, (rank,))])


RULES: dict[str, Callable[[Call], Value | tuple[Value, ...]]] = {
    "sum": _sum, "mean": _mean, "amax": _largest(1), "amin": _largest(-1),
    "max": _extreme_at(1), "min": _extreme_at(-1), "argmax": _argmax(1), "argmin": _argmax(-1),
    "any": _some(False), "all": _some(True), "logsumexp": _logsumexp, "cumsum": _cumsum,
    "var": _variance(False, False), "std": _variance(True, False), "var_mean": _variance(False, True),
    "std_mean": _variance(True, True), "linalg_vector_norm": _norm, "norm": _norm,
    "prod": _product, "_cdist_forward": _distances,
}  # fmt: skip
