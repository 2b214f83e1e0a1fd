"""`mpcompile list NAME`: signature, axes, slots, arguments with defaults and an example of every name."""

from __future__ import annotations

import pytest

from mpcompile.cli.list import registry
from mpcompile.distributions import Elementwise
from mpcompile.layers import Layer
from mpcompile.lowering.densities import signature
from mpcompile.ranges import slots
from mpcompile.reference import KINDS, described, entry


@pytest.mark.parametrize("title", KINDS)
def test_every_name_is_told_whole(title: str) -> None:
    kind = KINDS[title]
    assert registry(title).keys() == kind.rows().keys()
    for name, row in kind.rows().items():
        each, lines = entry(kind, name), described(name)
        assert each.usage.startswith(name) and f"{each.usage}, {kind.noun}" in lines, name
        assert each.about and registry(title)[name], name
        assert "example:" in lines, name
        if not isinstance(row, type):
            continue
        cls = signature(row) if title == "distributions" else row
        for slot in slots(cls):
            text = dict(each.arguments)[slot.name]
            assert ("left out" in text) != slot.required, f"`{slot.name}` of {name}"
        told = {word for word, _ in each.facts}
        if issubclass(row, Layer):
            assert {"takes", "acts on"} <= told
        if issubclass(row, Elementwise):
            assert {"values", "types", "predict"} <= told and ("slots" in told) == bool(row.slots)


def test_what_an_argument_may_be() -> None:
    lines = described("attention")
    assert (
        "mask     a mask between two axes: none, causal, before, upto, window or same; none if left out"
        in lines
    )
    assert "to       a value; may be left out" in lines
    assert "law        a law; affine if left out" in described("coupling")
    assert "slots    loc (real, 0), scale (positive, 1), df (positive)" in described("student_t")
    assert "acts on  channels, and all axes of space; `over` names another axis" in described("conv")
    assert "softmax(x, over = ...), a function" in described("softmax")
    assert "receptive_field(x), a claim" in described("receptive_field")
    assert described("nothing") == []


def test_a_name_of_two_kinds_is_both() -> None:
    assert {
        "step, a layer",
        "step(every = 1000, factor = 0.1, warmup = 0), a schedule of the learning rate",
    } <= set(described("step"))
