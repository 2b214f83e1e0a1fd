"""Many equal layers are one `lax.scan` in emitted JAX: the same numbers, and text and functions that do not grow."""

from __future__ import annotations

import numpy as np
import pytest
from layered import DEEP, MANY, lowered, transformer
from specs_under_test import path

from mpcompile import ops
from mpcompile.api import load
from mpcompile.backend import DOUBLE, OptimizerSpec, find_backend, open_session
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.ir.verify import verify_graph
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.pipeline import FEW_LAYERS, optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile_jax import JaxBackend
from mpcompile_jax.functions import numbered
from mpcompile_jax.session import JaxSession
from mpcompile_jax.stretches import stretches_from_layers


def text(module: Module) -> str:
    emitted = JaxBackend().emit(optimise(module).module)["model.py"]
    assert isinstance(emitted, str)
    return emitted


@pytest.mark.parametrize("name", DEEP)
def test_layers_in_a_loop_have_the_numbers_of_the_oracle(name: str) -> None:
    module = lowered(DEEP[name])
    held(module)
    assert "stacked(params" in text(module)


def test_a_transformer_in_a_loop_has_the_numbers_of_the_oracle() -> None:
    held(transformer(MANY))


def held(module: Module) -> None:
    weights, inputs = example_weights(module), example_inputs(module, "loss", 3)
    names = list(module.parameters)
    wanted = interpret(differentiate(module.programs["loss"], "loss", names), weights, inputs)
    session = open_session("jax", module, weights, options=DOUBLE)
    outputs, gradients = session.gradients(inputs)
    np.testing.assert_allclose(outputs["loss"], wanted["loss"], rtol=1e-12)
    for n in names:
        exact = wanted[gradient_name(n)]
        np.testing.assert_allclose(gradients[n], exact, rtol=1e-9, atol=1e-12 * (1 + np.abs(exact).max()))


def test_a_sampler_gives_stretches_of_its_buffers_from_layers() -> None:
    """XLA would copy the whole buffers in every step; draws have the bits that they had."""
    module = transformer(MANY)
    graph = optimise(module).module.regions["sample"]
    moved = stretches_from_layers(graph)
    verify_graph(moved)
    for g, changed in ((graph, False), (moved, True)):
        (node,) = [n for n, _ in ops.regions(g)]
        assert any("time" in str(v.type) for v in node.outputs) != changed
    weights, inputs = example_weights(module), example_inputs(module, "sample", 2, 5)
    found, wanted = interpret(moved, weights, inputs), interpret(graph, weights, inputs)
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value)


def test_loops_over_several_lists_of_layers_read_each_its_own() -> None:
    """The weights that a loop of loops reads are put together before it, each list under a name of its own."""
    module = optimise(load(path("wavenet"), {"cycles": "9", "layers": "2"})).module
    weights, inputs = example_weights(module), example_inputs(module, "sample", 8, 12)
    sessions = [
        find_backend(name).session(module, weights, None, options=DOUBLE) for name in ("torch", "jax")
    ]
    np.testing.assert_array_equal(*[session.run("sample", inputs)["x"] for session in sessions])


def test_few_layers_are_written_one_by_one() -> None:
    assert "stacked(" not in text(transformer(FEW_LAYERS))


def test_the_text_of_a_program_does_not_grow_with_the_number_of_layers() -> None:
    found = []
    for layers in (MANY, 4 * MANY):
        files = JaxBackend().emit(optimise(transformer(layers)).module)
        found.append([len(files[name].splitlines()) for name in ("model.py", "sampling.py")])
    assert found[0] == found[1]


def test_steps_on_stacks_are_those_of_torch() -> None:
    """A session has the weights of a region as one array, and gives and takes each by its own name."""
    module = transformer(MANY)
    weights, inputs = example_weights(module), example_inputs(module, "loss", 3, 5)
    rule = OptimizerSpec("adamw", weight_decay=0.1, clip=1.0)
    mine, theirs = (open_session(b, module, weights, rule, options=DOUBLE) for b in ("jax", "torch"))
    for _ in range(2):
        assert dict(mine.step(inputs, 1e-3)) == pytest.approx(dict(theirs.step(inputs, 1e-3)), rel=1e-9)
    mine.load_state(theirs.state())
    assert dict(mine.step(inputs, 1e-3)) == pytest.approx(dict(theirs.step(inputs, 1e-3)), rel=1e-9)
    found, wanted = mine.state(), theirs.state()
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-6, atol=1e-9)


def test_what_a_session_compiles_does_not_grow_with_the_number_of_layers() -> None:
    found = []
    for layers in (MANY, 2 * MANY):
        module = transformer(layers)
        session = open_session("jax", module, example_weights(module), OptimizerSpec())
        assert isinstance(session, JaxSession)
        inputs = session._inputs(module.programs["loss"], example_inputs(module, "loss", 3, 5))
        gradients = session._gradients.lower(session.trained, session.fixed, inputs)
        found.append((len(gradients.as_text().splitlines()), len(session.trained), len(session.slots["m"])))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["a.l.0.w", "a.l.1.w", "a.l.2.w"], ("a.l", "w", "range(3)")),
        (["l.10.d.w", "l.11.d.w"], ("l", "d.w", "range(10, 12)")),
        (["l.8.b", "l.10.b", "l.12.b"], ("l", "b", "range(8, 14, 2)")),
        (["x.d.9.0w", "x.d.10.0w"], ("x.d", "0w", "range(9, 11)")),
    ],
)
def test_names_are_written_by_their_numbers(names: list[str], written: tuple[str, str, str]) -> None:
    assert numbered(names) == written


@pytest.mark.parametrize("names", [["a.0.w", "b.1.w"], ["a.0.w", "a.1.w", "a.3.w"], ["a_0.w", "a_1.w"]])
def test_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="not those of a list"):
        numbered(names)
