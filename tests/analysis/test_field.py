"""Lower bounds: the prime field, every primitive's rule in it, and what it finds against float64.

A dependence seen over the field is certain up to identities that the tables do not keep; that they do not matter for
networks is what the comparison with numeric Jacobians shows.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from one_node import EXAMPLES
from random_graphs import Sample, derived, graphs, jacobian

from mpcompile import ops
from mpcompile.analysis.field import STEP_TRIALS, Reached, reached
from mpcompile.ir import (
    Array,
    Builder,
    Constant,
    DType,
    Example,
    Graph,
    NoRule,
    Parameter,
    Type,
    Value,
    float_type,
)
from mpcompile.ir.field import ORDERED, PRIME, SMALL, Field, inverses
from mpcompile.ir.primitive import Primitive
from mpcompile.ops._base import type_of
from mpcompile.ops.traits import Exact, Verbatim

FIELD = Field(3)
ALL = np.arange(PRIME, dtype=np.float64)


def residue(f: Fraction) -> int:
    return f.numerator * pow(f.denominator, -1, PRIME) % PRIME


# --- the field ---


def test_the_prime_is_what_its_docstring_says() -> None:
    assert all(PRIME % d for d in range(2, 256)) and PRIME % 4 == 3
    assert (inverses()[1:].astype(int) * np.arange(1, PRIME) % PRIME == 1).all()


def test_the_tables_keep_their_identities() -> None:
    """For every element of the field, but for the one pair of numbers whose exponential is -1."""
    f, minus = FIELD, FIELD.canon(-ALL)
    exp = f.exp(ALL)
    assert exp[0] == 1 and (f.mul(exp, f.exp(minus)) == 1).all()
    assert np.count_nonzero(f.log(exp) != ALL) == 1 and not (exp == 0).any()
    assert f.log(np.zeros(1))[0] == -np.inf and f.exp(np.array([-np.inf]))[0] == 0
    sigmoid = f.sigmoid(ALL)
    assert np.count_nonzero(f.canon(sigmoid + f.sigmoid(minus)) != 1) <= 2
    assert np.count_nonzero(f.canon(f.tanh(ALL) + f.tanh(minus))) <= 4
    np.testing.assert_array_equal(f.softplus(ALL), f.log(f.canon(1 + exp)))
    np.testing.assert_array_equal(f.abs(ALL), f.abs(minus))
    np.testing.assert_array_equal(f.canon(f.relu(ALL) - f.relu(minus)), ALL)
    np.testing.assert_array_equal(f.canon(-f.erf(ALL)), f.erf(minus))
    np.testing.assert_array_equal(f.canon(-f.sin(ALL)), f.sin(minus))
    np.testing.assert_array_equal(f.cos(ALL), f.cos(minus))
    assert (f.canon(f.mul(f.sin(ALL), f.sin(ALL)) + f.mul(f.cos(ALL), f.cos(ALL))) == 1).all()
    np.testing.assert_array_equal(f.sign(ALL), -f.sign(minus))
    assert [float(t(np.zeros(1))[0]) for t in (f.tanh, f.relu, f.abs, f.erf, f.sin, f.sqrt, f.floor)] == [
        0.0
    ] * 7


def test_small_fractions_are_what_they_are() -> None:
    """Their order, size, root and floor are the true ones; whole numbers are ordered up to a length."""
    for a in range(-SMALL, SMALL + 1):
        for b in (1, 2, 3, 7):
            v = np.array([residue(Fraction(a, b))], float)
            assert FIELD.number(np.array([a / b]))[0] == v[0]
            assert FIELD.sign(v)[0] == np.sign(a), (a, b)
            assert FIELD.abs(v)[0] == residue(abs(Fraction(a, b)))
            assert FIELD.floor(v)[0] == a // b % PRIME
            assert FIELD.sqrt(FIELD.mul(v, v))[0] == residue(abs(Fraction(a, b)))
    steps = np.arange(ORDERED, dtype=float)
    assert (FIELD.order(steps[:-1], steps[1:]) == -1).all()
    assert FIELD.whole(FIELD.number(np.array([-3.0, 2.5, 41.0]))).tolist() == [-3, 2, 41]


def test_constants_add_up() -> None:
    """Of a mean over n elements the shares add to one, and a float is its own negative's negative."""
    for n in (2, 3, 5, 7, 48, 49, 768, 1000):
        share = FIELD.number(np.array([1.0 / n]))
        assert FIELD.canon(share * n)[0] == 1
    x = np.random.default_rng(0).normal(size=1000)
    np.testing.assert_array_equal(FIELD.canon(FIELD.number(x) + FIELD.number(-x)), np.zeros(1000))
    np.testing.assert_array_equal(FIELD.canon(2 * FIELD.number(x)), FIELD.number(2 * x))
    assert FIELD.number(np.array([-np.inf, np.inf])).tolist() == [-np.inf, np.inf]


def test_maxima_and_normalisations_cancel_what_floats_cancel() -> None:
    f, x = FIELD, FIELD.draw("x", (4, 6))
    y, shift = FIELD.draw("y", (4, 6)), FIELD.draw("c", (4, 1))
    least = f.canon(-f.maximum(f.canon(-x), f.canon(-y)))
    np.testing.assert_array_equal(f.canon(f.maximum(x, y) + least), f.canon(x + y))
    np.testing.assert_array_equal(f.maximum(x, x), x)
    np.testing.assert_array_equal(f.maximum(x, np.full_like(x, -np.inf)), x)
    for op in (ops.Softmax(1), ops.LogSoftmax(1)):
        np.testing.assert_array_equal(op.over_field(f, x)[0], op.over_field(f, f.canon(x + shift))[0])
    assert (f.canon(ops.Softmax(1).over_field(f, x)[0].sum(1)) == 1).all()
    assert (ops.Softmax(1).over_field(f, x[:, :1])[0] == 1).all()
    moved = ops.LogSumExp((1,), True).over_field(f, f.canon(x + shift))[0]
    np.testing.assert_array_equal(moved, f.canon(ops.LogSumExp((1,), True).over_field(f, x)[0] + shift))
    hidden = np.where(np.arange(6) < 2, x, -np.inf)
    np.testing.assert_array_equal(
        ops.Softmax(1).over_field(f, hidden)[0][:, :2], ops.Softmax(1).over_field(f, x[:, :2])[0]
    )


def test_matrices_are_inverted() -> None:
    w = FIELD.draw("w", (7, 7))
    w[0, 0] = 0
    inverse, det = FIELD.eliminate(w)
    np.testing.assert_array_equal(FIELD.canon(w @ inverse), np.eye(7))
    assert FIELD.eliminate(np.array([[1.0, 2.0], [3.0, 4.0]]))[1] == PRIME - 2
    assert det and FIELD.eliminate(np.ones((2, 2)))[1] == 0


# --- primitives ---


def whole(x: Array) -> Array:
    """Small whole numbers in place of floats, so that their images in the field are known."""
    return np.round(3 * x) if x.dtype.kind == "f" else x


def test_every_primitive_has_a_rule() -> None:
    """The registry, swept: a primitive without one raises, and its name is the error."""
    for name, cls in ops.PRIMITIVES.items():
        assert cls.over_field is not Primitive.over_field, name
    with pytest.raises(NoRule, match="'input' has no field rule"):
        Example(ops.Input("x", float_type(1)), ()).op.over_field(FIELD)


@pytest.mark.parametrize("example", EXAMPLES)
def test_rules_give_what_infer_says(example: Example) -> None:
    """Shapes and kinds as `infer` has them; every float is below the prime, minus infinity stays itself."""
    for floor in (False, True):
        inputs = [whole(np.asarray(x)) if floor else np.asarray(x) for x in example.inputs]
        found = example.op.over_field(FIELD, *(FIELD.number(x) for x in inputs))
        types = example.op.infer(*(type_of(x) for x in inputs))
        assert [type_of(np.asarray(y)) for y in found] == list(types)
        for y in found:
            if y.dtype.kind == "f":
                assert (np.isinf(y) | (y >= 0) & (y < PRIME) & (y == np.floor(y))).all()


#: On small whole numbers these have one meaning in floats and in the field.
PLAIN = (
    Exact, Verbatim, ops.Neg, ops.Add, ops.Sub, ops.Mul, ops.Abs, ops.Relu, ops.Sign, ops.Floor, ops.Cast,
    ops.Maximum, ops.Minimum, ops.Max, ops.ArgMax, ops.Less, ops.LessEqual, ops.Equal, ops.Pad, ops.Gather,
    ops.TakeAlong, ops.ScatterAdd, ops.ScatterAlong, ops.MaxPool, ops.MaxPoolGrad, ops.AvgPool,
)  # fmt: skip


@pytest.mark.parametrize("example", [e for e in EXAMPLES if isinstance(e.values[0].op, PLAIN)])
def test_rules_mean_what_evaluate_means_on_whole_numbers(example: Example) -> None:
    """A homomorphism: what numpy gives for small whole numbers, modulo the prime, is what the rule gives for them."""
    inputs = [whole(np.asarray(x)) for x in example.inputs]
    wanted = example.op.evaluate(*inputs)
    found = example.op.over_field(FIELD, *(FIELD.number(x) for x in inputs))
    for y, x in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(y, FIELD.number(x))


# --- programs ---


def repeated(examples: int) -> settings:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=slow
    )


def drawn(f: Field, name: str, type: Type, shape: tuple[int, ...], again: int) -> Array:
    return f.draw(f"{name} {again}", shape)


def of_all(sample: Sample, upper: dict[str, Array]) -> tuple[Reached, Array]:
    """The lower bound of every element of every output, one after another, beside the rows of the upper one."""
    b = Builder(sample.graph)
    flat = [b.emit(ops.Reshape((1, prod(v.shape))), v) for v in sample.graph.outputs.values()]  # type: ignore[arg-type]
    sample.graph.outputs["all"] = b.emit(ops.Concat(1), *flat)
    rows = np.concatenate([u.reshape(-1, u.shape[-1]) for u in upper.values()])
    return reached(sample.graph, "x", {}, drawn, rows, outputs=("all",)), rows


def test_lower_bounds_are_the_numeric_jacobians_of_random_graphs() -> None:
    """Of smooth graphs, where every dependence shows in float64: the same pairs, none more and none fewer."""

    @repeated(80)
    @given(graphs())
    def law(sample: Sample) -> None:
        upper, numeric = derived(sample), jacobian(sample, 1)
        if any((upper[k] != numeric[k]).any() for k in numeric):
            numeric = jacobian(sample, 4)
        found, rows = of_all(sample, upper)
        there = np.concatenate([numeric[k].reshape(-1, rows.shape[1]) for k in upper])
        np.testing.assert_array_equal(found.seen, there)

    law()


def test_lower_bounds_of_what_cancels_or_steps_miss_nothing_numeric() -> None:
    """x - x, maxima, rounding: what changes in float64 is seen, and what is seen is within the upper bound."""

    @repeated(40)
    @given(graphs(smooth=False))
    def law(sample: Sample) -> None:
        upper = derived(sample)
        numeric = jacobian(sample, 2)
        found, rows = of_all(sample, upper)
        there = np.concatenate([numeric[k].reshape(-1, rows.shape[1]) for k in upper])
        assert not (found.seen & ~rows).any()
        assert not (there & ~found.seen).any()

    law()


def one_input(build: object, *shape: int) -> Array:
    """What is seen of x [1, *shape] in the value that `build` makes of it."""
    graph = Graph("one")
    b = Builder(graph)
    x = b.input("x", float_type(1, *shape))
    y: Value = build(b, x)  # type: ignore[operator]
    graph.outputs["y"] = b.emit(ops.Reshape((1, prod(y.shape))), y)  # type: ignore[arg-type]
    return reached(graph, "x", {}, drawn, np.ones((prod(y.shape), prod(shape)), bool)).seen  # type: ignore[arg-type]


def normal(b: Builder, x: Value, axis: int) -> Value:
    share = b.constant(1.0 / float(x.shape[axis]))  # type: ignore[arg-type]
    mean = b.emit(ops.Mul(), b.emit(ops.Sum((axis,), True), x), share)
    centred = b.emit(ops.Sub(), x, mean)
    square = b.emit(ops.Mul(), centred, centred)
    variance = b.emit(ops.Mul(), b.emit(ops.Sum((axis,), True), square), share)
    deviation = b.emit(ops.Sqrt(), b.emit(ops.Add(), variance, b.constant(1e-5)))
    return b.emit(ops.Div(), centred, deviation)


CANCEL = {
    "x - x": lambda b, x: b.emit(ops.Sub(), x, x),
    "x / x": lambda b, x: b.emit(ops.Div(), x, x),
    "sigmoid(x) + sigmoid(-x)": lambda b, x: b.emit(
        ops.Add(), b.emit(ops.Sigmoid(), x), b.emit(ops.Sigmoid(), b.emit(ops.Neg(), x))
    ),
    "exp(x) exp(-x)": lambda b, x: b.emit(
        ops.Mul(), b.emit(ops.Exp(), x), b.emit(ops.Exp(), b.emit(ops.Neg(), x))
    ),
    "log(exp(x)) - x": lambda b, x: b.emit(ops.Sub(), b.emit(ops.Log(), b.emit(ops.Exp(), x)), x),
    "sin(x)^2 + cos(x)^2": lambda b, x: b.emit(
        ops.Add(),
        b.emit(ops.Mul(), b.emit(ops.Sin(), x), b.emit(ops.Sin(), x)),
        b.emit(ops.Mul(), b.emit(ops.Cos(), x), b.emit(ops.Cos(), x)),
    ),
    "relu(x) - relu(-x) - x": lambda b, x: b.emit(
        ops.Sub(),
        b.emit(ops.Sub(), b.emit(ops.Relu(), x), b.emit(ops.Relu(), b.emit(ops.Neg(), x))),
        x,
    ),
    "max(x, y) + min(x, y) - x - y": lambda b, x: b.emit(
        ops.Sub(),
        b.emit(
            ops.Add(),
            b.emit(ops.Maximum(), x, b.emit(ops.Flip(1), x)),
            b.emit(ops.Minimum(), x, b.emit(ops.Flip(1), x)),
        ),
        b.emit(ops.Add(), x, b.emit(ops.Flip(1), x)),
    ),
    "tanh(x / 2) + 1 - 2 sigmoid(x)": lambda b, x: b.emit(
        ops.Sub(),
        b.emit(ops.Add(), b.emit(ops.Tanh(), b.emit(ops.Mul(), x, b.constant(0.5))), b.constant(1.0)),
        b.emit(ops.Mul(), b.constant(2.0), b.emit(ops.Sigmoid(), x)),
    ),
    "log sigmoid(x) + softplus(-x)": lambda b, x: b.emit(
        ops.Add(),
        b.emit(ops.Log(), b.emit(ops.Sigmoid(), x)),
        b.emit(ops.Softplus(), b.emit(ops.Neg(), x)),
    ),
    "a mean over three, less itself": lambda b, x: b.emit(
        ops.Sum((1,), True),
        b.emit(ops.Sub(), x, b.emit(ops.Mul(), b.emit(ops.Sum((1,), True), x), b.constant(1 / 3))),
    ),
    "softmax, summed": lambda b, x: b.emit(ops.Sum((1,), True), b.emit(ops.Softmax(1), x)),
    "a norm over one element": lambda b, x: normal(b, b.emit(ops.Reshape((1, 3, 1)), x), 2),
    "softmax over one element": lambda b, x: b.emit(ops.Softmax(2), b.emit(ops.Reshape((1, 3, 1)), x)),
    "log_softmax - x + logsumexp": lambda b, x: b.emit(
        ops.Add(),
        b.emit(ops.Sub(), b.emit(ops.LogSoftmax(1), x), x),
        b.emit(ops.LogSumExp((1,), True), x),
    ),
    "W^-1 W x - x": lambda b, x: _there_and_back(b, x),
    "x < x": lambda b, x: b.emit(ops.Cast(DType.FLOAT), b.emit(ops.Less(), x, x)),
    "floor(0 x)": lambda b, x: b.emit(ops.Floor(), b.emit(ops.Mul(), x, b.constant(0.0))),
}  # fmt: skip


def _there_and_back(b: Builder, x: Value) -> Value:
    w = b.emit(Parameter("w", float_type(3, 3)))
    y = b.emit(ops.MatMul(), b.emit(ops.MatMul(), x, w), b.emit(ops.Inverse(), w))
    return b.emit(ops.Sub(), y, x)


@pytest.mark.parametrize("name", CANCEL)
def test_what_cancels_is_not_seen(name: str) -> None:
    assert not one_input(CANCEL[name], 3).any()


def test_what_only_nearly_cancels_is_seen() -> None:
    """Norms over two and three elements, a mean less an element, sigmoid(x) + sigmoid(x): the dependence is there."""
    assert one_input(lambda b, x: normal(b, x, 1), 3).all()
    assert one_input(lambda b, x: normal(b, x, 1), 2).all()
    assert one_input(lambda b, x: b.emit(ops.Softmax(1), x), 3).all()
    twice = one_input(lambda b, x: b.emit(ops.Add(), *(b.emit(ops.Sigmoid(), x),) * 2), 3)
    np.testing.assert_array_equal(twice, np.eye(3, dtype=bool))


def test_an_undefined_output_is_reported() -> None:
    """Minus infinity less minus infinity has no value, in floats or here."""
    graph = Graph("undefined")
    b = Builder(graph)
    x = b.input("x", float_type(1, 2))
    nothing = b.constant(np.full((1, 2), -np.inf))
    graph.outputs["y"] = b.emit(ops.Add(), x, b.emit(ops.Sub(), nothing, nothing))
    found = reached(graph, "x", {}, drawn, np.ones((2, 2), bool))
    assert not found.seen.any() and found.undefined.all() and found.trials == 0


@pytest.mark.parametrize(("without", "seen"), [(0, True), (5, True), (STEP_TRIALS, False)])
def test_a_run_without_values_is_no_trial(without: int, seen: bool) -> None:
    """Runs that give no number do not count as runs in which nothing changes: else chance would refute a claim."""
    graph = Graph("rarely defined")
    b = Builder(graph)
    x, broken = b.input("x", float_type(1, 2)), b.input("broken", float_type(1, 2))

    def values(f: Field, name: str, type: Type, shape: tuple[int, ...], again: int) -> Array:
        return (
            np.full(shape, np.nan if f.seed < without else 0.0)
            if name == "broken"
            else f.draw(str(again), shape)
        )

    graph.outputs["y"] = b.emit(ops.Add(), x, broken)
    found = reached(graph, "x", {}, values, np.eye(2, dtype=bool))
    assert (found.seen.diagonal() == seen).all()
    assert (found.undefined.diagonal() != seen).all()


def test_constants_have_their_rule() -> None:
    assert Constant.of(np.array([0.5, -1.0])).over_field(FIELD)[0].tolist() == [(PRIME + 1) // 2, PRIME - 1]
