"""Bind the arguments of a call to the fields of a class: a field's type says how, and its declared range what may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mpcompile.bijectors import BIJECTORS, LAWS, Bijector, Law
from mpcompile.diagnostics import Expected, Span, SpecError, error
from mpcompile.distributions import COMBINATORS, DISTRIBUTIONS, REMOVED, likelihoods
from mpcompile.distributions.combinators import Combined, OverLaw
from mpcompile.distributions.diffusion import NOISES, Variances
from mpcompile.distributions.family import Family
from mpcompile.distributions.orders import NAMED, NAMES, Order
from mpcompile.distributions.slots import Operand
from mpcompile.frontend import ast
from mpcompile.ir import Value
from mpcompile.layers import Context, Mask, Net
from mpcompile.layers.relations import Relation
from mpcompile.layers.starts import STARTS, Start
from mpcompile.lowering.files import numbers_in
from mpcompile.lowering.names import near, unknown
from mpcompile.lowering.relations import relation
from mpcompile.ranges import Choice, Slot, slots

if TYPE_CHECKING:
    from mpcompile.lowering.scope import Scope


NAMED_SIZES = tuple[tuple[str, int], ...]
RENAMES = tuple[tuple[str, str], ...]


class Unlisted(ValueError):
    """A name that a table does not have; the text says which it has, and `known` lists them."""

    def __init__(self, name: str, known: Sequence[str], text: str = "") -> None:
        super().__init__(f"{text or Choice(tuple(known))}, got '{name}'")
        self.name, self.known = name, known


class Arguments:
    """One call's arguments, to be bound to the fields of a class in their order."""

    def __init__(
        self, scope: Scope, ctx: Context | None, call: ast.Call, *, layer: bool = False, body: bool = False
    ) -> None:
        self.scope, self.ctx, self.call, self.layer = scope, ctx, call, layer
        if call.body is not None and not body:
            raise error("MP121", f"`{call.callee}` takes no steps of its own", call.body.span,
                        help="`flow`, `autoregressive` and `dequantize` do")  # fmt: skip
        if call.inputs is not None and not layer:
            raise error("MP121", f"`{call.callee}` is no layer, and takes no values in a second pair of parentheses",
                        call.span, help=f"{call.callee}(...)")  # fmt: skip

    def build(self, cls: type, **preset: Any) -> Any:
        """An instance of a dataclass. Raises every independent fault of the arguments at once."""
        free = [s for s in slots(cls) if s.name not in preset]
        if free and free[0].type == tuple[Value, ...]:
            assert self.ctx is not None
            values = [a for a in self.call.args if a.name is None]
            preset[free[0].name] = tuple(self.scope.value(self.ctx, a.value) for a in values)
            rest = self.call.model_copy(
                update={"args": tuple(a for a in self.call.args if a.name is not None)}
            )
            return (
                Arguments(self.scope, self.ctx, rest, layer=self.layer).build(cls, **preset)
                if rest.args
                else cls(**preset)
            )
        given, faults = self._placed(free)
        bound = dict(preset)
        for slot in free:
            if slot.name in given:
                try:
                    bound[slot.name] = self.coerce(slot, given[slot.name].value)
                except SpecError as fault:
                    faults.append(fault)
            elif slot.required:
                faults.append(
                    error(
                        "MP123",
                        f"`{self.call.callee}` needs `{slot.name}`",
                        self.call.span,
                        help=self._usage(free, slot),
                    )
                )
        if faults:
            raise SpecError([d for fault in faults for d in fault.diagnostics])
        try:
            return cls(**bound)
        except ValueError as problem:  # the class's own check of its arguments
            raise error("MP205", str(problem), self.call.span) from problem

    def _placed(self, free: Sequence[Slot]) -> tuple[dict[str, ast.Argument], list[SpecError]]:
        """The argument of each field, and what is wrong with the places and names of the others."""
        given: dict[str, ast.Argument] = {}
        faults: list[SpecError] = []
        names, places = [s.name for s in free], [s.name for s in free if s.by_place]
        stated = {a.name for a in self.call.args if a.name is not None}
        sizes = next((s.name for s in free if s.type in (NAMED_SIZES, RENAMES)), None)
        self._others = [a for a in self.call.args if a.name is not None and a.name not in names]
        place = 0
        for argument in self.call.args:
            name = argument.name
            if name is None:
                name = places[place] if place < len(places) else None
                place += 1
                if name is None or name in stated:
                    faults.append(self._one_too_many(argument, names, name))
                    continue
            if name not in names and sizes is not None:
                given.setdefault(sizes, argument)
            elif name not in names:
                faults.append(self._unknown_name(argument, name, names))
            elif name in given:
                faults.append(error("MP124", f"`{name}` is given twice", argument.span))
            else:
                given[name] = argument
        return given, faults

    def _unknown_name(self, argument: ast.Argument, name: str, names: Sequence[str]) -> SpecError:
        """An argument by a name that the callee does not have; a law may say where its value is stated."""
        callee = self.call.callee
        law = None if self.layer else DISTRIBUTIONS.get(callee)
        if law is None or name not in law.elsewhere:
            return unknown("argument", name, names, argument.span, callee)
        return error("MP110", f"`{callee}` takes no `{name}`", argument.span, help=law.elsewhere[name])

    def _one_too_many(self, argument: ast.Argument, names: Sequence[str], name: str | None) -> SpecError:
        """An argument by place for which there is none; a value belongs before the layer."""
        callee, text = self.call.callee, self.scope.label(argument.span)
        what = f"`{callee}` takes no argument `{text}`"
        if name is not None:
            return error("MP124", f"`{name}` of {callee} is given twice", argument.span,
                         help=f"leave out `{text}`, or the `{name} = ...` behind it")  # fmt: skip
        known = f"its arguments: {', '.join(names)}" if names else f"write `{callee}` without parentheses"
        if self.layer and _stands_for_a_value(self.scope, argument.value):
            inputs = [a for a in self.call.args if a.name is None]
            if len(inputs) == 1:
                known = f"a layer reads what stands before it: {text} -> {callee}"
        return error("MP128", what, argument.span, help=known)

    def _usage(self, free: Sequence[Slot], missing: Slot) -> str:
        """Format the call as it should be written: `conv(channels, kernel, ...)`."""
        named = [s.name for s in free if s.required]
        more = ["..."] if len(named) < sum(s.by_place for s in free) else []
        usage = f"{self.call.callee}({', '.join([*named, *more])})"
        if missing.type is Value:
            usage += f", where an earlier stage is named by `as {missing.name}`"
        return usage

    def coerce(self, slot: Slot, expr: ast.Expr) -> Any:
        """The value of an argument for a field: of the field's type, and within its declared range.

        Raises MP113 for another kind of value, MP205 for one that is not allowed and MP112 for one that is too large.
        """
        rule = COERCIONS.get(slot.type)
        if rule is None:
            raise TypeError(f"no argument rule for {slot.name}: {slot.type}")
        who = f"`{slot.name}` of {self.call.callee}"
        try:
            value = rule(self, expr)
        except Expected as fault:
            raise fault.of(who) from fault
        except Unlisted as fault:
            raise error(
                "MP205", f"{who} must be {fault}", expr.span, **near(fault.name, fault.known, expr.span)
            ) from fault
        wrong = slot.fault(value)
        if wrong:
            large = slot.range is not None and any(slot.range.beyond(v) for v in _numbers(value))
            names = slot.choice.names if slot.choice is not None and isinstance(value, str) else ()
            hint = near(str(value), names, expr.span)
            raise error("MP112" if large else "MP205", f"{who} must be {wrong}", expr.span, **hint)
        return value

    # --- one rule for each kind of field ---

    def _boolean(self, expr: ast.Expr) -> bool:
        if isinstance(expr, ast.Name) and expr.id in ("true", "false"):
            return expr.id == "true"
        raise Expected("true or false", expr.span)

    def _text(self, expr: ast.Expr) -> str:
        if isinstance(expr, ast.Name):
            return expr.id
        if isinstance(expr, ast.Text):
            return expr.value
        raise Expected("a name", expr.span)

    def _text_or_number(self, expr: ast.Expr) -> str | int:
        if isinstance(expr, ast.Name) and expr.id not in self.scope.numbers:
            return expr.id
        return self.scope.integer(expr)

    def _text_or_real(self, expr: ast.Expr) -> str | float:
        if isinstance(expr, ast.Name) and expr.id not in self.scope.numbers:
            return expr.id
        return self._real(expr)

    def _real(self, expr: ast.Expr) -> float:
        return float(self.scope.number(expr))

    def _whole(self, expr: ast.Expr) -> int:
        return self.scope.integer(expr)

    def _operand(self, expr: ast.Expr) -> Operand:
        return self._real(expr) if self.scope.is_number(expr) else self._value(expr)

    def _net(self, expr: ast.Expr) -> Callable[..., Value]:
        scope = self.scope

        def net(ctx: Context, *inputs: Value) -> Value:
            with ctx.frame("net", scope.label(expr.span), expr.span, function=True):
                results = scope.run(ctx, expr, inputs)
            if len(results) != 1:
                raise error("MP208", f"a net gives one value, this gives {len(results)}", expr.span)
            return results[0]

        return net

    def _family(self, expr: ast.Expr) -> Family:
        if isinstance(expr, ast.Call) and expr.callee in COMBINATORS:
            combined = COMBINATORS[expr.callee]
            given = Arguments(self.scope, self.ctx, expr).build(combined.arguments or combined)
            if given.net is not None:
                raise error("MP128", f"`{expr.callee}` within a law takes no net of its own", expr.span,
                            help="one net gives all parameters: it stands beside the outer law")  # fmt: skip
            return family_over(combined, given, expr.span)
        known = likelihoods()
        if not isinstance(expr, ast.Name | ast.Text):
            outer = COMBINATORS.get(self.call.callee)
            help = outer.usage if outer is not None else "such as normal or bernoulli"
            raise Expected("the name of a law", expr.span, help=help)
        name = self._text(expr)
        if name in REMOVED:
            raise error("MP110", f"unknown law `{name}`", expr.span, help=f"it is {REMOVED[name]}")
        if name not in known:
            raise Unlisted(name, tuple(known))
        return Family(known[name])

    def _law(self, expr: ast.Expr) -> Law:
        made: Law = self.chosen(LAWS, "law of a coupling", expr, "the law of a coupling")
        return made

    def _start(self, expr: ast.Expr) -> Start:
        made: Start = self.chosen(STARTS, "start", expr, "how a weight starts")
        return made

    def _variances(self, expr: ast.Expr) -> Variances:
        made: Variances = self.chosen(NOISES, "schedule of noise", expr, "a schedule of noise")
        return made

    def _order(self, expr: ast.Expr) -> Order:
        """An order: a name, `raster(height, width)`, a list of elements, or that of a file."""
        if isinstance(expr, ast.ListExpr):
            return Order("listed", listed=self._list(expr))
        if isinstance(expr, ast.Call) and expr.callee == "file":
            array = numbers_in(self.scope, expr)
            if array.ndim != 1 or (array != np.floor(array)).any():
                raise Expected("the numbers of the elements in their order", expr.span)
            return Order("listed", listed=tuple(int(n) for n in array))
        if isinstance(expr, ast.Call) and expr.callee == "raster":
            return Order("raster", tuple(self._text(a.value) for a in expr.args))
        if isinstance(expr, ast.Call):
            raise unknown("order", expr.callee, [*NAMES, "raster", "file"], expr.span)
        name = self._text(expr)
        if name not in NAMES:
            raise Unlisted(name, NAMES, f"{NAMED}, raster(...) or a list")
        return Order(name)

    def of(self, call: ast.Call, scope: Scope | None = None) -> Arguments:
        """The arguments of another call in the same program."""
        return Arguments(scope or self.scope, self.ctx, call)

    def _bijector(self, expr: ast.Expr) -> Bijector:
        made: Bijector = self.chosen(BIJECTORS, "bijector", expr, "a bijector")
        return made

    def chosen(self, table: Mapping[str, type], what: str, expr: ast.Expr, wanted: str) -> Any:
        """An instance of a class of a table, from a call or a bare name.

        Raises `SpecError`: MP113 for another expression than the one `wanted`, MP110 for a name the table does not have.
        """
        call = ast.called(expr)
        if call is None:
            raise Expected(wanted, expr.span, help=f"known: {', '.join(table)}")
        if call.callee not in table:
            raise unknown(what, call.callee, list(table), expr.span)
        return Arguments(self.scope, self.ctx, call).build(table[call.callee])

    def _value(self, expr: ast.Expr) -> Value:
        assert self.ctx is not None, "values are only bound while a graph is built"
        return self.scope.value(self.ctx, expr)

    def _sizes_of_axes(self, expr: ast.Expr) -> int | tuple[int, ...]:
        return self._list(expr) if isinstance(expr, ast.ListExpr) else self._whole(expr)

    def _padding(self, expr: ast.Expr) -> str | int | tuple[tuple[int, int], ...]:
        if not isinstance(expr, ast.ListExpr):
            return self._text_or_number(expr)
        pairs = [self._list(side) if isinstance(side, ast.ListExpr) else (self._whole(side),) * 2
                 for side in expr.items]  # fmt: skip
        if any(len(pair) != 2 for pair in pairs):
            raise Expected("a number or a pair [before, after] for each axis", expr.span)
        return tuple((before, after) for before, after in pairs)

    def _named_sizes(self, _: ast.Expr) -> tuple[tuple[str, int], ...]:
        return tuple((str(a.name), self._whole(a.value)) for a in self._others)

    def _renames(self, _: ast.Expr) -> tuple[tuple[str, str], ...]:
        return tuple((str(a.name), self._text(a.value)) for a in self._others)

    def _names(self, expr: ast.Expr) -> tuple[str, ...]:
        return tuple(self._text(e) for e in (expr.items if isinstance(expr, ast.ListExpr) else (expr,)))

    def _list(self, expr: ast.Expr) -> tuple[int, ...]:
        if not isinstance(expr, ast.ListExpr):
            return (self._whole(expr),)
        return tuple(self._whole(e) for e in expr.items)


def family_over(combined: type[Combined], given: OverLaw, span: Span) -> Family:
    """Return a law over another one. Raises `SpecError` (MP209) where it cannot be over that law."""
    if fault := combined.fault(given.law):
        raise error("MP209", f"`{combined.keyword}` {fault}, not {given.law.name}", span,
                    help=combined.usage)  # fmt: skip
    return Family(combined, getattr(given, "components", None), given.law)


def _numbers(value: Any) -> list[float]:
    """Return the numbers in a value of a field."""
    if isinstance(value, tuple):
        return [n for item in value for n in _numbers(item)]
    return [value] if isinstance(value, int | float) else []


def _stands_for_a_value(scope: Scope, expr: ast.Expr) -> bool:
    """Whether an expression is a value of the model rather than a number or an option."""
    if isinstance(expr, ast.Name):
        return scope.is_value(expr.id)
    return isinstance(expr, ast.Pipeline) or (isinstance(expr, ast.Call) and expr.inputs is not None)


COERCIONS: dict[Any, Callable[[Arguments, ast.Expr], Any]] = {
    int: Arguments._whole,
    float: Arguments._real,
    bool: Arguments._boolean,
    str: Arguments._text,
    str | int: Arguments._text_or_number,
    str | float: Arguments._text_or_real,
    Operand: Arguments._operand,
    Mask: lambda self, e: self.scope.mask(e),
    Net: Arguments._net,
    Value: Arguments._value,
    Family: Arguments._family,
    Order: Arguments._order,
    Law: Arguments._law,
    Bijector: Arguments._bijector,
    Variances: Arguments._variances,
    Start: Arguments._start,
    Relation: lambda self, e: relation(self, e),
    get_args(ast.Expr)[0]: lambda self, e: e,
    tuple[int, ...]: Arguments._list,
    tuple[str, ...]: Arguments._names,
    NAMED_SIZES: Arguments._named_sizes,
    RENAMES: Arguments._renames,
    int | tuple[int, ...]: Arguments._sizes_of_axes,
    str | int | tuple[tuple[int, int], ...]: Arguments._padding,
}

__all__ = ["COERCIONS", "Arguments", "family_over"]
