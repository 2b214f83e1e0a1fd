"""A sampler in pieces: joined, they are what it draws at once with the same noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from derived import optimised
from specs_under_test import inputs, module, weights

from mpcompile.backend import DOUBLE, find_backend
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Graph
from mpcompile.passes.pipeline import optimise
from mpcompile.passes.stream import STEPS, Pieces, pieces

LENGTH = 11


def made(name: str) -> tuple[Graph, Pieces]:
    graph = optimised(module(name)).module.programs["sample"]
    found = pieces(graph)
    assert found is not None
    return graph, found


def read(graph: Graph, values: dict[str, Array]) -> dict[str, Array]:
    assert graph.inputs.keys() <= values.keys()
    return {k: values[k] for k in graph.inputs}


@pytest.mark.parametrize("chunk", [1, 4, LENGTH])
@pytest.mark.parametrize("name", ["transformer", "wavenet", "char_lstm", "gated_pixelcnn", "pixel_rnn"])
def test_pieces_join_to_the_sample(name: str, chunk: int) -> None:
    """Rings, rows, cached keys and states are handed from piece to piece."""
    graph, found = made(name)
    w, given = weights(module(name)), inputs(module(name), "sample", 2, LENGTH)
    ((key, whole),) = interpret(graph, w, given).items()
    sizes = {"N": 2, "time": LENGTH}
    state, parts = interpret(found.start, w, read(found.start, given), sizes), []
    for first in range(0, whole.shape[found.axis], chunk):
        steps = np.arange(first, min(first + chunk, whole.shape[found.axis]))
        given[STEPS] = steps.reshape(*(1,) * found.axis, -1)
        state = interpret(found.steps, w, read(found.steps, given | state))
        parts.append(state.pop(key))
    np.testing.assert_array_equal(np.concatenate(parts, found.axis), whole)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_pieces_on_a_backend(backend: str) -> None:
    m = module("char_lstm")
    graph, found = made("char_lstm")
    programs = {"start": found.start, "steps": found.steps}
    noise = dict.fromkeys(programs, m.noise["sample"])
    session = find_backend(backend).session(
        replace(m, programs=programs, noise=noise), weights(m), options=DOUBLE
    )
    given = inputs(m, "sample", 2, LENGTH)
    ((key, whole),) = interpret(graph, weights(m), given).items()
    state, parts = session.run("start", read(found.start, given)), []
    for first in range(0, LENGTH, 6):
        steps = np.arange(first, min(first + 6, LENGTH))[None]
        state = session.run("steps", read(found.steps, given | state | {STEPS: steps}))
        parts.append(state.pop(key))
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


@pytest.mark.parametrize("name", ["made", "vae", "maf"])
def test_what_is_no_loop_has_no_pieces(name: str) -> None:
    """Vectors are drawn in sorted order, and the others not one element after the other."""
    m = module(name)
    made = optimise(m) if name == "vae" else optimised(m)
    assert pieces(made.module.programs["sample"]) is None
