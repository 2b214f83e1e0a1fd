"""Masks between two axes: what each lets a query see, at a number and along a length, with and without padding."""

from __future__ import annotations

import numpy as np
import pytest
from one_function import evaluated, expression

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.ir import Array
from mpcompile.lowering import lower
from mpcompile.runner.verify import verify

Q, K = np.arange(5)[:, None], np.arange(5)[None, :]
SEGMENT = np.array([[0, 0, 1, 0, 1], [2, 2, 2, 2, 2]])
RELATIONS: dict[str, Array] = {
    "causal(time)": K <= Q, "before(time)": K < Q, "upto(time)": K <= Q, "none(time)": K == K + 0 * Q,
    "window(2, query = time)": abs(Q - K) < 2, "causal(time) & window(3, query = time)": (K <= Q) & (Q - K < 3),
    "~before(time)": K >= Q, "before(time) & ~before(time)": K > K + Q, "before(time) | window(1, query = time)": K <= Q,
    "same(s, query = time)": SEGMENT[:, :, None] == SEGMENT[:, None, :],
    "same(s, query = time) & before(time)": (SEGMENT[:, :, None] == SEGMENT[:, None, :]) & (K < Q),
}  # fmt: skip
LITERAL = np.array([[0, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]])


def wanted(scores: Array, seen: Array) -> Array:
    """Softmax over the last axis of what is seen; zeros where nothing is."""
    e = np.where(seen, np.exp(scores), 0)
    total = e.sum(-1, keepdims=True)
    return np.divide(e, total, out=np.zeros_like(e), where=total > 0)


def values(size: str, key: str) -> dict[str, str]:
    return {"x": f"head: 2, {size}, {key}", "s": f"int {size}"}


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("length", [False, True], ids=["a number", "a length"])
def test_what_a_query_sees(relation: str, length: bool) -> None:
    size = ("time", "key: time") if length else ("time: 5", "key: 5")
    module, axes = expression(f"x -> softmax(over = key, mask = {relation})", values(*size))
    assert axes == ("head", "time", "key")
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5))
    seen = np.broadcast_to(RELATIONS[relation], (2, 5, 5))[:, None]
    np.testing.assert_allclose(evaluated(module, x=x, s=SEGMENT), wanted(x, seen), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("relation", RELATIONS)
def test_keys_behind_the_end_are_not_seen(relation: str) -> None:
    module, _ = expression(
        f"x -> softmax(over = key, mask = {relation})", values("time", "key: time"), length="time"
    )
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5))
    lengths = np.array([3.0, 5.0])
    found = evaluated(module, x=x, s=SEGMENT, length=lengths)
    seen = np.broadcast_to(RELATIONS[relation], (2, 5, 5)) & (K[None] < lengths[:, None, None])
    np.testing.assert_allclose(found, wanted(x, seen[:, None]), rtol=1e-12, atol=1e-15)
    assert np.isfinite(found).all()


def test_a_matrix() -> None:
    text = str(LITERAL.tolist())
    module, _ = expression(f"x -> softmax(over = key, mask = {text})", values("time: 5", "key: 5"))
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5))
    np.testing.assert_allclose(
        evaluated(module, x=x, s=SEGMENT), wanted(x, LITERAL != 0), rtol=1e-12, atol=1e-15
    )


def test_a_query_that_sees_nothing_on_onnx() -> None:
    """A row of minus infinity alone reaches no softmax; onnx writes a choice of 0 as a product."""
    text = (
        "model m\ninput x: real[time: 4, channel: 4]\ntarget y: real\n"
        "y ~ normal(product(x, x -> rename(time = key), over = channel) -> softmax(over = key, mask = before(time))"
        " -> sum(over = [time, key]), 1)\n"
    )
    module = lower(parse_text(text), Source("m.mp", text))
    assert [row for row in verify(module, ["onnx"]) if not row.holds] == []


REFUSED = {
    "causal & same(s, query = time) & same(s2, query = place)": "MP213",
    "causal(width)": "MP213",
    "causal(head)": "MP206",
    "causl(time)": "MP110",
    "window(0, query = time)": "MP205",
    "[[1, 0], [1, 1]]": "MP206",
    "same(s2, query = time)": "MP206",
    "3": "MP113",
    "causal(time, 3)": "MP128",
    "causal(time) & causal(head)": "MP213",
    "[[1, 0], [1]]": "MP113",
}  # fmt: skip


@pytest.mark.parametrize("relation", REFUSED)
def test_refused(relation: str) -> None:
    given = values("time: 5", "key: 5") | {"s2": "int place: 5"}
    with pytest.raises(SpecError) as caught:
        expression(f"x -> softmax(over = key, mask = {relation})", given)
    assert caught.value.diagnostics[0].code == REFUSED[relation], caught.value.diagnostics
