"""`joint`, of every model that states several laws: in their order they are a factorisation of the joint density.

Each modelled variable has one factor. A factor reads variables without a law, those of earlier factors, and carried
values of a recurrence, which are functions of earlier steps. Its law is a density or a mass over the values of its
variable. Then the factors integrate to one, the last first: given the others its integral is 1, and so on to the first.
"""

from __future__ import annotations

from mpcompile.analysis.verdict import Proof, Verdict, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import SUBJECT, Claim, Factor, Module

METHOD = "each law reads what is stated before it"


def joint(module: Module, claim: Claim) -> Verdict:
    """Decide whether the laws factorise the joint density, by the inputs that are live in each."""
    factors = module.factors
    findings = [found for i, f in enumerate(factors) for found in _faults(module, f, factors[:i], factors)]
    if findings:
        return Verdict.refuted(claim, METHOD, {}, findings)
    scope = scope_of(*module.regions.values(), *(f.graph for f in factors), covers="lengths")
    return Verdict.proved(claim, Proof(scope, f"{len(factors)} laws, each once"))


def _faults(module: Module, factor: Factor, before: list[Factor], all: list[Factor]) -> list[Diagnostic]:
    """Return what is wrong with one factor: each variable that it must not read, and values of another type."""
    stated, there = {f.name: f.span for f in all}, {f.name for f in before}
    found = []
    if factor.name in there:
        found.append(Diagnostic("MP105", f"`{factor.name}` has two laws", factor.span))
    if not set(factor.kinds) & set(factor.types):
        found.append(
            Diagnostic(
                "MP209", f"{factor.law} is no law of {factor.name}, which is {factor.kinds[0]}", factor.span
            )
        )
    for name in factor.graph.inputs:
        if name == SUBJECT or name in there or name in factor.past:
            continue
        if name == factor.name:
            found.append(Diagnostic("MP127", f"`{name}` reads itself", factor.span))
        elif name in stated:
            note = f"`{name}` is stated at {stated[name]}"
            what = f"`{factor.name}` reads `{name}`, which is stated after it"
            found.append(Diagnostic("MP127", what, factor.span, notes=(note,)))
        elif name not in module.fields:
            found.append(
                Diagnostic("MP127", f"`{factor.name}` reads `{name}`, which has no law", factor.span)
            )
    return found
