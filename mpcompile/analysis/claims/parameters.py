"""`parameters <= n`: how many trained weights there are."""

from __future__ import annotations

import math

from mpcompile.analysis.verdict import Verdict
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module


def parameters(module: Module, claim: Claim, length: int) -> Verdict:
    del length
    total = sum(math.prod(p.shape) for p in module.parameters.values() if p.trainable)
    op, bound = claim.arguments.get("op", "<="), claim.arguments.get("bound", math.inf)
    holds = {"<=": total <= bound, "<": total < bound, ">=": total >= bound, ">": total > bound,
             "==": total == bound}[op]  # fmt: skip
    findings = () if holds else (
        Diagnostic("MP304", f"the model has {total} parameters, claimed {op} {bound}", claim.span),
    )  # fmt: skip
    return Verdict(claim, "proved" if holds else "refuted", "counted", findings, {"parameters": total})
