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

#: Settings that are of data, and the help where a model reads none.
OF_DATA = {
    "data": "leave it out: a step reads draws alone",
    "epochs": "`steps: 2_000` says how long it is trained",
    "length": "leave it out: a step reads draws alone",
    "threshold": "leave it out: a step reads draws alone",
}


def training(model: ast.Model, scope: Scope) -> Training:
    """Return what the section states.

    Raises `SpecError` with every setting that is unknown, outside of its range (MP511), or of data where no variable is
    declared (MP514).
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
    if not model.declarations and any(getattr(s, "role", "") == "latent" for s in model.density):
        faults += _of_data(model)
    if faults:
        raise SpecError(faults)
    return Training(**values, spans={let.name: let.value.span for let in model.train})


def _of_data(model: ast.Model) -> list[Diagnostic]:
    """Return a finding for everything that is of data, in a model that declares no variable."""
    found: list[Diagnostic] = []
    for let in model.train:
        if let.name in OF_DATA:
            found += error("MP514", f"`{let.name}` is of data, and the model declares no variable to read", let.span,
                           help=OF_DATA[let.name]).diagnostics  # fmt: skip
    for s in model.density:
        if isinstance(s, ast.WeightPrior):
            found += error("MP514", "a prior on weights counts once for all data, and the model reads none",
                           s.span, help="minimise sum(square(w), over = channel) weight 0.01").diagnostics  # fmt: skip
    return found


def _setting(let: ast.Let, scope: Scope) -> Any:
    slot = setting(let.name, let.span)
    bound = Arguments(scope, None, ast.Call(span=let.span, callee="train"))
    if let.name in TABLES:
        return bound.chosen(TABLES[let.name], let.name, let.value, f"the name of {let.name}")
    return bound.coerce(slot, let.value)
