"""How long emitted code is: lines of `model.py` and of `sampling.py`, for each spec, in torch and in jax.

    python benchmarks/emitted_lines.py specs/*.mp specs/*.yaml specs/vision/*.mp

An ONNX file has no lines.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from mpcompile.api import load
from mpcompile.backend import find_backend
from mpcompile.passes.pipeline import optimise

COLUMNS = [(backend, file) for backend in ("torch", "jax") for file in ("model.py", "sampling.py")]


def main() -> None:
    total: Counter[tuple[str, str]] = Counter()
    print("| spec |" + "".join(f" {backend} {file} |" for backend, file in COLUMNS))
    print("|---|" + "---|" * len(COLUMNS))
    for path in map(Path, sys.argv[1:]):
        module = optimise(load(path)).module
        files = {backend: find_backend(backend).emit(module) for backend in ("torch", "jax")}
        lines = {(b, f): len(str(files[b].get(f, "")).splitlines()) for b, f in COLUMNS}
        total.update(lines)
        print(f"| {path.stem} |" + "".join(f" {lines[column]} |" for column in COLUMNS), flush=True)
    print("| total |" + "".join(f" {total[column]} |" for column in COLUMNS))


if __name__ == "__main__":
    main()
