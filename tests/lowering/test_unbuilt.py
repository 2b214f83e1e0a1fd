"""A construct that lowering does not compile yet is refused at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcompile.diagnostics import SpecError
from mpcompile.frontend import parse
from mpcompile.lowering.unbuilt import _UNBUILT, check_built

SPEC = Path(__file__).parents[2] / "grammar" / "accepted" / "axes.mp"


def test_every_construct_that_is_not_built_is_refused_at_its_place() -> None:
    model, source = parse(SPEC)
    with pytest.raises(SpecError) as caught:
        check_built(model)
    found = caught.value.diagnostics
    assert {d.code for d in found} == {"MP129"}
    for _, what, _ in _UNBUILT:
        assert any(d.message.startswith(what) and d.span.line > 1 for d in found), what
    assert len({d.span for d in found}) == len(found) and source.text
