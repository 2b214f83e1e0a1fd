"""The same spec, seed and data on every backend: loss curves on top of each other, and how far apart they come.

    python benchmarks/parity.py --keep runs/parity --plot docs/images/parity.png
    python benchmarks/parity.py --specs specs/vae.yaml specs/pixelcnn.mp:width=8,layers=2 --steps 200

A spec may name parameters to change, and `batch` and `length` of its `train` section; what would take minutes is made
small here, as the table says. `--keep` writes each spec's curves to a folder and takes those that are there, so that the
whole may be run in pieces. For each backend but the first:
the largest difference of the training loss at any step, as a part of the loss at that step (or of a hundredth of the
largest loss, where the loss is smaller than that). Every spec trains with its own optimiser, mostly adam, which turns
rounding on near-zero gradients into whole steps. The column `moved` says what that alone does: it is the first backend
against itself, its initial weights moved by one part in ten million. A spec with a gap above --tolerance is run again
in float64, which tells drift from a mistake; exits with 1 where the gap stays.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from mpcompile.api import load
from mpcompile.backend import find_backend, installed
from mpcompile.runner.loop import Options, train

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SPECS = Path(__file__).parents[1] / "specs"
#: What would take minutes at full size, on three backends and once more moved.
SMALL = {
    "char_lstm": "batch=16,length=32", "cvrnn": "length=16", "gated_pixelcnn": "batch=16",
    "glow": "width=8,batch=16", "gru": "length=16", "iaf": "batch=64", "maf": "batch=64", "nsf_ar": "batch=64",
    "pixel_rnn": "batch=16", "pixel_transformer": "batch=16", "pixelcnn": "width=8,layers=2,batch=16",
    "realnvp": "width=8,blocks=1,batch=16", "rgb_pixelcnn": "batch=8", "transformer": "width=32,batch=8,length=32",
    "unet": "batch=8", "variational_dequantization": "width=8,batch=16", "vrnn": "length=16",
    "wavenet": "batch=8,length=32",
}  # fmt: skip
COLUMNS = 6


def everything() -> list[str]:
    """Every spec that names its data or reads none, small."""
    paths = sorted(p for p in SPECS.iterdir() if p.suffix in (".mp", ".yaml"))
    loaded = [(p, load(p)) for p in paths]
    paths = [p for p, module in loaded if module.train.data or not module.fields]
    return [f"{p}:{SMALL[p.stem]}" if p.stem in SMALL else str(p) for p in paths]


def parse(text: str) -> tuple[Path, dict[str, str]]:
    """`path:name=value,...` as the path and its values."""
    path, _, changed = text.partition(":")
    return Path(path), dict(pair.split("=", 1) for pair in changed.split(",") if pair)


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


def curve(text: str, name: str, steps: int, precision: str = "float32", moved: bool = False) -> np.ndarray:
    """Training loss at every step."""
    path, changes = parse(text)
    sizes = {k: int(changes.pop(k)) for k in ("batch", "length") if k in changes}
    module = load(path, changes)
    module.train = module.train.changed(
        log_every=1, steps=steps, valid_every=steps, epochs=None, patience=None, **sizes
    )
    backend: Any = Moved(name) if moved else find_backend(name)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        chosen = Options(name, steps=steps, precision=precision, overrides=changes)
        train(module, out, chosen, backend=backend)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return np.array([r["loss"] for r in rows if r["split"] == "train"])


def curves(text: str, names: list[str], steps: int, tolerance: float) -> dict[str, np.ndarray]:
    """The losses of every backend, of the first one `moved`, and in float64 where a gap is above the tolerance."""
    found = {name: curve(text, name, steps) for name in names}
    found["moved"] = curve(text, names[0], steps, moved=True)
    if max(gap(found[n], found[names[0]]) for n in names[1:]) > tolerance:
        found |= {f"{n} in float64": curve(text, n, steps, "float64") for n in names}
    return found


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
    parser.add_argument("--keep", type=Path, help="folder of curves; those that are there are not run again")
    options = parser.parse_args()
    names = options.backends.split(",")
    heads = "".join(f"{n:>10}" for n in (*names[1:], "moved"))
    print(f"{'spec':<28}{'set':<28}{'last loss':>11}{heads}{'seconds':>9}", flush=True)
    failed, found = False, {}
    for text in options.specs:
        name, start = parse(text)[0].stem, time.process_time()
        kept = options.keep / f"{name}.npz" if options.keep else None
        if kept and kept.is_file():
            losses = dict(np.load(kept))
        else:
            losses = curves(text, names, options.steps, options.tolerance)
            losses["seconds"] = np.array(time.process_time() - start)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, **losses)  # type: ignore[arg-type]  # names are no options of savez
        found[name] = losses
        failed |= tell(name, text.partition(":")[2], losses, names, options.tolerance)
    if options.plot:
        plot(found, names, options.plot)
    sys.exit(failed)


def tell(name: str, changed: str, losses: dict[str, np.ndarray], names: list[str], tolerance: float) -> bool:
    """Print the row of a spec; whether a gap stays above the tolerance."""
    first, *others = names
    gaps = [gap(losses[n], losses[first]) for n in others]
    moved = gap(losses["moved"], losses[first])
    shown = "".join(f"{g:>10.1e}" for g in (*gaps, moved))
    print(
        f"{name:<28}{changed or '-':<28}{losses[first][-1]:>11.5f}{shown}{losses['seconds']:>9.0f}",
        flush=True,
    )
    if max(gaps) <= tolerance:
        return False
    wide = {n: losses[f"{n} in float64"] for n in names}
    gaps = [gap(wide[n], wide[first]) for n in others]
    shown = "".join(f"{g:>10.1e}" for g in gaps)
    print(f"{'':<28}{'in float64':<28}{wide[first][-1]:>11.5f}{shown}", flush=True)
    return max(gaps) > tolerance


def plot(found: dict[str, dict[str, np.ndarray]], names: list[str], path: Path) -> None:
    """The curves of all backends of every spec, the first one widest, so that all of them show."""
    columns = min(COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.3 * columns, 1.65 * rows), squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    for axis, (spec, losses) in zip(axes.flat, found.items(), strict=False):
        for i, name in enumerate(names):
            axis.plot(losses[name], label=name, linewidth=4.5 - 1.7 * i, color=f"C{i}", alpha=0.9)
        axis.set_title(spec, fontsize=9)
        axis.tick_params(labelsize=6.5)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("training loss (nats)", fontsize=9)
    axes.flat[0].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).quantize(48).save(path, optimize=True)  # a fifth of the bytes


if __name__ == "__main__":
    main()
