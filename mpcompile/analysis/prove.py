"""Claims -> verdicts. Every verdict says how it was reached and for which sizes."""

from __future__ import annotations

from mpcompile.analysis.claims import RULES
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.verdict import LENGTH, Verdict
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Module, NoRule


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
            verdict = RULES[claim.kind](module, claim, length)
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


def unproven(verdicts: list[Verdict]) -> list[Verdict]:
    """Verdicts that stop a build: what a density needs and what the author claimed."""
    return [v for v in verdicts if v.status in ("refuted", "unproven")]


__all__ = ["LENGTH", "Verdict", "prove", "unproven"]
