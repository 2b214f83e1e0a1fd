"""The reference: an example for every name of the language, each a sound spec that uses the name."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.bijectors import BIJECTORS
from mpcompile.cli import COMMANDS
from mpcompile.diagnostics import SpecError
from mpcompile.diagnostics.codes import CODES
from mpcompile.distributions import DISTRIBUTIONS
from mpcompile.ir.optimizers import OPTIMIZERS
from mpcompile.layers import LAYERS
from mpcompile.reference import KINDS, entry
from mpcompile.runner.data import load_data
from mpcompile.runner.settings import Settings

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"

#: An order without a name: it is a list.
UNWRITTEN = {("orders", "listed")}


@pytest.mark.parametrize("title", KINDS)
def test_every_name_has_a_sound_example(title: str, tmp_path: Path) -> None:
    """Whole specs without a finding. A name without one: add it to `mpcompile/reference/examples.py`."""
    kind = KINDS[title]
    assert kind.examples.keys() == kind.rows().keys()
    for name in kind.rows():
        text = kind.example(name)
        assert (title, name) in UNWRITTEN or re.search(rf"\b{name}\b", text), name
        path = tmp_path / "example.mp"
        path.write_text(text, encoding="utf-8")
        try:
            module = api.load(path)
            found = [*api.check(module), *api.warnings(module)]
        except SpecError as problem:
            found = list(problem.diagnostics)
        assert found == [], (name, text)
        if title == "warnings":  # which its example has, where it is not allowed
            told = text.replace(f'check {{ allow {name} because "it is meant" }}', "")
            module = api.load(rewritten(path, told))
            found = [*api.check(module), *api.warnings(module)]
            assert f"{found[0].code}, {CODES[found[0].code].name}" == dict(kind.rows()[name].facts)["code"], (
                name
            )
        if title == "data_sets":
            assert load_data(module, name, 24).splits["train"], name


def rewritten(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_name_has_an_entry() -> None:
    """All names of the registries, all settings and options: each has its heading on a page of the reference."""
    pages = {p.stem: p.read_text(encoding="utf-8") for p in REFERENCE.glob("*.md")}
    wanted = [(title, name) for title, kind in KINDS.items() for name in kind.rows()]
    wanted += [("commands", f"mpcompile {name}") for name in COMMANDS]
    entries = {
        (title, line[3:]) for title, text in pages.items() for line in text.splitlines() if line[:3] == "## "
    }
    assert set(wanted) - entries == set()
    for cls in (*LAYERS.values(), *DISTRIBUTIONS.values(), *BIJECTORS.values(), *OPTIMIZERS.values()):
        assert cls.__doc__, cls
    print(f"{len(wanted)} of {len(wanted)} names have an entry: 100 %")


def test_every_option_has_an_entry() -> None:
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    for name, function in COMMANDS.items():
        (section,) = re.findall(rf"^## mpcompile {name}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        source = (ROOT / "mpcompile" / "cli" / f"{function[0]}.py").read_text(encoding="utf-8")
        declared = set(re.findall(r"typer\.Option\(\s*\"(--[a-z-]+)", source))
        assert declared <= set(re.findall(r"--[a-z-]+", section)), name


def test_defaults_of_settings_are_those_of_a_run() -> None:
    for f in fields(Settings):
        if (
            f.name in KINDS["settings"].rows()
            and isinstance(f.default, int | float)
            and f.default is not None
        ):
            (about,) = entry(KINDS["settings"], f.name).about
            assert re.search(rf"\b{f.default}\b", about), (f.name, about)


def test_pages_have_no_raw_html() -> None:
    """`build/<model>` outside of code is a tag, which every reader of markdown drops."""
    for path in (ROOT / "docs").rglob("*.md"):
        text = re.sub(r"^```.*?^```|`[^`]+`", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        assert re.findall(r"<[a-zA-Z/!][^>]*>", text) == [], path
