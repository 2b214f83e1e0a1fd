"""The `train` section of a spec, bound and checked: every value has its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mpcompile.diagnostics import Diagnostic, SpecError, error
from mpcompile.frontend import ast
from mpcompile.ir import Training
from mpcompile.ir.training import TABLES
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.names import unknown
from mpcompile.lowering.scope import Scope
from mpcompile.ranges import named, slots


def training(model: ast.Model, scope: Scope) -> Training:
    """What the section states. Raises `SpecError` with every setting that is unknown, or outside of its range (MP511)."""
    values: dict[str, Any] = {}
    faults: list[Diagnostic] = []
    for let in model.train:
        try:
            if let.name in values:
                raise error("MP124", f"`{let.name}` is given twice", let.span)
            values[let.name] = _setting(let, scope)
        except SpecError as fault:
            faults += [
                replace(d, code="MP511") if d.code in ("MP112", "MP205") else d for d in fault.diagnostics
            ]
    if faults:
        raise SpecError(faults)
    return Training(**values, spans={let.name: let.value.span for let in model.train})


def _setting(let: ast.Let, scope: Scope) -> Any:
    known = {s.name: s for s in slots(Training)}
    if let.name not in known:
        raise error("MP510", f"train has no setting '{let.name}'", let.span, help=named(let.name, known))
    if let.name in TABLES:
        return _chosen(let.value, TABLES[let.name], let.name, scope)
    call = ast.Call(span=let.span, callee="train")
    return Arguments(scope, None, call).coerce(known[let.name], let.value)


def _chosen(expr: ast.Expr, table: Mapping[str, type], what: str, scope: Scope) -> Any:
    """An optimiser or a schedule, from a call or a bare name."""
    call = ast.Call(span=expr.span, callee=expr.id) if isinstance(expr, ast.Name) else expr
    if not isinstance(call, ast.Call):
        raise error("MP113", f"expected the name of {what}", expr.span, help=f"known: {', '.join(table)}")
    if call.callee not in table:
        raise unknown(what, call.callee, list(table), expr.span)
    return Arguments(scope, None, call).build(table[call.callee])
