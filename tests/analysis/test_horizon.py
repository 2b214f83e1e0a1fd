"""The search for a counterexample at growing lengths: what a run costs, and where it stops."""

from __future__ import annotations

import numpy as np
import pytest

from mpcompile import ops
from mpcompile.analysis import horizon
from mpcompile.ir import Builder, DType, Graph, Type, float_type, symbol


def looped(length: int | None) -> Graph:
    """Three nodes, one of which is a loop over `time`, or over a number of steps, whose body has five."""
    body = Graph("body")
    inside = Builder(body)
    h = inside.input("h", float_type(2))
    row = None if length else inside.input("row", float_type(2))
    inside.input("step", Type(DType.INT, ()))
    total = inside.emit(ops.Tanh(), inside.emit(ops.Add(), h, h if row is None else row))
    body.outputs = {"h": total} if row is None else {"h": total, "y": total}
    graph = Graph("looped")
    b = Builder(graph)
    x, start = b.input("x", float_type(symbol("time"), 2)), b.constant(np.zeros(2))
    if length:
        found = b.emit_all(ops.Scan(body, carries=1, length=length), start)
    else:
        found = b.emit_all(ops.Scan(body, carries=1, axis=0, scanned=1), start, x)
    graph.outputs = {"y": found[-1]}
    return graph


@pytest.mark.parametrize(("length", "time", "cost"), [(None, 1, 8), (None, 4, 23), (7, 1, 31), (7, 4, 31)])
def test_a_body_costs_as_often_as_it_runs(length: int | None, time: int, cost: int) -> None:
    assert horizon._cost(looped(length), {"time": time}) == cost


def test_a_search_stops_where_it_costs_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so; with as much as it takes it reaches its horizon."""
    graph = looped(None)
    whole = horizon.search(graph, lambda sizes: None)
    assert whole.complete and whole.found is None
    spent = sum(horizon._cost(graph, sizes) for sizes in whole.checked)
    largest = max(horizon._largest(graph, sizes) for sizes in whole.checked)
    for name, enough in (("MAX_NODES", spent), ("MAX_ELEMENTS", largest)):
        with monkeypatch.context() as patched:
            patched.setattr(horizon, name, enough)
            assert horizon.search(graph, lambda sizes: None) == whole
            patched.setattr(horizon, name, enough - 1)
            less = horizon.search(graph, lambda sizes: None)
            assert not less.complete and less.checked == whole.checked[: len(less.checked)] != whole.checked


def test_what_is_found_is_found_at_the_shortest_length_that_shows_it() -> None:
    found = horizon.search(looped(None), lambda sizes: "long" if sizes["time"] >= 4 else None)
    assert (found.found, found.at["time"]) == ("long", 4)
