"""AST -> the variables and numbers of a model."""

from __future__ import annotations

from collections.abc import Mapping

from mpcompile.diagnostics import error
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.ir import DType, Field, Symbolic, Type, product, symbol
from mpcompile.lowering.names import unknown

BATCH = symbol("N")
#: More elements than this in one variable are refused before anything is allocated.
MAX_ELEMENTS = 1 << 22


def numbers_of(model: ast.Model, overrides: Mapping[str, int | float]) -> dict[str, int | float]:
    """The value of every parameter of a model."""
    numbers: dict[str, int | float] = {}
    names = [p.name for p in model.params]
    for name in overrides:
        if name not in names:
            raise unknown("parameter", name, names, model.span)
    for p in model.params:
        if p.name in overrides:
            numbers[p.name] = overrides[p.name]
        elif p.default is None:
            raise error("MP123", f"parameter `{p.name}` has no value", p.span, help=f"--set {p.name}=...")
        else:
            numbers[p.name] = evaluate_number(p.default, numbers)
    return numbers


def field(d: ast.Declaration, model: ast.Model, numbers: Mapping[str, int | float]) -> Field:
    """A declared variable, with its shape and its values."""
    t = d.type
    shape: list[object] = []
    for i, size in enumerate(t.shape):
        length = _length(size, numbers)
        if length is not None:
            if i != 0:
                raise error(
                    "MP211", "only the first axis may have a symbolic length", size.span,
                    help=f"sequences are time first: [{length}, ...]",
                )  # fmt: skip
            shape.append(length)
            continue
        number = evaluate_number(size, numbers)
        if number != int(number) or not 0 < number <= MAX_ELEMENTS:
            raise error(
                "MP112", f"an axis has between 1 and {MAX_ELEMENTS} elements, not {number}", size.span
            )
        shape.append(int(number))
    total = product(s for s in shape if isinstance(s, int))
    if isinstance(total, int) and total > MAX_ELEMENTS:
        raise error("MP112", f"{d.name} has {total} elements, more than {MAX_ELEMENTS}", t.span)
    low, classes, counts = 0, None, None
    if t.base == "category":
        if t.classes is None:
            raise error("MP113", "write category(k) with its number of classes", t.span)
        classes = int(evaluate_number(t.classes, numbers))
    if t.base == "integer":
        if t.low is None or t.high is None:
            raise error("MP113", "write integer(low..high)", t.span)
        low = int(evaluate_number(t.low, numbers))
        if isinstance(t.high, ast.Name) and t.high.id not in numbers:
            counts = _counted(d, low, t.high, model, numbers)
    if t.base == "integer" and counts is None and t.high is not None:
        classes = int(evaluate_number(t.high, numbers)) - low + 1
    if classes is not None and not 1 < classes <= 1 << 20:
        raise error("MP112", f"{d.name} has {classes} levels; between 2 and {1 << 20} make sense", t.span)
    kind = DType.INT if t.base == "category" else DType.FLOAT
    type_ = Type(kind, (BATCH, *shape))  # type: ignore[arg-type]  # ints and symbols, by construction
    return Field(d.name, d.role, t.base, type_, d.span, low, classes, counts)


def _length(size: ast.Expr, numbers: Mapping[str, int | float]) -> Symbolic | None:
    """A symbolic length, `time` or a whole multiple `4 * time` of one; None for a number."""
    times = 1
    if isinstance(size, ast.Binary) and size.op == "*":
        sides = [size.left, size.right]
        names = [s for s in sides if isinstance(s, ast.Name) and s.id not in numbers]
        if len(names) != 1:
            return None
        sides.remove(names[0])
        factor = evaluate_number(sides[0], numbers)
        if factor != int(factor) or not 0 < factor <= MAX_ELEMENTS:
            raise error("MP112", f"a length has a whole number of parts, not {factor}", sides[0].span)
        size, times = names[0], int(factor)
    if not isinstance(size, ast.Name) or size.id in numbers:
        return None
    length = symbol(size.id) * times
    assert isinstance(length, Symbolic)
    return length


def _counted(
    d: ast.Declaration, low: int, high: ast.Name, model: ast.Model, numbers: Mapping[str, int | float]
) -> str:
    """The symbolic length that `condition length: integer(1..time)` counts the real steps of."""
    lengths = [o.type.shape[0].id for o in model.declarations
               if o.type.shape and isinstance(o.type.shape[0], ast.Name)
               and o.type.shape[0].id not in numbers]  # fmt: skip
    if high.id not in lengths:
        raise unknown("length", high.id, [*lengths, *numbers], high.span)
    if d.role != "condition" or low < 1 or d.type.shape:
        raise error(
            "MP113", "a length is a condition, one number of at least 1 for each example", d.span,
            help=f"condition {d.name}: integer(1..{high.id})",
        )  # fmt: skip
    return high.id
