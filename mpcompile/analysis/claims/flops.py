"""`flops <= n`: the floating-point operations of the loss of one example, as `mpcompile inspect` counts them."""

from __future__ import annotations

from mpcompile.analysis.cost import work
from mpcompile.analysis.verdict import Proof, Sizes, Verdict, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module, symbols
from mpcompile.ir.size import substitute

METHOD = "counted"
#: The longest sequences at which a number that grows with the length is compared.
LONGEST = 1 << 16


def flops(module: Module, claim: Claim) -> Verdict:
    """Count the operations and compare them with the bound of the claim.

    A number that depends on a length refutes the claim where it breaks the bound at some length, and leaves it
    undecided where it breaks it at none that is tried.
    """
    graph = module.programs["loss"]
    total = work(graph).total
    free = sorted(symbols(total) - {"N"})
    if not free:
        count = substitute(total, {"N": 1})
        detail = {"flops": count}
        if claim.limit.holds(count):
            return Verdict.proved(claim, Proof(scope_of(graph, covers="declared"), METHOD), detail)
        return Verdict.refuted(claim, METHOD, {}, [_finding(claim, count)], detail)
    checked: list[Sizes] = []
    length = 1
    while length <= LONGEST:
        sizes = dict.fromkeys(free, length)
        count = substitute(total, {"N": 1, **sizes})
        if not claim.limit.holds(count):
            where = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            return Verdict.refuted(claim, METHOD, sizes, [_finding(claim, count, f" at {where}")])
        checked.append(sizes)
        length *= 2
    return Verdict.undecided(claim, f"the number of operations depends on {', '.join(free)}", checked=checked)


def _finding(claim: Claim, count: int, where: str = "") -> Diagnostic:
    return Diagnostic(
        "MP306", f"the loss of one example takes {count} operations{where}, claimed {claim.limit}", claim.span
    )
