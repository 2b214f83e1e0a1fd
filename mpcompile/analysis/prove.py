"""Claims -> verdicts. Every verdict says how it was reached and for which sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from mpcompile.analysis.claims import KINDS
from mpcompile.analysis.constants import without_constants
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.few import few_layers
from mpcompile.analysis.findings.batch_order import ordered_statistics
from mpcompile.analysis.verdict import Status, Verdict
from mpcompile.budget import OutOfBudget, share
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module, NoRule, Unsettled
from mpcompile.specialize import member, member_claim

#: Claims about what is read, which nothing passes that is constant.
_READING = ("autoregressive", "complete", "receptive_field", "no_blind_spot", "path_length")


@dataclass
class _Asked:
    """Ask claims of a module."""

    module: Module

    @cached_property
    def reading(self) -> Module:
        """Return the module of which claims about dependence are asked."""
        return without_constants(self.module)

    def answer(self, claim: Claim) -> Verdict:
        """Answer by the claim's rule; of a mixture over orders and masks, for every member on its own."""
        return _answer(self.reading if claim.kind in _READING else self.module, claim)

    def statistics(self) -> set[str]:
        """Return the variables over whose places a layer takes statistics while training."""
        return {subject for *_, subject in ordered_statistics(self.module)}


def prove(module: Module) -> list[Verdict]:
    """Return a verdict for every claim of a module, in order; a repeated claim has the verdict of the first."""
    known: dict[tuple[object, ...], Verdict] = {}
    allowed = {(a.name, a.subject) for a in module.allowances}
    verdicts: list[Verdict] = []
    whole, short = _Asked(module), few_layers(module)
    few = None if short is None else _Asked(short)
    for claim in module.claims:
        key = (claim.kind, claim.subject, claim.program, claim.bound, claim.structure)
        if key in known:
            verdicts.append(replace(known[key], claim=claim))
            continue
        try:
            with share():
                verdict = _of_few(few, claim) or whole.answer(claim)
        except NoRule as missing:
            verdict = Verdict.undecided(claim, str(missing), missing.primitive.name)
        except TooLarge as reason:
            verdict = Verdict.undecided(claim, str(reason))
        except OutOfBudget as limit:
            verdict = _not_decided(claim, limit)
        refuted = verdict.status is Status.REFUTED
        if refuted and claim.kind in _READING and whole.reading is not module:
            verdict = _explained(module, verdict)
        kind = KINDS[claim.kind]
        if kind.allowable and (kind.name, claim.subject) in allowed and verdict.status is Status.REFUTED:
            verdict = verdict.allowed()
        proved = claim.kind == "autoregressive" and verdict.status is Status.PROVED
        if proved and claim.subject in _statistics(few, whole):
            verdict = replace(verdict, method=f"{verdict.method}, without statistics of the batch")
        known[key] = verdict
        verdicts.append(verdict)
    return verdicts


def _of_few(few: _Asked | None, claim: Claim) -> Verdict | None:
    """Return the verdict of a model of fewer layers, where it proves the claim of the whole; else None."""
    if few is None or not KINDS[claim.kind].regions or (claim.order and claim.order.members is not None):
        return None
    try:
        verdict = few.answer(claim)
    except (Unsettled, NoRule, TooLarge):
        return None
    return verdict if verdict.status is Status.PROVED else None


def _statistics(few: _Asked | None, whole: _Asked) -> set[str]:
    try:
        return (few or whole).statistics()
    except Unsettled:
        return whole.statistics()


def _explained(module: Module, verdict: Verdict) -> Verdict:
    """The verdict, whose findings say which layer is constant: why so little is read; of a leak it is a note only."""
    from mpcompile.analysis.certain import cause  # for models that have such a layer

    why = next(filter(None, (cause(g) for g in module.programs.values())), "")
    leak = verdict.claim.kind == "autoregressive"
    found = tuple(
        replace(d, notes=(*d.notes, why)) if leak else replace(d, help=why) for d in verdict.diagnostics
    )
    return replace(verdict, diagnostics=found if why else verdict.diagnostics)


def _not_decided(claim: Claim, limit: OutOfBudget) -> Verdict:
    verdict = Verdict.undecided(claim, f"not within {limit}")
    finding = Diagnostic(
        "MP310", f"{claim} is not decided within {limit}", claim.span,
        help="allow more with --time-budget and --memory-budget, or check a smaller model with --set",
    )  # fmt: skip
    return replace(verdict, diagnostics=(finding,))


def _answer(module: Module, claim: Claim) -> Verdict:
    orders = None if claim.order is None else claim.order.members
    if orders is None:
        return KINDS[claim.kind].answer(module, claim)
    for k in range(len(orders)):
        verdict = KINDS[claim.kind].answer(member(module, k), member_claim(claim, k))
        if verdict.status is not Status.PROVED:
            note = f"member {k} of {len(orders)} orders and masks"
            found = tuple(replace(d, notes=(*d.notes, note)) for d in verdict.diagnostics)
            return replace(verdict, claim=claim, diagnostics=found)
    return replace(verdict, claim=claim, members=len(orders))


def unproven(verdicts: list[Verdict], allow: bool = False) -> list[Verdict]:
    """Return the verdicts that stop a build; with `allow` the refuted ones alone."""
    return [v for v in verdicts if v.status is Status.REFUTED or not (allow or v.status.accepted)]


__all__ = ["Status", "Verdict", "prove", "unproven"]
