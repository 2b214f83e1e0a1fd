"""Functions of expressions, each against numpy: values, names of axes, padding, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from one_function import evaluated, expression

from mpcompile import ops
from mpcompile.diagnostics import SpecError
from mpcompile.functions import FUNCTIONS
from mpcompile.ir import Array

X = {"x": "time, head: 2, channel: 3"}


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def turned(x: Array) -> Array:
    """Pairs of two channels as complex numbers times e^(i t)."""
    y = (x[..., 0] + 1j * x[..., 1]) * np.exp(1j * np.arange(5))[None, :, None]
    return np.stack([y.real, y.imag], -1)


#: Expressions over x[N, time, head: 2, channel: 3], the names of the result and what it is in numpy.
CASES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "exp(x)": ("time head channel", np.exp),
    "log(square(x) + 1)": ("time head channel", lambda x: np.log(x**2 + 1)),
    "sqrt(abs(x))": ("time head channel", lambda x: np.sqrt(abs(x))),
    "circle(x)": ("time head channel", lambda x: np.concatenate([np.cos(x), np.sin(x)], -1)),
    "circle(x -> at(channel, 0))": (
        "time head channel", lambda x: np.stack([np.cos(x[..., 0]), np.sin(x[..., 0])], -1)),
    "sin(x) * cos(x)": ("time head channel", lambda x: np.sin(x) * np.cos(x)),
    "x -> clip(-0.5, 1)": ("time head channel", lambda x: x.clip(-0.5, 1)),
    "clip(x, -0.5, 1)": ("time head channel", lambda x: x.clip(-0.5, 1)),
    "relu(x + 3)": ("time head channel", lambda x: np.maximum(x + 3, 0)),
    "leaky_relu(x, 0.1)": ("time head channel", lambda x: np.where(x > 0, x, 0.1 * x)),
    "where(relu(x), x, -x)": ("time head channel", abs),
    "where(x -> at(head, 0) -> relu, x, 2 * x)": (
        "time head channel", lambda x: np.where(x[:, :, :1] > 0, x, 2 * x)),
    "sum(x, over = channel)": ("time head", lambda x: x.sum(3)),
    "x -> sum(over = [head, time])": ("channel", lambda x: x.sum((1, 2))),
    "mean(x, over = [channel, time])": ("head", lambda x: x.mean((1, 3))),
    "max(x, over = time)": ("head channel", lambda x: x.max(1)),
    "min(x, over = head)": ("time channel", lambda x: x.min(2)),
    "logsumexp(x, over = channel)": ("time head", lambda x: np.log(np.exp(x).sum(3))),
    "softmax(x, over = time)": ("time head channel", lambda x: softmax(x, 1)),
    "argmax(x, over = channel) -> onehot": ("time head class", lambda x: np.eye(3)[x.argmax(3)]),
    "cumsum(x, over = time)": ("time head channel", lambda x: x.cumsum(1)),
    "unit(x, over = channel)": ("time head channel", lambda x: x / np.sqrt((x**2).sum(3, keepdims=True) + 1e-12)),
    "x -> unit(over = [head, channel])": ("time head channel",
                                          lambda x: x / np.sqrt((x**2).sum((2, 3), keepdims=True) + 1e-12)),
    "x -> split(channel, place = 3, more = 1)": ("time head place more", lambda x: x[..., None]),
    "x -> split(head, a = 1, b = 2) -> merge([b, a], into = head)": ("time head channel", lambda x: x),
    "x -> merge([channel, head], into = both)": ("time both", lambda x: x.transpose(0, 1, 3, 2).reshape(2, 5, 6)),
    "x -> merge([head, channel], into = channel)": ("time channel", lambda x: x.reshape(2, 5, 6)),
    "x -> rename(time = key, head = part)": ("key part channel", lambda x: x),
    "x -> at(head, 1)": ("time channel", lambda x: x[:, :, 1]),
    "at(x, time, 0)": ("head channel", lambda x: x[:, 0]),
    "x -> slice(channel, 1, 3)": ("time head channel", lambda x: x[..., 1:3]),
    "x -> at(time, 0) -> spread(time, like = x)": ("time head channel", lambda x: np.repeat(x[:, :1], 5, 1)),
    "rotary(x -> slice(channel, 0, 2), over = time, base = 50)": ("time head channel", lambda x: turned(x[..., :2])),
    "x -> slice(head, 1, 2) -> drop(head)": ("time channel", lambda x: x[:, :, 1]),
    "product(x, x -> rename(time = key), over = channel)": (
        "time head key", lambda x: np.einsum("nthc,nkhc->nthk", x, x)),
    "product(x, x -> rename(head = other), over = [time, channel])": (
        "head other", lambda x: np.einsum("nthc,ntoc->nho", x, x)),
    "product(x, x, over = channel)": ("time head", lambda x: np.einsum("nthc,nthc->nth", x, x)),
    "product(x, x, over = [time, head, channel])": ("", lambda x: np.einsum("nthc,nthc->n", x, x)),
}  # fmt: skip


@pytest.mark.parametrize("text", CASES)
def test_values_and_names(text: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 2, 3))
    module, axes = expression(text, X)
    wanted, meaning = CASES[text]
    assert " ".join(axes) == wanted
    np.testing.assert_allclose(evaluated(module, x=x), meaning(x), rtol=1e-12, atol=1e-13)


def test_every_function_is_here() -> None:
    others = {"lookup", "onehot", "anneal"}
    for name in FUNCTIONS.keys() - others:
        assert any(f"{name}(" in text for text in CASES), name


@pytest.mark.parametrize("text", [t for t in CASES if "over = time" in t or "time]" in t or "[time" in t])
def test_what_lies_behind_the_end_is_skipped(text: str) -> None:
    """Two examples of lengths 3 and 5: each gives what it would give on its own, without padding."""
    x = np.random.default_rng(0).standard_normal((2, 5, 2, 3))
    module, axes = expression(text, X, length="time")
    both = evaluated(module, x=x, length=np.array([3.0, 5.0]))
    for i, length in enumerate((3, 5)):
        alone = evaluated(expression(text, X)[0], x=x[i : i + 1, :length])
        found = both[i : i + 1]
        if "time" in axes:
            at = 1 + axes.index("time")
            found = np.take(found, range(length), at)
        np.testing.assert_allclose(found, alone, rtol=1e-12, atol=1e-13)


def test_tables() -> None:
    values = {"k": "int time", "table": "=channel: 3, class: 4"}
    module, axes = expression("lookup(k, table)", values)
    k, table = np.array([[0, 3, 1]]), np.random.default_rng(0).standard_normal((3, 4))
    assert axes == ("time", "channel")
    np.testing.assert_array_equal(evaluated(module, k=k, table=table), table.T[k])
    module, axes = expression("product(onehot(k, 4), table, over = class)", values)
    assert axes == ("time", "channel")
    np.testing.assert_allclose(evaluated(module, k=k, table=table), table.T[k])


def test_a_matrix_without_a_batch_is_one_product() -> None:
    """A tied table of words is one product of matrices, as a dense layer is."""
    given = {"x": "time, channel: 3", "table": "=class: 4, channel: 3"}
    module, axes = expression("product(x, table, over = channel)", given)
    assert axes == ("time", "class")
    (product,) = [n for n in module.programs["predict"].nodes() if isinstance(n.op, ops.MatMul)]
    assert [v.type.rank for v in product.inputs] == [3, 2]


REFUSED = {
    "sum(x)": "MP123", "sum(x, over = width)": "MP213", "softmax(x, over = [time, head])": "MP213",
    "sum(x, x, over = head)": "MP128",
    "exp(x, x)": "MP128", "product(x, over = head)": "MP208", "product(x, x -> at(channel, 0), over = channel)": "MP213",
    "product(x, x -> slice(channel, 0, 2), over = head)": "MP214", "x -> split(channel, a = 2, b = 2)": "MP201",
    "x -> split(channel, head = 3, b = 1)": "MP105", "x -> merge([head, head], into = a)": "MP105",
    "x -> merge([head], into = time)": "MP105", "x -> rename(time = head)": "MP105", "x -> at(head, 2)": "MP201",
    "x -> at(time, 1)": "MP201", "x -> slice(time, 0, 2)": "MP201", "x -> slice(channel, 2, 2)": "MP205",
    "x -> spread(head, like = x)": "MP105", "x -> drop(head)": "MP201", "x -> onehot(3)": "MP204",
    "lookup(x, x)": "MP204", "where(x, x, x -> at(head, 0) -> rename(time = key))": "MP214",
    "clip(x, 1, 0)": "MP205",
    "x -> rotary(over = channel)": "MP213",
    "x -> softmx(over = head)": "MP110", "x -> rename(width = key)": "MP213",
    "x -> merge([width, head], into = a)": "MP213",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        expression(text, X)
    (found, *_) = caught.value.diagnostics
    assert found.code == REFUSED[text] and found.span.line == 2, found


@pytest.mark.parametrize(
    ("net", "wanted"),
    [("flatten", lambda w: np.tile(w.reshape(1, 6), (4, 1))), ("over(5)", lambda w: np.tile(w, (4, 5, 1, 1))),
     ("reshape(channel = 6)", lambda w: np.tile(w.reshape(1, 6), (4, 1)))],
)  # fmt: skip
def test_a_weight_in_a_layer_is_that_of_every_example(net: str, wanted: Callable[[Array], Array]) -> None:
    """A value without a batch does not have its first axis taken for one."""
    module, _ = expression(f"(w -> {net}) + 0 * x", {"w": "=head: 2, channel: 3", "x": RESULTS[net]})
    w = np.random.default_rng(0).standard_normal((2, 3))
    x = np.zeros(wanted(w).shape)
    np.testing.assert_array_equal(evaluated(module, w=w, x=x), wanted(w))


#: Axes of what a layer makes of a weight.
RESULTS = {
    "flatten": "channel: 6",
    "reshape(channel = 6)": "channel: 6",
    "over(5)": "time: 5, head: 2, channel: 3",
}
