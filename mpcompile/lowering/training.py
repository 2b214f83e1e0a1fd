"""The `train` section of a spec, bound and checked: every value has its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mpcompile.diagnostics import Diagnostic, SpecError, error
from mpcompile.frontend import ast
from mpcompile.ir import Training
from mpcompile.ir.training import TABLES, setting
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.scope import Scope


def training(model: ast.Model, scope: Scope) -> Training:
    """Return what the section states.

    Raises `SpecError` with every setting that is unknown, or outside of its range (MP511).
    """
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
    slot = setting(let.name, let.span)
    bound = Arguments(scope, None, ast.Call(span=let.span, callee="train"))
    if let.name in TABLES:
        return bound.chosen(TABLES[let.name], let.name, let.value, f"the name of {let.name}")
    return bound.coerce(slot, let.value)
