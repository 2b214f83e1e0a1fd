"""The models in jax: functions of a flat dict of weights in the layouts of flax (dense [in, out], kernels HWIO, NHWC)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from by_hand import State, Weights, renamed

Params = dict[str, Array]


def dense(p: Params, name: str, x: Array) -> Array:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def conv(p: Params, name: str, x: Array, padding: str | list[tuple[int, int]] = "SAME") -> Array:
    """x [N, H, W, C]."""
    dims = ("NHWC", "HWIO", "NHWC")
    kernel = p[f"{name}.weight"]
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=dims) + p[f"{name}.bias"]


def bernoulli(logits: Array, x: Array) -> Array:
    """Negative log-likelihood of bits, of each element."""
    return jax.nn.softplus(logits) - x * logits


def categorical(logits: Array, x: Array) -> Array:
    """logits [N, ..., classes], x int[N, ...] -> mean over N of the negative log-likelihood."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), x[..., None], -1).sum() / len(x)


def flax_layout(state: State) -> State:
    """Transpose what torch stores as [out, in] or OIHW."""
    orders = {2: (1, 0), 4: (2, 3, 1, 0)}
    return {
        n: a.transpose(orders[a.ndim]) if n.endswith("weight") and a.ndim in orders else a
        for n, a in state.items()
    }


class Cnn:
    def loss(self, p: Params, image: Array, label: Array) -> Array:
        x = image.transpose(0, 2, 3, 1) / 16
        for stage in ("a", "b"):
            x = jax.nn.relu(conv(p, f"{stage}.0", x))
            x = jax.nn.relu(conv(p, f"{stage}.1", x))
            n, height, width, channels = x.shape
            x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
        x = jax.nn.relu(dense(p, "dense_0", x.reshape(len(x), -1)))
        return categorical(dense(p, "dense_1", x), label)

    def state(self, weights: Weights) -> State:
        found = flax_layout(
            renamed(
                weights,
                (r"label\.stage_0\.conv_", "a."),
                (r"label\.stage_1\.conv_", "b."),
                (r"label\.", ""),
            )
        )
        rows = found["dense_0.weight"].reshape(-1, 2, 2, found["dense_0.weight"].shape[1])
        return found | {"dense_0.weight": rows.transpose(1, 2, 0, 3).reshape(-1, rows.shape[3])}


@dataclass
class Made:
    masks: list[np.ndarray]

    def loss(self, p: Params, x: Array) -> Array:
        h = x
        for i, mask in enumerate(self.masks):
            h = jax.nn.relu(h) if i else h
            h = h @ (p[f"{i}.weight"] * mask.T) + p[f"{i}.bias"]
        return bernoulli(h, x).sum(1).mean()

    def state(self, weights: Weights) -> State:
        return flax_layout(renamed(weights, (r"x\.net\.dense_", "")))


class RealNvp:
    def net(self, p: Params, name: str, x: Array) -> tuple[Array, Array]:
        h = conv(p, f"{name}.stem", x)
        for block in range(2):
            more = conv(p, f"{name}.block.{block}.a", jax.nn.relu(h))
            h = h + conv(p, f"{name}.block.{block}.b", jax.nn.relu(more))
        log_scale, shift = jnp.split(conv(p, f"{name}.project", jax.nn.relu(h)), 2, -1)
        return jnp.tanh(log_scale) * p[f"{name}.bound"], shift

    def checkerboard(self, p: Params, number: int, x: Array) -> tuple[Array, Array]:
        rows, columns = np.indices(x.shape[1:3])
        mask = jnp.asarray((rows + columns + number) % 2 == 0, x.dtype)[..., None]
        log_scale, shift = self.net(p, f"{number}", x * mask)
        log_scale = log_scale * (1 - mask)
        return x * jnp.exp(log_scale) + shift * (1 - mask), log_scale.sum((1, 2, 3))

    def channels(self, p: Params, number: int, x: Array) -> tuple[Array, Array]:
        halves = jnp.split(x, 2, -1)
        log_scale, shift = self.net(p, f"{number}", halves[number % 2])
        halves[1 - number % 2] = halves[1 - number % 2] * jnp.exp(log_scale) + shift
        return jnp.concatenate(halves, -1), log_scale.sum((1, 2, 3))

    def loss(self, p: Params, x: Array, noise: Array) -> Array:
        u = 0.05 + 0.9 * (x + noise).transpose(0, 2, 3, 1) / 17
        log_u, log_v = jnp.log(u), jnp.log1p(-u)
        h, log_det = log_u - log_v, (np.log(0.9 / 17) - log_u - log_v).sum((1, 2, 3))
        for i in range(12):
            if i == 4:
                h = h.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4, 4)
            if i == 8:
                h, z = jnp.split(h, 2, -1)
            h, more = (self.channels if 4 <= i < 8 else self.checkerboard)(p, i, h)
            log_det = log_det + more
        z = jnp.concatenate([z, h], -1)
        return -((-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum((1, 2, 3)) + log_det).mean()

    def state(self, weights: Weights) -> State:
        return flax_layout(
            renamed(weights, (r"x\.coupling\.(\d+)\.net\.resnet_0", r"\1"), (r"x\.coupling\.", ""))
        )


class Vrnn:
    """The scan holds what the hidden state needs; the prior and the decoder see all steps at once."""

    def phi(self, p: Params, name: str, x: Array) -> Array:
        return dense(p, f"{name}.1", jax.nn.relu(dense(p, f"{name}.0", x)))

    def gru(self, p: Params, x: Array, h: Array) -> Array:
        x_r, x_z, x_n = jnp.split(x @ p["weight_ih"] + p["bias"], 3, 1)
        h_r, h_z, h_n = jnp.split(h @ p["weight_hh"], 3, 1)
        reset, update = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        new = jnp.tanh(x_n + reset * (h_n + p["bias_hn"]))
        return new + update * (h - new)

    def loss(self, p: Params, x: Array, length: Array, noise: Array) -> Array:
        present = jnp.arange(x.shape[1]) < length[:, None]
        x = x * present[..., None]

        def step(h: Array, given: tuple[Array, Array]) -> tuple[Array, tuple[Array, ...]]:
            x_t, noise_t = given
            mean, log_scale = jnp.split(self.phi(p, "posterior", jnp.concatenate([x_t, h], 1)), 2, 1)
            z = mean + jnp.exp(log_scale) * noise_t
            return self.gru(p, jnp.concatenate([x_t, z], 1), h), (h, z, mean, log_scale)

        start = jnp.zeros((len(x), p["weight_hh"].shape[0]), x.dtype)
        _, steps = lax.scan(step, start, (x.swapaxes(0, 1), noise.swapaxes(0, 1)))
        h, z, mean, log_scale = (s.swapaxes(0, 1) for s in steps)
        prior_mean, prior_log_scale = jnp.split(self.phi(p, "prior", h), 2, 2)
        ratio = log_scale - prior_log_scale
        distance = (mean - prior_mean) * jnp.exp(-prior_log_scale)
        kl = (0.5 * (jnp.exp(2 * ratio) + distance**2 - 1) - ratio).sum(2)
        nats = bernoulli(self.phi(p, "decoder", jnp.concatenate([z, h], 2)), x).sum(2)
        return ((nats + kl) * present).sum(1).mean()

    def state(self, weights: Weights) -> State:
        found = flax_layout(
            renamed(
                weights,
                (r"z\.phi_0\.dense_", "posterior."),
                (r"z\.prior\.phi_0\.dense_", "prior."),
                (r"x\.phi_0\.dense_", "decoder."),
                (r"h\.gru_0\.", ""),
            )
        )
        return found | {n: found[n].T for n in ("weight_ih", "weight_hh")}


class GatedPixelCnn:
    """Two stacks of convolutions whose kernels have the rows and columns that they may read."""

    def gate(self, x: Array) -> Array:
        a, b = jnp.split(x, 2, -1)
        return jnp.tanh(a) * jax.nn.sigmoid(b)

    def down(self, x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]

    def loss(self, p: Params, x: Array, label: Array) -> Array:
        x = x.transpose(0, 2, 3, 1)
        above = [(1, 0), (1, 1)]
        v = conv(p, "conv_0", x, above)
        h = conv(p, "conv_1", self.down(v)) + conv(p, "conv_2", x, [(0, 0), (1, -1)])
        for i in range(2):
            deep = conv(p, f"{i}.conv_0", v, above) + p[f"{i}.embedding_0.table"][label][:, None, None]
            wide = conv(p, f"{i}.conv_1", h, [(0, 0), (1, 0)]) + conv(p, f"{i}.conv_2", self.down(deep))
            wide = wide + p[f"{i}.embedding_1.table"][label][:, None, None]
            v, h = self.gate(deep), h + conv(p, f"{i}.conv_3", self.gate(wide))
        h = jax.nn.relu(conv(p, "head.conv_0", jax.nn.relu(h)))
        return bernoulli(conv(p, "head.conv_1", h), x).sum((1, 2, 3)).mean()

    def state(self, weights: Weights) -> State:
        found = renamed(
            weights,
            (r"x\.net\.gated\.(\d+)\.(\w+)\.weight", r"\1.\2.weight"),
            (r"x\.net\.gated\.", ""),
            (r"x\.net\.first_0\.", ""),
            (r"x\.net\.head_0\.", "head."),
        )
        for name, kernel in list(found.items()):
            if kernel.shape[-2:] == (3, 3):
                vertical = name.endswith("conv_0.weight")
                found[name] = (
                    kernel[:, :, :2] if vertical else kernel[:, :, 1:2, : 2 if name[0].isdigit() else 1]
                )
            elif "embedding" in name:
                found[name.replace("weight", "table")] = found.pop(name)
        return flax_layout(found)


class CharLstm:
    def loss(self, p: Params, text: Array) -> Array:
        x = jnp.pad(p["embedding_0.table"][text[:, :-1]], ((0, 0), (1, 0), (0, 0)))

        def step(carry: tuple[Array, Array], x_t: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = carry
            i, f, g, o = jnp.split(x_t + h @ p["weight_hh"], 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = jnp.zeros((len(text), p["weight_hh"].shape[0]), x.dtype)
        _, h = lax.scan(step, (start, start), (x @ p["weight_ih"] + p["bias"]).swapaxes(0, 1))
        return categorical(dense(p, "dense_0", h.swapaxes(0, 1)), text)

    def state(self, weights: Weights) -> State:
        found = renamed(
            weights,
            (r"text\.net\.embedding_0\.weight", "embedding_0.table"),
            (r"text\.net\.lstm_0\.", ""),
            (r"text\.net\.", ""),
        )
        return flax_layout(found) | {n: found[n].T for n in ("weight_ih", "weight_hh")}


@dataclass
class Transformer:
    layers: int
    heads: int = 4

    def norm(self, p: Params, name: str, x: Array) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x = x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)
        return x * p[f"{name}.scale"] + p[f"{name}.bias"]

    def attention(self, p: Params, name: str, x: Array) -> Array:
        n, time, width = x.shape
        qkv = dense(p, f"{name}.qkv", x).reshape(n, time, 3, self.heads, -1)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        scores = q @ k.mT * (width // self.heads) ** -0.5
        scores = jnp.where(jnp.tril(jnp.ones((time, time), bool)), scores, -jnp.inf)
        y = (jax.nn.softmax(scores) @ v).swapaxes(1, 2)
        return dense(p, f"{name}.out", y.reshape(n, time, width))

    def loss(self, p: Params, text: Array) -> Array:
        x = jnp.pad(p["embedding.table"][text[:, :-1]], ((0, 0), (1, 0), (0, 0)))
        x = x + p["position.table"][: text.shape[1]]
        for i in range(self.layers):
            x = x + self.attention(p, f"{i}", self.norm(p, f"{i}.norm_1", x))
            h = jax.nn.gelu(dense(p, f"{i}.up", self.norm(p, f"{i}.norm_2", x)), approximate=False)
            x = x + dense(p, f"{i}.down", h)
        return categorical(dense(p, "out", self.norm(p, "norm", x)), text)

    def state(self, weights: Weights) -> State:
        layer = r"text\.net\.layer\.(\d+)\."
        found = renamed(
            weights,
            (r"text\.net\.(embedding|position)_0\.weight", r"\1.table"),
            (r"text\.net\.layer_norm_0\.weight", "norm.scale"),
            (r"text\.net\.layer_norm_0", "norm"),
            (r"text\.net\.dense_0", "out"),
            (layer + r"residual_(\d)\.net\.layer_norm_0\.weight", r"\1.norm@\2.scale"),
            (layer + r"residual_(\d)\.net\.layer_norm_0", r"\1.norm@\2"),
            (layer + r"residual_0\.net\.attention_0\.(\w+)_(qkv|out)", r"\1.\3.\2"),
            (layer + r"residual_1\.net\.dense_0", r"\1.up"),
            (layer + r"residual_1\.net\.dense_1", r"\1.down"),
        )
        return flax_layout({n.replace("@0", "_1").replace("@1", "_2"): a for n, a in found.items()})


MODELS = {
    "cnn": Cnn,
    "made": Made,
    "realnvp": RealNvp,
    "vrnn": Vrnn,
    "gated_pixelcnn": GatedPixelCnn,
    "char_lstm": CharLstm,
    "transformer2": lambda: Transformer(2),
    "transformer12": lambda: Transformer(12),
}


def build(family: str, masks: list[np.ndarray]) -> object:
    """Build a model; `masks` are those of the spec's weights, in order."""
    return Made(masks) if family == "made" else MODELS[family]()
