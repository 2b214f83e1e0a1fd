"""A primitive is one class, its row of the table of contents, and a spelling for each backend.

The one that is defined here touches nothing else: it is proven, differentiated, counted, sampled and emitted like those
of `mpcompile/ops`. `CONTRIBUTING.md` says what adding one touches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from one_node import one_node
from torch_oracle import oracle, pullback

from mpcompile import ops
from mpcompile.analysis import cost, prove
from mpcompile.analysis.verdict import Status
from mpcompile.backend import DOUBLE, find_backend
from mpcompile.diagnostics import Source
from mpcompile.emission.text import PRODUCT, Expr
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, Graph, Module, Node, Positivity, Value, substitute
from mpcompile.ir.field import Field
from mpcompile.lowering import lower
from mpcompile.ops.pointwise import Unary
from mpcompile.ops.traits import Monotone
from mpcompile.passes.gradient import differentiate
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights


class Softsign(Monotone, Unary):
    """y = x / (1 + |x|)"""

    name: ClassVar[str] = "softsign"
    keeps_zero: ClassVar[bool] = True

    def function(self, x: Array) -> Array:
        return x / (1 + np.abs(x))

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        (x,) = inputs
        return (field.div(x, field.add(np.ones_like(x), field.abs(x))),)

    def sign(self, of: Any, same: bool) -> Positivity:
        return of[0]

    def gradient(self, b: Builder, x: Value, y: Value, ct: Value) -> Value | None:
        slope = b.emit(ops.Sub(), b.constant(1.0), b.emit(ops.Abs(), y))
        return b.emit(ops.Mul(), ct, b.emit(ops.Mul(), slope, slope))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    import mpcompile_jax.spelling as jax
    import mpcompile_onnx.spelling as onnx
    import mpcompile_torch.spelling as torch

    monkeypatch.setitem(ops.PRIMITIVES, "softsign", Softsign)
    monkeypatch.setitem(torch.SPELLINGS, "softsign", quotient("torch.abs"))
    monkeypatch.setitem(jax.SPELLINGS, "softsign", quotient("jnp.abs"))
    monkeypatch.setitem(
        onnx.SPELLINGS,
        "softsign",
        lambda w, node, args: w.op("Div", args[0], w.op("Add", w.literal(1.0), w.op("Abs", args[0]))),
    )


def quotient(absolute: str) -> Callable[[Any, Node, list[Expr]], Expr]:
    return lambda a, node, args: Expr(f"{args[0].at(PRODUCT)} / (1.0 + {absolute}({args[0].text}))", PRODUCT)


MODELS = {
    "vector": "input x: binary[5]\nmask up = degrees(order = natural, hidden = 6, seed = 0)\n"
    "x ~ autoregressive(likelihood = bernoulli) { dense(6, mask = up) -> tanh -> dense(5, mask = strict(up)) }\n"
    "check { complete(x) }",
    "sequence": "input x: category(3)[time]\nx ~ autoregressive(likelihood = categorical) "
    "{ embedding(2) -> shift -> conv1d(3, 2) -> tanh -> dense(3) }",
    "recurrence over rows": "input x: binary[1, 3, 4]\n"
    "block layer(w) on h { yield h + (h -> row_lstm(w) -> conv(4, 1)) }\n"
    "x ~ autoregressive(order = natural, likelihood = bernoulli) "
    "{ conv(4, 3, pad = same, mask = causal2d(type = A)) -> layer(2) -> tanh -> conv(1, 1) }",
}


def with_softsign(graph: Graph) -> Graph:
    """Every tanh of a program replaced, in bodies of loops as well."""

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, ops.Scan):
            return b.emit_all(replace(node.op, body=with_softsign(node.op.body)), *inputs)
        return b.emit_all(Softsign(), *inputs) if isinstance(node.op, ops.Tanh) else None

    return graph.rebuild(rewrite)


def model(name: str) -> Module:
    text = f"model m\n{MODELS[name]}\n"
    module = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))
    module = replace(module, programs={k: with_softsign(g) for k, g in module.programs.items()})
    assert any(isinstance(n.op, Softsign) for n in module.programs["log_prob"].nodes())
    return module


@pytest.mark.parametrize("name", MODELS)
def test_it_is_proven_counted_and_differentiated(name: str) -> None:
    module = model(name)
    assert {v.status for v in prove(module)} == {Status.PROVED}
    loss, weights, inputs = (
        module.programs["loss"],
        example_weights(module),
        example_inputs(module, "loss", 2),
    )
    env = dict.fromkeys(loss.symbols(), 3)
    assert substitute(cost.work(loss).total, env) == substitute(cost.work(like_tanh(loss)).total, env)
    first = next(k for k in weights)
    found = interpret(differentiate(loss, "loss", [first]), weights, inputs)[f"grad({first})"]
    at = np.unravel_index(np.abs(found).argmax(), found.shape)
    ends = []
    for step in (1e-5, -1e-5):
        moved = weights[first].copy()
        moved[at] += step
        ends.append(interpret(loss, {**weights, first: moved}, inputs)["loss"])
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, found[at], rtol=1e-5)


def like_tanh(graph: Graph) -> Graph:
    return graph.rebuild(
        lambda b, node, inputs: b.emit_all(ops.Tanh(), *inputs) if isinstance(node.op, Softsign) else None
    )


@pytest.mark.parametrize("name", MODELS)
def test_its_sampler_is_derived_and_every_backend_writes_it(name: str) -> None:
    module = model(name)
    fast = optimise(module)
    assert not fast.refusals and fast.samplers
    weights, inputs = example_weights(module), example_inputs(module, "sample", 2)
    wanted = interpret(module.programs["sample"], weights, inputs)["x"]
    np.testing.assert_allclose(interpret(fast.module.programs["sample"], weights, inputs)["x"], wanted)
    if "rows" in name:  # interpreted: jax takes seconds to compile it
        return
    for backend, word in (("torch", "/ (1.0 + torch.abs("), ("jax", "/ (1.0 + jnp.abs("), ("onnx", "")):
        door = find_backend(backend)
        assert backend == "onnx" or any(word in str(t) for t in door.emit(fast.module, weights).values())
        made = door.session(fast.module, weights, options=DOUBLE).run("sample", inputs)
        np.testing.assert_allclose(made["x"], wanted, rtol=1e-9, err_msg=backend)


@pytest.mark.parametrize("example", Softsign.examples()[:2], ids=lambda e: str(e.inputs[0].shape))
def test_its_rows_and_rules_hold_on_its_examples(example: Any) -> None:
    """Without a row among the oracles and the draws of the tests: emitted torch code is the oracle."""
    import torch

    wanted = example.op.evaluate(*example.inputs)[0]
    leaves = [torch.tensor(x, requires_grad=True) for x in example.inputs]
    (made,) = oracle(example.op)(example.op, *leaves)
    np.testing.assert_allclose(made.detach().numpy(), wanted)
    made.backward(torch.ones_like(made))
    (grad,) = pullback(example.op, example.inputs, [np.ones_like(wanted)])
    np.testing.assert_allclose(grad, leaves[0].grad, rtol=1e-9)
    module, inputs, _ = one_node(example)
    for backend in ("jax", "onnx"):
        session = find_backend(backend).session(module, {}, options=DOUBLE)
        np.testing.assert_allclose(session.run("apply", inputs)["y0"], wanted, rtol=1e-9)
