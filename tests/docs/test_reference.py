"""The reference: an example for every name of the language, each a sound spec that uses the name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.reference import KINDS

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
