"""`path_length(x) <= n`: how many mixing operations lie between the two positions that are farthest apart."""

from __future__ import annotations

import math
import operator

from mpcompile.analysis.paths import LENGTHS, Reach, growth, program_of, reaches
from mpcompile.analysis.verdict import FINITE, Verdict, ran
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module, symbols

HOLDS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt, "==": operator.eq}


def path_length(module: Module, claim: Claim) -> Verdict:
    """Refuted at the first length where the bound does not hold.

    A sequence is measured at several lengths. Where the path grows with them a bound from above is unproven: what
    holds at those lengths says nothing about longer ones. Pairs that no path joins are not counted: they are what
    `complete` and `receptive_field` are about.
    """
    name = claim.subject
    op, bound = claim.arguments.get("op", "<="), claim.arguments.get("bound", math.inf)
    if program_of(module, name) is None:
        return Verdict.undecided(claim, f"no program reads {name}")
    found = reaches(module, name)
    longest = [r.longest for r in found]
    time = next((s for s in symbols_of(module, name)), "length")
    method = "shortest paths between all positions"
    checked = [{} if r.length is None else {time: r.length} for r in found]
    detail = {
        "longest": longest[-1],
        "growth": growth(longest),
        "unjoined": found[-1].pairs - found[-1].joined,
    }
    broken = next((r for r in found if not HOLDS[op](r.longest, bound)), None)
    if broken is not None:
        at = checked[found.index(broken)]
        return Verdict.refuted(claim, method, at, [_refutation(claim, broken, longest, time)], detail)
    if detail["growth"] != "constant" and op in ("<=", "<", "=="):
        return Verdict.undecided(
            claim,
            f"the path grows with {time}: {_listed(longest)}",
            checked=checked,
            detail=detail,
            help=f"only a model whose path does not grow with {time} has a bound for every length",
        )
    graph = program_of(module, name)
    assert graph is not None
    return Verdict.of(claim, ran([graph], method, checked, (FINITE,)), detail)


def symbols_of(module: Module, name: str) -> list[str]:
    """Symbols in a variable's shape besides the batch."""
    return sorted({s for size in module.fields[name].type.shape for s in symbols(size)} - {"N"})


def _refutation(claim: Claim, broken: Reach, longest: list[int], time: str) -> Diagnostic:
    name, bound = claim.subject, f"{claim.arguments.get('op')} {claim.arguments.get('bound')}"
    where = "" if broken.length is None else f" at {time} = {broken.length}"
    pair = f"from {name}{list(broken.source)} to {broken.name}{list(broken.output)}"
    notes = (
        () if broken.length is None else (f"at {time} = {', '.join(map(str, LENGTHS))}: {_listed(longest)}",)
    )
    return Diagnostic(
        "MP320",
        f"the path length of {name} is {broken.longest}{where}, claimed {bound}",
        claim.span,
        label=f"the shortest path {pair} mixes {broken.longest} times",
        notes=notes,
        help="attention joins any two positions directly; dilated convolutions do in the logarithm of their distance",
    )


def _listed(longest: list[int]) -> str:
    return ", ".join(map(str, longest))
