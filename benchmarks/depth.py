"""What the depth of a model costs: lines of `model.py`, and processor time of `check` and `build`.

    python benchmarks/depth.py [--spec specs/transformer.mp] [--layers 4 64 256] [--backends torch jax onnx]

Each command runs in a process of its own; times are user time, with that of starting.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def user_time(*command: str) -> float:
    """Run a command of mpcompile; return its seconds of user time. Raises `CalledProcessError` where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(
        [sys.executable, "-m", "mpcompile", *command], check=True, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    """Print a line for each number of blocks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", default="specs/transformer.mp")
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 64, 256])
    parser.add_argument("--backends", nargs="+", default=["torch", "jax", "onnx"])
    chosen = parser.parse_args()
    for layers in chosen.layers:
        size = f"layers={layers}"
        found = [f"{layers:4} blocks: check {user_time('check', chosen.spec, '--set', size):.2f} s"]
        for backend in chosen.backends:
            with tempfile.TemporaryDirectory() as folder:
                at = Path(folder) / "build"
                time = user_time("build", chosen.spec, "--set", size, "-b", backend, "-o", str(at))
                text = at / "model.py"
                lines = f", {len(text.read_text().splitlines())} lines" if text.exists() else ""
                found.append(f"{backend} {time:.2f} s{lines}")
        print("; ".join(found), flush=True)


if __name__ == "__main__":
    main()
