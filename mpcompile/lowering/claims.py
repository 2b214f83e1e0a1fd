"""The claims of a model: those of its `check` section and those that its densities imply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mpcompile.analysis import findings
from mpcompile.analysis.claims import KINDS, Kind
from mpcompile.diagnostics import Span, error
from mpcompile.distributions import Autoregressive, Distribution, Flow
from mpcompile.distributions.base import Elementwise
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.ir import Allowance, Array, Bound, Claim, Module, Ordering
from mpcompile.ir.claims import HOLDS
from mpcompile.layers.base import MaskUse
from mpcompile.lowering.names import unknown
from mpcompile.lowering.scope import Scope


@dataclass(frozen=True)
class Modelled:
    """An observed variable as claims see it: its law, and the program in which claims are proven.

    `axis` is the axis of that program's parameters that the variable does not have (classes, components).
    """

    law: Distribution
    program: str = "forward"
    axis: int | None = None

    def claim(
        self, kind: Kind, subject: str, span: Span, bound: Bound | None, structure: str, stated: bool
    ) -> Claim:
        """A claim about it."""
        if kind.ordered and isinstance(self.law, Autoregressive):
            return Claim(
                kind.name,
                subject,
                self.program,
                span,
                bound,
                structure,
                order_of(self.law, self.axis),
                stated,
            )
        program = self.program if self.law.keyword in kind.laws else "loss"
        return Claim(kind.name, subject, program, span, bound, structure, stated=stated)


def order_of(law: Autoregressive, axis: int | None) -> Ordering:
    """Return the order that a law gives its variable."""
    if law.members == 1:
        return Ordering(law.ranks, axis, law.order)
    assert law.ranks is not None
    return Ordering(law.ranks[0], axis, law.order, law.ranks)


def order_of_steps(subject: str, program: str, axis: int | None, span: Span) -> Claim:
    """Return the claim that the steps of a recurrence, whose laws the program has, have the order of time."""
    return Claim("autoregressive", subject, program, span, order=Ordering(None, axis), stated=False)


def claims_of(
    model: ast.Model, module: Module, modelled: Mapping[str, Modelled], orders: Mapping[str, Claim]
) -> list[Claim]:
    """Return all claims, the derived ones first and what every model promises last.

    `orders` are those that the steps of a recurrence have the order of time, by variable: they are derived, and other
    claims of an order go by them. Raises `SpecError` for a meaningless claim.
    """
    spans = {s.name: s.span for s in model.density if isinstance(s, ast.Density)}
    implied = [
        m.claim(KINDS[m.law.implies], name, spans[name], None, "", stated=False)
        for name, m in modelled.items()
        if m.law.implies
    ]
    stated = [_stated(check, model, module, modelled, orders) for check in model.checks if not check.allow]
    repeated = {(c.kind, c.subject) for c in stated}
    lengths = [f.span for f in module.fields.values() if f.counts]
    places = {
        "always": [model.span],
        "lengths": lengths[:1],
        "laws": [],
    }  # that of laws names them (`joint.py`)
    promised = [
        Claim(kind.name, "", "", span, stated=False)
        for kind in KINDS.values()
        if kind.promised
        for span in places[kind.promised]
    ]
    implied = [c for c in (*orders.values(), *implied) if (c.kind, c.subject) not in repeated]
    return [*implied, *stated, *promised]


def allowances_of(model: ast.Model, module: Module) -> list[Allowance]:
    """Return what the `check` section allows.

    Raises `SpecError`: MP110 for an unknown name, MP131 for one without a reason.
    """
    return [_allowance(check, module) for check in model.checks if check.allow]


def _allowance(check: ast.Check, module: Module) -> Allowance:
    if isinstance(check.claim, ast.Name) and check.claim.id in findings.names():
        return Allowance(check.claim.id, "", check.span, _reason(check))
    kind, subject, *_ = _read(check, module)
    return Allowance(kind.name, subject, check.span, _reason(check))


def _stated(
    check: ast.Check,
    model: ast.Model,
    module: Module,
    modelled: Mapping[str, Modelled],
    orders: Mapping[str, Claim],
) -> Claim:
    kind, subject, bound, structure, span = _read(check, module)
    found = modelled.get(subject)
    if kind.ordered and subject in orders:
        return replace(
            orders[subject], kind=kind.name, span=check.span, bound=bound, structure=structure, stated=True
        )
    if kind.laws and (found is None or found.law.keyword not in kind.laws):
        raise error("MP132", f"`{subject}` {kind.lacks}", span)
    if found is None or kind.axis:
        return Claim(kind.name, subject, "loss", check.span, bound, structure, axis=_axis(kind, check))
    claim = found.claim(kind, subject, check.span, bound, structure, stated=True)
    return replace(claim, matrix=_matrix(check, model, module, found.law)) if kind.matrix else claim


def _matrix(check: ast.Check, model: ast.Model, module: Module, law: Distribution) -> tuple[str, Array]:
    """The matrix behind the variable of a claim, with its name.

    Raises `SpecError`: MP123 for none, MP206 for one that does not fit, MP132 for a law that has no parts by element.
    """
    call = ast.called(_said_of(check.claim))
    assert call is not None
    subject = module.fields[call.args[0].value.id]  # type: ignore[union-attr]  # `_read` has seen it
    name = call.args[1].value if len(call.args) > 1 else None
    if not isinstance(name, ast.Name):
        raise error(
            "MP123", f"`{call.callee}` names no matrix", call.span, help=f"write {KINDS[call.callee].usage}"
        )
    if isinstance(law, Flow) and not isinstance(law.base, Elementwise):
        raise error("MP132", f"the base of the flow of `{subject.name}` is no law of single elements", check.span,
                    help="flow(base = normal)")  # fmt: skip
    masks = {m.name: m.value for m in model.masks}
    mask = Scope(module.source, dict(module.params), masks=masks, model=model).mask(name)
    shape = subject.type.shape[1:]
    if len(shape) != 1 or not isinstance(shape[0], int):
        raise error("MP132", f"`{subject.name}` is no vector of fixed size", check.span)
    try:
        return name.id, mask.array(MaskUse("adjacency", (shape[0], shape[0])))
    except ValueError as problem:
        raise error("MP206", f"the mask does not fit: {problem}", name.span) from problem


def _read(check: ast.Check, module: Module) -> tuple[Kind, str, Bound | None, str, Span]:
    """A claim as it is written: its kind, its variable, what is said of a number or a structure, and the place."""
    claim: ast.Expr = check.claim
    bound: Bound | None = None
    structure = ""
    if isinstance(claim, ast.Binary) and claim.op == "is":
        structure = claim.right.id if isinstance(claim.right, ast.Name) else "?"
        claim = claim.left
    elif isinstance(claim, ast.Binary) and claim.op in HOLDS:
        bound = Bound(claim.op, evaluate_number(claim.right, module.params))
        claim = claim.left
    call = ast.called(claim)
    known = {name: kind for name, kind in KINDS.items() if not kind.promised}
    if call is None or call.callee not in known:
        names = (*known, *findings.names()) if check.allow else known
        raise unknown("claim", call.callee if call else "", list(names), call.span if call else check.span)
    kind = known[call.callee]
    subject = ""
    if call.args:
        value = call.args[0].value
        subject = value.id if isinstance(value, ast.Name) else ""
        if subject not in module.fields:
            raise unknown("variable", subject, list(module.fields), call.args[0].span)
    _check_form(kind, check, subject, bound, structure)
    return kind, subject, bound, structure, claim.span


def _axis(kind: Kind, check: ast.Check) -> str:
    """The name of the axis that a claim is about. Raises MP123 for a claim that lacks it."""
    call = ast.called(_said_of(check.claim))
    if not kind.axis:
        return ""
    value = call.args[1].value if call is not None and len(call.args) > 1 else None
    if not isinstance(value, ast.Name):
        raise error("MP123", f"`{kind.name}` is a claim about an axis, and names none", check.span,
                    help=f"write {kind.usage}")  # fmt: skip
    return value.id


def _said_of(claim: ast.Expr) -> ast.Expr:
    """A claim without what it is compared with."""
    return claim.left if isinstance(claim, ast.Binary) else claim


def _check_form(kind: Kind, check: ast.Check, subject: str, bound: Bound | None, structure: str) -> None:
    """Raises for a claim of a form that means nothing."""
    call = ast.called(_said_of(check.claim))
    most = (2 if kind.axis or kind.matrix else 1) if kind.about == "a variable" else 0
    if call is not None and len(call.args) > most:
        what = "one variable" if most else "the whole model"
        raise error(
            "MP128",
            f"`{kind.name}` is a claim about {what}",
            call.args[most].span,
            help=f"write {kind.usage}",
        )
    if kind.about == "a variable" and not subject:
        raise error("MP123", f"`{kind.name}` is a claim about a variable, and names none", check.span,
                    help=f"write {kind.usage}")  # fmt: skip
    if structure and structure not in kind.structures:
        if kind.structures:
            name = "" if structure == "?" else structure
            said = check.claim.right if isinstance(check.claim, ast.Binary) else check.claim
            raise unknown("structure", name, kind.structures, said.span)
        raise error(
            "MP133", f"`{kind.name}` says nothing of a structure", check.span, help=f"write {kind.usage}"
        )
    if bound and kind.number == "never":
        raise error(
            "MP133", f"`{kind.name}` is compared with no number", check.span, help=f"write {kind.usage}"
        )
    if not bound and kind.number == "always" and not check.allow:
        raise error(
            "MP123", f"`{kind.name}` says nothing without a number", check.span, help=f"write {kind.usage}"
        )


def _reason(check: ast.Check) -> str:
    """Return the reason of an `allow`."""
    if not check.because:
        raise error("MP131", "a suppression states its reason", check.span, help='allow ... because "..."')
    return check.because
