"""Derived samplers: with the same noise, the same sample as the loop that runs the whole network for each element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import specs_under_test as specs
from derived import REFERENCE, SAMPLERS, derived, references
from safetensors.numpy import load

from mpcompile import ops
from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Graph, Module, Node, Value
from mpcompile.lowering import lower
from mpcompile.passes.base import Refused
from mpcompile.passes.incremental import DeriveSamplers, block_loop
from mpcompile.passes.incremental.recognise import recognise
from mpcompile.passes.pipeline import SHIPPED, optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.text import parse

LENGTH = 13

VARIANTS = {
    "order": """
        model m
        input x: binary[12]
        mask up = degrees(order = random, hidden = 30, seed = 3)
        x ~ autoregressive(order = random, seed = 3, likelihood = bernoulli) {
          dense(30, mask = up) -> relu -> dense(12, mask = strict(up))
        }""",
    "real": """
        model m
        input x: real[7]
        mask up = degrees(order = natural, hidden = 5, seed = 0)
        x ~ autoregressive(likelihood = normal) {
          dense(5, mask = up) -> tanh -> dense(14, mask = strict(up))
        }""",
    "steep": """
        model m
        input x: real[7]
        mask before = degrees(order = natural)
        x ~ autoregressive(likelihood = normal) { dense(14, mask = strict(before)) }""",
    "direct": """
        model m
        input x: binary[9]
        mask up = degrees(order = natural, hidden = 6, seed = 0)
        block net on x {
          linear = x -> dense(9, mask = strict(up))
          yield linear + (x -> dense(6, mask = up) -> relu -> dense(6, mask = up) -> relu -> dense(9, mask = strict(up)))
        }
        x ~ autoregressive(likelihood = bernoulli) { net }""",
    "flow": """
        model m
        input x: real[5]
        x ~ flow(base = normal) {
          autoregressive(hidden = [7, 7], order = random, seed = 1) -> autoregressive(hidden = [9], order = reverse)
        }""",
    "levels": """
        model m
        input x: integer(0..3)[6]
        mask up = degrees(order = natural, hidden = 12, seed = 0)
        x ~ autoregressive(likelihood = categorical) {
          dense(12, mask = up) -> relu -> dense(24, mask = strict(up))
        }""",
    "mixture": """
        model m
        input x: real[5]
        mask up = degrees(order = natural, hidden = 12, seed = 0)
        x ~ autoregressive(likelihood = mixture(logistic), components = 3) {
          dense(12, mask = up) -> tanh -> dense(45, mask = strict(up))
        }""",
    "rnn": """
        model m
        input x: category(5)[time]
        x ~ autoregressive(likelihood = categorical) {
          embedding(4) -> shift -> rnn(6) -> rnn(6) -> dense(5)
        }""",
    "wide": """
        model m
        input x: real[time, 3]
        x ~ autoregressive(likelihood = normal) {
          shift -> conv1d(8, 3, dilation = 2) -> relu -> conv1d(8, 4) -> residual(dense(8) -> tanh) -> dense(6)
        }""",
    "mixed": """
        model m
        input x: category(5)[time]
        x ~ autoregressive(likelihood = categorical) {
          embedding(4) -> conv1d(8, 2) -> shift -> residual(attention(2, mask = causal)) -> lstm(8) -> dense(5)
        }""",
    "colours": """
        model m
        input x: integer(0..3)[3, 4, 5]
        block first on x { yield x -> conv(9, 3, pad = same, mask = causal2d(type = A, channels = rgb)) }
        block more on h { yield h + (h -> relu -> conv(9, 3, pad = same, mask = causal2d(type = B, channels = rgb))) }
        x ~ autoregressive(order = pixel, likelihood = categorical) {
          first -> more -> more -> relu -> conv(12, 1, mask = causal2d(type = B, channels = rgb))
        }""",
    "gated colours": """
        model m
        input x: integer(0..3)[3, 4, 4]
        x ~ autoregressive(order = pixel, likelihood = categorical) {
          conv(18, 3, pad = same, mask = causal2d(type = A, channels = rgb)) -> gate
          conv(12, 1, mask = causal2d(type = B, channels = rgb))
        }""",
    "row lstm": """
        model m
        input x: binary[1, 5, 6]
        block first on x { yield x -> conv(6, 3, pad = same, mask = causal2d(type = A)) }
        x ~ autoregressive(likelihood = bernoulli) {
          first -> residual(row_lstm(6)) -> residual(row_lstm(6, kernel = 5)) -> relu -> conv(1, 1)
        }""",
    "planes": """
        model m
        input x: integer(0..3)[2, 3, 3]
        mask before = degrees(order = natural)
        x ~ autoregressive(order = natural, likelihood = categorical) {
          flatten -> dense(72, mask = strict(before)) -> reshape([8, 3, 3])
        }""",
    "diagonal": """
        model m
        input x: binary[1, 4, 3]
        x ~ autoregressive(likelihood = bernoulli) {
          conv(4, 3, pad = same, mask = causal2d(type = A)) -> residual(diagonal_bilstm(2) -> conv(4, 1)) -> conv(1, 1)
        }""",
    "rows": """
        model m
        input x: integer(0..3)[1, 5, 4]
        x ~ autoregressive(likelihood = categorical) {
          conv(6, 3, pad = same, mask = causal2d(type = A)) -> relu
          conv(6, 5, pad = same, mask = causal2d(type = B)) -> relu -> conv(4, 1)
        }""",
}


def from_text(text: str) -> Module:
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


@cache
def module(name: str) -> Module:
    return from_text(VARIANTS[name]) if name in VARIANTS else specs.full(name)


#: No spec is lowered to be asked: `test_every_reference_sampler_of_the_specs_is_derived` holds the table to them.
NAMES = [name for name, programs in SAMPLERS.items() if "sample" in programs]


def inputs(m: Module, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise, and conditions."""
    return example_inputs(m, "sample", batch, LENGTH, seed)


def test_every_reference_sampler_of_the_specs_is_derived() -> None:
    """Each program that holds some, and no other; and a module that goes to a backend has gone through the pass."""
    found = {}
    for name in specs.NAMES:
        programs = {p: g for p, g in specs.module(name).programs.items() if references(g)}
        if name in REFERENCE:
            assert programs and all(DeriveSamplers()(g).refused for g in programs.values())
        elif programs:
            found[name] = {p: len(derived(g).done) for p, g in programs.items()}
    assert found == SAMPLERS
    assert DeriveSamplers() in SHIPPED.passes


@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_the_sample_is_that_of_the_reference(name: str) -> None:
    m = module(name)
    fast = derived(m.programs["sample"]).graph
    weights = {k: np.asarray(w, np.float64) for k, w in example_weights(m).items()}
    given, env = inputs(m, 3), {"time": LENGTH}
    expected = interpret(m.programs["sample"], weights, given, env)
    found = interpret(fast, weights, given, env)
    for key, value in expected.items():
        assert len(np.unique(value)) > 1
        np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-9)


#: Vectors: binary, real (with overflow in sight), classes, mixtures, two parameters an element, a bijector's inverse.
VECTORS = ["order", "real", "levels", "mixture", "direct", "flow"]


@pytest.mark.parametrize("length", [1, 3, 4, 100])
@pytest.mark.parametrize("name", VECTORS)
def test_blocks_of_any_length_give_the_same_sample(
    name: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = module(name)
    program = "inverse" if name == "flow" else "sample"
    size = next(iter(m.programs[program].inputs.values())).shape[1]
    assert isinstance(size, int)
    monkeypatch.setattr(block_loop, "block_length", lambda *_: min(length, size))
    weights = {k: np.asarray(w, np.float64) for k, w in example_weights(m, spread=0.5).items()}
    given, fast = example_inputs(m, program, 3), derived(m.programs[program])
    assert all(("one block" if length >= size else f"blocks of {length}") in way for way in fast.done)
    expected = interpret(m.programs[program], weights, given)
    for key, value in interpret(fast.graph, weights, given).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", VECTORS)
def test_a_block_at_its_fixed_point_equals_a_block_run_for_all_turns(name: str) -> None:
    """Bit by bit: once nothing changes, nothing would."""
    m = module(name)
    weights = {k: np.asarray(w, np.float64) for k, w in example_weights(m, spread=0.5).items()}
    program = "inverse" if name == "flow" else "sample"
    graph, given = derived(m.programs[program]).graph, example_inputs(m, program, 3)
    for key, value in interpret(graph, weights, given).items():
        np.testing.assert_array_equal(value, interpret(all_iterations(graph), weights, given)[key])


def all_iterations(graph: Graph) -> Graph:
    """The same with every iteration run."""

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not isinstance(node.op, ops.Scan):
            return None
        return b.emit_all(
            replace(node.op, body=all_iterations(node.op.body), until_fixed_point=False), *inputs
        )

    return graph.rebuild(rewrite)


def test_elements_that_are_not_right_yet_may_be_no_numbers() -> None:
    """x_i = 1 + exp(800 (1 - x_{i-1})) n_i, which overflows where it reads a zero in place of x_{i-1}."""
    m, size = module("steep"), 7
    (weight,), (bias,) = ([n for n in m.parameters if n.endswith(end)] for end in ("weight", "bias"))
    slope = np.zeros((2 * size, size))
    slope[size + np.arange(1, size), np.arange(size - 1)] = -800.0
    weights = {weight: slope, bias: np.repeat([1.0, 800.0], size) * (np.arange(2 * size) != size)}
    given = {"noise_x": np.zeros((2, size))}
    with np.errstate(all="ignore"):
        found = interpret(derived(m.programs["sample"]).graph, weights, given)["x"]
        expected = interpret(m.programs["sample"], weights, given)["x"]
    np.testing.assert_array_equal(expected, 1.0)
    np.testing.assert_array_equal(found, expected)
    for backend in installed():  # each ends its loop in its own way
        session = find_backend(backend).session(optimise(m).module, weights)
        np.testing.assert_array_equal(session.run("sample", given)["x"], expected)


@pytest.mark.parametrize("name", ["made", "real", "pixelcnn", "transformer", "char_lstm"])
def test_noise_of_later_steps_is_not_read(name: str) -> None:
    """What is drawn late may be anything, not-a-number included, without a trace in what is drawn before."""
    m = module(name)
    graph = derived(m.programs["sample"]).graph
    weights = {k: np.asarray(w, np.float64) for k, w in example_weights(m).items()}
    given, env = inputs(m, 2), {"time": LENGTH}
    key = next(iter(given))
    poisoned = {k: v.copy() for k, v in given.items()}
    flat = poisoned[key].reshape(2, -1)
    half = flat.shape[1] // 2
    flat[:, half:] = np.nan
    whole = next(iter(interpret(graph, weights, given, env).values())).reshape(2, -1)
    with np.errstate(invalid="ignore"):
        part = next(iter(interpret(graph, weights, poisoned, env).values())).reshape(2, -1)
    np.testing.assert_array_equal(whole[:, :half], part[:, :half])


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Module, Graph], int]:
    """Multiply-adds that the oracle does for one example, whatever loops say."""
    done = [0]

    def count(cls: type[ops.MatMul | ops.Conv | ops.Mul]) -> None:
        plain = cls.evaluate

        def evaluate(self: ops.MatMul, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
            results = plain(self, *inputs)
            each = {"mul": lambda w: 1, "mat_mul": lambda w: w.shape[-2], "conv": lambda w: w[0].size}[
                cls.name
            ]
            done[0] += results[0].size * each(inputs[1])
            return results

        monkeypatch.setattr(cls, "evaluate", evaluate)

    for cls in (ops.MatMul, ops.Conv, ops.Mul):
        count(cls)

    def work(m: Module, graph: Graph) -> int:
        done[0] = 0
        given = example_inputs(m, graph.name, 1, LENGTH)
        interpret(graph, example_weights(m), given, {"time": LENGTH})
        return done[0]

    return work


@pytest.mark.parametrize("name", NAMES)
def test_work_does_not_grow_with_the_number_of_elements(
    name: str, work: Callable[[Module, Graph], int]
) -> None:
    """The network is not run once for each element."""
    m = module(name)
    elements = max(steps(n) for n in m.programs["sample"].nodes() if recognise(n))
    naive, fast = work(m, m.programs["sample"]), work(m, derived(m.programs["sample"]).graph)
    assert fast < (naive / 4 if elements > 8 else naive)  # two steps cost little, however they are done


@pytest.mark.parametrize("name", ["colours", "gated colours"])
def test_what_reads_some_colours_of_a_pixel_is_computed_once(
    name: str, work: Callable[[Module, Graph], int]
) -> None:
    """Not again for each colour; products with masks, once for a draw, are counted on both sides."""
    m = module(name)
    assert work(m, derived(m.programs["sample"]).graph) <= 1.1 * work(m, m.programs["conditionals"])


def steps(node: object) -> int:
    length = getattr(node, "op").length  # noqa: B009
    return length if isinstance(length, int) else LENGTH


PLANES = """
    model m
    input x: %s[3, 4, 4]
    x ~ autoregressive(order = natural, likelihood = %s) { conv(%d, 1) }"""

ORDER = "draws its elements in an order that no loops over rows and columns follow"
AHEAD = "reads elements that are not drawn yet"
WHOLE = "reads all that is drawn at once: it has no place in the order"
#: name -> text, the layer that is named, and why
REFUSED = {
    # classes would be solved as a whole, were it proven
    "real planes": (PLANES % ("real", "normal", 6), "", ORDER),
    "planes": (PLANES % ("integer(0..3)", "categorical", 12), "", ORDER),
    "pooled": (
        """
        model m
        input x: binary[1, 4, 4]
        block net on h { yield h + (h -> global_avgpool -> dense(16) -> reshape([1, 4, 4])) }
        x ~ autoregressive(likelihood = bernoulli) { net }""",
        "`global_avgpool`",
        WHOLE,
    ),
    **{
        name: ((specs.ROOT / "specs" / "invalid" / f"{name}.mp").read_text("utf-8"), layer, why)
        for name, layer, why in (
            ("group_norm_over_time", "`group_norm(2)`", WHOLE),
            ("group_norm_over_order", "`group_norm(2)`", WHOLE),
            ("layer_norm_over_order", "`layer_norm`", AHEAD),
            ("instance_norm_in_pixelcnn", "`instance_norm`", WHOLE),
            ("transformer_no_shift", "(sum)", "is not known in time to draw from it"),
            ("wavenet_same_padding", "(sum)", AHEAD),
        )
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_stepped_is_refused_by_name(name: str) -> None:
    """What reads ahead, or has no place in the order, keeps its reference sampler, and the reason names the layer."""
    text, layer, why = REFUSED[name]
    kept = DeriveSamplers()(from_text(text).programs["sample"])
    assert [type(r) for r in kept.refused] == [Refused]
    assert layer in str(kept.refused[0]) and str(kept.refused[0]).endswith(why)
    assert references(kept.graph)


def test_a_reference_sampler_of_many_elements_is_emitted() -> None:
    """Its order has numbers of more than eight bits, which torch's code holds in as few as they need."""
    m = from_text((PLANES % ("real", "normal", 6)).replace("[3, 4, 4]", "[3, 10, 10]"))
    files = find_backend("torch").emit(m)
    kept = load(bytes(files["constants.safetensors"]))
    assert {a.dtype.name for a in kept.values() if a.size >= 300} == {"int16"}


MIXED = """
program sample(noise_x: float[N, 3]) -> (x: float[N, 3]) {
  %zero = constant 0.0 : float[]
  %start = broadcast_to(%zero) {shape: [N, 3]} : float[N, 3]
  %x = scan(%start, %noise_x) {carries: 1, length: 3} : float[N, 3]
    body body(carry_0: float[N, 3], noise: float[N, 3], step: int[]) -> (carry_0: float[N, 3]) {
      %carry_0 = input carry_0 : float[N, 3]
      %step = input step : int[]
      %noise = input noise : float[N, 3]
      %first = constant [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]] : float[3, 4]
      %hidden = mat_mul(%carry_0, %first) : float[N, 4]
      %cells = reshape(%hidden) {shape: [N, 2, 2]} : float[N, 2, 2]
      %second = constant [[1.0, 0.0], [-2.0, 0.0]] : float[2, 2]
      %mixed = mat_mul(%cells, %second) : float[N, 2, 2]
      %sum = sum(%mixed) {axes: [1], keepdims: false} : float[N, 2]
      %late = pad(%sum) {before: [0, 1], after: [0, 0]} : float[N, 3]
      %drawn = add(%late, %noise) : float[N, 3]
      %order = constant [[0, 1, 2]] : int[1, 3]
      %now = equal(%order, %step) : bool[1, 3]
      %where = where(%now, %drawn, %carry_0) : float[N, 3]
      return carry_0 = %where
    }
  return x = %x
}
"""


def test_units_that_have_features_are_not_multiplied_unit_by_unit() -> None:
    """All units of [N, 2, 2] are known at once, so nothing says along which axis they lie; a product sums over one."""
    graph = parse(MIXED)
    kept = DeriveSamplers()(graph)
    assert [str(r) for r in kept.refused] == ["mat_mul (mat_mul) mixes units and their features"]
    assert references(kept.graph) == 1


ANOTHER_AXIS = """
program sample(noise_x: float[N, 3, 2]) -> (x: float[N, 3, 2]) {
  %zero = constant 0.0 : float[]
  %start = broadcast_to(%zero) {shape: [N, 3, 2]} : float[N, 3, 2]
  %x = scan(%start, %noise_x) {carries: 1, length: 2} : float[N, 3, 2]
    body body(carry_0: float[N, 3, 2], noise: float[N, 3, 2], step: int[]) -> (carry_0: float[N, 3, 2]) {
      %carry_0 = input carry_0 : float[N, 3, 2]
      %step = input step : int[]
      %noise = input noise : float[N, 3, 2]
      %past = cum_sum(%carry_0) {axis: 2, exclusive: true} : float[N, 3, 2]
      %drawn = add(%past, %noise) : float[N, 3, 2]
      %order = iota() {shape: [2], axis: 0} : int[2]
      %now = equal(%order, %step) : bool[2]
      %where = where(%now, %drawn, %carry_0) : float[N, 3, 2]
      return carry_0 = %where
    }
  return x = %x
}
"""


def test_a_loop_over_another_axis_than_the_first_is_no_reference_sampler() -> None:
    kept = DeriveSamplers()(parse(ANOTHER_AXIS))
    assert not kept.changed and kept.done == kept.refused == ()
