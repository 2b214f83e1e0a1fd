"""Functions of JAX: primitives compute and read what they do; sound decoders are proved, faulty ones refuted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mpcompile.analysis.dependence import sets
from mpcompile.diagnostics.render import RENDERERS
from mpcompile.foreign import Answer, ForeignClaim, Unclear, Unrecordable, answer, checked, model_of
from mpcompile.foreign.running import difference
from mpcompile.testing import assert_autoregressive
from mpcompile_jax.reader import READER, JaxModel

RNG = np.random.default_rng(0)
CLAIM = "autoregressive(x -> output, order = axis 1)"


def normal(*shape: int, scale: float = 0.5) -> jax.Array:
    return jnp.asarray(scale * RNG.standard_normal(shape), jnp.float32)


def made(function: Any, call: Callable[..., Any] | None = None, **inputs: Any) -> JaxModel:
    found = model_of(function, inputs, call)
    assert isinstance(found, JaxModel)
    return found


def ask(model: JaxModel, text: str = CLAIM) -> Answer:
    recording = model.record()
    assert difference(recording) < 1e-5
    return answer(recording, ForeignClaim.parse(text), model)


def word(model: JaxModel, text: str = CLAIM) -> str:
    return str(ask(model, text).status)


# Primitives: x[2, 5, 3] -> arrays, by name --------------------------------------------------------------

KEPT = np.array([4, 0, 3, 3])
W, K = normal(3, 3), normal(3, 3, 2)


def elements(x: Any) -> dict[str, Any]:
    y, z = jax.nn.softplus(x) + 0.1, x[:, ::-1]
    return {
        "activations": jax.nn.gelu(x) + jax.nn.gelu(x, approximate=False) + jax.nn.elu(z),
        "powers": x**3 + y**0.5 + y**-1.5 + 2.0**x + y**2.7 + y**x + jnp.square(x) + jnp.cbrt(z),
        "logs": jnp.log(y) + jnp.log1p(y) + jnp.expm1(x) + jnp.exp2(z) + lax.rsqrt(y) + jnp.logaddexp(x, z),
        "angles": jnp.sin(x) * jnp.cos(z) + jnp.tan(x) + jnp.arctan2(x, z) + jnp.tanh(x) + jnp.arcsinh(z),
        "special": lax.erf(x) + lax.erfc(z) + lax.erf_inv(jnp.tanh(x)) + lax.lgamma(y) + lax.digamma(y),
        "steps": jnp.where((x > 0) & ~(z >= 0.2) | (x <= -1) ^ (z != 0), x, z) + jnp.clip(x, -0.3, 0.2),
        "kinks": jnp.sign(z) * jax.nn.relu(x),
        "rounded": jnp.floor(x) + jnp.ceil(z) + jnp.round(x) + jnp.fmod(x, 0.7) + jnp.nan_to_num(z),
        "cases": lax.select_n((x > 0).astype(jnp.int32) + (x > 0.3), x, z, x * z),
        "whole": (x * 4).astype(jnp.int32) // 3 + (jnp.abs(z) * 5).astype(jnp.int32) % 2 + (x > 0),
    }  # fmt: skip


def places(x: Any) -> dict[str, Any]:
    most = jnp.argmax(x[0, :, 0])
    return {
        "views": x.transpose(1, 0, 2).reshape(5, 6)[::-1, 1::2] + jnp.expand_dims(x[0, :, 0], 1),
        "cuts": jnp.concatenate([part * 2 for part in jnp.split(x, [1, 3], 1)], 1) + jnp.roll(x, 2, 1),
        "padded": jnp.pad(x, ((0, 0), (2, 1), (0, 0)), constant_values=1.5)[:, 1:6],
        "shifted": lax.pad(x, 0.5, [(0, 0, 0), (-2, 2, 0), (0, 0, 0)]),
        "spread": lax.pad(x, x[0, 0, 0], [(0, 0, 0), (1, 0, 2), (0, 0, 0)]),
        "reflected": jnp.pad(x, ((0, 0), (1, 1), (0, 0)), mode="reflect"),
        "tiled": jnp.tile(x, (1, 2, 1)) + jnp.repeat(x, 2, axis=1),
        "picked": x[:, KEPT] + x[:, [0, -1, 2, 1]] + jnp.take(x, KEPT, axis=1, mode="fill"),
        "outside": jnp.nan_to_num(jnp.take(x, np.array([1, 9]), axis=1, mode="fill"), nan=0.25),
        "points": x[np.array([0, 1, 1]), np.array([4, 2, 0])] + jnp.diagonal(x[:, :2], axis1=0, axis2=1).sum(),
        "along": jnp.take_along_axis(x, jnp.argsort(x, 1), 1),
        "computed": x[:, most] + x[:, jnp.argsort(x[0, :, 1])][:, 0],
        "stretch": lax.dynamic_slice(x, (0, most, 0), (2, 2, 3)),
        "put": x.at[:, np.array([1, 3])].set(x[:, :2] * 3).at[0, 2].set(7.0),
        "added": x.at[:, np.array([1, 3, 1])].add(x[:, 2:]),
        "put at": x.at[:, most].set(x[:, 0]) + lax.dynamic_update_slice(x, x[:, :2] * 2, (0, most, 0)),
        "put along": x.at[:, jnp.argsort(x[0, :, 0])[:2]].multiply(2.0),
        "hot": jax.nn.one_hot(jnp.argmax(x, 1), 5) + jnp.tril(x[:, :3, :3] @ W)[..., :1],
        "slices": jax.vmap(lambda row, at: lax.dynamic_slice(row, (at, 0), (2, 3)))(x, jnp.argmax(x[..., 0], 1)),
    }  # fmt: skip


def joined(x: Any) -> dict[str, Any]:
    y = x[..., :1] @ x[:, None, :1].swapaxes(-1, -2)[:, 0, :1]
    return {
        "sums": x.sum(1) + x.mean(1) + x.std(1) + x.var(1, ddof=1) + jnp.median(x, 1) + jnp.linalg.norm(x, axis=1),
        "extremes": x.max(1) * x.min(1) + jnp.prod(x, 1) + jax.nn.logsumexp(x, 1) + jnp.ptp(x, 1),
        "truths": (x > 0).any(1) * 1.0 + (x > -9).all(1) + jnp.argmin(x, 1) + jnp.count_nonzero(x > 0, axis=1),
        "running": jnp.cumsum(x, 1) + lax.cumsum(x, 1, reverse=True) + jnp.cumprod(x, 1) + lax.cummax(x, 1),
        "behind": lax.cummin(x, 1, reverse=True) + lax.cumlogsumexp(x, 1, reverse=True),
        "softmax": jax.nn.softmax(x, 1) + jax.nn.log_softmax(x, -1) + jax.nn.standardize(x, -1),
        "sorted": jnp.sort(x, 1) + jnp.argsort(x, 1),
        "top": lax.top_k(x.swapaxes(1, 2), 2)[0],
        "pooled": lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 1), (1, 2, 1), "SAME"),
        "averaged": lax.reduce_window(x, 0.0, lax.add, (1, 2, 1), (1, 1, 1), "VALID", window_dilation=(1, 2, 1)),
        "products": jnp.einsum("bti,bsi->bts", x, x) @ x + jnp.einsum("bti,ij,bkj->btk", x, W, x)[..., :3],
        "outer": jnp.einsum("bti,bsj->btsij", x[:, :2], x[:, :2]).sum((3, 4)),
        "scalars": jnp.dot(x[0, :, 0], x[1, :, 1]) + jnp.tensordot(x[0], x[1], 2) + jnp.vdot(x[0, 0], x[1, 0]),
        "convolved": lax.conv_general_dilated(x, K, (1,), [(2, 0)], dimension_numbers=("NWC", "WIO", "NWC")),
        "apart": lax.conv_general_dilated(x, K, (2,), [(2, 2)], (2,), (2,), ("NWC", "WIO", "NWC")),
        "grouped": lax.conv_general_dilated(x.swapaxes(1, 2), K[:, :1].transpose(0, 1, 2).repeat(3, 2)[..., :3].T[:, :1],
                                            (1,), "SAME", feature_group_count=3),
        "solved": jnp.linalg.solve(jnp.eye(5) * 3 + y, x) + jnp.linalg.cholesky(jnp.eye(3) * 4 + 0 * x[:, :3])[:, :1],
    }  # fmt: skip


#: Results whose sets have no element too many.
EXACT = (
    "activations powers logs angles special views cuts padded spread reflected tiled picked points added apart convolved "
    "outer averaged grouped running behind sums"
).split()


@pytest.mark.parametrize("function", [elements, places, joined])
def test_primitives_compute_and_read_what_they_do(function: Callable[..., Any]) -> None:
    """The recording equals the function, and its sets hold every element whose change changes a result."""
    model = made(function, x=normal(2, 5, 3))
    recording = model.record()
    assert difference(recording) < 2e-5
    x = recording.inputs["x"]
    before, after = model.results({"x": x}), []
    for i in range(x.size):
        moved = x.copy()
        moved.flat[i] += 0.37
        after.append(model.results({"x": moved}))
    for name, y in before.items():
        real = np.stack([np.abs(np.nan_to_num(run[name] - y)).reshape(-1) > 1e-5 for run in after], 1)
        found = sets(recording.graph, "x", name, {}).value.unpack()
        assert not (real & ~found).any(), name
        if name in EXACT:
            assert np.array_equal(real, found), name


# Loops --------------------------------------------------------------------------------------------------


def recurrent(x: Any, reverse: bool = False) -> Any:
    def step(h: Any, row: Any) -> Any:
        h = jnp.tanh(h @ W + row)
        return h, h

    start = jnp.zeros((x.shape[0], 3))
    return lax.scan(step, start, x.swapaxes(0, 1), reverse=reverse)[1].swapaxes(0, 1)


def test_the_body_of_a_scan_is_kept() -> None:
    sizes = [len(made(recurrent, x=normal(1, n, 3)).record().graph.nodes()) for n in (5, 300)]
    assert sizes[0] == sizes[1] < 10
    model = made(recurrent, x=normal(2, 5, 3))
    assert word(model) == "proved" and word(model, f"{CLAIM[:-1]}, sees = before)") == "refuted"
    assert word(model, "independent(batch -> output)") == "proved"
    back = ask(made(functools.partial(recurrent, reverse=True), x=normal(1, 5, 3)))
    assert (str(back.status), back.place) == ("refuted", (4, 0))


def cached(x: Any, start: int) -> Any:
    """A cache that is written place by place: which places a step sees changes from step to step."""

    def step(state: Any, row: Any) -> Any:
        cache, at = state
        cache = lax.dynamic_update_slice(cache, row[:, None], (0, at, 0))
        scores = jnp.einsum("bd,bsd->bs", row, cache)
        weights = jax.nn.softmax(jnp.where(jnp.arange(x.shape[1]) < at + start, scores, -1e30))
        return (cache, at + 1), jnp.einsum("bs,bsd->bd", weights, cache)

    return lax.scan(step, (x, 0), x.swapaxes(0, 1))[1].swapaxes(0, 1)


def test_a_mask_that_changes_from_step_to_step() -> None:
    assert word(made(functools.partial(cached, start=1), x=normal(1, 4, 3))) == "proved"
    assert word(made(functools.partial(cached, start=2), x=normal(1, 4, 3))) == "refuted"


def test_branches_and_loops_that_inputs_decide() -> None:
    def branches(x: Any, last: int) -> Any:
        return lax.cond(x[0, last, 0] > 0, lambda v: v.cumsum(1), lambda v: v[:, ::-1], x)

    # both branches count, whichever the call took
    for sign in (1, -1):
        assert word(made(functools.partial(branches, last=0), x=sign * jnp.ones((1, 4, 2)))) != "proved"

    def repeated(x: Any) -> Any:
        return lax.while_loop(lambda v: v[0, 0, 0] < 3, lambda v: v.cumsum(1) + 1, x)

    model = made(repeated, x=normal(1, 4, 2))
    assert len(model.record().reads) == 4 and word(model) == "proved"

    def branched(x: Any) -> Any:
        return x.cumsum(1) if x.sum() > 0 else x

    with pytest.raises(Unrecordable, match=r"test_jax.py:\d+.*traced array"):
        made(branched, x=normal(1, 4, 2)).record()


# Weights, constants, and what is drawn ------------------------------------------------------------------


def ids(length: int = 6, batch: int = 1) -> np.ndarray:
    return RNG.integers(0, 23, (batch, length))


def weights() -> dict[str, Any]:
    return {"table": normal(23, 8), "qkv": normal(8, 24), "out": jnp.zeros((8, 8)), "head": normal(8, 23)}


def decoder(w: Any, input_ids: Any, ahead: int = 1, fill: float = -jnp.inf) -> dict[str, Any]:
    x = w["table"][input_ids]
    q, k, v = jnp.split(x @ w["qkv"], 3, -1)
    scores = jnp.einsum("btd,bsd->bts", q, k)
    mask = jnp.triu(jnp.ones(scores.shape[1:], bool), ahead)
    scores = jnp.where(mask, fill, scores)
    attended = jax.nn.softmax(scores, -1) @ v  # ATTEND
    return {"logits": (x + attended @ w["out"]) @ w["head"]}


TOKENS = "autoregressive(input_ids -> logits)"


def test_a_decoder_and_its_faults() -> None:
    found = ask(made(weights(), decoder, input_ids=ids()), TOKENS)
    assert str(found.status) == "proved"
    for faults in ({"ahead": 2}, {"fill": -5.0}):
        # the weights that are zero at the start count as any others: a run with others shows the leak
        leak = ask(made(weights(), functools.partial(decoder, **faults), input_ids=ids()), TOKENS)
        assert str(leak.status) == "refuted" and leak.change is not None and leak.change.real
        span = leak.path[leak.culprit].node.span
        lines = Path(__file__).read_text(encoding="utf-8").splitlines()
        assert Path(span.path).name == "test_jax.py" and "# ATTEND" in lines[span.line - 1]
    finite = made(weights(), functools.partial(decoder, fill=-1e9), input_ids=ids())
    report = checked(finite, [TOKENS])
    assert report.holds and "above -1e+09" in report.specs[0].properties[0].how
    warned = checked(made(weights(), functools.partial(decoder, fill=-2e4), input_ids=ids()), [TOKENS])
    assert "MP703" in RENDERERS["concise"](warned, False)


def test_ways_to_give_a_function_its_weights() -> None:
    w = weights()

    def closed(input_ids: Any) -> Any:
        return decoder(w, input_ids)

    tree = jax.tree_util.Partial(decoder, w)
    for model in (closed, jax.jit(closed), functools.partial(decoder, w), tree):
        recording = made(model, input_ids=ids()).record()
        assert {n.rpartition(".")[2] for n in recording.parameters} == set(w), recording.parameters
        assert model is not closed or "w.table" in recording.parameters

    mask, known = jnp.tril(jnp.ones((4, 4))), jnp.asarray([3.0])

    def masked(x: Any) -> Any:
        return jnp.einsum("ts,bsd->btd", mask, x) * known

    found = made(masked, x=normal(1, 4, 2))
    assert word(found) == "proved" and not found.record().parameters
    pair = made(
        lambda xs, state: xs[0] + xs[1][:, ::-1] * state["k"],
        xs=[normal(2, 4), normal(2, 4)],
        state={"k": 2.0},
    )
    assert word(pair, "autoregressive(xs_0 -> output, order = axis 1)") == "proved"
    assert word(pair, "autoregressive(xs_1 -> output, order = axis 1)") == "refuted"
    with pytest.raises(Unclear, match="gives no array"):
        ask(made(lambda x: None, x=normal(2, 4)))
    assert READER.model(w, {"x": 1.0}) is None and READER.model("model.onnx", {}) is None


def test_what_is_drawn_is_noise() -> None:
    def dropped(x: Any, key: Any, train: bool) -> Any:
        keep = jax.random.bernoulli(key, 0.5, x.shape)
        return jnp.where(keep, x[:, ::-1], 0.0) if train else x

    def row_by_row(x: Any) -> Any:
        def step(key: Any, row: Any) -> Any:
            jax.debug.print("{}", row[0, 0])
            return jax.random.split(key)[0], row * jax.random.bernoulli(key, 0.5, row.shape)

        return jnp.stack(list(lax.scan(step, jax.random.key(0), x.swapaxes(0, 1))[1]), 1)

    stepped = made(row_by_row, x=normal(1, 3, 2))
    assert len(stepped.record().noise) == 3 and word(stepped) == "proved"
    for key in (jax.random.key(1), jax.random.PRNGKey(1)):
        model = made(dropped, x=normal(1, 4, 2), key=key, train=True)
        assert len(model.record().noise) == 1 and word(model) == "refuted"
    assert word(made(dropped, x=normal(1, 4, 2), key=key, train=False)) == "proved"


# Refusals, and the doors --------------------------------------------------------------------------------


def test_what_has_no_rule_is_named() -> None:
    with pytest.raises(Unrecordable, match=r"test_jax.py:\d+.*complex64"):
        made(lambda x: jnp.fft.fft(x).real, x=normal(1, 4)).record()
    sorting = ask(made(lambda x: x + jnp.sort(x, 1) - jnp.sort(x, 1), x=normal(1, 4)))
    assert str(sorting.status) == "undecided" and "sort" in sorting.reason
    cancels = ask(
        made(lambda x: x.cumsum(1) + x.sum(1, keepdims=True) - x.sum(1, keepdims=True), x=normal(1, 4))
    )
    assert str(cancels.status) == "undecided"
    half = made(lambda x: (x.astype(jnp.float16).cumsum(1)).astype(jnp.float32), x=normal(1, 4))
    assert difference(half.record()) < 1e-3


def test_assertions() -> None:
    assert_autoregressive(recurrent, {"x": np.ones((1, 4, 3), np.float32)}, order=1)
    with pytest.raises(AssertionError, match=r"(?s)output at 0 reads x at 3.*test_jax.py:\d+"):
        assert_autoregressive(
            lambda x: recurrent(x, reverse=True), {"x": np.ones((1, 4, 3), np.float32)}, order=1
        )
