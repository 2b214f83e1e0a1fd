"""AST -> the variables and numbers of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import UnknownNumber, evaluate_number
from mpcompile.ir import DType, Field, Symbolic, Type, product, symbol, symbols
from mpcompile.ir.axes import BATCH_NAMES, Axes, TwoReadings, default_axes
from mpcompile.layers.axes import two_readings, two_readings_help
from mpcompile.lowering.names import unknown
from mpcompile.ranges import HUGE, MAX_WHOLE, Range

BATCH = symbol("N")
#: More elements than this in one variable are refused before anything is allocated.
MAX_ELEMENTS = 1 << 22
CLASSES = Range(2, 1 << 20)


def _default(
    name: str, value: ast.Expr, numbers: Mapping[str, int | float], names: Sequence[str]
) -> int | float:
    """The number that a parameter has by default. Raises `SpecError`: MP127 for one that reads a later parameter."""
    try:
        return evaluate_number(value, numbers)
    except UnknownNumber as fault:
        read = fault.name.id
        if read not in names:
            raise
        after = "itself" if read == name else f"`{read}`, which is stated after it"
        how = "a number of the model reads those before it: model m(width = 8, half = width / 2)"
        raise error("MP127", f"`{name}` reads {after}", fault.name.span, help=how) from None


def numbers_of(model: ast.Model, overrides: Mapping[str, int | float]) -> dict[str, int | float]:
    """Return the value of every parameter of a model.

    Raises `SpecError` for an unknown override, and a parameter without a value.
    """
    numbers: dict[str, int | float] = {}
    names = [p.name for p in model.params]
    for name in overrides:
        if name not in names:
            raise unknown("parameter", name, names, model.span)
    for p in model.params:
        if p.name in overrides:
            value = overrides[p.name]
            if abs(value) > MAX_WHOLE or not math.isfinite(value):  # no float holds the largest whole numbers
                given = (
                    "a number of hundreds of digits"
                    if abs(value) > 10**200 and math.inf != abs(value)
                    else value
                )
                raise error("MP113", f"`{p.name}` is set to {given}, and it must be a number of at most {MAX_WHOLE:.0e}",
                            p.span, help=f"--set {p.name}=8")  # fmt: skip
            numbers[p.name] = value
        elif p.default is None:
            raise error("MP123", f"parameter `{p.name}` has no value", p.span, help=f"--set {p.name}=...")
        else:
            numbers[p.name] = _default(p.name, p.default, numbers, names)
    return numbers


def whole(expr: ast.Expr, numbers: Mapping[str, int | float], what: str, within: Range) -> int:
    """Evaluate a whole number within a range. Raises MP113 for another kind of number and MP112 for one outside."""
    value = evaluate_number(expr, numbers)
    if value != int(value):
        raise error("MP113", f"{what} must be a whole number, got {value}", expr.span)
    if not within.holds(value):
        raise error("MP112", f"{what} must be {within}, got {value}", expr.span)
    return int(value)


def field(d: ast.Declaration, model: ast.Model, numbers: Mapping[str, int | float]) -> Field:
    """Build a declared variable, with its shape and its values. Raises `SpecError`."""
    t = d.type
    shape: list[int | Symbolic] = []
    for size in (axis.size for axis in t.shape):
        length = _length(size, numbers)
        if length is not None:
            if any(isinstance(before, int) for before in shape):
                raise error(
                    "MP211", "a symbolic length stands behind a fixed size", size.span,
                    help=f"lengths come first: [{length}, ...]",
                )  # fmt: skip
            shape.append(length)
            continue
        shape.append(whole(size, numbers, "the size of an axis", Range(1, MAX_ELEMENTS)))
    total = product(s for s in shape if isinstance(s, int))
    if isinstance(total, int) and total > MAX_ELEMENTS:
        raise error("MP112", f"{d.name} has {total} elements, more than {MAX_ELEMENTS}", t.span)
    low, classes, counts, interval = 0, None, None, None
    if t.base == "category":
        if t.classes is None and not t.labels:
            raise error("MP113", "write category(k) with its number of classes", t.span)
        classes = (
            len(t.labels)
            if t.classes is None
            else whole(t.classes, numbers, "the number of classes", CLASSES)
        )
    if t.base == "integer":
        if t.low is None:
            raise error("MP113", "write integer(low..high) or integer(0..)", t.span)
        low = whole(t.low, numbers, "the lowest integer", Range(-MAX_WHOLE, MAX_WHOLE))
        _from_zero(t, low)
        if isinstance(t.high, ast.Name) and t.high.id not in numbers:
            counts = _counted(d, low, t.high, model, numbers)
    if t.base == "integer" and counts is None and t.high is not None:
        high = whole(t.high, numbers, "the highest integer", Range(-MAX_WHOLE, MAX_WHOLE))
        classes = high - low + 1
    if t.base == "real" and t.low is not None:
        interval = _interval(t, numbers)
    if classes is not None and not 1 < classes <= 1 << 20:
        raise error("MP112", f"{d.name} has {classes} levels; between 2 and {1 << 20} make sense", t.span)
    kind = DType.INT if t.base == "category" else DType.FLOAT
    type_ = Type(kind, (BATCH, *shape))
    base, angle = ("real", True) if t.base == "angle" else (t.base, False)
    axes = axes_of(t.shape, shape, t.span, t.base == "category")
    return Field(
        d.name, d.role, base, type_, d.span, low, classes, counts, interval, angle, t.labels, axes, t.optional
    )


def axes_of(
    written: Sequence[ast.Axis], sizes: Sequence[int | Symbolic], span: Span, categories: bool = False
) -> Axes:
    """Return the names of the axes of a declaration.

    Raises MP104 for a name of the batch, MP105 for a name that is given twice, and MP212 for sizes with two readings.
    """
    for axis in written:
        if axis.name in BATCH_NAMES:
            raise error("MP104", f"`{axis.name}` is the batch, which no axis of a variable is", axis.span,
                        help="every value has the examples as an axis of its own, which has no name")  # fmt: skip
    try:
        axes = default_axes([a.name for a in written], sizes, categories)
    except TwoReadings as two:
        raise error("MP212", two_readings(two, sizes), span, help=two_readings_help(two, sizes)) from two
    for i, name in enumerate(axes):
        if name in axes[:i]:
            raise error(
                "MP105", f"two axes are called `{name}`", written[i].span, help="name one of them otherwise"
            )
    return axes


def _from_zero(t: ast.TypeExpr, low: float) -> None:
    """Raise MP113 for a range without an end that does not start at 0."""
    if t.high is None and low != 0:
        raise error("MP113", f"a range without an end starts at 0, not at {low:g}", t.span,
                    help=f"write {t.base}(0..), or state the end")  # fmt: skip


def _interval(t: ast.TypeExpr, numbers: Mapping[str, int | float]) -> tuple[float, float]:
    """The bounds of `real(a..b)` or `real(0..)`. Raises MP112 for other bounds."""
    assert t.low is not None
    low = float(evaluate_number(t.low, numbers))
    _from_zero(t, low)
    high = math.inf if t.high is None else float(evaluate_number(t.high, numbers))
    if not (low < high and abs(low) <= HUGE and (high == math.inf or high <= HUGE)):
        raise error("MP112", f"an interval goes from a lower to a higher number, not from {low:g} to {high:g}", t.span,
                    help="write real(0..1)")  # fmt: skip
    return low, high


def _length(size: ast.Expr, numbers: Mapping[str, int | float]) -> Symbolic | None:
    """A symbolic length, `time` or a whole multiple `4 * time` of one; None for a number."""
    times = 1
    if isinstance(size, ast.Binary) and size.op == "*":
        sides = [size.left, size.right]
        names = [s for s in sides if isinstance(s, ast.Name) and s.id not in numbers]
        if len(names) != 1:
            return None
        sides.remove(names[0])
        size, times = names[0], whole(sides[0], numbers, "the multiple of a length", Range(1, MAX_ELEMENTS))
    if not isinstance(size, ast.Name) or size.id in numbers:
        return None
    if size.id == "N":
        raise batch_as_length(size.span)
    length = symbol(size.id) * times
    assert isinstance(length, Symbolic)
    return length


def batch_as_length(span: Span) -> SpecError:
    """Return the finding (MP211) for `N` where a length is named, ready to raise."""
    return error(
        "MP211", "`N` counts the examples of a batch, and is no length", span,
        help="every value has the examples as an axis of its own; call the length `time`",
    )  # fmt: skip


def _counted(
    d: ast.Declaration, low: int, high: ast.Name, model: ast.Model, numbers: Mapping[str, int | float]
) -> str:
    """The symbolic length that `condition length: integer(1..time)` counts the real steps of."""
    sizes = [_length(axis.size, numbers) for d in model.declarations for axis in d.type.shape]
    lengths = sorted({name for size in sizes if size is not None for name in symbols(size)})
    if high.id not in lengths:
        raise unknown("length", high.id, [*lengths, *numbers], high.span)
    if d.role != "condition" or low < 1 or d.type.shape:
        raise error(
            "MP113", "a length is a condition, one number of at least 1 for each example", d.span,
            help=f"condition {d.name}: integer(1..{high.id})",
        )  # fmt: skip
    return high.id
