"""`transformed(x)`: every element of a flow's variable is moved by a map with a conditioner, or mixed with others."""

from __future__ import annotations

from dataclasses import replace

from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.findings.untransformed import MOST, passed_on
from mpcompile.analysis.verdict import Proof, Verdict, scope_of
from mpcompile.diagnostics import Severity
from mpcompile.ir import Claim, Module

METHOD = "elements followed from map to map"


def transformed(module: Module, claim: Claim) -> Verdict:
    """Decide whether each element is transformed, following it through masks and permutations.

    Raises `TooLarge` for a flow of more than 2,048 elements, and `NoRule`.
    """
    steps = module.flow_steps[claim.subject]
    found = passed_on(module, claim.subject)
    if found is None:
        raise TooLarge(f"{claim.subject} has more than {MOST} elements")
    if found.finding is not None:
        finding = replace(found.finding, span=claim.span, severity=Severity.ERROR)
        return Verdict.refuted(claim, METHOD, {}, [finding], {"passed": found.count})
    scope = scope_of(*(step.graph for step in steps), covers="lengths")
    return Verdict.proved(claim, Proof(scope, METHOD), {"passed": 0})
