"""How long emitted code is: lines of `model.py` and of `sampling.py`, for each spec, in torch and in jax.

    python benchmarks/emitted_lines.py specs/*.mp specs/*.yaml specs/vision/*.mp

An ONNX file has no lines. The last row has the share of names that end with a digit, of the arguments and variables of
all functions: names that tell two values apart and not what they are.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

from mpcompile.api import load
from mpcompile.backend import find_backend
from mpcompile.passes.pipeline import optimise

COLUMNS = [(backend, file) for backend in ("torch", "jax") for file in ("model.py", "sampling.py")]


def names(text: str) -> list[str]:
    """Return the names of arguments and variables of all functions of a file, once for each function."""
    found: list[str] = []
    for f in (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)):
        stored = {n.id for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        found += stored | {a.arg for a in f.args.args}
    return found


def main() -> None:
    total: Counter[tuple[str, str]] = Counter()
    named: dict[tuple[str, str], list[str]] = {column: [] for column in COLUMNS}
    print("| spec |" + "".join(f" {backend} {file} |" for backend, file in COLUMNS))
    print("|---|" + "---|" * len(COLUMNS))
    for path in map(Path, sys.argv[1:]):
        module = optimise(load(path)).module
        files = {backend: find_backend(backend).emit(module) for backend in ("torch", "jax")}
        lines = {(b, f): len(str(files[b].get(f, "")).splitlines()) for b, f in COLUMNS}
        total.update(lines)
        for b, f in COLUMNS:
            named[b, f] += names(str(files[b].get(f, "")))
        print(f"| {path.stem} |" + "".join(f" {lines[column]} |" for column in COLUMNS), flush=True)
    print("| total |" + "".join(f" {total[column]} |" for column in COLUMNS))
    shares = [sum(n[-1].isdigit() for n in found) / max(1, len(found)) for found in named.values()]
    print("| names with a digit at their end |" + "".join(f" {share:.2f} |" for share in shares))


if __name__ == "__main__":
    main()
