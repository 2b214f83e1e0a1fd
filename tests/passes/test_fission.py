"""Loop fission: text in, text out; every value stays, for random loops and for every spec with a loop."""

from __future__ import annotations

import re

import numpy as np
import pytest
from derived import references
from hypothesis import given, settings
from hypothesis import strategies as st
from specs_under_test import NAMES, inputs, module, weights
from text_passes import assert_becomes, assert_stays

from mpcompile import ops
from mpcompile.backend import find_backend
from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Graph, Primitive, Value, float_type, symbol
from mpcompile.ir.verify import verify_graph
from mpcompile.ops.traits import Product
from mpcompile.passes.dce import DeadCode
from mpcompile.passes.fission import Fission
from mpcompile.passes.pipeline import optimise
from mpcompile.text import parse, printed

# --- text ---

WEIGHTS = "w: float[2, 2], u: float[2, 3]"
HEAD = f"""
program f(h: float[N, 2], x: float[N, time, 3], {WEIGHTS}) -> (y: float[N, time, 2]) {{
"""
BEFORE = f"""{HEAD}
  scope rnn
  %last, %y = scan(%h, %x, %w, %u) {{carries: 1, scanned: 1}}
    body step(h: float[N, 2], x: float[N, 3], {WEIGHTS}, step: int[]) -> (h: float[N, 2], y: float[N, 2]) {{
      scope rnn / cell
      %t = transpose(%u) {{permutation: [1, 0]}}
      %driven = mat_mul(%x, %t)
      %p = mat_mul(%h, %w)
      %q = add(%p, %driven)
      %new = tanh(%q)
      scope rnn / law
      %r = mat_mul(%h, %w)
      %s = softmax(%r) {{axis: 1}}
      return h = %new
      return y = %s
    }}
  return y = %y
}}
"""
AFTER = f"""{HEAD}
  scope rnn / cell
  %t = transpose(%u) {{permutation: [1, 0]}}
  %driven = mat_mul(%x, %t)
  scope rnn
  %last, %hs = scan(%h, %driven, %w) {{carries: 1, scanned: 1}}
    body step(h: float[N, 2], cell: float[N, 2], w: float[2, 2], step: int[]) -> (h: float[N, 2], h_2: float[N, 2]) {{
      scope rnn / cell
      %p = mat_mul(%h, %w)
      %q = add(%p, %cell)
      %new = tanh(%q)
      return h = %new
      return h_2 = %h
    }}
  scope rnn / law
  %r = mat_mul(%hs, %w)
  %s = softmax(%r) {{axis: 2}}
  return y = %s
}}
"""


def test_products_of_what_is_scanned_go_before_the_loop_and_what_no_carry_needs_behind_it() -> None:
    assert_becomes(Fission(), BEFORE, AFTER)
    assert_stays(Fission(), AFTER)


LAW = "      scope rnn / law\n      %r = mat_mul(%h, %w)\n"


def test_a_loop_without_products_stays() -> None:
    """What leaves it would only be kept for longer."""
    text = BEFORE.replace("%driven = mat_mul(%x, %t)", "%driven = slice(%x) {axis: 1, start: 0, stop: 2}")
    assert_stays(Fission(), text.replace(LAW, "      scope rnn / law\n      %r = exp(%h)\n"))


def products(graph: Graph) -> tuple[int, int]:
    """Count the products in the only loop of a graph, and outside of it."""
    (loop,) = (n.op for n in graph.nodes() if isinstance(n.op, ops.Scan))
    inside, outside = (sum(isinstance(n.op, Product) for n in g.nodes()) for g in (loop.body, graph))
    return inside, outside


def test_a_node_without_a_rule_stays_and_what_it_needs_with_it() -> None:
    """A slice at the place of the step has no rule to run over one more axis; behind it nothing is left to win."""
    text = BEFORE.replace("softmax(%r) {axis: 1}", "softmax(%z) {axis: 1}").replace(
        LAW, f"{LAW}      %z = slice_at(%r, %step) {{axis: 1, size: 2}}\n"
    )
    assert products(Fission()(parse(text)).graph) == (2, 1)
    assert products(Fission()(parse(BEFORE)).graph) == (1, 2)


@pytest.mark.parametrize("factor", [3, 4])
def test_a_value_that_would_grow_memory_stays(factor: int) -> None:
    """At most `most` times what the loop carries, scans and stacks for an example in a step, here 2 + 3 + 2 + 2."""
    wide, most = 9 * factor, 3
    text = BEFORE.replace("w: float[2, 2]", f"w: float[2, 2], v: float[2, {wide}]").replace(
        "%w, %u)", "%w, %v, %u)"
    )
    text = text.replace(
        "%r = mat_mul(%h, %w)", "%m = mat_mul(%h, %v)\n %r = slice(%m) {axis: 1, start: 0, stop: 2}"
    )
    assert products(Fission(most=most)(parse(text)).graph) == ((1, 2) if factor <= most else (2, 1))


def test_sizes_that_are_not_known_stay() -> None:
    """A value as long as the sequence would be stacked to its square."""
    text = BEFORE.replace("w: float[2, 2]", "w: float[2, 2], v: float[2, time]").replace(
        "%w, %u)", "%w, %v, %u)"
    )
    text = text.replace(
        "%r = mat_mul(%h, %w)", "%m = mat_mul(%h, %v)\n %r = slice(%m) {axis: 1, start: 0, stop: 2}"
    )
    assert products(Fission()(parse(text)).graph) == (2, 1)


CAUGHT = "w: float[2, 2], e: float[N, 1]"
CAPTURED = f"""{HEAD}
  %e = slice(%h) {{axis: 1, start: 0, stop: 1}}
  %last, %y = scan(%h, %x, %w, %e) {{carries: 1, scanned: 1}}
    body step(h: float[N, 2], x: float[N, 3], {CAUGHT}, step: int[]) -> (h: float[N, 2], y: float[N, 2]) {{
      %v = exp(%w)
      %p = mat_mul(%h, %v)
      %m = mat_mul(%p, %v)
      %g = mul(%m, %e)
      %l = slice(%g) {{axis: 1, start: 0, stop: 1}}
      %c = concat(%l, %e) {{axis: 1}}
      return h = %p
      return y = %c
    }}
  return y = %y
}}
"""


def test_arithmetic_on_captured_values_is_done_once_and_what_lacks_the_steps_is_given_them() -> None:
    """A captured value of each example broadcasts over the steps, and is repeated where it is joined."""
    before = parse(CAPTURED)
    after = Fission()(before).graph
    names = [n.op.name for n in after.nodes()]
    assert names.count("exp") == 1 and names.count("broadcast_to") == 1 and names.count("reshape") == 2
    assert products(after) == (1, 1)
    same(before, after, {"h": (3, 2), "x": (3, 4, 3), "w": (2, 2), "u": (2, 3)})


# --- random loops ---

N, TIME = symbol("N"), symbol("time")
SIZES = ((0, 1), (1, 1), (1, 4), (3, 2))


def same(before: Graph, after: Graph, shapes: dict[str, tuple[int, ...]], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    values = {name: rng.uniform(-1.0, 1.0, shape) for name, shape in shapes.items()}
    expected, found = (interpret(g, {}, values) for g in (before, after))
    for name, y in expected.items():
        np.testing.assert_allclose(found[name], y, rtol=1e-11, atol=1e-12, err_msg=name)


def operation(b: Builder, rng: np.random.Generator, pool: list[Value], around: list[Value]) -> Value | None:
    """One more value of a step, of values [N, k], of the step's length alone, or of values around the loop."""

    def pick() -> Value:
        return pool[int(rng.integers(len(pool)))]

    u, v, kind = pick(), pick(), int(rng.integers(12))
    width = u.shape[-1]
    assert isinstance(width, int)
    squares: list[Primitive] = [ops.Tanh(), ops.Softmax(1), ops.CumSum(1), ops.LogSoftmax(1), ops.Flip(1)]
    if kind < 3 or (kind == 3 and width == 1):
        fit = [w for w in around if w.shape[0] == width]
        return b.emit(ops.MatMul(), u, fit[int(rng.integers(len(fit)))]) if fit else None
    if kind < 6:
        return b.emit((ops.Add(), ops.Mul(), ops.Sub())[kind - 3], u, v) if u.shape == v.shape else None
    if kind == 6:
        return b.emit(squares[int(rng.integers(len(squares)))], u)
    if kind == 7:
        return b.emit(ops.Concat(1), u, v) if width + v.shape[-1] <= 5 else None
    if kind == 8:
        return b.emit(ops.Slice(1, 0, int(rng.integers(1, width + 1))), u)
    if kind == 9:
        return b.emit(ops.Mul(), u, b.emit(ops.Sum((1,), True), v))
    if kind == 10:
        turned = b.emit(ops.Transpose((0, 2, 1)), b.emit(ops.Reshape((N, width, 1)), u))
        return b.emit(ops.Reshape((N, width)), b.emit(ops.Exp(), turned))
    best = b.emit(ops.ArgMax(1, True), u)
    return b.emit(ops.TakeAlong(1), u, best)


def random_loop(seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    b = Builder(Graph("random"))
    starts = [
        b.input(f"h{i}", float_type(N, int(rng.integers(1, 4)))) for i in range(int(rng.integers(0, 3)))
    ]
    xs = [b.input(f"x{i}", float_type(N, TIME, int(rng.integers(1, 4)))) for i in range(1, 3)]
    examples = b.input("e", float_type(N, 2))
    around = [b.input(f"w{i}{j}", float_type(i, j)) for i in range(1, 6) for j in (1, 2, 3)]
    loop = ops.LoopBuilder(b, axis=1, reverse=bool(rng.integers(2)))
    pool = [loop.carry(f"c{i}", v) for i, v in enumerate(starts)]
    carries = list(pool)
    pool += [loop.scan(f"s{i}", v) for i, v in enumerate(xs)]
    pool.append(loop.body.here(examples))
    for _ in range(int(rng.integers(4, 14))):
        made = operation(loop.body, rng, pool, around)
        if made is not None:
            pool.append(made)
    following = [[v for v in pool if v.shape == c.shape][-1] for c in carries]
    ys = {f"y{i}": pool[int(rng.integers(len(pool)))] for i in range(3)}
    last, rows = loop.close(following, ys)
    b.graph.outputs = {f"l{i}": v for i, v in enumerate(last)} | {f"r{i}": v for i, v in enumerate(rows)}
    return b.graph


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20))
def test_random_loops_keep_their_values(seed: int) -> None:
    before = random_loop(seed)
    after = Fission()(before).graph
    verify_graph(after)
    for n, time in SIZES:
        shapes = {k: v.type.concrete({"N": n, "time": time}) for k, v in before.inputs.items()}
        same(before, after, shapes, seed)
    assert printed(Fission()(after).graph) == printed(after), "a second time there is nothing left to do"


# --- every spec ---


@pytest.mark.parametrize("spec", NAMES)
def test_every_spec_keeps_its_values(spec: str) -> None:
    """For no example, one and several, and for one step and several."""
    m = module(spec)
    for name, before in m.programs.items():
        if references(before):
            continue  # the sampler that is derived from it is asked, and compared by its own tests
        result = Fission()(before)
        if not result.changed:
            continue
        verify_graph(result.graph)
        w = weights(m, spread=0.1)
        for n, time in SIZES:
            x = inputs(m, name, n, time)
            with np.errstate(invalid="ignore"):
                expected, found = interpret(before, w, x), interpret(result.graph, w, x)
            for key, y in expected.items():
                np.testing.assert_allclose(found[key], y, rtol=1e-9, atol=1e-10, err_msg=f"{name}: {key}")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_network_of_a_step_and_of_all_steps_is_one_function(backend: str) -> None:
    """`sample` calls it on [N, ...], the bound on [N, time, ...]; the text is the same."""
    shipped = optimise(module("vrnn")).module
    text = find_backend(backend).emit(shipped)["model.py"]
    assert isinstance(text, str)
    assert len(re.findall(r"\[\.\.\., \d+\] -> float\[\.\.\., \d+\]", text)) == 2
    assert not re.search(r"def (forward|prior_phi|x_phi)_2\(", text)


@pytest.mark.parametrize("program", ["loss", "elbo", "log_weight"])
def test_prior_divergence_and_likelihood_of_a_vrnn_leave_its_loop(program: str) -> None:
    """Left are the products of the posterior (2) and of the GRU (2); the prior's and the likelihood's are behind it."""
    assert products(DeadCode()(Fission()(module("vrnn").programs[program]).graph).graph) == (4, 4)
