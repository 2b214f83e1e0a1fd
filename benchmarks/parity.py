"""The same spec and seed on every backend: loss curves beside each other, and how far apart they come.

    python benchmarks/parity.py specs/made.yaml specs/vae.yaml --steps 200 --plot docs/images/parity.png

Prints, for each spec and backend, the largest relative difference of the training loss from the first backend's over
all steps. Adam turns rounding on near-zero gradients into whole steps, so curves agree to about a percent, not to the
last digit (with sgd they do).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import matplotlib
import numpy as np

from mpcompile.api import load
from mpcompile.backend import installed
from mpcompile.runner.loop import Options, train

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def curve(spec: Path, backend: str, steps: int) -> np.ndarray:
    """Training loss at every step."""
    module = load(spec)
    module.train |= {"log_every": 1, "steps": steps, "valid_every": steps}
    module.train.pop("epochs", None)
    module.train.pop("patience", None)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train(module, out, Options(backend, steps=steps), say=lambda text: None)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return np.array([r["loss"] for r in rows if r["split"] == "train"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specs", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--backends", default=",".join(sorted(installed(), key=lambda n: n != "torch")))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    names = options.backends.split(",")
    figure, axes = plt.subplots(1, len(options.specs), figsize=(4.5 * len(options.specs), 3.2), squeeze=False)
    for axis, spec in zip(axes[0], options.specs, strict=True):
        curves = {name: curve(spec, name, options.steps) for name in names}
        for i, (name, losses) in enumerate(curves.items()):
            axis.plot(losses, label=name, linewidth=4 - 1.4 * i, alpha=0.8)
            gap = np.abs(losses / curves[names[0]] - 1).max()
            print(
                f"{spec.stem:<14}{name:<8}last loss {losses[-1]:<12.6f}largest relative gap {gap:.1e}",
                flush=True,
            )
        axis.set(title=spec.stem, xlabel="step", ylabel="training loss (nats)")
        axis.legend()
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        figure.tight_layout()
        figure.savefig(options.plot, dpi=110)


if __name__ == "__main__":
    main()
