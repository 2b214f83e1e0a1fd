"""Many equal layers are one `lax.scan` in emitted JAX: the same numbers, and text and functions that do not grow."""

from __future__ import annotations

import numpy as np
import pytest
from layered import DEEP, MANY, lowered, transformer

from mpcompile.backend import open_session
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.pipeline import FEW_LAYERS, optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile_jax import JaxBackend
from mpcompile_jax.functions import numbered


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
    session = open_session("jax", module, weights, precision="float64")
    outputs, gradients = session.gradients(inputs)
    np.testing.assert_allclose(outputs["loss"], wanted["loss"], rtol=1e-12)
    for n in names:
        exact = wanted[gradient_name(n)]
        np.testing.assert_allclose(gradients[n], exact, rtol=1e-9, atol=1e-12 * (1 + np.abs(exact).max()))


def test_few_layers_are_written_one_by_one() -> None:
    assert "stacked(" not in text(transformer(FEW_LAYERS))


def test_the_text_of_a_program_does_not_grow_with_the_number_of_layers() -> None:
    """The sampler's does: it has a state for each layer."""
    found = []
    for layers in (MANY, 4 * MANY):
        module = transformer(layers)
        for programs in (module.programs, module.noise):
            del programs["sample"]
        found.append(text(module).splitlines())
    assert len(found[0]) == len(found[1])


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["a.l_0.w", "a.l_1.w", "a.l_2.w"], ("a.l_", ".w", "range(3)")),
        (["l_10", "l_11"], ("l_", "", "range(10, 12)")),
        (["l_8.b", "l_10.b", "l_12.b"], ("l_", ".b", "range(8, 14, 2)")),
        (["x.d_9.0w", "x.d_10.0w"], ("x.d_", ".0w", "range(9, 11)")),
    ],
)
def test_names_are_written_by_their_numbers(names: list[str], written: tuple[str, str, str]) -> None:
    assert numbered(names) == written


@pytest.mark.parametrize("names", [["a_0", "b_1"], ["a_0", "a_1", "a_3"], ["a_00", "a_01"]])
def test_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="not numbered"):
        numbered(names)
