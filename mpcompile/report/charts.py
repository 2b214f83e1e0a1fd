"""Charts as SVG, and pictures as PNG, for pages without scripts: made of numbers alone."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np

from mpcompile.ir import Array

_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE = 640, 264, 72, 42, 10
_BINS = 48

#: The style of a figure, in the colours `--accent`, `--good`, `--line` and `--dim` of the page around it.
STYLE = """
.plot .chart { width: 100%; max-width: 640px; height: auto; display: block; }
.plot .chart text { font-size: 11px; fill: var(--dim); }
@media (max-width: 640px) { .plot .chart text { font-size: 18px; } .plot .rare { display: none; } }
.plot .tick { stroke: var(--line); stroke-width: 1; fill: none; }
.plot .line { fill: none; stroke-width: 2; } .plot .area { fill-opacity: .22; stroke-width: 1.6; }
.plot .c0 { --c: var(--accent); } .plot .c1 { --c: #c2570c; }
.plot .c2 { --c: var(--good); } .plot .c3 { --c: #9a4fb5; }
.plot :is(.line, .area) { stroke: var(--c); } .plot :is(.area, .dot) { fill: var(--c); }
.plot .legend :is(.c0, .c1, .c2, .c3) { background: var(--c); }
"""

Line = tuple[str, Sequence[float], Sequence[float]]


def lines(title: str, x_name: str, y_name: str, curves: Sequence[Line]) -> str:
    """Draw curves (name, x, y), at most four, on one pair of axes; values that are not finite are left out."""
    kept: list[tuple[str, list[float], list[float]]] = []
    for name, places, values in curves:
        finite = [(a, b) for a, b in zip(places, values, strict=True) if isfinite(b)]
        if finite:
            kept.append((name, [a for a, _ in finite], [b for _, b in finite]))
    if not kept:
        return ""
    axes = _Axes([x for _, xs, _ in kept for x in xs], [y for *_, ys in kept for y in ys])
    drawn = ""
    for number, (_, xs, ys) in enumerate(kept):
        points = " ".join(f"{axes.x(a):.1f},{axes.y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        drawn += f"<polyline class='line c{number}' points='{points}'/>"
        if len(xs) == 1:
            drawn += (
                f"<circle class='dot c{number}' cx='{axes.x(xs[0]):.1f}' cy='{axes.y(ys[0]):.1f}' r='3'/>"
            )
    return _figure(title, [name for name, *_ in kept], axes.frame(x_name, y_name) + drawn, title)


def curves(metrics: Sequence[Mapping[str, Any]], name: str, title: str) -> str:
    """Draw one figure of the lines of a training, a curve for each split."""
    found: list[Line] = []
    for split in ("train", "valid"):
        own = [line for line in metrics if line["split"] == split and name in line]
        found.append((split, [float(line["step"]) for line in own], [float(line[name]) for line in own]))
    return lines(title[0].upper() + title[1:], "step", title, found)


def histograms(title: str, x_name: str, sets: Sequence[tuple[str, Array]]) -> str:
    """Draw how often values [n] fall into bins of one width, a step line a set; the outer 1 % are in the last bins."""
    finite = [(name, values[np.isfinite(values)]) for name, values in sets]
    finite = [(name, values) for name, values in finite if len(values)]
    if not finite:
        return ""
    low = min(float(np.quantile(v, 0.01)) for _, v in finite)
    high = max(float(np.quantile(v, 0.99)) for _, v in finite)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    counts = [np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] / len(v) for _, v in finite]
    axes = _Axes(edges.tolist(), [0.0, *(float(c.max()) for c in counts)])
    drawn = ""
    for number, count in enumerate(counts):
        places = [(axes.x(edges[0]), axes.y(0))]
        for k, share in enumerate(count):
            places += [(axes.x(edges[k]), axes.y(share)), (axes.x(edges[k + 1]), axes.y(share))]
        places.append((axes.x(edges[-1]), axes.y(0)))
        drawn += (
            f"<polygon class='area c{number}' points='{' '.join(f'{a:.1f},{b:.1f}' for a, b in places)}'/>"
        )
    return _figure(
        title, [name for name, _ in finite], axes.frame(x_name, "share of examples") + drawn, title
    )


def scatter(title: str, points: Array) -> str:
    """Draw points [n, 2]."""
    axes = _Axes(points[:, 0].tolist(), points[:, 1].tolist())
    dots = "".join(
        f"<circle class='dot c0' cx='{axes.x(a):.1f}' cy='{axes.y(b):.1f}' r='2'/>"
        for a, b in points.tolist()
    )
    return _figure(title, [], axes.frame("", "") + dots, title)


def png(pixels: Array, alt: str) -> str:
    """Return an `img` of bytes [h, w, 3], at least 480 pixels wide, with its data inside."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels, np.uint8))
    height, width = pixels.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    file = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    scale = max(1, ceil(480 / max(width, height)))
    data = b64encode(file).decode()
    return (
        f"<img class='grid' width='{width * scale}' height='{height * scale}' alt='{escape(alt, quote=True)}'"
        f" src='data:image/png;base64,{data}'>"
    )


class _Axes:
    """A linear map of two ranges of numbers to the chart."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.xs, self.ys = _range(xs), _range(ys)

    def x(self, value: float) -> float:
        low, high = self.xs
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - 12)

    def y(self, value: float) -> float:
        low, high = self.ys
        return _HEIGHT - _BELOW - (value - low) / (high - low) * (_HEIGHT - _BELOW - _ABOVE)

    def frame(self, x_name: str, y_name: str) -> str:
        """Ticks with their numbers, and the names of the axes."""
        out = ""
        for tick in _ticks(*self.xs, 6):
            at = self.x(tick)
            out += f"<path class='tick' d='M{at:.1f} {_ABOVE}V{_HEIGHT - _BELOW}'/>"
            number = f"{tick:.6g}"
            place, anchor = (_WIDTH, "end") if at + 6 * len(number) > _WIDTH else (at, "middle")
            out += f"<text x='{place:.1f}' y='{_HEIGHT - _BELOW + 17}' text-anchor='{anchor}'>{number}</text>"
        for tick in _ticks(*self.ys, 5):
            at = self.y(tick)
            out += f"<path class='tick' d='M{_LEFT} {at:.1f}H{_WIDTH - 12}'/>"
            out += f"<text x='{_LEFT - 6}' y='{at + 4:.1f}' text-anchor='end'>{tick:.6g}</text>"
        middle = (_LEFT + _WIDTH - 12) / 2
        out += f"<text x='{middle:.0f}' y='{_HEIGHT - 4}' text-anchor='middle'>{escape(x_name)}</text>"
        turned = f"transform='translate(12 {(_HEIGHT - _BELOW) / 2:.0f}) rotate(-90)'"
        return out + f"<text class='rare' {turned} text-anchor='middle'>{escape(y_name)}</text>"


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = abs(low) / 2 or 0.5
    return (low, high) if high > low else (low - pad, low + pad)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two others, at most `most` and one."""
    raw = (high - low) / most
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * (1 - 1e-9))
    return [step * k for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _figure(title: str, names: Sequence[str], inside: str, label: str) -> str:
    legend = "".join(f"<span><i class='c{i}'></i>{escape(name)}</span>" for i, name in enumerate(names))
    return (
        f"<figure class='plot'><figcaption><b>{escape(title)}</b></figcaption>"
        f"<svg class='chart' role='img' aria-label='{escape(label, quote=True)}' viewBox='0 0 {_WIDTH} {_HEIGHT}'>"
        f"{inside}</svg><div class='legend'>{legend}</div></figure>"
    )


__all__ = ["STYLE", "Line", "curves", "histograms", "lines", "png", "scatter"]
