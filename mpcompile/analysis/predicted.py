"""The program that claims on the prediction of a target are about."""

from __future__ import annotations

from mpcompile.analysis.verdict import Verdict
from mpcompile.ir import Claim, Graph, Module


def prediction(module: Module, claim: Claim) -> Graph | Verdict:
    """Return the program `predict`, or the verdict where it does not give the claim's variable, or draws noise."""
    graph = module.programs.get("predict")
    if graph is None or claim.subject not in graph.outputs:
        return Verdict.undecided(claim, f"no program predicts {claim.subject}")
    if module.noise.get("predict"):
        return Verdict.undecided(claim, "the prediction draws noise")
    return graph
