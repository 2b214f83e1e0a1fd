"""Claims -> verdicts. Every verdict says how it was reached and for which sizes."""

from __future__ import annotations

from dataclasses import replace

from mpcompile.analysis.claims import RULES
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.verdict import LENGTH, Verdict
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module, NoRule
from mpcompile.members import member, of_member


def prove(module: Module, length: int = LENGTH) -> list[Verdict]:
    """A verdict for every claim of a module, in order; a claim that repeats a derived one is answered once more."""
    known: dict[tuple[str, str, str], Verdict] = {}
    suppressed = {
        (c.kind.removeprefix("allow:"), c.subject) for c in module.claims if c.kind.startswith("allow:")
    }
    verdicts: list[Verdict] = []
    for claim in module.claims:
        if claim.kind.startswith("allow:"):
            continue
        key = (claim.kind, claim.subject, claim.program)
        reusable = known.get(key) if claim.kind in ("autoregressive", "complete") else None
        if reusable is not None:
            verdicts.append(Verdict(claim, reusable.status, reusable.how, (), reusable.detail))
            continue
        try:
            verdict = _answer(module, claim, length)
        except (NoRule, TooLarge) as missing:
            verdict = Verdict(
                claim,
                "unproven",
                "no rule",
                (
                    Diagnostic(
                        "MP309", f"{claim.kind}({claim.subject}) cannot be proven: {missing}", claim.span
                    ),
                ),
            )
        if claim.kind == "complete" and key[:2] in suppressed and verdict.status == "refuted":
            verdict = Verdict(claim, "allowed", verdict.how, (), verdict.detail)
        known[key] = verdict
        verdicts.append(verdict)
    return verdicts


def _answer(module: Module, claim: Claim, length: int) -> Verdict:
    """By the claim's rule; of a mixture over orders and masks, for every member on its own."""
    orders = claim.arguments.get("orders")
    if orders is None:
        return RULES[claim.kind](module, claim, length)
    for k in range(len(orders)):
        verdict = RULES[claim.kind](member(module, k), of_member(claim, k), length)
        if verdict.status != "proved":
            note = f"member {k} of {len(orders)} orders and masks"
            found = tuple(replace(d, notes=(*d.notes, note)) for d in verdict.diagnostics)
            return replace(verdict, claim=claim, diagnostics=found)
    return replace(verdict, claim=claim, how=f"{verdict.how}; each of {len(orders)} orders and masks")


def unproven(verdicts: list[Verdict]) -> list[Verdict]:
    """Verdicts that stop a build: what a density needs and what the author claimed."""
    return [v for v in verdicts if v.status in ("refuted", "unproven")]


__all__ = ["LENGTH", "Verdict", "prove", "unproven"]
