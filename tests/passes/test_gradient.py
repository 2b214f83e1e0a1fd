"""`differentiate` on whole graphs: which leaves get a gradient, and how several reads of one add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from specs_under_test import module

from mpcompile.interpret import interpret
from mpcompile.ir import Builder, DType, Graph, Parameter, Type, Value, float_type
from mpcompile.ops import Add, Exp, LoopBuilder, MatMul, Mul, Scan, Sin, StopGradient, Sum, Tanh, Transpose
from mpcompile.passes.gradient import differentiate, gradient_name

RNG = np.random.default_rng(3)
X, W = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))


def total(b: Builder, value: Value) -> Value:
    return b.emit(Sum(tuple(range(len(value.shape)))), value)


def reads_of_one_parameter(reads: int) -> Graph:
    """sum sin(x w) + sum exp(w) + sum tanh(x w), cut off after `reads` terms; w is a node of its own in each."""
    g = Graph("reads")
    b = Builder(g)
    x = b.input("x", float_type(4, 3))
    loss = None
    for i, f in enumerate((Sin(), Exp(), Tanh())[:reads]):
        w = b.emit(Parameter("w", float_type(3, 3)))
        term = total(b, b.emit(f, w if i == 1 else b.emit(MatMul(), x, w)))
        loss = term if loss is None else b.emit(Add(), loss, term)
    assert loss is not None
    g.outputs["loss"] = loss
    assert sum(isinstance(n.op, Parameter) for n in g.nodes()) == reads
    return g


@pytest.mark.parametrize("reads", [1, 2, 3])
def test_reads_of_one_parameter_add_up(reads: int) -> None:
    """A module enters a shared net twice; each entry reads its weights anew."""
    g = differentiate(reads_of_one_parameter(reads), "loss", ["w", "x"])
    found = interpret(g, {"w": W}, {"x": X})
    x, w = torch.tensor(X, requires_grad=True), torch.tensor(W, requires_grad=True)
    terms = [torch.sin(x @ w).sum(), torch.exp(w).sum(), torch.tanh(x @ w).sum()]
    loss = torch.stack(terms[:reads]).sum()
    loss.backward()
    np.testing.assert_allclose(found["loss"], loss.item())
    np.testing.assert_allclose(found["grad(w)"], w.grad, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found["grad(x)"], x.grad, rtol=1e-12, atol=1e-14)


def test_a_read_that_the_output_does_not_see_adds_nothing() -> None:
    """One read of the parameter is for another output, one is behind a stopped gradient."""
    g = Graph("partly")
    b = Builder(g)
    seen, other, stopped = (b.emit(Parameter("w", float_type(3))) for _ in range(3))
    factor = b.emit(StopGradient(), stopped)
    g.outputs["loss"] = total(b, b.emit(Mul(), b.emit(Sin(), seen), factor))
    g.outputs["other"] = b.emit(Exp(), other)
    found = interpret(differentiate(g, "loss", ["w"]), {"w": W[0]}, {})
    np.testing.assert_allclose(found["grad(w)"], np.cos(W[0]) * W[0])
    np.testing.assert_array_equal(found["other"], np.exp(W[0]))


def test_what_the_output_does_not_depend_on_gets_zeros() -> None:
    g = reads_of_one_parameter(2)
    b = Builder(g)
    g.outputs["far"] = b.emit(Exp(), b.emit(Parameter("v", float_type(2))))
    found = interpret(differentiate(g, "loss", ["v"]), {"w": W, "v": np.ones(2)}, {"x": X})
    np.testing.assert_array_equal(found[gradient_name("v")], np.zeros(2))


def test_the_graph_given_stays_as_it_was() -> None:
    g = reads_of_one_parameter(2)
    before = [(n.op, n.inputs) for n in g.nodes()]
    differentiate(g, "loss", ["w"])
    assert [(n.op, n.inputs) for n in g.nodes()] == before and list(g.outputs) == ["loss"]


def test_what_cannot_be_differentiated_is_refused() -> None:
    g = reads_of_one_parameter(1)
    b = Builder(g)
    g.outputs["rows"] = b.emit(Exp(), g.inputs["x"])
    g.outputs["count"] = b.input("count", Type(DType.INT, ()))
    for output in ("rows", "count"):
        with pytest.raises(ValueError, match=f"expected one float to differentiate, '{output}' is"):
            differentiate(g, output, ["w"])
    with pytest.raises(KeyError, match="missing"):
        differentiate(g, "loss", ["missing"])


def test_a_loop_runs_once_each_way_and_products_leave_it() -> None:
    """What the backward loop carries is the cotangent of its state alone: no sum for the captured matrix."""
    op, (h, xs, _) = Scan.examples()[0].op, Scan.examples()[0].inputs
    g = Graph("rnn")
    b = Builder(g)
    w = b.emit(Parameter("w", float_type(3, 3)))
    start, series = b.input("h", float_type(*h.shape)), b.input("xs", float_type(*xs.shape))
    last, ys = b.emit_all(op, start, series, w)
    g.outputs["loss"] = b.emit(Add(), total(b, last), total(b, ys))
    apart = b.emit_all(op, start, series, b.emit(StopGradient(), w))
    g.outputs["apart"] = apart[0]
    made = differentiate(g, "loss", ["w"])
    loops = [n.op for n in made.nodes() if isinstance(n.op, Scan)]
    assert [loop.reverse for loop in loops] == [False, False, True]
    assert loops[1] is op, "a loop that is not differentiated keeps nothing"
    assert loops[2].carries == 1
    wanted = differentiate_numerically(g, W, {"h": h, "xs": xs})
    np.testing.assert_allclose(interpret(made, {"w": W}, {"h": h, "xs": xs})["grad(w)"], wanted, atol=1e-8)


@pytest.mark.parametrize("uses", [1, 2])
def test_products_leave_a_loop_whose_matrix_is_transposed_inside(uses: int) -> None:
    """h' = tanh(x + h wᵀ [+ tanh(h) wᵀ]): the term of a step is (aᵀ c)ᵀ, and the loop stacks one factor anyway."""
    g = Graph("rnn")
    b = Builder(g)
    w = b.emit(Parameter("w", float_type(3, 3)))
    start, series = b.input("h", float_type(2, 3)), b.input("xs", float_type(2, 4, 3))
    loop = LoopBuilder(b, axis=1)
    h, x = loop.carry("h", start), loop.scan("x", series)
    turned = loop.body.emit(Transpose((1, 0)), w)
    read = [h, loop.body.emit(Tanh(), h)][:uses]
    raw = x
    for value in read:
        raw = loop.body.emit(Add(), raw, loop.body.emit(MatMul(), value, turned))
    new = loop.body.emit(Tanh(), raw)
    (last,), (ys,) = loop.close([new], {"y": new})
    g.outputs["loss"] = b.emit(Add(), total(b, last), total(b, ys))
    made = differentiate(g, "loss", ["w", "xs"])
    *_, backward = (n for n in made.nodes() if isinstance(n.op, Scan))
    assert backward.op.carries == 1 and len(backward.types) == 2
    given = {"h": RNG.normal(size=(2, 3)), "xs": RNG.normal(size=(2, 4, 3))}
    found = interpret(made, {"w": W}, given)["grad(w)"]
    np.testing.assert_allclose(found, differentiate_numerically(g, W, given), atol=1e-7)


@pytest.mark.parametrize("name", ["char_lstm", "lstm_stacked", "gru", "elman", "bilstm", "seq2seq"])
def test_no_loop_of_a_layer_sums_for_a_matrix(name: str) -> None:
    program = module(name).programs["loss"]
    matrices = {v.type for v in program.parameters().values() if len(v.shape) == 2}
    made = differentiate(program, "loss", list(program.parameters()))
    loops = [n.op for n in made.nodes() if isinstance(n.op, Scan)]
    assert len(loops) > 1
    for loop in loops:
        assert not {v.type for v in loop.formals.carries.values()} & matrices


def differentiate_numerically(g: Graph, w: np.ndarray, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Central differences of `loss` for the parameter w."""
    found = np.zeros_like(w)
    for at in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[at] = 1e-5
        up, down = (interpret(g, {"w": w + s}, inputs)["loss"] for s in (step, -step))
        found[at] = (up - down) / 2e-5
    return found
