"""Warnings about models that are legal and hardly meant: one file for each finding, one row here.

A finding is a warning. It never stops a build, and a spec silences it by name: `allow affine_collapse because "..."`.
A leak (MP301) or a wrong log-determinant (MP402) is no finding but a refuted claim, and nothing silences it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mpcompile.analysis.few import few_layers
from mpcompile.analysis.findings.affine_collapse import affine_collapse
from mpcompile.analysis.findings.batch_order import batch_over_order
from mpcompile.analysis.findings.dead_units import dead_units
from mpcompile.analysis.findings.finite_mask import finite_mask
from mpcompile.analysis.findings.logits import probabilities_as_logits
from mpcompile.analysis.findings.scale import scale_not_positive
from mpcompile.analysis.findings.single import constant_normalisation
from mpcompile.analysis.findings.untransformed import untransformed
from mpcompile.analysis.findings.unused_weight import unused_weight
from mpcompile.budget import OutOfBudget, share
from mpcompile.diagnostics import Diagnostic, Severity, Span
from mpcompile.diagnostics.codes import CODES
from mpcompile.ir import Module, Unsettled

Finding = Callable[[Module], Iterator[Diagnostic]]

#: Findings by their code.
FINDINGS: Mapping[str, Finding] = {
    "MP321": affine_collapse,
    "MP322": finite_mask,
    "MP325": unused_weight,
    "MP326": dead_units,
    "MP327": probabilities_as_logits,
    "MP328": scale_not_positive,
    "MP330": constant_normalisation,
    "MP331": untransformed,
    "MP332": batch_over_order,
}


#: Findings that name a place of the spec once, whichever iteration of a region is at fault.
ONCE = frozenset(("MP321", "MP322", "MP327", "MP328", "MP330", "MP331"))


def names() -> dict[str, str]:
    """Return the code of each finding by its name in `allow`, those of the syntax tree too."""
    return {CODES[c].name.replace("-", "_"): c for c in sorted([*FINDINGS, "MP324", "MP333"])}


def findings(module: Module) -> list[Diagnostic]:
    """Return all findings of a module, in the order of the spec, without those that it allows."""
    silent, few = _allowed(module), few_layers(module)
    found = [d for code, find in FINDINGS.items() if code not in silent for d in _of(code, find, module, few)]
    return sorted(found, key=lambda d: d.span)


def _of(code: str, find: Finding, module: Module, few: Module | None) -> list[Diagnostic]:
    """One kind of finding; a note, which fails no check, where it is not decided within the budget.

    A model of fewer layers answers for the whole where it has none, or those that name a place once.
    """
    try:
        with share():
            found = _of_few(code, find, few)
            return list(find(module)) if found is None else found
    except OutOfBudget as limit:
        name, start = CODES[code].name.replace("-", "_"), Span(module.source.path, 1, 1, 1, 1)
        message = f"whether there is a warning of the name {name} is not decided within {limit}"
        return [Diagnostic("MP310", message, start, Severity.NOTE)]


def found_by(code: str, module: Module) -> list[Diagnostic]:
    """Return the findings of one kind, whether the module allows them or not."""
    return _of(code, FINDINGS[code], module, few_layers(module))


def _of_few(code: str, find: Finding, few: Module | None) -> list[Diagnostic] | None:
    if few is None or code == "MP325":  # which weights are read is known without unrolling
        return None
    try:
        found = list(find(few))
    except Unsettled:
        return None
    return found if not found or code in ONCE else None


def unless_allowed(module: Module, found: list[Diagnostic]) -> list[Diagnostic]:
    """Return the findings that the spec does not allow."""
    silent = _allowed(module)
    return [d for d in found if d.code not in silent]


def _allowed(module: Module) -> set[str]:
    known = names()
    return {known[a.name] for a in module.allowances if a.name in known}


__all__ = ["FINDINGS", "findings", "found_by", "names", "unless_allowed"]
