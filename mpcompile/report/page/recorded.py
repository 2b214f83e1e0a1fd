"""The page of a model that was not written here: one recorded call, drawn as programs of specs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from mpcompile.analysis import cost
from mpcompile.analysis.dependence import interpret
from mpcompile.diagnostics import Diagnostic, Source, Span
from mpcompile.diagnostics.report import STATUSES, Property
from mpcompile.ir import Graph, Init, Module, NoiseSpec, NoRule, ParameterSpec, Value, availability, numbers
from mpcompile.report.facts import layers
from mpcompile.report.page import written
from mpcompile.report.page.drawing import Drawing
from mpcompile.report.page.raster import Blobs
from mpcompile.report.page.reach import LARGEST, Reach

#: The name of the one program.
CALL = "call"


class Recorded(Reach):
    """Sets of the elements of one input's first example, at the sizes of the call."""

    def __init__(self, graph: Graph, source: str, order: int | None) -> None:
        shape = numbers(graph.inputs[source].shape)
        self.program, self.graph, self.source = CALL, graph.live(), source
        self.environment: dict[str, int] = {}
        self.examples = shape[0] if order != 0 and len(shape) > 1 else 0
        self.shape = shape[1:] if self.examples else shape
        self.size, self.memory, self.why_not = prod(self.shape), {}, ""
        self.ordered = {shape[order]} if order is not None else set()
        if self.size > LARGEST:
            self.why_not = f"{source} has {self.size:,} elements; sets of more than {LARGEST:,} are not drawn"
        try:
            if not self.why_not:
                self._interpret(self.examples or 1)
        except NoRule as missing:
            self.why_not = str(missing)
        if self.why_not:
            self.memory = interpret(self.graph, availability(), {}, {})

    @property
    def at(self) -> str:
        return ", ".join(f"{n} {list(numbers(v.shape))}" for n, v in self.graph.inputs.items())

    def batched(self, value: Value) -> bool:
        return bool(self.examples and value.shape) and value.shape[0] == self.examples


def page(
    graph: Graph,
    source: str,
    order: int | None,
    weights: Mapping[str, tuple[int, ...]],
    noise: Sequence[str],
    text: Source,
    answers: Sequence[tuple[Property, Sequence[int]]],
    notes: Sequence[Diagnostic] = (),
) -> str:
    """Build the page of a recorded call.

    source   the input whose elements are followed, and `order` its axis along which they come one after another
    weights  shapes of parameters by their names
    text     the file that spans of the graph point to
    answers  properties, each with the nodes of the path to its refutation
    """
    from mpcompile import __version__

    blobs, reach = Blobs(), Recorded(graph, source, order)
    module = Module(graph.name, text)
    module.programs[CALL] = reach.graph
    module.parameters = {n: ParameterSpec(n, s, Init("zeros"), Span.none()) for n, s in weights.items()}
    module.noise[CALL] = {name: NoiseSpec("uniform") for name in noise}
    drawing = Drawing(module, reach, blobs)
    work = cost.work(reach.graph).total
    count = sum(map(prod, weights.values()))
    found = [(d, path) for p, path in answers for d in p.diagnostics] + [(d, ()) for d in notes]
    return written({
        "mpcompile": __version__, "recorded": True, "model": graph.name, "set": {},
        "spec": {"name": text.path.rpartition("/")[2] or graph.name, "sha256": sha256(text.text.encode()).hexdigest(),
                 "lines": text.text.rstrip("\n").split("\n")},
        "parameters": count, "stored": count,
        "flops": {"total": str(work), "products": "", "example": work, "fused": None}, "sampling": {},
        "variables": [{"name": n, "role": "noise" if n in noise else "input", "kind": str(v.dtype), "line": 0,
                       "axes": [{"name": str(s), "size": str(s), "role": str(s)} for s in numbers(v.shape)]}
                      for n, v in graph.inputs.items()],
        "layers": layers(module, reach.graph, {}),
        "programs": {CALL: {"inputs": {n: str(v.type) for n, v in graph.inputs.items()},
                            "outputs": {n: str(v.type) for n, v in graph.outputs.items()},
                            "primitives": len(reach.graph), "flops": str(work)}},
        "verdicts": [{"claim": p.name, "status": p.status, "word": STATUSES[p.status], "how": p.how, "stated": True,
                      "line": 0, "detail": {}} for p, _ in answers],
        "findings": [_finding(d, path, drawing, text) for d, path in found],
        "program": CALL, "at": reach.at, "why_not": reach.why_not, "cells": drawing.facts, "boxes": drawing.boxes,
        "values": drawing.values, "masks": drawing.masks, "dependence": _dependence(reach, order, blobs),
        "source": {"name": source, "shape": list(reach.shape)}, "flow": [], "blobs": blobs.texts,
    })  # fmt: skip


def _finding(found: Diagnostic, path: Sequence[int], drawing: Drawing, text: Source) -> dict[str, Any]:
    """A finding with the layers that its path leads through."""
    home = [drawing.home[n] for n in path if n in drawing.home]
    walk = drawing.route([{b} for a, b in pairwise([-1, *home]) if a != b])

    def line(span: Span) -> int:
        return span.line if span.path == text.path else 0

    return {"code": found.code, "severity": str(found.severity), "message": found.message, "label": found.label,
            "notes": found.notes, "help": found.help, "line": line(found.span),
            "path": [[p.text, line(p.span)] for p in found.path], "walk": walk}  # fmt: skip


def _dependence(reach: Recorded, order: int | None, blobs: Blobs) -> list[dict[str, Any]]:
    """The sets of each output, joined over features where the input has one place after another."""
    if reach.why_not:
        return []
    found = []
    for name, value in reach.graph.outputs.items():
        if not value.type.rank:
            continue
        sets = reach.sets(value)
        along = [a for a, s in enumerate(sets.shape[:-1]) if s in reach.ordered]
        if len(along) == 1:
            sets = np.asarray(sets.any(tuple(a for a in range(sets.ndim - 1) if a not in along)))
        if sets.ndim > 1 and sets[..., 0].size <= LARGEST:
            found.append({"source": reach.source, "inputs": list(reach.shape), "program": CALL, "at": reach.at,
                          "output": name, "outputs": list(sets.shape[:-1]), "blob": blobs.bits(sets),
                          "ranks": None})  # fmt: skip
    return found


__all__ = ["Recorded", "page"]
