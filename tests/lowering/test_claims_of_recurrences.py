"""Claims about the order of the steps of a recurrence."""

from __future__ import annotations

import pytest
from stated import answers

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower

MEMORIES = {
    "all steps": ("h = gru(x, h)", {"complete(x)": "proved", "path_length(x) <= 2": "refuted"}),
    "one step": ("h = x -> dense(4)", {"complete(x)": "refuted", "path_length(x) <= 2": "refuted"}),
}


@pytest.mark.parametrize("memory", MEMORIES)
def test_what_a_recurrence_remembers_can_be_claimed(memory: str) -> None:
    """Its order always holds; whether a step reaches all earlier ones, and how far, is for what it carries."""
    update, expected = MEMORIES[memory]
    text = (
        "model m\ninput x: binary[time, 1]\nrecurrence over time {\n  carry h[4] = 0\n"
        f"  x ~ bernoulli(logits = h -> dense(1))\n  {update}\n}}\n"
        "check { autoregressive(x); complete(x); path_length(x) <= 2 }\n"
    )
    m = lower(parse_text(text), Source("m.mp", text))
    found = {str(v.claim): str(v.status) for v in answers(m)}
    assert expected.items() <= found.items() and found["autoregressive(x)"] == "proved"
    assert [c.kind for c in m.claims].count("autoregressive") == 1


def test_the_order_within_a_step_is_not_taken_for_that_of_the_steps() -> None:
    """A step's own autoregressive law is proven in a program of one step: that says nothing of the whole sequence."""
    text = """model m
input x: binary[time, 4]
mask up = degrees(order = natural, hidden = 8, seed = 0)
recurrence over time {
  carry h[4] = 0
  x ~ autoregressive(likelihood = bernoulli) { dense(8, mask = up) -> relu -> dense(4, mask = strict(up)) }
  h = gru(x, h)
}
"""
    m = lower(parse_text(text), Source("m.mp", text))
    assert [c.program for c in m.claims if c.kind == "autoregressive"] == ["conditionals_x"]
    for claim in ("autoregressive(x)", "complete(x)"):
        with pytest.raises(SpecError, match="no autoregressive density"):
            lower(parse_text(stated := f"{text}check {{ {claim} }}\n"), Source("m.mp", stated))
