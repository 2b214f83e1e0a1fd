"""What outputs need, found in one pass from them back, is what a forward run from every value finds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_graphs import Sample, graphs
from specs_under_test import NAMES, module

from mpcompile.analysis.dependence import environment_for, identity, interpret
from mpcompile.analysis.needed import needed
from mpcompile.ir import Abstract, Array, Graph, Input, Node, Parameter, Value, availability


def forward(graph: Graph, start: Node, env: Mapping[str, int]) -> Array:
    """Which elements of the first result of a node any output depends on, by following each."""
    shape = start.types[0].concrete(env)
    size = int(np.prod(shape))
    domain, seed = identity(size)
    memory: dict[Value, Abstract] = {}
    for node in graph.nodes():
        if isinstance(node.op, Input | Parameter):
            memory[node.outputs[0]] = domain.make(node.types[0].concrete(env))
        else:
            found = node.op.bind(env).depend(domain, *(memory[v] for v in node.inputs))
            memory.update(zip(node.outputs, found, strict=True))
        if node.id == start.id:
            known = memory[node.outputs[0]]
            facts = seed.reshape(*shape, domain.words)
            memory[node.outputs[0]] = Abstract(known.shape, facts, known.zero, known.neginf)
    reached = np.zeros(domain.words, np.uint64)
    for value in graph.outputs.values():
        reached |= np.bitwise_or.reduce(memory[value].facts.reshape(-1, domain.words), 0)
    bits = np.unpackbits(reached.astype("<u8").view(np.uint8), bitorder="little")[:size]
    return bits.astype(bool).reshape(shape)


def agrees(graph: Graph, env: Mapping[str, int], most: int) -> int:
    """Compare both ways at up to `most` values that are not constant; how many were compared."""
    facts = interpret(graph, availability(), {}, env)
    nodes = [
        n
        for n in graph.nodes()
        if facts[n.outputs[0]].constant is None and facts[n.outputs[0]].facts.size > 0
    ]
    nodes = [n for n in nodes if int(np.prod(facts[n.outputs[0]].shape)) <= 600][
        :: max(1, len(nodes) // most)
    ]
    found = needed(graph, facts, {n.id for n in nodes}, env)
    for node in nodes:
        known = facts[node.outputs[0]]
        open_ = ~np.broadcast_to(
            known.zero | known.neginf, known.shape
        )  # what is known is read or not, as one likes
        assert np.array_equal(found[node.id] & open_, forward(graph, node, env) & open_), node
    return len(nodes)


@pytest.mark.parametrize("name", NAMES)
def test_on_the_specs(name: str) -> None:
    m = module(name)
    graph = next((m.programs[p] for p in ("conditionals", "predict", "forward") if p in m.programs), None)
    if graph is None:
        graph = m.programs["loss"]
    assert agrees(graph, environment_for(graph, 3), 6)


@settings(max_examples=40, derandomize=True, database=None, deadline=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(graphs(smooth=False))
def test_on_random_graphs(sample: Sample) -> None:
    graph = sample.graph
    last = list(graph.outputs)[-1]
    graph.outputs = {last: graph.outputs[last]}  # else every value is an output itself
    agrees(graph, environment_for(graph, 3), 100)
