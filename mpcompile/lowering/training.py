"""The `train` section as plain numbers and names, for the runner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpcompile.diagnostics import Diagnostic, SpecError, error
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.lowering.names import unknown

OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "adam": ("rate", "beta1", "beta2", "eps", "weight_decay"),
    "adamw": ("rate", "weight_decay", "beta1", "beta2", "eps"),
    "sgd": ("rate", "momentum", "weight_decay"),
    "adagrad": ("rate", "eps", "weight_decay"),
    "perceptron": ("rate",),
}
SCHEDULES: dict[str, tuple[str, ...]] = {
    "constant": ("warmup",), "cosine": ("warmup", "final"), "linear": ("warmup", "final"),
    "step": ("every", "factor", "warmup"), "exponential": ("every", "factor", "warmup"),
    "inverse_sqrt": ("warmup",),
}  # fmt: skip
NUMBERS = (
    "batch", "epochs", "steps", "seed", "clip", "patience", "valid_every", "log_every", "checkpoint_every",
    "weight_decay", "length", "threshold",
)  # fmt: skip
NAMES = ("data",)


def training_options(model: ast.Model, numbers: Mapping[str, int | float]) -> dict[str, Any]:
    """Checked training options. Raises a located error for every one that is unknown or of another form."""
    out: dict[str, Any] = {}
    faults: list[Diagnostic] = []
    for let in model.train:
        try:
            out[let.name] = _option(let, numbers)
        except SpecError as fault:
            faults += fault.diagnostics
    if faults:
        raise SpecError(faults)
    return out


def _option(let: ast.Let, numbers: Mapping[str, int | float]) -> Any:
    if let.name in NUMBERS:
        return evaluate_number(let.value, numbers)
    if let.name in NAMES:
        if isinstance(let.value, ast.Name):
            return let.value.id
        if isinstance(let.value, ast.Text):
            return let.value.value
        raise error("MP113", f"`{let.name}` is a name", let.value.span)
    if let.name == "optimizer":
        return _named(let.value, OPTIMIZERS, "optimizer", numbers)
    if let.name == "schedule":
        return _named(let.value, SCHEDULES, "schedule", numbers)
    raise unknown("training option", let.name, [*NUMBERS, *NAMES, "optimizer", "schedule"], let.span)


def _named(
    expr: ast.Expr, table: Mapping[str, tuple[str, ...]], what: str, numbers: Mapping[str, int | float]
) -> dict[str, Any]:
    call = ast.Call(span=expr.span, callee=expr.id) if isinstance(expr, ast.Name) else expr
    if not isinstance(call, ast.Call) or call.callee not in table:
        raise unknown(what, call.callee if isinstance(call, ast.Call) else "", list(table), expr.span)
    slots = table[call.callee]
    out: dict[str, Any] = {"kind": call.callee}
    for i, argument in enumerate(call.args):
        name = argument.name or (slots[i] if i < len(slots) else "")
        if name not in slots or name in out:
            raise unknown("argument", name or f"number {i + 1}", slots, argument.span, call.callee)
        out[name] = evaluate_number(argument.value, numbers)
    return out
