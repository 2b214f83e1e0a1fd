"""Classes, places and lengths above 256, of which bfloat16 has no odd ones: whole numbers. Docs/laws.md, row 31."""

from __future__ import annotations

import re
from contextlib import suppress

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from specs_under_test import NAMES
from specs_under_test import module as spec
from written import lowered

from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Constant, DType, Graph, Module, Value
from mpcompile.ops import Cast, CumSum, Equal, Less, LessEqual, Sum
from mpcompile.ops.traits import Elementwise, Movement
from mpcompile.passes.pipeline import optimise
from mpcompile.reference import KINDS
from mpcompile_jax.loading import import_programs
from mpcompile_torch import emit_module
from mpcompile_torch.loading import build_model

SIZE, CLASS = 400, 301
PEAK = np.where(np.arange(SIZE) == CLASS, 60.0, 0.0)
#: Frames of a text without blanks: symbols 0 and 1 take turns.
FRAMES = 60.0 * np.eye(3)[np.arange(SIZE) % 2]
#: The last real place of a sequence of this length has a 1, the first one behind its end an 8.
ENDS = np.where(np.arange(SIZE) == CLASS - 1, 1.0, np.where(np.arange(SIZE) == CLASS, 8.0, 0.0))
SUMMED = (
    "condition length: integer(1..time)\ntarget y: real[1]\n"
    "s = sum(x, over = time)\ny ~ normal(concat(s, s))\n"
)

#: What counts: a spec, its program, weights and inputs, and the result, which bfloat16 holds.
COUNTS: dict[str, tuple[str, str, dict[str, Array], dict[str, Array], Array]] = {
    "categorical": (
        f"condition c: real[{SIZE}]\ntarget x: category({SIZE})\nx ~ categorical(logits = c)\n",
        "sample", {}, {"c": PEAK[None], "noise_x": np.array([0.5])}, np.array([CLASS]),
    ),
    "autoregressive": (
        f"input x: category({SIZE})[time]\nx ~ autoregressive(likelihood = categorical) {{\n"
        f"  embedding(2) -> shift -> dense({SIZE})\n}}\n",
        "sample", {"x.net.dense_0.bias": PEAK}, {"noise_x": np.full((1, 3), 0.5)}, np.full((1, 3), CLASS),
    ),
    "components": (
        f"condition c: real[{3 * SIZE}]\ntarget x: real[1]\nx ~ mixture(normal, c, components = {SIZE})\n",
        "sample", {}, {"c": np.concatenate([PEAK, np.maximum(PEAK, 1), 0 * PEAK])[None], "noise_x": np.array([[0.5]]),
                   "noise_x_2": np.zeros((1, 1))}, np.array([[60.0]]),
    ),
    "base": (
        f"input x: real[2]\nx ~ flow(base = mixture(components = {SIZE})) {{\n  affine\n}}\n",
        "sample", {"x.base.logits": PEAK, "x.base.loc": np.stack([PEAK, PEAK], 1)},
        {"noise_x_component": np.array([[0.5]]), "noise_x": np.zeros((1, 2))}, np.array([[60.0, 60.0]]),
    ),
    "text": (
        "condition c: real[frames, 3]\ntarget x: category(2)[time]\ncondition length: integer(1..time)\n"
        "x ~ ctc(logits = c, blank = 2)\n",
        "predict", {}, {"c": FRAMES[None]}, FRAMES[None, :, :2] / 60,
    ),
    "length": (
        f"input x: real[time, 1]\n{SUMMED}",
        "predict", {}, {"x": ENDS[None, :, None], "length": np.array([CLASS])}, np.array([[1.0]]),
    ),
    "twice the length": (
        f"input x: real[2 * time, 1]\n{SUMMED}",
        "predict", {}, {"x": np.repeat(ENDS, 2)[None, :, None], "length": np.array([CLASS])}, np.array([[2.0]]),
    ),
    "frames": (
        "condition c: real[frames, 3]\ntarget x: category(2)[time]\ncondition n: integer(1..frames)\n"
        "x ~ ctc(logits = c, blank = 2)\n",
        "log_prob", {}, {"c": 20 * FRAMES[None], "x": np.arange(CLASS)[None] % 2, "n": np.array([CLASS])}, np.zeros(1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_counts_above_256_are_exact_in_bfloat16(name: str) -> None:
    text, program, given, inputs, wanted = COUNTS[name]
    m = lowered(f"model m\n{text}")
    weights = {k: np.zeros(p.shape) for k, p in m.parameters.items()} | given
    model = build_model(emit_module(optimise(m).module), weights, torch.bfloat16)
    whole = {k for k, f in m.fields.items() if f.counts is not None or f.type.dtype is DType.INT}
    half = {
        k: torch.from_numpy(v) if k in whole else torch.from_numpy(v).bfloat16() for k, v in inputs.items()
    }
    made = getattr(model, program)(**half)
    np.testing.assert_array_equal(made.detach().double().numpy(), wanted)
    cast = {k: jnp.asarray(v, jnp.bfloat16) for k, v in weights.items()}
    given = {k: jnp.asarray(v, None if k in whole else jnp.bfloat16) for k, v in inputs.items()}
    drawn = import_programs(m)[program](cast, **given)
    np.testing.assert_array_equal(np.asarray(drawn, np.float64), wanted)


def test_angles_of_places_above_256_are_near_in_bfloat16() -> None:
    """The sines and cosines of `sinusoid` at place 399, up to the rounding of an angle below pi."""
    text = "input x: real[time, 8]\ntarget y: real[4]\ny ~ normal(x -> sinusoid -> last)\n"
    m, x = lowered(f"model m\n{text}"), np.zeros((1, SIZE, 8))
    (want,) = interpret(m.programs["predict"], {}, {"x": x}).values()
    assert np.abs(want).max() > 0.9
    model = build_model(emit_module(optimise(m).module), {}, torch.bfloat16)
    made = model.predict(torch.from_numpy(x).bfloat16()).double().numpy()
    np.testing.assert_allclose(made, want, atol=0.01)
    drawn = import_programs(m)["predict"]({}, jnp.asarray(x, jnp.bfloat16))
    np.testing.assert_allclose(np.asarray(drawn, np.float64), want, atol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_stay_whole(name: str) -> None:
    """No sum of floats is the number of a class, and no comparison is one of floats that were whole numbers."""
    stays_whole(spec(name))


def test_layers_and_functions_compare_lengths_as_whole_numbers() -> None:
    """Of each example of the reference that has a symbolic length, which is stated here."""
    found = 0
    for kind in KINDS.values():
        for name in kind.rows():
            text = kind.example(name)
            symbol = re.search(r"^input .*\[.*?\b(time|frames|steps)\b", text, re.M)
            if symbol is None or "integer(1.." in text:
                continue
            with suppress(SpecError):  # some cannot tell what is behind an end
                stays_whole(
                    lowered(text.replace("\ninput ", f"\ncondition real: integer(1..{symbol[1]})\ninput ", 1))
                )
                found += 1
    assert found > 10


def stays_whole(module: Module) -> None:
    todo = list(module.programs.values())
    for graph in todo:
        for node in graph.nodes():
            todo += node.op.bodies()
            if isinstance(node.op, Cast) and node.op.dtype is DType.INT:
                source = graph.node(node.inputs[0])
                assert not isinstance(source.op, Sum | CumSum) or source.types[0].dtype is DType.INT
            if isinstance(node.op, Less | LessEqual | Equal):
                assert not [v for v in node.inputs if v.dtype is DType.FLOAT and counted(graph, v)], node.op


def counted(graph: Graph, value: Value) -> bool:
    """Whether a float is made of floats that were whole numbers, place by place."""
    node = graph.node(value)
    if isinstance(node.op, Cast):
        return node.inputs[0].dtype is DType.INT and not isinstance(graph.node(node.inputs[0]).op, Constant)
    return isinstance(node.op, Elementwise | Movement) and any(counted(graph, v) for v in node.inputs)
