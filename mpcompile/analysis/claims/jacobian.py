"""`jacobian(x)`: every bijector's structure bears out how its log-determinant is computed.

Fixed sizes: from sets of inputs. A bijector that reads conditions of symbolic length: from sets over axes whose elements
are alike, for every length; where those do not decide it, a fault is looked for at growing lengths up to the horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

import numpy as np

from mpcompile.analysis.bits import BitMatrix
from mpcompile.analysis.claims import KINDS
from mpcompile.analysis.dependence import sets
from mpcompile.analysis.horizon import search
from mpcompile.analysis.jacobian import classify, closed_form, coupling_structure
from mpcompile.analysis.stencils import sets_at_every_length
from mpcompile.analysis.verdict import FINITE, Proof, Sizes, Verdict, free_symbols, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, FlowStep, Graph, Module, NoRule
from mpcompile.ir.same import form

METHOD = "sets of inputs, bijector by bijector"


@dataclass(frozen=True, slots=True)
class Judged:
    """The kind of a Jacobian, and what is wrong with it, if anything is."""

    kind: str
    fault: Diagnostic | None


#: Judges one Jacobian at some sizes; None: from upper bounds at every length.
Judge = Callable[[Sizes | None], Judged]


def jacobian(module: Module, claim: Claim) -> Verdict:
    """Decide whether each step of a flow has the Jacobian that its log-determinant assumes, and the stated structure."""
    known: dict[Hashable, Judged] = {}
    units: list[tuple[str, Graph, Judge]] = [
        (step.name, step.graph, partial(_step, step, known)) for step in module.flow_steps[claim.subject]
    ]
    if claim.structure:
        graph = module.programs[claim.program]
        units.append(("whole", graph, partial(_whole, graph, claim)))
    faults, detail, at = list[Diagnostic](), dict[str, str](), dict[str, int]()
    open_: Verdict | None = None
    for name, graph, judge in units:
        if not free_symbols(graph):
            judged = judge({"N": 1})
            detail[name] = judged.kind
            faults += [judged.fault] if judged.fault else []
            continue
        reason, primitive = "", ""
        try:
            judged = judge(None)
            detail[name] = judged.kind
            if judged.fault is None:
                continue
            reason = f"at some length {name} may have another Jacobian"
        except NoRule as missing:
            reason, primitive = str(missing), missing.primitive.name
        tried = search(graph, lambda sizes, judge=judge: judge(sizes).fault)  # type: ignore[misc]  # bound now
        if tried.found is not None:
            faults.append(tried.found)
            at |= tried.at
        elif open_ is None:
            open_ = Verdict.undecided(claim, reason, primitive, tried.checked)
    if faults:
        return Verdict.refuted(claim, METHOD, at, faults, detail)
    if open_ is not None:
        return open_
    scope = scope_of(*(graph for _, graph, _ in units), covers="lengths")
    return Verdict.proved(claim, Proof(scope, METHOD, (FINITE,)), detail)


def _supports(graph: Graph, source: str, output: str, sizes: Sizes | None) -> BitMatrix:
    """Bound which elements of a source each element of an output reads, at some sizes or at every length."""
    if sizes is None:
        return sets_at_every_length(graph, source, output).value
    return sets(graph, source, output, sizes).value


def _step(step: FlowStep, known: dict[Hashable, Judged], sizes: Sizes | None) -> Judged:
    """One bijector: what it transforms must be hidden from its conditioner.

    `known` has what was judged without fault, by the form of the graph and the sizes: bijectors are often repeated.
    """
    key = form(step.graph), tuple(sizes.items()) if sizes is not None else None
    if key not in known:
        judged = _judged(step, sizes)
        if judged.fault is not None:
            return judged
        known[key] = judged
    return known[key]


def _judged(step: FlowStep, sizes: Sizes | None) -> Judged:
    direct = _supports(step.graph, "x", "y", sizes)
    seen = BitMatrix(np.zeros_like(direct.words), direct.columns)
    if "seen" in step.graph.inputs:
        seen = _supports(step.graph, "seen", "y", sizes)
    structure, fault = coupling_structure(direct, seen)
    if fault is None:
        return Judged(structure.kind, None)
    if (size := closed_form(step.graph)) is not None:
        return Judged(f"dense, log |det W| of its {size} x {size} matrix", None)
    shape = step.graph.inputs["x"].type.concrete(sizes or {"N": 1})[1:]
    i, j = (list(map(int, np.unravel_index(k, shape))) for k in fault)
    finding = Diagnostic(
        "MP402",
        f"the log-determinant of {step.name} is not that of its Jacobian: output {i} reads input {j} "
        f"through the conditioner, and input {j} is transformed itself",
        step.span,
        label="what is transformed must be hidden from the net",
        help="the mask must hide from the net every element that the coupling transforms",
    )
    return Judged(structure.kind, finding)


def _whole(graph: Graph, claim: Claim, sizes: Sizes | None) -> Judged:
    """The chain of all bijectors, against the kind that is claimed."""
    wanted, ranking = claim.structure, KINDS[claim.kind].structures
    kind = classify(_supports(graph, claim.subject, "z", sizes)).kind
    if ranking.index(kind) <= ranking.index(wanted):
        return Judged(kind, None)
    return Judged(
        kind, Diagnostic("MP403", f"the Jacobian of {claim.subject} is {kind}, not {wanted}", claim.span)
    )
