"""Every primitive has a row, and the row means what `evaluate` means; its gradient is that of the rule."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_node import LEAVES, one_node

from mpcompile.emission.constants import Constants
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, DType, Example, Module, Value
from mpcompile.ops import PRIMITIVES, Conv
from mpcompile_jax.literals import array_text, truth_values
from mpcompile_jax.loading import import_programs
from mpcompile_jax.spelling import SPELLINGS


def test_every_primitive_has_a_row_and_every_row_a_primitive() -> None:
    assert set(PRIMITIVES) - LEAVES == set(SPELLINGS)


def program(module: Module) -> Any:
    return import_programs(module)["apply"]


def examples(name: str) -> list[Example]:
    return list(PRIMITIVES[name].examples())


def arrays(inputs: dict[str, Array], double: bool) -> dict[str, jax.Array]:
    floats = jnp.float64 if double else jnp.float32
    return {k: jnp.asarray(v, floats if v.dtype.kind == "f" else None) for k, v in inputs.items()}


# All examples of a primitive are one function for XLA: a compilation for each of them took most of the time.


@pytest.mark.parametrize("name", SPELLINGS)
def test_row_means_evaluate(name: str) -> None:
    cases = [
        (example, *one_node(example, constants)) for example in examples(name) for constants in (False, True)
    ]
    functions = [program(module) for _, module, *_ in cases]
    together = jax.jit(lambda given: [f({}, **x) for f, x in zip(functions, given, strict=True)])
    for double, tolerance in ((True, 1e-9), (False, 2e-5)):
        kinds = {"f": np.float64 if double else np.float32, "i": np.integer, "b": np.bool_}
        with jax.enable_x64(double):
            results = together([arrays(inputs, double) for _, _, inputs, _ in cases])
            for (example, *_), made in zip(cases, results, strict=True):
                for i, want in enumerate(example.op.evaluate(*map(np.asarray, example.inputs))):
                    got = np.asarray(made[f"y{i}"])
                    assert got.shape == want.shape, example
                    assert np.issubdtype(got.dtype, kinds[want.dtype.kind]), example
                    np.testing.assert_allclose(got, want, tolerance, tolerance, err_msg=str(example))


def gradient_of_the_rule(
    example: Example, module: Module, values: list[Value], seeds: dict[str, Array]
) -> list[Array]:
    """For each operand the gradient of the seeded sum of the outputs, by `vjp`, in numpy."""
    g = module.programs["apply"]
    inputs = {f"x{i}": np.asarray(a) for i, a in enumerate(example.inputs)} | {"reference": np.ones(1)}
    backward = Builder(g)
    node = g.node(g.outputs["y0"])
    cotangents = [backward.constant(seeds[n]) if n in seeds else None for n in g.outputs if n != "same"]
    for i, gradient in enumerate(example.op.vjp(backward, tuple(values), node.outputs, cotangents)):
        if gradient is not None:
            g.outputs[f"g{i}"] = gradient
    rule = interpret(g, {}, inputs)
    return [rule.get(f"g{i}", np.zeros(np.shape(a))) for i, a in enumerate(example.inputs)]


def differentiable(name: str) -> list[Example]:
    return [example for example in examples(name) if example.differentiable]


@pytest.mark.parametrize("name", [name for name in SPELLINGS if differentiable(name)])
def test_gradient_is_that_of_the_rule(name: str) -> None:
    cases = [(example, *one_node(example)) for example in differentiable(name)]
    functions = [program(module) for _, module, *_ in cases]
    rng = np.random.default_rng(0)
    seeds = [
        {
            n: rng.normal(size=v.type.concrete({}))
            for n, v in module.programs["apply"].outputs.items()
            if v.dtype is DType.FLOAT and n != "same"
        }
        for _, module, *_ in cases
    ]
    with jax.enable_x64(True):
        given = [arrays(inputs, True) for _, _, inputs, _ in cases]
        chosen = [{k: v for k, v in x.items() if k != "reference" and v.dtype.kind == "f"} for x in given]

        def weighted(chosen: list[dict[str, jax.Array]]) -> jax.Array:
            terms = []
            for function, x, free, seed in zip(functions, given, chosen, seeds, strict=True):
                made = function({}, **{**x, **free})
                terms += [(made[n] * array).sum() for n, array in seed.items()]
            return jnp.stack(terms).sum()

        made = jax.jit(jax.grad(weighted))(chosen)
        settling = [getattr(example.op, "until_fixed_point", False) for example, *_ in cases]
        if any(settling):  # their derivatives are not those that jax finds
            forward = jax.jit(jax.jacfwd(weighted))(chosen)
            for settles, one, other in zip(settling, forward, made, strict=True):
                assert not settles or all(np.allclose(one[n], other[n], 1e-12, 1e-12) for n in one)

    for (example, module, _, values), seed, found in zip(cases, seeds, made, strict=True):
        for i, want in enumerate(gradient_of_the_rule(example, module, values, seed)):
            if f"x{i}" in found:
                np.testing.assert_allclose(found[f"x{i}"], want, 1e-9, 1e-9, err_msg=str(example))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(64).reshape(1, 1, 8, 8),
        np.arange(7) * 3 - 5,
        np.array([3, 1, 2, 9, -4, 0, 70]),
        np.arange(12) % 5,
        np.tril(np.ones((5, 7))),
        np.triu(np.ones((5, 7)), 1) != 0,
        (np.indices((4, 6)).sum(0) % 2)[None] == 1,
        np.arange(300)[:, None] * 7 % 31 >= np.arange(40) * 3 % 31,
        np.random.default_rng(0).normal(size=(3, 50)),
        np.random.default_rng(0).integers(0, 2, (30, 30)) == 1,
        np.random.default_rng(0).integers(0, 70_000, 100),
        np.array([0.0, -0.0, 1.0]),
        np.array([np.inf, -np.inf, 0.5]),
        np.full((2, 3), -0.0),
        np.linspace(0, 1, 9)[:, None],
        np.zeros((0, 3)),
        np.array([[True]]),
        np.eye(5)[[3, 1, 0, 4, 2]],
        np.random.default_rng(0).integers(0, 2, 90),
        np.where(np.arange(100) % 7 == 1, -0.0, 1.0),
    ],
    ids=lambda a: f"{a.dtype}-{a.shape}",
)
def test_constants_are_exact(array: Array) -> None:
    file = Constants()
    text = array_text(array, file, "name")
    made = eval(text, {"np": np, "math": math, "CONSTANTS": file.arrays})
    assert made.shape == array.shape
    assert made.dtype == ({"f": array.dtype, "i": np.int32, "b": bool}[array.dtype.kind]) or truth_values(
        array
    )
    np.testing.assert_array_equal(made.astype(array.dtype), array)
    assert np.array_equal(np.signbit(made.astype(float)), np.signbit(array.astype(float)))
    assert len(text) < 200


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("taps", "dilation"), [(1, 2), (2, 3), (3, 2)])
def test_no_kernel_over_one_axis_is_dilated_on_a_gpu(
    taps: int, dilation: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward: with cuDNN's gradient of dilated kernels WaveNet takes steps thirty times as long."""
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 4, 12)), rng.normal(size=(6, 4, taps))
    op = Conv((stride,), ((3, 1),), (dilation,))
    module, inputs, _ = one_node(Example(op, (x, weight)))
    function = program(module)

    def total(given: dict[str, jax.Array]) -> jax.Array:
        return (function({}, **given)["y0"] ** 2).sum()

    with jax.enable_x64(True):
        given = arrays(inputs, True)
        gradient = jax.jit(jax.grad(total))
        text = gradient.trace(given).lower(lowering_platforms=("cuda",)).as_text()
        assert "dot_general" in text and "stablehlo.convolution" not in text
        here = gradient(given)
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
        (want,) = op.evaluate(x, weight)
        np.testing.assert_allclose(function({}, **given)["y0"], want, rtol=1e-9, atol=1e-9)
        there = jax.grad(total)(given)
        for name, array in here.items():
            np.testing.assert_allclose(there[name], array, rtol=1e-9, atol=1e-9)
