"""Losses written by hand in JAX, for `gpu.py`: functions of a list of weights in the order of the spec.

Products run in the dtype of the weights; layer norms, softmax and the loss in float32.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from mpcompile.backend import OptimizerSpec

Weights = list[Array]


def likelihood(logits: Array, target: Array) -> Array:
    """logits [N, time, C], target int[N, time] -> the negative log-likelihood of an example, []."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_p, target[..., None], -1).sum() / len(target)


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """x [..., C] -> the same shape and dtype."""
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + 1e-5)
    return (y * weight + bias).astype(x.dtype)


def layer(x: Array, w: Weights, heads: int) -> Array:
    """A pre-norm layer of a transformer. x [N, time, width] -> the same shape."""
    n, time, width = x.shape
    h = layer_norm(x, w[0], w[1]) @ w[2].T + w[3]
    q, k, v = jnp.moveaxis(h.reshape(n, time, 3, heads, -1), 2, 0)
    h = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(n, time, width)
    x = x + h @ w[4].T + w[5]
    h = layer_norm(x, w[6], w[7]) @ w[8].T + w[9]
    return x + jax.nn.gelu(h, approximate=False) @ w[10].T + w[11]


def transformer(w: Weights, text: Array, *, heads: int, layers: int, **_: int) -> Array:
    """text int[N, time] -> loss []."""
    x = jnp.pad(w[0][text[:, :-1]], ((0, 0), (1, 0), (0, 0))) + w[1][: text.shape[1]]
    for i in range(layers):
        x = layer(x, w[2 + 12 * i : 14 + 12 * i], heads)
    norm, bias, head, head_bias = w[-4:]
    return likelihood(layer_norm(x, norm, bias) @ head.T + head_bias, text)


def two_taps(x: Array, weight: Array, dilation: int) -> Array:
    """A causal convolution of two taps as two products. x [N, time, C], weight [O, C, 2] -> [N, time, O]."""
    past = jnp.pad(x, ((0, 0), (dilation, 0), (0, 0)))[:, : x.shape[1]]
    return past @ weight[:, :, 0].T + x @ weight[:, :, 1].T


def wavenet(w: Weights, x: Array, timbre: Array, *, layers: int, cycles: int, **_: int) -> Array:
    """x int[N, time], timbre int[N] -> loss []. Channels come last throughout."""
    h = jnp.pad(w[0][x[:, :-1]], ((0, 0), (1, 0), (0, 0)))
    h = two_taps(h, w[1], 1) + w[2]
    skip = jnp.zeros_like(h)
    for i in range(layers * cycles):
        label, conv, bias, dense, dense_bias = w[3 + 5 * i : 8 + 5 * i]
        z = two_taps(h, conv, 2 ** (i % layers)) + bias + label[timbre][:, None]
        content, opening = jnp.split(z, 2, -1)
        z = (jnp.tanh(content) * jax.nn.sigmoid(opening)) @ dense.T + dense_bias
        h, skip = h + z, skip + z
    head, head_bias, logits, logits_bias = w[-4:]
    h = jax.nn.relu(jax.nn.relu(skip) @ head.T + head_bias) @ logits.T + logits_bias
    return likelihood(h, x)


LOSSES: dict[str, Callable[..., Any]] = {"transformer": transformer, "wavenet": wavenet}


class Loop:
    """The plain training loop of JAX: one jitted update by optax."""

    def __init__(
        self, loss: Callable[..., Any], weights: Sequence[Any], rule: OptimizerSpec, device: str, mixed: bool
    ) -> None:
        own = vars(rule.rule)
        adam = {"b1": own["beta1"], "b2": own["beta2"], "eps": own["eps"]}
        if rule.kind == "adamw":
            adam["weight_decay"] = rule.weight_decay
        make = optax.inject_hyperparams({"adam": optax.adam, "adamw": optax.adamw}[rule.kind])
        clip = optax.identity() if rule.clip is None else optax.clip_by_global_norm(rule.clip)
        optimizer = optax.chain(clip, make(learning_rate=0.0, **adam))
        self.device = jax.devices(device)[0]
        self.weights = jax.device_put([np.asarray(a, np.float32) for a in weights], self.device)
        self.state = jax.device_put(optimizer.init(self.weights), self.device)

        def narrow(array: Array) -> Array:
            return array.astype(jnp.bfloat16) if mixed and array.dtype == jnp.float32 else array

        def lowered(weights: Weights, inputs: dict[str, Array]) -> Array:
            return loss([narrow(w) for w in weights], **{k: narrow(v) for k, v in inputs.items()})

        def update(weights: Weights, state: Any, inputs: dict[str, Array], rate: Array) -> Any:
            state[1].hyperparams["learning_rate"] = rate
            value, gradients = jax.value_and_grad(lowered)(weights, inputs)
            changes, state = optimizer.update(gradients, state, weights)
            return optax.apply_updates(weights, changes), state, value

        self.update = jax.jit(update, donate_argnums=(0, 1))

    def step(self, inputs: dict[str, Any], rate: float, norm: bool = False) -> dict[str, float]:
        """One update. The loss is read at its end; no norm is told."""
        narrow = {k: v.astype(np.int32) if v.dtype.kind == "i" else v for k, v in inputs.items()}
        with jax.default_matmul_precision("highest"):
            given = jax.device_put(narrow, self.device)
            self.weights, self.state, loss = self.update(self.weights, self.state, given, np.float32(rate))
        return {"loss": float(loss)}


def by_hand(
    name: str, sizes: dict[str, int], weights: Sequence[Any], rule: OptimizerSpec, device: str, mixed: bool
) -> Loop:
    """The plain loop around a loss of `LOSSES` with these weights."""
    written = LOSSES[name]
    return Loop(lambda w, **x: written(w, **x, **sizes), weights, rule, device, mixed)


def kernels(work: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of each kernel that runs on the GPU during some work."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            work()
        for path in Path(folder).rglob("*.trace.json.gz"):
            events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
            threads = {
                (e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"
            }
            for e in events:
                if e.get("ph") == "X" and "Stream" in threads.get((e["pid"], e["tid"]), ""):
                    found[e["name"]] = found.get(e["name"], 0.0) + e["dur"] / 1e3
    return found
