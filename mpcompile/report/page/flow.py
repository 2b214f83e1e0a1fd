"""Bijectors and the structure of their Jacobians."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpcompile.analysis.dependence import TooLarge, environment_for, support
from mpcompile.analysis.jacobian import closed_form, coupling_structure
from mpcompile.ir import Module, NoRule
from mpcompile.report.page.raster import Blobs
from mpcompile.report.page.reach import LARGEST, LENGTH

#: Pixels of one picture.
SIDE = 256


def bijectors(module: Module, blobs: Blobs) -> list[dict[str, Any]]:
    """Describe each bijector: its structure and cost, and its support in the order of memory and in the peeled order."""
    out: list[dict[str, Any]] = []
    for subject, steps in module.flow_steps.items():
        for step in steps:
            fact: dict[str, Any] = {
                "subject": subject, "name": step.name, "label": step.label, "line": step.span.line,
            }  # fmt: skip
            out.append(fact)
            env = environment_for(step.graph, LENGTH)
            size = int(np.prod(step.graph.inputs["x"].type.concrete(env)))
            if size > LARGEST:
                fact["why"] = f"{size:,} elements; Jacobians of more than {LARGEST:,} are not drawn"
                continue
            try:
                direct = support(step.graph, "x", "y", env).value
                seen = (
                    support(step.graph, "seen", "y", env).value
                    if "seen" in step.graph.inputs
                    else np.zeros_like(direct)
                )
            except (NoRule, TooLarge) as missing:
                fact["why"] = str(missing)
                continue
            structure, fault = coupling_structure(direct, seen)
            closed = fault is not None and closed_form(step.graph) is not None
            whole = direct | seen
            fact |= {
                "size": list(whole.shape), "kind": structure.kind, "cost": structure.cost,
                "natural": blobs.raster(whole, SIDE), "entries": int(whole.sum()),
                "fault": None if fault is None or closed else [int(k) for k in fault],
            }  # fmt: skip
            if structure.pivots and not structure.natural:
                rows, columns = (list(k) for k in zip(*structure.pivots, strict=True))
                fact["peeled"] = blobs.raster(whole[np.ix_(rows, columns)], SIDE)
    return out
