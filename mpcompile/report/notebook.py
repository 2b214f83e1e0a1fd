"""HTML for notebooks, without scripts: the layers and verdicts of a model, a verdict, the losses of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mpcompile.diagnostics.render import printable
from mpcompile.diagnostics.report import STATUSES
from mpcompile.ir import Frame, Input, Module, Value
from mpcompile.report import charts
from mpcompile.report.page.cells import Box, Cell, cells_of, edges, gather
from mpcompile.report.page.layout import Layered, layered
from mpcompile.specialize import member

#: Programs that show what a model is, the first that there is.
PROGRAMS = ("conditionals", "forward", "predict", "log_prob", "elbo", "loss")
#: Characters of a label at most.
LABEL = 34
_HEIGHT, _GAP, _BESIDE, _PAD = 40, 30, 16, 8
_SIGNS = {"proved": "✓", "allowed": "!", "refuted": "✗", "undecided": "?", "held": "?"}

#: Colours of the page of `inspect`, in both schemes: each pair has a contrast of at least 4.5 to 1.
STYLE = """
.mpcompile{--accent:#2b5fd9;
--ink:#1a2130;--dim:#596477;--line:#9aa4b5;--card:#fff;--good:#116b3f;--bad:#b42620;--warn:#7a5300;
font:13px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--card);padding:8px 12px;overflow-x:auto}
@media (prefers-color-scheme:dark){.mpcompile{--accent:#82a8ff;
--ink:#e7eaf0;--dim:#a3adbd;--line:#66728a;--card:#171b24;--good:#59c78e;
--bad:#ff7a72;--warn:#e5b64a}}
.mpcompile table{font:inherit;border-collapse:collapse;margin:6px 0}
.mpcompile :is(td,th){text-align:left!important;padding:2px 12px 2px 0;color:var(--ink)}
.mpcompile .proved{color:var(--good)}.mpcompile .refuted{color:var(--bad)}
.mpcompile :is(.undecided,.held,.allowed){color:var(--warn)}
.mpcompile .dim{color:var(--dim)}.mpcompile svg{display:block;max-width:100%;height:auto}
.mpcompile figure{margin:6px 0;max-width:460px}.mpcompile pre{font:12px/1.5 monospace;color:var(--ink);margin:6px 0}
.mpcompile .tick{opacity:.4}.mpcompile .legend span{margin-right:14px}
.mpcompile .legend i{display:inline-block;width:11px;height:11px;margin-right:6px}
.mpcompile rect{fill:var(--card);stroke:var(--line)}.mpcompile text{fill:var(--ink);font-size:12px}
.mpcompile .args{fill:var(--dim);font:10.5px monospace}.mpcompile path{fill:none;stroke:var(--line)}
"""
_BOTH = STYLE + charts.STYLE


def fragment(module: Module, verdicts: Sequence[tuple[str, str, str]], styled: bool = True) -> str:
    """Return the HTML of a module with its verdicts as (claim, status, how). Text of a spec is escaped.

    Without `styled` its style (`STYLE`) is that of the page around it.
    """
    size = sum(p.live for p in module.parameters.values() if p.trainable)
    program = next((p for p in PROGRAMS if p in module.regions), "")
    head = f"<b>{_text(module.name)}</b> <span class='dim'>{size:,} parameters · {_text(program)}</span>"
    drawing = _svg(module, program) if program else ""
    return _framed(head + _table(verdicts) + drawing, styled)


def answer(claim: str, status: str, how: str, findings: str) -> str:
    """Return the HTML of one verdict: its row, and the text of what was found."""
    text = "\n".join(printable(line) for line in findings.split("\n"))
    return _framed(_table([(claim, status, how)]) + (f"<pre>{escape(text)}</pre>" if findings else ""))


def training(name: str, facts: Mapping[str, object], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Return the HTML of a run: its name, facts about it, and its losses as curves."""
    said = " · ".join(f"{_text(str(k))} <b>{_text(str(v))}</b>" for k, v in facts.items())
    return _framed(
        f"<b>{_text(name)}</b> <span class='dim'>{said}</span>{charts.curves(metrics, 'loss', 'loss')}"
    )


def _framed(inside: str, styled: bool = True) -> str:
    return f"<div class='mpcompile'>{f'<style>{_BOTH}</style>' if styled else ''}{inside}</div>"


def _table(verdicts: Sequence[tuple[str, str, str]]) -> str:
    rows = "".join(
        f"<tr><td class='{status}'>{_SIGNS[status]} {STATUSES[status]}</td><td><code>{_text(claim)}</code></td>"
        f"<td class='dim'>{_text(how)}</td></tr>"
        for claim, status, how in verdicts
    )
    head = "<thead><tr><th>verdict</th><th>claim</th><th>how</th></tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>" if rows else ""


def _text(text: str) -> str:
    return escape(printable(text), quote=True)


@dataclass(frozen=True, slots=True)
class _Item:
    """One box of the drawing: title, second line, width, and whether it is an input or a result."""

    title: str
    under: str
    outer: bool = False

    @property
    def width(self) -> float:
        return max(56.0, 7.2 * len(self.title) + 22, 6.4 * len(self.under) + 20)


def _svg(module: Module, program: str) -> str:
    """Draw the outermost level of a program: inputs, layers and blocks, results."""
    graph = member(module, 0).programs[program].live()
    root = gather(graph)
    home = {n.id: i for i, child in enumerate(root.children) for c in cells_of(child) for n in c.nodes}
    items = [_item(child) for child in root.children]
    found: list[tuple[int, int, Value]] = edges(graph, root.children)
    for name, value in graph.outputs.items():
        if value.node in home:
            found.append((home[value.node], len(items), value))
            items.append(_Item(_short(name), _shape(value), True))
    drawn = layered(len(items), found)
    places, width, height = _places(drawn, items)
    lines = [
        f"M{places[a][0]:.1f} {places[a][1] + _HEIGHT}L{places[b][0]:.1f} {places[b][1]}"
        for a, b, _ in drawn.links
    ]
    lines += [f"M{x:.1f} {y}v{_HEIGHT}" for x, y in places[len(items) :]]
    boxes = "".join(_box(item, *places[i]) for i, item in enumerate(items))
    what = f"layers of {_text(module.name)}, program {_text(program)}"
    return (
        f"<svg role='img' aria-label='{what}' width='{width:.0f}' height='{height}'"
        f" viewBox='0 0 {width:.1f} {height}'><path d='{''.join(dict.fromkeys(lines))}'/>{boxes}</svg>"
    )


def _item(child: Cell | Box) -> _Item:
    if isinstance(child, Cell) and isinstance(child.nodes[0].op, Input):
        return _Item(_short(child.name), _shape(child.nodes[0].outputs[0]), True)
    if isinstance(child, Cell):
        if child.glue or child.frame is None:
            names = list(dict.fromkeys(n.op.name for n in child.nodes))
            return _Item(
                _short(" ".join(names[:3] + ["…"][: len(names) > 3])), _shape(child.nodes[-1].outputs[0])
            )
        return _Item(*_written(child.frame))
    title, under = _written(child.frame) if child.frame else (child.name, "")
    count = sum(not c.glue for c in cells_of(child))
    return _Item(title, f"× {child.repeats} more" if child.repeats else under or f"{count} layers")


def _written(frame: Frame) -> tuple[str, str]:
    """Return the keyword of a layer and its arguments, as the spec writes them."""
    keyword = re.match(r"\w*", frame.label)[0]  # type: ignore[index]  # matches always
    inner = frame.label[len(keyword) :].strip()
    return _short(keyword or frame.name), _short(
        inner[1:-1] if inner.startswith("(") and inner.endswith(")") else inner
    )


def _short(text: str) -> str:
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def _shape(value: Value) -> str:
    """Return the shape of one example."""
    return _short(" × ".join(str(s) for s in value.type.shape[1:]) or "1")


def _places(drawn: Layered, items: Sequence[_Item]) -> tuple[list[tuple[float, int]], float, int]:
    """Return the middle and the top of every item and dummy, and the width and height of the drawing."""
    widths = [item.width for item in items] + [8.0] * len(drawn.dummies)
    sums = [sum(widths[i] + _BESIDE for i in row) - _BESIDE for row in drawn.rows]
    whole = max(sums, default=0.0)
    places = [(0.0, 0)] * len(widths)
    for number, (row, total) in enumerate(zip(drawn.rows, sums, strict=True)):
        left = _PAD + (whole - total) / 2
        for i in row:
            places[i] = (left + widths[i] / 2, _PAD + number * (_HEIGHT + _GAP))
            left += widths[i] + _BESIDE
    return places, whole + 2 * _PAD, 2 * _PAD + len(drawn.rows) * (_HEIGHT + _GAP) - _GAP


def _box(item: _Item, x: float, y: int) -> str:
    left, radius = x - item.width / 2, 14 if item.outer else 6
    first = 17 if item.under else 25
    under = f"<text class='args' x='{x:.1f}' y='{y + 32}' text-anchor='middle'>{_text(item.under)}</text>"
    return (
        f"<rect x='{left:.1f}' y='{y}' width='{item.width:.1f}' height='{_HEIGHT}' rx='{radius}'/>"
        f"<text x='{x:.1f}' y='{y + first}' text-anchor='middle'>{_text(item.title)}</text>"
        f"{under if item.under else ''}"
    )


__all__ = ["answer", "fragment", "training"]
