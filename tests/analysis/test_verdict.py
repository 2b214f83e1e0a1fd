"""An answer can only be made in the ways that its meaning allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from specs_under_test import NAMES, module

from mpcompile import api
from mpcompile.analysis.verdict import (
    Held,
    Proof,
    Sampled,
    Scope,
    Status,
    Verdict,
    free_symbols,
    ran,
    scope_of,
    sizes_text,
)
from mpcompile.diagnostics import Diagnostic, Span
from mpcompile.diagnostics.report import ACCEPTED, STATUSES
from mpcompile.ir import Claim, Graph, float_type, symbol

CLAIM = Claim("autoregressive", "x", "conditionals", Span.none())


def graph(*names: str) -> Graph:
    """A program with one input [N, symbols ...]."""
    from mpcompile.ir import Builder

    g = Graph("g")
    Builder(g).input("x", float_type(symbol("N"), *map(symbol, names)))
    return g


def test_a_run_at_a_sampled_length_is_no_proof() -> None:
    assert isinstance(ran([graph()], "a run", [{"N": 1}]), Proof)
    found = ran([graph(), graph("time")], "a run", [{"N": 1, "time": 8}])
    assert isinstance(found, Held)
    verdict = Verdict.of(CLAIM, found)
    assert verdict.status is Status.HELD and not verdict.status.accepted
    assert verdict.how == "a run, only tried at time = 8"


def test_a_scope_is_computed_from_programs() -> None:
    with pytest.raises(TypeError):
        Scope("every length", frozenset(), object())
    with pytest.raises(Sampled, match="time has no declared size"):
        scope_of(graph("time"), covers="declared")
    assert str(scope_of(graph(), covers="lengths")) == "the declared sizes"
    assert str(scope_of(graph("time"), covers="lengths")) == "every length"
    assert scope_of(graph("time", "frames"), covers="lengths").symbols == {"time", "frames"}
    assert str(scope_of(graph("time"), covers="sizes")) == "every size"


def test_symbols_within_other_sizes_are_free() -> None:
    g = graph()
    from mpcompile.ir import Builder

    Builder(g).input("y", float_type(symbol("N"), 2 * symbol("time")))
    assert free_symbols(g) == {"time"}


FINDING = Diagnostic("MP301", "found", Span.none())


@pytest.mark.parametrize(
    "change",
    [
        {"scope": None}, {"method": ""},
        {"status": Status.REFUTED}, {"status": Status.HELD}, {"status": Status.UNDECIDED},
        {"status": Status.HELD, "checked": ({"time": 8},), "diagnostics": (FINDING,)},
        {"status": Status.UNDECIDED, "reason": "so", "diagnostics": (FINDING,)},
    ],
)  # fmt: skip
def test_no_other_combination_of_fields_is_a_verdict(change: dict[str, object]) -> None:
    """In particular: nothing but a proof has a scope."""
    good = Verdict.proved(CLAIM, Proof(scope_of(graph("time"), covers="lengths"), "offset sets"))
    assert good.how == "offset sets, for every length"
    with pytest.raises(ValueError):
        replace(good, **change)  # type: ignore[arg-type]


def test_undecided_names_the_reason_the_primitive_and_where_it_was_tried() -> None:
    verdict = Verdict.undecided(CLAIM, "no rule", "gather", [{"time": 1}, {"time": 2}])
    (finding,) = verdict.diagnostics
    assert finding.code == "MP309" and finding.message == "autoregressive(x) is undecided: no rule"
    assert finding.notes == ("nothing speaks against it at time = 1, 2",)
    assert (verdict.primitive, verdict.how) == ("gather", "no rule; nothing speaks against it at time = 1, 2")


def test_sizes_as_text() -> None:
    assert sizes_text([{"N": 1}]) == ""
    assert sizes_text([{"time": 1}, {"time": 2}]) == " at time = 1, 2"
    assert sizes_text([{"time": 1, "frames": 2}]) == " at time = 1, frames = 2"
    assert sizes_text([{"a": 1, "b": 2}, {"a": 3, "b": 4}]) == " at (a, b) = (1, 2), (3, 4)"


def test_reports_know_every_status() -> None:
    assert STATUSES.keys() == set(Status)
    assert set(ACCEPTED) == {s for s in Status if s.accepted}


@pytest.mark.parametrize("name", NAMES)
def test_a_scope_covers_the_free_symbols_of_its_program(name: str) -> None:
    """No claim about a program with a free symbol is proved for the declared sizes."""
    m = module(name)
    for verdict in api.verdicts(m):
        if verdict.status is not Status.PROVED:
            continue
        assert verdict.scope is not None
        pieces = [p.graph for p in m.flow_steps.get(verdict.claim.subject, [])]
        graphs = [m.programs[verdict.claim.program]] if verdict.claim.program in m.programs else pieces
        assert free_symbols(*graphs) <= verdict.scope.symbols
        if free_symbols(*graphs):
            assert str(verdict.scope) != "the declared sizes"
