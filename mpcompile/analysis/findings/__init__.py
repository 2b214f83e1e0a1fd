"""What is legal in a model and hardly meant: one file for each finding, one row here.

A finding is a warning. It never stops a build, and a spec silences it by name: `allow affine_collapse because "..."`.
A leak (MP301) or a wrong log-determinant (MP402) is no finding but a refuted claim, and nothing silences it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mpcompile.analysis.findings.affine_collapse import affine_collapse
from mpcompile.analysis.findings.dead_units import dead_units
from mpcompile.analysis.findings.finite_mask import finite_mask
from mpcompile.analysis.findings.logits import probabilities_as_logits
from mpcompile.analysis.findings.scale import scale_not_positive
from mpcompile.analysis.findings.unused_weight import unused_weight
from mpcompile.diagnostics import Diagnostic
from mpcompile.diagnostics.codes import CODES
from mpcompile.ir import Module

Finding = Callable[[Module], Iterator[Diagnostic]]

#: Findings by their code.
FINDINGS: Mapping[str, Finding] = {
    "MP321": affine_collapse,
    "MP322": finite_mask,
    "MP325": unused_weight,
    "MP326": dead_units,
    "MP327": probabilities_as_logits,
    "MP328": scale_not_positive,
}

#: Code of each finding by the name that `allow` takes, those of the syntax tree (`frontend/unused.py`) included.
NAMES: Mapping[str, str] = {CODES[c].name.replace("-", "_"): c for c in sorted([*FINDINGS, "MP324"])}


def findings(module: Module) -> list[Diagnostic]:
    """All findings of a module, in the order of the spec; those that it allows are left out."""
    found = [d for find in FINDINGS.values() for d in find(module)]
    return sorted(unless_allowed(module, found), key=lambda d: d.span)


def unless_allowed(module: Module, found: list[Diagnostic]) -> list[Diagnostic]:
    """Findings that the spec does not allow."""
    kinds = {c.kind.removeprefix("allow:") for c in module.claims if c.kind.startswith("allow:")}
    allowed = {NAMES[k] for k in kinds if k in NAMES}
    return [d for d in found if d.code not in allowed]


__all__ = ["FINDINGS", "NAMES", "findings", "unless_allowed"]
