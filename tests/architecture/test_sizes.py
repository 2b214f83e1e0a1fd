"""Files one can read in a few screens, and functions on one page, or a reason why not."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES, MOST_STATEMENT_LINES = 450, 60

#: Functions that are longer, docstrings left out, and why.
LONG = {
    "mpcompile/cli/check.py check": "its parameters are the command's options, each with its help",
    "mpcompile/cli/build.py build": "its parameters are the command's options, each with its help",
    "mpcompile/cli/sample.py sample": "its parameters are the command's options, each with its help",
    "mpcompile/cli/verify.py verify": "its parameters are the command's options, each with its help",
    "mpcompile/cli/train.py train": "its parameters are the command's options, each with its help",
}


def _files() -> list[Path]:
    found = [
        p for folder in ("mpcompile", "backends", "grammar") for p in sorted((ROOT / folder).rglob("*.py"))
    ]
    assert len(found) > 300
    return found


def test_a_file_is_read_in_a_few_screens() -> None:
    lines = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in _files()}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES}


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    said = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return (
        (node.end_lineno or 0) - node.lineno + 1 - ((first.end_lineno or 0) - first.lineno + 1 if said else 0)
    )


def test_a_function_is_one_page_or_says_why_not() -> None:
    long = {
        f"{path.relative_to(ROOT)} {node.name}"
        for path in _files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _length(node) > MOST_STATEMENT_LINES
    }
    assert long == set(LONG)
