"""`parameters <= n`: how many trained weights there are; those that masks remove do not count."""

from __future__ import annotations

from mpcompile.analysis.verdict import Proof, Verdict, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module


def parameters(module: Module, claim: Claim) -> Verdict:
    """Count the trained parameters and compare them with the bound of the claim."""
    total = sum(p.live for p in module.parameters.values() if p.trainable)
    detail = {"parameters": total}
    if claim.bound is None or claim.bound.holds(total):  # no weight has a symbolic size
        return Verdict.proved(
            claim, Proof(scope_of(*module.programs.values(), covers="lengths"), "counted"), detail
        )
    finding = Diagnostic("MP304", f"the model has {total} parameters, claimed {claim.bound}", claim.span)
    return Verdict.refuted(claim, "counted", {}, [finding], detail)
