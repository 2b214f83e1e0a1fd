"""`jacobian(x)`: every bijector's structure bears out how its log-determinant is computed."""

from __future__ import annotations

import numpy as np

from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.jacobian import closed_form, coupling_structure, structure_of
from mpcompile.analysis.verdict import FINITE, Verdict, ran
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Module

#: The length of symbolic conditions.
LENGTH = 8


def jacobian(module: Module, claim: Claim) -> Verdict:
    """Every bijector's structure must bear out how its log-determinant is computed."""
    findings: list[Diagnostic] = []
    detail: dict[str, str] = {}
    for piece in module.pieces[claim.subject]:
        env = environment_for(piece.graph, LENGTH)
        direct = support(piece.graph, "x", "y", env).value
        seen = np.zeros_like(direct)
        if "seen" in piece.graph.inputs:
            seen = support(piece.graph, "seen", "y", env).value
        structure, fault = coupling_structure(direct, seen)
        detail[piece.name] = structure.kind
        if fault is not None and (size := closed_form(piece.graph)) is not None:
            detail[piece.name] = f"dense, log |det W| of its {size} x {size} matrix"
        elif fault is not None:
            shape = piece.graph.inputs["x"].type.concrete(env)[1:]
            i, j = (list(map(int, np.unravel_index(k, shape))) for k in fault)
            findings.append(
                Diagnostic(
                    "MP402",
                    f"the log-determinant of {piece.name} is not that of its Jacobian: output {i} reads input {j} "
                    f"through the conditioner, and input {j} is transformed itself",
                    piece.span,
                    label="what is transformed must be hidden from the net",
                    help="the mask must hide from the net every element that the coupling transforms",
                )
            )
    if claim.arguments.get("op") == "is":
        wanted = str(claim.arguments["bound"])
        whole = structure_of(module.programs["forward"], claim.subject, "z").kind
        detail["whole"] = whole
        ranking = ["diagonal", "triangular", "dense"]
        if wanted not in ranking or ranking.index(whole) > ranking.index(wanted):
            findings.append(
                Diagnostic("MP403", f"the Jacobian of {claim.subject} is {whole}, not {wanted}", claim.span)
            )
    method = "sets of inputs, bijector by bijector"
    graphs = [piece.graph for piece in module.pieces[claim.subject]]
    at = {s: LENGTH for graph in graphs for s in graph.symbols() if s != "N"}
    if findings:
        return Verdict.refuted(claim, method, at, findings, detail)
    return Verdict.of(claim, ran(graphs, method, [at], (FINITE,)), detail)
