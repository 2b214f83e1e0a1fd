"""Pictures of samples: grids of images, points beside the data, curves, piano rolls. Written, never shown."""

from __future__ import annotations

from importlib import import_module
from math import ceil, isqrt, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpcompile.ir import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = (".png", ".jpg", ".jpeg")
_SMALLEST_GRID = 480  # pixels on the longer side, so that 8x8 digits can be seen
_PALETTE = np.array(
    [[20, 20, 28], [230, 97, 60], [74, 144, 217], [242, 201, 76],
     [90, 174, 97], [153, 112, 171], [200, 200, 200], [246, 142, 180]], np.uint8,
)  # fmt: skip


def missing() -> str | None:
    """Return the first package of the extra `plots` that cannot be imported, or None."""
    for module, package in (("PIL", "Pillow"), ("matplotlib", "matplotlib")):
        try:
            import_module(module)
        except ImportError:
            return package
    return None


def picture(
    path: Path,
    samples: Array,
    *,
    name: str = "x",
    span: tuple[float, float] | None = None,
    reference: Array | None = None,
    classes: bool = False,
    series: bool = False,
) -> None:
    """Draw samples `[n, ...]` by their shape.

    Images `[n, c, h, w]`, `[n, h, w]` or flat squares become a grid; points `[n, 2]` a scatter, with
    `reference` (the data) beside it; series `[n, t]` curves; scalars a histogram. `span` maps to black
    and white; `classes` colours integers by class; `series` draws curves, whatever the length.
    """
    images = None if series and samples.ndim == 2 else as_images(samples, span, classes)
    if images is not None:
        _save(grid(images), path)
    else:
        _plot(path, samples, name, reference)


def as_images(samples: Array, span: tuple[float, float] | None = None, classes: bool = False) -> Array | None:
    """Convert samples to bytes `[n, h, w, 3]`; None where the shape is not an image's."""
    x = np.asarray(samples)
    if x.ndim == 2:
        side = isqrt(x.shape[1])
        if side * side != x.shape[1] or side < 4:
            return None
        x = x.reshape(len(x), 1, side, side)
    elif x.ndim == 3:
        if min(x.shape[1:]) < 4:
            return None
        x = x[:, None]
    elif x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    if classes and x.shape[1] == 1:
        return np.asarray(_PALETTE[x[:, 0].astype(np.int64) % len(_PALETTE)])
    low, high = span if span is not None else (float(x.min()), float(x.max()))
    grey = np.clip((x - low) / max(high - low, 1e-12), 0, 1)
    pixels = np.rint(255 * np.nan_to_num(grey)).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.asarray(pixels.repeat(3, 3) if pixels.shape[3] == 1 else pixels)


def grid(images: Array, gap: int = 1) -> Array:
    """Arrange images `[n, h, w, 3]` to one picture `[h, w, 3]`, about square; small images are enlarged."""
    n, h, w, _ = images.shape
    columns = max(1, ceil(sqrt(n * h / w)))
    rows = ceil(n / columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), 96, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        sheet[top : top + h, left : left + w] = image
    factor = max(1, _SMALLEST_GRID // max(sheet.shape[:2]))
    return np.asarray(sheet.repeat(factor, 0).repeat(factor, 1))


def _save(pixels: Array, path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels, "RGB").save(path)


def _plot(path: Path, samples: Array, name: str, reference: Array | None) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [("samples", np.asarray(samples, np.float64))]
    if reference is not None and reference.shape[1:] == samples.shape[1:]:
        panels.insert(0, ("data", np.asarray(reference, np.float64)))
    figure = Figure(figsize=(4.2 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axis, (title, values) in zip(axes, panels, strict=True):
        _panel(axis, values, name)
        axis.set_title(title)
    figure.savefig(path, dpi=120)


def density(
    path: Path,
    log_p: Array,
    box: tuple[float, float, float, float],
    points: Array,
    lines: Array | None = None,
    *,
    name: str = "x",
) -> None:
    """Draw a density in the plane, beside it the data, and a warped grid `[k, m, 2]` over them where one is given.

    `log_p` `[h, w]` in nats, row 0 at the bottom of `box` (left, right, bottom, top).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left, right, bottom, top = box
    height = 4.2 * min(max((top - bottom) / (right - left), 0.4), 1.6)
    figure = Figure(figsize=(8.4, height + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    first, second = figure.subplots(1, 2, sharex=True, sharey=True)
    p = np.exp(log_p - log_p.max())
    bright = float(np.quantile(p, 0.995)) or 1.0
    first.imshow(p, origin="lower", extent=box, cmap="viridis", vmax=bright, interpolation="bilinear")
    first.set_title("density")
    second.scatter(points[:, 0], points[:, 1], s=2, alpha=0.4, linewidths=0, color="#4a90d9")
    second.set_title("data" if lines is None else "data and a grid of latents")
    for i, line in enumerate(lines if lines is not None else ()):
        across = i < len(lines) // 2 if lines is not None else False
        second.plot(line[:, 0], line[:, 1], linewidth=0.6, color="#d1495b" if across else "#30323d")
    for axis in (first, second):
        axis.set_aspect("equal")
        axis.set_xlim(left, right)
        axis.set_ylim(bottom, top)
        axis.set_xlabel(f"{name}[0]")
    first.set_ylabel(f"{name}[1]")
    figure.savefig(path, dpi=80)


def _panel(axis: Axes, values: Array, name: str) -> None:
    flat = values.reshape(len(values), -1)
    if values.ndim == 1 or flat.shape[1] == 1:
        axis.hist(flat.ravel(), bins=60, density=True, color="#4a90d9")
        axis.set_xlabel(name)
    elif flat.shape[1] == 2 and values.ndim == 2:
        axis.scatter(flat[:, 0], flat[:, 1], s=3, alpha=0.5, linewidths=0, color="#4a90d9")
        axis.set_aspect("equal")
        axis.set_xlabel(f"{name}[0]")
        axis.set_ylabel(f"{name}[1]")
    elif values.ndim == 2 and flat.shape[1] < 16:
        axis.scatter(flat[:, 0], flat[:, 1], s=3, alpha=0.5, linewidths=0, color="#4a90d9")
        axis.set_xlabel(f"{name}[0]")
        axis.set_ylabel(f"{name}[1] (the first two of {flat.shape[1]})")
    else:
        shown = values.reshape(len(values), values.shape[1], -1)[:8, :, 0]
        step = 1.2 * float(np.ptp(shown) or 1.0)
        for i, row in enumerate(shown):
            axis.plot(row - i * step, linewidth=0.8)
        axis.set_yticks([])
        axis.set_xlabel("time")
