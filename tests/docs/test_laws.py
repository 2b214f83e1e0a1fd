"""docs/laws.md names tests and specs that are there, and leaves out no law of tests/laws."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "laws.md").read_text(encoding="utf-8")
TABLE = [line for line in PAGE.splitlines() if re.match(r"\| \d", line)]
LINK = r"\[`([\w./]+)`\]\(([\w./]+)\)"


@cache
def named_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")}


def test_every_row_has_a_model_and_tests_that_are_there() -> None:
    assert [int(line.split("|")[1]) for line in TABLE] == list(range(1, len(TABLE) + 1))
    for line in TABLE:
        *_, model, law, tests = re.split(r"(?<!\\)\|", line.strip("| "))
        for name, target in re.findall(LINK, model):
            assert target == f"../specs/{name}" and (DOCS / target).is_file(), line
        named = re.findall(LINK, tests)
        assert law.strip() and named, line
        for name, target in named:
            assert name in named_in(DOCS / target), f"{target} has no {name}"


def test_every_law_is_in_the_table() -> None:
    named = set(re.findall(LINK, "\n".join(TABLE)))
    for path in sorted((DOCS.parent / "tests" / "laws").glob("test_*.py")):
        assert {(name, f"../tests/laws/{path.name}") for name in named_in(path)} <= named


def test_every_spec_is_in_the_table() -> None:
    specs = {p.name for p in (DOCS.parent / "specs").iterdir() if p.suffix in (".mp", ".yaml")}
    assert specs - {name for name, _ in re.findall(LINK, "\n".join(TABLE))} == set()


def test_every_statement_of_the_notes_is_shown() -> None:
    """Each row of the page on the lecture notes names a spec, a test, a command, a layer or a law that is there."""
    notes = (DOCS / "notes.md").read_text(encoding="utf-8")
    rows = [
        line
        for line in notes.splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| statement"))
    ]
    assert len(rows) > 40
    for row in rows:
        _, shown = re.split(r" (?<!\\)\| ", row.strip("| "), maxsplit=1)
        numbers = [
            int(n)
            for part in re.findall(r"\blaws? ((?:\d+(?:, | and | to )?)+)", shown)
            for n in re.findall(r"\d+", part)
        ]
        assert all(1 <= n <= len(TABLE) for n in numbers), row
        assert numbers or re.search(r"\]\(|`[^`]+`", shown) or "above" in shown or "not shown" in shown, row
