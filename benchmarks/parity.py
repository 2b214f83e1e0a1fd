"""The same spec, seed and data on every backend: loss curves on top of each other, and how far apart they come.

    python benchmarks/parity.py --plot docs/images/parity.png
    python benchmarks/parity.py --specs specs/vae.yaml specs/pixelcnn.mp:width=8,layers=2 --steps 200

A spec may name parameters to change; large ones are made small here, as the table says. For each backend but the first:
the largest difference of the training loss at any step, as a part of the loss at that step (or of a hundredth of the
largest loss, where the loss is smaller than that). Every spec trains with its own optimiser, mostly adam, which turns
rounding on near-zero gradients into whole steps. The column `moved` says what that alone does: it is the first backend
against itself, its initial weights moved by one part in ten million. A spec with a gap above --tolerance is run again
in float64, which tells drift from a mistake; exits with 1 where the gap stays.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from mpcompile.api import load
from mpcompile.backend import find_backend, installed
from mpcompile.runner.loop import Options, train

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SPECS = Path(__file__).parents[1] / "specs"
#: What would take minutes at full size.
SMALL = {"realnvp": "width=8,blocks=1", "pixelcnn": "width=8,layers=2", "transformer": "width=32"}
COLUMNS = 4


def everything() -> list[str]:
    """Every spec that trains, small."""
    paths = sorted(p for p in SPECS.iterdir() if p.suffix in (".mp", ".yaml"))
    return [f"{p}:{SMALL[p.stem]}" if p.stem in SMALL else str(p) for p in paths]


class Moved:
    """A backend whose sessions start from weights moved by about one rounding of float32."""

    def __init__(self, name: str) -> None:
        self.inner = find_backend(name)

    def session(self, module: Any, parameters: Any, *args: Any, **kwargs: Any) -> Any:
        rng = np.random.default_rng(0)
        moved = {
            k: (v * (1 + 1e-7 * rng.standard_normal(v.shape))).astype(v.dtype) for k, v in parameters.items()
        }
        return self.inner.session(module, moved, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def curve(
    path: Path,
    changes: dict[str, str],
    name: str,
    steps: int,
    precision: str = "float32",
    moved: bool = False,
) -> np.ndarray:
    """Training loss at every step."""
    module = load(path, changes)
    module.train |= {"log_every": 1, "steps": steps, "valid_every": steps}
    for key in ("epochs", "patience"):
        module.train.pop(key, None)
    backend: Any = Moved(name) if moved else find_backend(name)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        chosen = Options(name, steps=steps, precision=precision, overrides=changes)
        train(module, out, chosen, backend=backend)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return np.array([r["loss"] for r in rows if r["split"] == "train"])


def gap(losses: np.ndarray, base: np.ndarray) -> float:
    """Largest relative difference over all steps."""
    size = np.maximum(np.abs(base), 0.01 * np.abs(base).max())
    return float((np.abs(losses - base) / np.where(size, size, 1.0)).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--specs", nargs="+", default=everything(), help="default: all in specs/")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--backends", default=",".join(sorted(installed(), key=lambda n: n != "torch")))
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    names = options.backends.split(",")
    rows = math.ceil(len(options.specs) / COLUMNS)
    columns = min(COLUMNS, len(options.specs))
    figure, axes = plt.subplots(rows, columns, figsize=(3.1 * columns, 2.3 * rows), squeeze=False)
    for axis in axes.flat[len(options.specs) :]:
        axis.set_visible(False)
    heads = "".join(f"{n:>10}" for n in (*names[1:], "moved"))
    print(f"{'spec':<14}{'set':<22}{'last loss':>11}{heads}{'seconds':>9}", flush=True)
    failed = False
    for axis, text in zip(axes.flat, options.specs, strict=False):
        path, _, changed = text.partition(":")
        changes = dict(pair.split("=", 1) for pair in changed.split(",") if pair)
        start = time.monotonic()
        curves = {n: curve(Path(path), changes, n, options.steps) for n in names}
        base = curves[names[0]]
        gaps = [gap(curves[n], base) for n in names[1:]]
        moved = gap(curve(Path(path), changes, names[0], options.steps, moved=True), base)
        shown = "".join(f"{g:>10.1e}" for g in (*gaps, moved))
        seconds = time.monotonic() - start
        print(f"{Path(path).stem:<14}{changed or '-':<22}{base[-1]:>11.5f}{shown}{seconds:>9.0f}", flush=True)
        if max(gaps) > options.tolerance:
            first, *others = (curve(Path(path), changes, n, options.steps, "float64") for n in names)
            gaps = [gap(c, first) for c in others]
            failed |= max(gaps) > options.tolerance
            shown = "".join(f"{g:>10.1e}" for g in gaps)
            print(f"{'':<14}{'in float64':<22}{first[-1]:>11.5f}{shown}", flush=True)
        for i, (name, losses) in enumerate(curves.items()):
            axis.plot(losses, label=name, linewidth=4.5 - 1.7 * i, color=f"C{i}", alpha=0.9)
        axis.set_title(Path(path).stem, fontsize=10)
        axis.tick_params(labelsize=7)
    if options.plot:
        figure.supxlabel("step", fontsize=9)
        figure.supylabel("training loss (nats)", fontsize=9)
        axes.flat[0].legend(fontsize=8)
        figure.tight_layout()
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.plot, dpi=110)
    sys.exit(failed)


if __name__ == "__main__":
    main()
