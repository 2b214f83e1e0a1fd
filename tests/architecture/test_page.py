"""docs/architecture.md is true of the tree: the rooms are those of the contract, and modules that pages name exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Pages of what is planned or was renamed, and files that are made or belong to others.
RENAMED = {"0033-names-of-the-field.md"}
NOT_HERE = {"analysis/claims/NAME.py", "passes/NAME.py", "built/model.py", "modeling_moshi.py"}


def test_rooms_are_drawn_as_they_are_enforced() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Rooms and direction")[2]
    drawn = re.search(r"```text\n(.*?)```", section, re.DOTALL)
    assert drawn is not None
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in settings["tool"]["importlinter"]["contracts"] if c["id"] == "rooms")
    told = [sorted(re.sub(r"\([^)]*\)", "", line).split()) for line in drawn[1].splitlines()]
    assert told == [sorted(re.sub(r"[()]", "", layer).split()) for layer in contract["layers"]]


def test_modules_that_pages_name_exist() -> None:
    files = {
        "/" + str(path.relative_to(ROOT))
        for folder in ("mpcompile", "backends", "grammar", "tests", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*.py")
    }
    for page in (
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs/decisions").glob("*.md"),
    ):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        code = " ".join(re.findall(r"`([^`\n]+)`", text))
        named = set(re.findall(r"(?<![\w.:/*<>-])(?:\w+/)*\w+\.py\b", code)) - NOT_HERE
        lost = [name for name in named if not any(file.endswith(f"/{name}") for file in files)]
        assert page.name in RENAMED or lost == [], (page.name, lost)
