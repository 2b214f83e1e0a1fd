"""A loop that several programs run is one function, which they call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from specs_under_test import emitted, optimised

from mpcompile.outline import with_recurrences
from mpcompile.outline.shared import find_uses


@pytest.mark.parametrize(("name", "callers"), [("vrnn", [{"elbo", "log_weight"}]), ("ctc", [])])
def test_programs_that_run_one_loop_call_it(name: str, callers: list[set[str]]) -> None:
    """The loss of `ctc` calls its density, which alone runs the loop."""
    m, parts = with_recurrences(optimised(name), {"sample"})
    uses = find_uses(m.programs, {"sample"})
    found = [{caller for caller, own in uses.items() for use in own if use.program == part} for part in parts]
    assert found == callers


def test_a_loop_inside_another_part_is_called_from_it() -> None:
    m, parts = with_recurrences(optimised("deep_markov"), {"sample"})
    assert parts == {"recurrence", "recurrence_2"}
    uses = {name: [use.program for use in own] for name, own in find_uses(m.programs, {"sample"}).items()}
    assert uses["recurrence_2"] == ["recurrence"] and uses["loss"] == ["recurrence_2"]
    assert uses["encode"] == ["recurrence"]


def test_a_name_of_the_spec_is_left_to_it() -> None:
    m = optimised("vrnn")
    named = {{"encode": "recurrence"}.get(name, name): graph for name, graph in m.programs.items()}
    assert with_recurrences(replace(m, programs=named), {"sample"})[1] == {"recurrence_2"}


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_text_has_the_loop_once_and_names_its_gates(backend: str) -> None:
    text = str(emitted(backend, "vrnn")["model.py"])
    assert text.count("def recurrence(") == 1 and text.count("locs, log_scales, zs = ") >= 2
    assert text.count("noise_z_t\n") == 1  # the draw of a step
    if backend == "torch":
        assert "reset, update = torch.sigmoid(gates + state_gates).chunk(2, 1)" in text
