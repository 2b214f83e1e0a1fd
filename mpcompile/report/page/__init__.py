"""`inspect` as one HTML page that needs nothing else: the facts of a module as JSON, and a script that draws them.

No text of a spec is ever formatted into HTML. It stands in a block of JSON, in which `<` is escaped, and the script
only ever sets it as text. A content security policy names the page's own script and style by their hashes and
forbids everything else, the network included.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

from mpcompile.analysis import Verdict
from mpcompile.diagnostics import Diagnostic
from mpcompile.diagnostics.report import STATUSES
from mpcompile.ir import Module
from mpcompile.report.facts import describe
from mpcompile.report.page.drawing import Drawing
from mpcompile.report.page.flow import bijectors
from mpcompile.report.page.raster import Blobs
from mpcompile.report.page.reach import Reach, chosen, dependence
from mpcompile.specialize import member

#: One module script in three files, in this order.
SCRIPTS = ("base.js", "graph.js", "page.js")


def page(module: Module, verdicts: Sequence[tuple[str, Verdict]], warnings: Sequence[Diagnostic] = ()) -> str:
    """Build the page of a module, the verdicts on its claims under their names, and warnings.

    The same module gives the same bytes.
    """
    return written(facts(module, verdicts, warnings))


def written(shown: Mapping[str, Any]) -> str:
    """Write the page of these facts."""
    data = json.dumps(shown, ensure_ascii=True, separators=(",", ":"))
    for c in "<>&":
        data = data.replace(c, f"\\u{ord(c):04x}")
    style, script = _read("page.css"), "\n".join(map(_read, SCRIPTS))
    return (
        _read("page.html")
        .replace("{{style-hash}}", _hash(style))
        .replace("{{script-hash}}", _hash(script))
        .replace("{{style}}", style)
        .replace("{{script}}", script)
        .replace("{{data}}", data)
    )


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def facts(
    module: Module, verdicts: Sequence[tuple[str, Verdict]], warnings: Sequence[Diagnostic] = ()
) -> dict[str, Any]:
    """Collect everything that the page shows, as plain data; bytes are in `blobs`."""
    from mpcompile import __version__

    blobs = Blobs()
    drawn = member(module, 0)  # of several orders, the first
    reach = Reach(drawn, chosen(drawn))
    found = dependence(drawn, reach, blobs)
    flow = bijectors(module, blobs)
    drawing = Drawing(drawn, reach, blobs)
    described = describe(module)
    return {
        "mpcompile": __version__,
        "model": module.name,
        "spec": {
            "name": Path(module.source.path).name,
            "sha256": sha256(module.source.text.encode()).hexdigest(),
            "lines": module.source.text.rstrip("\n").split("\n"),
        },
        "set": {k: v if isfinite(v) else str(v) for k, v in module.params.items()},
        **{k: described[k] for k in ("parameters", "stored", "flops", "sampling", "variables", "layers", "programs")},
        "verdicts": [
            {"claim": name, "status": str(v.status), "word": STATUSES[v.status], "how": v.how, "stated": v.claim.stated,
             "line": v.claim.span.line, "detail": {k: str(d) for k, d in v.detail.items()}}
            for name, v in verdicts
        ],
        "findings": [
            {"code": d.code, "severity": str(d.severity), "message": d.message, "label": d.label,
             "notes": d.notes, "help": d.help, "line": d.span.line,
             "path": [[p.text, p.span.line] for p in d.path], "walk": drawing.walk(d.path)}
            for d in [*(d for _, v in verdicts for d in v.diagnostics), *warnings]
        ],
        "program": reach.program,
        "at": reach.at,
        "why_not": reach.why_not,
        "cells": drawing.facts,
        "boxes": drawing.boxes,
        "values": drawing.values,
        "masks": drawing.masks,
        "dependence": found,
        "source": {"name": reach.source, "shape": reach.shape},
        "flow": flow,
        "blobs": blobs.texts,
    }  # fmt: skip


__all__ = ["facts", "page", "written"]
