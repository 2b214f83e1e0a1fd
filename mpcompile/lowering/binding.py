"""From the arguments of a call to the fields of a layer, distribution, bijector or mask: a field's type says how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from mpcompile.bijectors import BIJECTORS, LAWS, Bijector, Law
from mpcompile.diagnostics import SpecError, error
from mpcompile.frontend import ast
from mpcompile.ir import Value
from mpcompile.layers import Context
from mpcompile.lowering.scope import Scope, unknown


class Arguments:
    """One call's arguments, to be bound to the fields of a class in their order."""

    def __init__(self, scope: Scope, ctx: Context | None, call: ast.Call) -> None:
        self.scope, self.ctx, self.call = scope, ctx, call

    def build(self, cls: type, **preset: Any) -> Any:
        """An instance of a dataclass. Raises every independent fault of the arguments at once."""
        slots = [f for f in fields(cls) if f.init and f.name not in preset]
        bound, faults = dict(preset), []
        rest = slots[0] if slots and slots[0].type == "tuple[Value, ...]" else None
        position = 0
        for argument in self.call.args:
            if rest is not None:
                bound.setdefault(rest.name, []).append(argument.value)
                continue
            if argument.name is None:
                slot = slots[position] if position < len(slots) else None
                position += 1
            else:
                slot = next((f for f in slots if f.name == argument.name), None)
            if slot is None:
                given = argument.name or f"number {position}"
                faults.append(
                    unknown("argument", given, [f.name for f in slots], argument.span, self.call.callee)
                )
            elif slot.name in bound:
                faults.append(error("MP124", f"`{slot.name}` is given twice", argument.span))
            else:
                try:
                    bound[slot.name] = self.coerce(slot, argument.value)
                except SpecError as fault:
                    faults.append(fault)
                    bound[slot.name] = None
        if rest is not None:
            assert self.ctx is not None
            bound[rest.name] = tuple(self.scope.value(self.ctx, e) for e in bound.get(rest.name, []))
        for f in slots:
            if f.name not in bound and f.default is MISSING and f.default_factory is MISSING:
                faults.append(
                    error(
                        "MP123",
                        f"`{self.call.callee}` needs `{f.name}`",
                        self.call.span,
                        help=self._usage(slots, f),
                    )
                )
        if faults:
            raise SpecError([d for fault in faults for d in fault.diagnostics])
        try:
            return cls(**bound)
        except ValueError as problem:  # the class's own check of its arguments
            raise error("MP205", str(problem), self.call.span) from problem

    def _usage(self, slots: Sequence[Field[Any]], missing: Field[Any]) -> str:
        """How the call is written: `conv(channels, kernel, ...)`."""
        named = [f.name for f in slots if f.default is MISSING and f.default_factory is MISSING]
        more = ["..."] if len(named) < len(slots) else []
        usage = f"{self.call.callee}({', '.join([*named, *more])})"
        if missing.type == "Value":
            usage += f", where an earlier stage is named by `as {missing.name}`"
        return usage

    def coerce(self, slot: Field[Any], expr: ast.Expr) -> Any:
        """The value of an argument for a field of this type."""
        kind = str(slot.type).removesuffix(" | None")
        rule = COERCIONS.get(kind)
        if rule is None:
            raise TypeError(f"no argument rule for fields of type {slot.type}")
        try:
            return rule(self, expr)
        except SpecError as fault:
            first = fault.diagnostics[0]
            if first.code != "MP113":
                raise
            raise error(
                "MP113", f"`{slot.name}` of {self.call.callee}: {first.message}", first.span
            ) from fault

    # --- one rule for each kind of field ---

    def _boolean(self, expr: ast.Expr) -> bool:
        if isinstance(expr, ast.Name) and expr.id in ("true", "false"):
            return expr.id == "true"
        raise error("MP113", "expected true or false", expr.span)

    def _text(self, expr: ast.Expr) -> str:
        if isinstance(expr, ast.Name):
            return expr.id
        if isinstance(expr, ast.Text):
            return expr.value
        raise error("MP113", "expected a name", expr.span)

    def _text_or_number(self, expr: ast.Expr) -> str | int:
        if isinstance(expr, ast.Name) and expr.id not in self.scope.numbers:
            return expr.id
        return self.scope.integer(expr)

    def _size(self, expr: ast.Expr) -> int:
        value = self.scope.integer(expr)
        if value > 1 << 24:
            raise error("MP112", f"{value} is larger than any layer may be ({1 << 24})", expr.span)
        return value

    def _net(self, expr: ast.Expr) -> Callable[..., Value]:
        scope = self.scope

        def net(ctx: Context, *inputs: Value) -> Value:
            with ctx.frame("net", scope.label(expr.span), expr.span, function=True):
                results = scope.run(ctx, expr, inputs)
            if len(results) != 1:
                raise error("MP208", f"a net gives one value, this gives {len(results)}", expr.span)
            return results[0]

        return net

    def _law(self, expr: ast.Expr) -> Law:
        made: Law = self._made("law", LAWS, expr)
        return made

    def _bijector(self, expr: ast.Expr) -> Bijector:
        made: Bijector = self._made("bijector", BIJECTORS, expr)
        return made

    def _made(self, what: str, table: Mapping[str, type], expr: ast.Expr) -> Any:
        """An instance of a class of a table, from a call or a bare name."""
        call = ast.Call(span=expr.span, callee=expr.id) if isinstance(expr, ast.Name) else expr
        if not isinstance(call, ast.Call) or call.callee not in table:
            name = call.callee if isinstance(call, ast.Call) else ""
            raise unknown(what, name, list(table), expr.span)
        return Arguments(self.scope, self.ctx, call).build(table[call.callee])

    def _value(self, expr: ast.Expr) -> Value:
        assert self.ctx is not None, "values are only bound while a graph is built"
        return self.scope.value(self.ctx, expr)

    def _sizes_of_axes(self, expr: ast.Expr) -> int | tuple[int, ...]:
        return self._sizes(expr) if isinstance(expr, ast.ListExpr) else self._size(expr)

    def _padding(self, expr: ast.Expr) -> str | int | tuple[tuple[int, int], ...]:
        if not isinstance(expr, ast.ListExpr):
            return self._text_or_number(expr)
        pairs = [self._sizes(side) if isinstance(side, ast.ListExpr) else (self._size(side),) * 2
                 for side in expr.items]  # fmt: skip
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise error("MP113", "expected a number or a pair [before, after] for each axis", expr.span)
        return tuple((before, after) for before, after in pairs)

    def _sizes(self, expr: ast.Expr) -> tuple[int, ...]:
        if not isinstance(expr, ast.ListExpr):
            return (self._size(expr),)
        return tuple(self._size(e) for e in expr.items)


COERCIONS: dict[str, Callable[[Arguments, ast.Expr], Any]] = {
    "int": Arguments._size,
    "float": lambda self, e: float(self.scope.number(e)),
    "bool": Arguments._boolean,
    "str": Arguments._text,
    "str | int": Arguments._text_or_number,
    "Mask": lambda self, e: self.scope.mask(e),
    "Net": Arguments._net,
    "Value": Arguments._value,
    "Law": Arguments._law,
    "Bijector": Arguments._bijector,
    "tuple[int, ...]": Arguments._sizes,
    "Sizes": Arguments._sizes_of_axes,
    "Pad": Arguments._padding,
}
