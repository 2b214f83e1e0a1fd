"""`mpcompile list NAME`: what a layer or a bijector is, and a line for each of its arguments."""

from __future__ import annotations

import pytest

from mpcompile.bijectors import BIJECTORS
from mpcompile.cli.list import described
from mpcompile.layers import LAYERS
from mpcompile.ranges import slots


@pytest.mark.parametrize("name", sorted({*LAYERS, *BIJECTORS}))
def test_every_argument_has_a_line(name: str) -> None:
    lines = described(name)
    for kind, table in (("layer", LAYERS), ("bijector", BIJECTORS)):
        assert (f"{name}, a {kind}" in lines) == (name in table)
        for slot in slots(table[name]) if name in table else ():
            said = [line for line in lines if line.startswith(f"{slot.name} ")]
            assert any(("left out" in line) != slot.required for line in said), f"`{slot.name}` of {name}"


def test_what_an_argument_may_be() -> None:
    lines = described("attention")
    assert (
        "mask     a mask between two axes: none, causal, before, upto, window or same; none if left out"
        in lines
    )
    assert "to       a value; may be left out" in lines
    assert "law        a law; affine if left out" in described("coupling")
    assert described("nothing") == []
