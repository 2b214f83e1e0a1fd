"""MP325: weights that no program reads."""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Module


def unused_weight(module: Module) -> Iterator[Diagnostic]:
    """Find parameters that a layer declares and on which no output of any program depends."""
    read = {name for graph in module.regions.values() for name in graph.parameters()}
    layers: dict[str, list[str]] = {}
    for p in module.parameters.values():
        if p.name not in read:
            layers.setdefault(str(p.span), []).append(p.name)
    for names in layers.values():
        yield Diagnostic(
            "MP325",
            f"no program reads {', '.join(names)}",
            module.parameters[names[0]].span,
            Severity.WARNING,
            help="leave the layer out, or use its result",
        )
