"""What is to be proven about a model: the claims of its `check` section and those that its densities imply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpcompile.analysis.findings import NAMES as FINDINGS
from mpcompile.diagnostics import error
from mpcompile.distributions import Autoregressive, Distribution, Flow
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.ir import Claim, Module
from mpcompile.lowering.names import unknown

KINDS = (
    "autoregressive",
    "complete",
    "jacobian",
    "parameters",
    "receptive_field",
    "no_blind_spot",
    "path_length",
)


def claims_of(
    model: ast.Model,
    module: Module,
    laws: Mapping[str, Distribution],
    axes: Mapping[str, int | None],
    programs: Mapping[str, str],
) -> list[Claim]:
    """All claims, the derived ones first; what every model promises is last.

    `axes` gives for every autoregressive variable the axis of its parameters that variables do not have (classes,
    mixture components); `programs` the program in which each variable's claims are proven.
    """
    claims: list[Claim] = []
    spans = {s.name: s.span for s in model.density if isinstance(s, ast.Density)}
    for name, law in laws.items():
        if isinstance(law, Autoregressive):
            claims.append(
                _autoregressive(
                    name, law, axes[name], programs[name], "autoregressive", spans[name], stated=False
                )
            )
        if isinstance(law, Flow):
            claims.append(
                Claim("jacobian", name, programs.get(name, "forward"), spans[name], {}, stated=False)
            )
    stated = [_stated(check, module, laws, axes, programs) for check in model.checks]
    repeated = {(c.kind, c.subject) for c in stated}
    batch = Claim("independent", "", "", model.span, {}, stated=False)
    lengths = [f.span for f in module.fields.values() if f.counts]
    ends = [Claim("padding", "", "", span, {}, stated=False) for span in lengths[:1]]
    return [*(c for c in claims if (c.kind, c.subject) not in repeated), *stated, batch, *ends]


def _autoregressive(
    name: str, law: Autoregressive, axis: int | None, program: str, kind: str, span: Any, stated: bool
) -> Claim:
    return Claim(kind, name, program, span, order_of(law, axis), stated)


def order_of(law: Autoregressive, axis: int | None) -> dict[str, Any]:
    """Arguments of a claim about an order; `orders` where there are several, the first of which is `ranks`."""
    if law.members == 1:
        return {"ranks": law.ranks, "axis": axis, "order": law.order}
    assert law.ranks is not None
    return {"ranks": law.ranks[0], "axis": axis, "order": law.order, "orders": law.ranks}


def _stated(
    check: ast.Check,
    module: Module,
    laws: Mapping[str, Distribution],
    axes: Mapping[str, int | None],
    programs: Mapping[str, str],
) -> Claim:
    claim, arguments = check.claim, dict[str, Any]()
    if isinstance(claim, ast.Binary) and claim.op in ("<", "<=", ">", ">=", "==", "is"):
        if claim.op == "is":
            arguments = {"op": "is", "bound": claim.right.id if isinstance(claim.right, ast.Name) else ""}
        else:
            arguments = {"op": claim.op, "bound": evaluate_number(claim.right, module.params)}
        claim = claim.left
    if isinstance(claim, ast.Name):
        if check.allow and claim.id in FINDINGS:
            return Claim(f"allow:{claim.id}", "", "", check.span, {"because": _reason(check)})
        claim = ast.Call(span=claim.span, callee=claim.id)
    if not isinstance(claim, ast.Call) or claim.callee not in KINDS:
        kinds = (*KINDS, *FINDINGS) if check.allow else KINDS
        raise unknown("claim", claim.callee if isinstance(claim, ast.Call) else "", kinds, check.span)
    subject = ""
    if claim.args:
        value = claim.args[0].value
        subject = value.id if isinstance(value, ast.Name) else ""
        if subject not in module.fields:
            raise unknown("variable", subject, list(module.fields), claim.args[0].span)
    law = laws.get(subject)
    if check.allow:
        arguments["because"] = _reason(check)
        return Claim(f"allow:{claim.callee}", subject, "", check.span, arguments)
    if claim.callee == "complete" and isinstance(law, Flow):
        return Claim("complete", subject, "forward", check.span)
    if claim.callee in ("autoregressive", "complete"):
        if not isinstance(law, Autoregressive):
            law_name = "autoregressive density" + (" or flow" if claim.callee == "complete" else "")
            raise error("MP132", f"`{subject}` has no {law_name}", claim.span)
        return _autoregressive(
            subject, law, axes[subject], programs[subject], claim.callee, check.span, stated=True
        )
    if claim.callee == "jacobian" and not isinstance(law, Flow):
        raise error("MP132", f"`{subject}` is not the variable of a flow", claim.span)
    if claim.callee == "no_blind_spot" and isinstance(law, Autoregressive):
        return _autoregressive(
            subject, law, axes[subject], programs[subject], claim.callee, check.span, stated=True
        )
    program = programs.get(subject, "forward") if claim.callee == "jacobian" else "loss"
    return Claim(claim.callee, subject, program, check.span, arguments)


def _reason(check: ast.Check) -> str:
    """Why something is allowed."""
    if not check.because:
        raise error("MP131", "a suppression states its reason", check.span, help='allow ... because "..."')
    return check.because
