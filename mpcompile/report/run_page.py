"""A run as one HTML page in the style of `inspect`: verdicts, curves, likelihoods, samples, receptive fields.

The page has no script. Text of a spec or of data is escaped, and a content security policy forbids everything but the
page's own style and the pictures in it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from mpcompile.diagnostics.render import printable
from mpcompile.diagnostics.report import STATUSES
from mpcompile.ir import Array, Module
from mpcompile.report import charts, notebook
from mpcompile.report.facts import describe
from mpcompile.report.pictures import as_images, grid

#: Metrics that have a chart, with their names; both splits share one.
_CHARTS = {
    "loss": "loss",
    "bits_per_dim": "bits/dim",
    "learning_rate": "learning rate",
    "gradient_norm": "norm of the gradient",
}
_MOST_TEXT, _MOST_DOTS = 2000, 2000

_STYLE = """
.run header, .run main { max-width: 1100px; margin: 0 auto; }
.run header { padding: 18px 20px 0; }
.run .facts { color: var(--dim); font-size: 13px; display: flex; flex-wrap: wrap; gap: 0 14px; margin: 3px 0 10px; }
.run .facts b { color: var(--ink); font-weight: 600; }
.run .panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 14px; }
.run .card { margin-top: 10px; overflow-x: auto; }
.grid { image-rendering: pixelated; max-width: min(100%, 640px); height: auto; border-radius: 4px; }
td.whole { white-space: nowrap; }
pre.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font: 12px/1.5 var(--mono); }
"""


def page(
    module: Module,
    verdicts: Sequence[tuple[str, str, str]],
    facts: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
    sets: Sequence[tuple[str, Array]],
    samples: Mapping[str, Array],
    texts: Sequence[str] = (),
    rows: Iterable[tuple[str, str, str]] = (),
) -> str:
    """Build the page of a run.

    verdicts  (claim, status, how)
    facts     names and values of the header
    metrics   lines of the training
    figures   of the held-out split, with `quantity`
    sets      (name, log-likelihoods [n] in nats): the model first, then baselines
    samples   draws [n, ...] by variable; `texts` in their place where draws are text
    rows      other figures of that split: whose, the name and the number
    """
    style = (
        files("mpcompile.report.page").joinpath("page.css").read_text(encoding="utf-8")
        + _STYLE
        + charts.STYLE
        + notebook.STYLE
    )
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:"
    head = "".join(f"<span>{_text(k)} <b>{_text(v)}</b></span>" for k, v in facts.items())
    badges = "".join(
        f"<div class='badge {status}'><b>{_text(claim)}</b> {STATUSES[status]}<small>{_text(how)}</small></div>"
        for claim, status, how in verdicts
    )
    sections = [
        ("Training", _curves(metrics)),
        ("Held-out figures", _figures(rows)),
        ("Likelihood of each example", _likelihoods(figures, sets)),
        ("Samples", _samples(module, samples, texts)),
        ("Layers", f"<div class='card'>{notebook.fragment(module, [], styled=False)}</div>"),
        ("Receptive fields", _receptive(describe(module)["receptive"])),
    ]
    body = "".join(
        f"<section aria-label='{title}'><h2>{title}</h2>{inside}</section>"
        for title, inside in sections
        if inside
    )
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        "<meta name='color-scheme' content='light dark'>\n"
        f"<title>{_text(module.name)} · mpcompile report</title>\n<style>{style}</style>\n</head>\n"
        f"<body class='run'>\n<header><h1>{_text(module.name)}</h1><div class='facts'>{head}</div>"
        f"<div class='badges'>{badges}</div></header>\n<main>{body}</main>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return escape(printable(str(value)), quote=True)


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Draw the losses, and each other figure that was written."""

    drawn = "".join(charts.curves(metrics, name, title) for name, title in _CHARTS.items())
    return f"<div class='card panels'>{drawn}</div>" if drawn else ""


def _figures(rows: Iterable[tuple[str, str, str]]) -> str:
    """Show the metrics of targets, and a loss that is no likelihood, as a table."""
    body = "".join(
        f"<tr><td>{_text(whose)}</td><td>{_text(name)}</td><td class='num'>{_text(number)}</td></tr>"
        for whose, name, number in rows
    )
    heads = "<th>of</th><th>figure</th><th class='num'>number</th>"
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='card'>{_scrolled(table, 'Table of figures')}</div>" if body else ""


def _likelihoods(figures: Mapping[str, Any], sets: Sequence[tuple[str, Array]]) -> str:
    if not sets:
        return ""
    size = figures.get("dimensions", 1)
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td class='num'>{v.mean():.4f}</td><td class='num'>{np.median(v):.4f}</td>"
        f"<td class='num'>{v.mean() / size:.4f}</td><td class='num'>{v.min():.2f}</td>"
        f"<td class='num'>{v.max():.2f}</td></tr>"
        for name, v in sets
    )
    first, better = sets[0][1], ""
    if len(sets) > 1 and len(sets[1][1]) == len(first):
        share = float(np.mean(first > sets[1][1]))
        better = f"<p class='dim'>{share:.1%} of the examples are more probable than under {_text(sets[1][0])}.</p>"
    chart = charts.histograms("Examples by their log-likelihood", "nats", sets)
    heads = "".join(
        f"<th class='num'>{h}</th>" for h in ("mean, nats", "median", "nats/dim", "least", "most")
    )
    table = f"<table><thead><tr><th>law</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    quantity = _text(str(figures["quantity"]).replace("_", " "))
    card = f"<div class='card'>{chart}{_scrolled(table, 'Table of log-likelihoods')}</div>"
    return f"<p class='lead'>{quantity}, in nats</p>{better}{card}"


def _samples(module: Module, samples: Mapping[str, Array], texts: Sequence[str]) -> str:
    """Show draws by their shape: text, pictures, points, series, or the first numbers."""
    if texts:
        shown = "\n\n".join(texts)[:_MOST_TEXT]
        safe = "\n".join(printable(line) for line in shown.split("\n"))
        return f"<div class='card'><pre class='text'>{escape(safe)}</pre></div>"
    out = ""
    for name, values in samples.items():
        known = module.fields.get(name)
        span = (0.0, 1.0) if known is not None and known.base == "binary" else None
        classes = known is not None and known.base == "category"
        if values.ndim > 1 and values.size == len(values):  # one number a draw, however it is shaped
            values = values.reshape(-1)
        series = known is not None and values.ndim == 2 and not isinstance(known.type.shape[-1], int)
        images = None if series else as_images(values, span, classes)
        if images is not None:
            out += charts.png(grid(images), f"{len(values)} draws of {name}")
        elif values.ndim == 2 and values.shape[1] == 2:
            out += charts.scatter(f"{len(values)} draws of {name}", values[:_MOST_DOTS])
        elif values.ndim == 2:
            curves = [
                (f"draw {i}", list(range(values.shape[1])), row.tolist()) for i, row in enumerate(values[:4])
            ]
            out += charts.lines(f"Draws of {name}", "place", name, curves)
        elif values.ndim == 1 and values.dtype.kind in "fiub":
            out += charts.histograms(
                f"{len(values)} draws of {name}", name, [(name, values.astype(np.float64))]
            )
        else:
            out += f"<p class='dim'>{_text(name)}: draws of shape {list(values.shape[1:])}</p>"
    return f"<div class='card'>{out}</div>" if out else ""


def _receptive(found: Mapping[str, Any]) -> str:
    """List how far outputs and layers read along each axis."""
    rows = ""
    for name, entry in found.items():
        for kind in ("outputs", "layers"):
            for place, field in entry[kind].items():
                size = (
                    "—"
                    if "why" in field
                    else " × ".join("all" if s is None else str(s) for s in field["size"])
                )
                start = field.get("why") or ", ".join(
                    "any" if s is None else f"{s:+d}" for s in field["from"]
                )
                whole = "" if "why" in field else " class='whole'"
                rows += (
                    f"<tr><td><code>{_text(place).replace('.', '.<wbr>')}</code></td><td>{_text(name)}</td>"
                    f"<td class='num'>{_text(size)}</td><td{whole}>{_text(start)}</td></tr>"
                )
    heads = "<th>output or layer</th><th>reads</th><th class='num'>elements</th><th>from</th>"
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div class='card'>{_scrolled(table, 'Table of receptive fields')}</div>" if rows else ""


def _scrolled(table: str, name: str) -> str:
    """Return a table that scrolls in a small window, by the keyboard too."""
    return f"<div class='table' tabindex='0' role='region' aria-label='{name}'>{table}</div>"


__all__ = ["page"]
