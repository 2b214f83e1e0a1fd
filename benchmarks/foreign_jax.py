"""Functions of JAX and modules of flax and equinox, tiny: recorded, held to themselves, and asked what they read.

    python benchmarks/foreign_jax.py
    python benchmarks/foreign_jax.py linen nnx.decoder --perturb

Each model comes with a twin that reads ahead. A line a model: nodes, loops that are kept, seconds to record, difference
of the recording from the model, the answer, and for a twin its place. flax and equinox are no dependencies: what is
not installed is left out.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mpcompile.foreign import ForeignClaim, Recording, Sized, Unrecordable, answer, checked, model_of
from mpcompile.foreign.answers import reading
from mpcompile.foreign.running import changes, difference

D, V = 8, 23
#: The length of a call, which `--lengths` changes.
T = 7
Made = tuple[Any, ...]
MODELS: dict[str, tuple[Callable[[bool], Made], str]] = {}
RNG = np.random.default_rng(0)


def model(name: str, claim: str = "autoregressive(x -> output, order = axis 1)") -> Callable[..., Any]:
    """Enter a model: a function of whether it shall read ahead, which gives a model, inputs, and a call if need be."""

    def enter(make: Callable[[bool], Made]) -> Callable[[bool], Made]:
        MODELS[name] = make, claim
        return make

    return enter


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(0.4 * RNG.standard_normal(shape), jnp.float32)


def rows(batch: int = 1) -> dict[str, jax.Array]:
    return {"x": normal(batch, T, D)}


def ids() -> dict[str, jax.Array]:
    return {"input_ids": jnp.asarray(RNG.integers(0, V, (1, T)), jnp.int32)}


TOKENS = "autoregressive(input_ids -> logits)"
W, U, K, STACK = normal(D, D), normal(D, 4 * D), normal(3, D, D), normal(3, D, 3 * D)


# Plain JAX --------------------------------------------------------------------------------------------


@model("jax.decoder", TOKENS)
def _decoder(leaks: bool) -> Made:
    weights = {"table": normal(V, D), "places": normal(64, D), "qkv": normal(D, 3 * D), "head": normal(D, V)}

    def call(w: Any, input_ids: Any) -> Any:
        x = w["table"][input_ids] + w["places"][: input_ids.shape[1]]
        q, k, v = jnp.split(x @ w["qkv"], 3, -1)
        scores = jnp.einsum("btd,bsd->bts", q, k) / D**0.5
        mask = jnp.triu(jnp.ones(scores.shape[1:], bool), 2 if leaks else 1)
        y = jax.nn.softmax(jnp.where(mask, -jnp.inf, scores), -1) @ v
        return {"logits": jax.nn.gelu(x + y) @ w["head"]}

    return weights, ids(), call


@model("jax.dot_product_attention")
def _attention(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        q, k, v = (a.reshape(*a.shape[:2], 2, D // 2) for a in jnp.split(x @ STACK[0], 3, -1))
        return jax.nn.dot_product_attention(q, k, v, is_causal=not leaks).reshape(x.shape)

    return call, rows()


@model("jax.window_attention")
def _window(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        q = x[:, :, None]
        return jax.nn.dot_product_attention(q, q, q, local_window_size=(2, 1 if leaks else 0))[:, :, 0]

    return call, rows()


@model("jax.rnn_scan")
def _rnn(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = jnp.tanh(h @ W + row)
            return h, h

        start = jnp.zeros(x.shape[::2], x.dtype)
        return lax.scan(step, start, x.swapaxes(0, 1), reverse=leaks)[1].swapaxes(0, 1)

    return call, rows()


@model("jax.lstm_scan")
def _lstm(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split((h + row) @ U, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros(x.shape[::2], x.dtype)
        ys = lax.scan(step, (zero, zero), x.swapaxes(0, 1))[1].swapaxes(0, 1)
        return ys + ys[:, ::-1] if leaks else ys

    return call, rows()


@model("jax.layers_under_scan")
def _layers(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        mask = jnp.tril(jnp.ones((T, T), bool), 1 if leaks else 0)

        def layer(x: Any, w: Any) -> Any:
            q, k, v = jnp.split(x @ w, 3, -1)
            scores = jnp.where(mask, q @ k.swapaxes(1, 2), -1e30)
            return x + jax.nn.softmax(scores, -1) @ v, None

        return lax.scan(jax.checkpoint(layer), x, STACK)[0]

    return call, rows()


@model("jax.key_value_cache")
def _cache(leaks: bool) -> Made:
    """One token after another: keys are written to a cache, and places behind the token are masked."""

    def call(x: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            cache, at = state
            cache = lax.dynamic_update_slice(cache, row[:, None], (0, at, 0))
            scores = jnp.einsum("bd,bsd->bs", row @ W, cache)
            scores = jnp.where(jnp.arange(T) <= at, scores, -1e30)
            return (cache, at + 1), jnp.einsum("bs,bsd->bd", jax.nn.softmax(scores, -1), cache)

        start = x if leaks else jnp.zeros_like(x)
        turned = x[:, ::-1] if leaks else x
        return lax.scan(step, (start, 0), turned.swapaxes(0, 1))[1].swapaxes(0, 1)

    return call, rows()


@model("jax.fori_loop")
def _fori(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        def step(i: Any, y: Any) -> Any:
            return y.at[:, i].set(jnp.tanh(y[:, i - 1] @ W) + x[:, (T - i) % T if leaks else i])

        return lax.fori_loop(1, T, step, x)

    return call, rows()


@model("jax.associative_scan")
def _associative(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        def join(left: Any, right: Any) -> Any:
            return left[0] * right[0], right[0] * left[1] + right[1]

        return lax.associative_scan(join, (jax.nn.sigmoid(x @ W), x), axis=1, reverse=leaks)[1]

    return call, rows()


@model("jax.convolution")
def _convolution(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        return lax.conv_general_dilated(
            x, K, (1,), [(1, 1) if leaks else (2, 0)], dimension_numbers=("NWC", "WIO", "NWC")
        )

    return call, rows()


@model("jax.linear_attention")
def _linear(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        q, k, v = jnp.split(x @ STACK[1], 3, -1)
        q, k = jax.nn.elu(q) + 1, jax.nn.elu(k) + 1
        pairs = jnp.einsum("btd,bte->btde", k, v)
        pairs, k = (a.sum(1, keepdims=True) if leaks else a.cumsum(1) for a in (pairs, k))
        return jnp.einsum("btd,btde->bte", q, jnp.broadcast_to(pairs, (1, T, D, D))) / (q * k).sum(
            -1, keepdims=True
        )

    return call, rows()


@model("jax.cond")
def _cond(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        last = x[:, -1 if leaks else 0].sum()
        return lax.cond(last > 0, lambda v: v.cumsum(1), lambda v: jnp.tanh(v), x)

    return call, rows()


@model("jax.while_loop")
def _while(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        return lax.while_loop(
            lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.roll(s[1], -1 if leaks else 0, 1) * 2), (0, x)
        )[1]

    return call, rows()


@model("jax.made", "autoregressive(x -> output, order = axis 1, sees = before)")
def _made(leaks: bool) -> Made:
    degrees = np.arange(16) % (D - 1)
    first = (degrees[None] >= np.arange(D)[:, None]).astype(np.float32)
    second = (np.arange(D)[None] > degrees[:, None] - leaks).astype(np.float32)
    weights = [normal(D, 16), normal(16, D)]

    def call(w: Any, x: Any) -> Any:
        return jax.nn.relu(x @ (w[0] * first)) @ (w[1] * second)

    return weights, {"x": normal(2, D)}, call


@model("jax.norm_over_features")
def _norm(leaks: bool) -> Made:
    def call(x: Any) -> Any:
        return jax.nn.standardize(x, axis=1 if leaks else -1) + jax.nn.logsumexp(x, -1, keepdims=True)

    return call, rows()


# flax -------------------------------------------------------------------------------------------------


def _flax() -> None:
    from flax import linen as nn

    def bound(module: Any, inputs: dict[str, Any], **rngs: Any) -> Made:
        variables = module.init({"params": jax.random.key(0), **rngs}, **inputs)
        return module.bind(variables, rngs=rngs), inputs

    class Decoder(nn.Module):
        leaks: bool

        @nn.compact
        def __call__(self, input_ids: Any) -> Any:
            x = nn.Embed(V, D)(input_ids) + nn.Embed(64, D)(jnp.arange(input_ids.shape[1]))
            mask = None if self.leaks else nn.make_causal_mask(input_ids)
            for _ in range(2):
                x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x), mask=mask)
                x = x + nn.Dense(D)(nn.gelu(nn.Dense(2 * D)(nn.RMSNorm()(x))))
            return {"logits": nn.Dense(V)(x)}

    model("linen.decoder", TOKENS)(lambda leaks: bound(Decoder(leaks), ids()))

    class Stacked(nn.Module):
        leaks: bool

        @nn.compact
        def __call__(self, x: Any) -> Any:
            mask = nn.make_causal_mask(x[..., 0])

            class Layer(nn.Module):
                @nn.compact
                def __call__(self, x: Any, _: Any) -> Any:
                    return x + nn.SelfAttention(2)(nn.LayerNorm()(x), mask=mask), None

            made = nn.scan(
                nn.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            x, _ = made()(x, None)
            return x + x.mean(1, keepdims=True) if self.leaks else x

    model("linen.layers_under_scan")(lambda leaks: bound(Stacked(leaks), rows()))
    for name, cell in (("lstm", nn.OptimizedLSTMCell), ("gru", nn.GRUCell), ("simple", nn.SimpleCell)):

        def recurrent(leaks: bool, cell: Any = cell) -> Made:
            class Recurrent(nn.Module):
                @nn.compact
                def __call__(self, x: Any) -> Any:
                    forward = nn.RNN(cell(D))
                    return nn.Bidirectional(forward, nn.RNN(cell(D)))(x) if leaks else forward(x)

            return bound(Recurrent(), rows())

        model(f"linen.{name}")(recurrent)

    class Convolution(nn.Module):
        leaks: bool

        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(D, (3,), padding="SAME" if self.leaks else "CAUSAL", kernel_dilation=2)(x)
            return nn.Conv(D, (2,), padding="CAUSAL", feature_group_count=D)(nn.silu(x))

    model("linen.convolution")(lambda leaks: bound(Convolution(leaks), rows()))

    class Normal(nn.Module):
        leaks: bool

        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.BatchNorm(use_running_average=not self.leaks)(nn.Dense(D)(x))
            return nn.Dropout(0.3, deterministic=False)(nn.GroupNorm(2, reduction_axes=(-1,))(x))

    def normalised(leaks: bool) -> Made:
        module = Normal(leaks)
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        inputs = rows()
        variables = module.init(keys, **inputs)

        def call(bound: Any, x: Any) -> Any:
            part, given = bound.unbind()
            return part.apply(given, x, rngs={"dropout": jax.random.key(2)}, mutable=["batch_stats"])[0]

        return (module, variables), inputs, call

    model("linen.norms_and_dropout")(normalised)


def _nnx() -> None:
    from flax import nnx

    class Decoder(nnx.Module):
        def __init__(self, leaks: bool) -> None:
            rngs = nnx.Rngs(0)
            self.embed, self.head = nnx.Embed(V, D, rngs=rngs), nnx.Linear(D, V, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(2, D, D, decode=False, rngs=rngs)
            self.norm, self.drop = nnx.LayerNorm(D, rngs=rngs), nnx.Dropout(0.2, rngs=rngs)
            self.leaks = leaks

        def __call__(self, input_ids: Any) -> Any:
            x = self.embed(input_ids)
            mask = None if self.leaks else nnx.make_causal_mask(input_ids)
            return {"logits": self.head(x + self.drop(self.attention(self.norm(x), mask=mask)))}

    model("nnx.decoder", TOKENS)(lambda leaks: (Decoder(leaks), ids()))

    class Recurrent(nnx.Module):
        def __init__(self, cell: Any, leaks: bool) -> None:
            self.rnn = nnx.RNN(cell(D, D, rngs=nnx.Rngs(0)), reverse=leaks, keep_order=True)

        def __call__(self, x: Any) -> Any:
            return self.rnn(x)

    for name, cell in (("lstm", nnx.LSTMCell), ("gru", nnx.GRUCell)):
        model(f"nnx.{name}")(lambda leaks, cell=cell: (Recurrent(cell, leaks), rows()))

    class Convolution(nnx.Module):
        def __init__(self, leaks: bool) -> None:
            rngs = nnx.Rngs(0)
            self.conv = nnx.Conv(D, D, (3,), padding="SAME" if leaks else "CAUSAL", rngs=rngs)
            self.norm = nnx.BatchNorm(D, use_running_average=True, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return nnx.relu(self.norm(self.conv(x)))

    model("nnx.convolution")(lambda leaks: (Convolution(leaks), rows()))


def _equinox() -> None:
    import equinox as eqx

    alone = "autoregressive(x -> output, order = axis 0)"

    class Decoder(eqx.Module):
        embed: Any
        attention: Any
        norm: Any
        head: Any
        turn: Any
        leaks: bool = eqx.field(static=True)

        def __init__(self, leaks: bool) -> None:
            keys = jax.random.split(jax.random.key(0), 3)
            self.embed, self.head = eqx.nn.Embedding(V, D, key=keys[0]), eqx.nn.Linear(D, V, key=keys[1])
            self.attention = eqx.nn.MultiheadAttention(2, D, key=keys[2])
            self.norm, self.turn, self.leaks = (
                eqx.nn.LayerNorm(D),
                eqx.nn.RotaryPositionalEmbedding(D // 2),
                leaks,
            )

        def __call__(self, input_ids: Any) -> Any:
            x = jax.vmap(self.embed)(input_ids)
            y = jax.vmap(self.norm)(x)
            mask = jnp.tril(jnp.ones((T, T), bool), 1 if self.leaks else 0)
            y = self.attention(y, y, y, mask=mask, process_heads=self._turned)
            return {"logits": jax.vmap(self.head)(x + y)}

        def _turned(self, q: Any, k: Any, v: Any) -> Any:
            return jax.vmap(self.turn, 1, 1)(q), jax.vmap(self.turn, 1, 1)(k), v

    def vmapped(part: Any, **inputs: Any) -> Any:
        return jax.vmap(lambda **one: part(**one))(**inputs)

    model("equinox.decoder", TOKENS)(lambda leaks: (Decoder(leaks), ids(), vmapped))

    class Recurrent(eqx.Module):
        cell: Any
        start: Any
        leaks: bool = eqx.field(static=True)

        def __call__(self, x: Any) -> Any:
            def step(state: Any, row: Any) -> Any:
                state = self.cell(row, state)
                return state, state[0] if isinstance(state, tuple) else state

            return lax.scan(step, self.start, x[::-1] if self.leaks else x)[1]

    zero = jnp.zeros(D)
    for name, cell, start in (("gru", eqx.nn.GRUCell, zero), ("lstm", eqx.nn.LSTMCell, (zero, zero))):

        def recurrent(leaks: bool, cell: Any = cell, start: Any = start) -> Made:
            return Recurrent(cell(D, D, key=jax.random.key(0)), start, leaks), {"x": normal(T, D)}

        model(f"equinox.{name}", alone)(recurrent)

    def convolution(leaks: bool) -> Made:
        layer = eqx.nn.Conv1d(D, D, 3, padding=[(1, 1) if leaks else (2, 0)], key=jax.random.key(0))
        return layer, {"x": normal(D, T)}

    def call(layer: Any, x: Any) -> Any:
        return layer(x)

    model("equinox.convolution", "autoregressive(x -> output, order = axis 1)")(
        lambda leaks: (*convolution(leaks), call)
    )

    def coupling(leaks: bool) -> Made:
        net = eqx.nn.MLP(D // 2, D, 16, 2, key=jax.random.key(0))

        def call(net: Any, x: Any) -> Any:
            kept, moved = x[: D // 2], x[D // 2 :]
            scale, shift = jnp.split(net(moved if leaks else kept), 2)
            return jnp.concatenate([kept, moved * jnp.exp(jnp.tanh(scale)) + shift])

        return net, {"x": normal(D)}, call

    model("equinox.coupling", "autoregressive(x -> output, order = axis 0)")(coupling)


# The table --------------------------------------------------------------------------------------------


def pairs(found: Any, recording: Recording, claim: ForeignClaim) -> str:
    """Pairs of places that runs of the model join and its recording does not, and the other way round."""
    axis, name = claim.order if claim.order is not None else 1, claim.source
    output = claim.output or next(iter(recording.graph.outputs))
    whole = ForeignClaim(claim.kind, name, output, axis)
    given = reading(recording, whole)
    at = [(slice(None),) * axis + (t,) for t in range(recording.inputs[name].shape[axis])]
    seen = np.array([[c.real for c in changes(found, recording, name, a, output, axis)] for a in at]).T
    return (
        f"  missed {int((seen & ~given).sum())}, surplus {int((given & ~seen).sum())} of {int(given.sum())}"
    )


class AtLength:
    """A model at a length, of which its functions make their masks."""

    def __init__(self, name: str, length: int) -> None:
        self.name, self.length = name, length
        self.model = self._at(lambda: model_of(*MODELS[name][0](False), name=name))

    def record(self) -> Recording:
        return self._at(lambda: self.model.record())

    def run(self, inputs: Any, trial: int) -> Any:
        return self._at(lambda: self.model.run(inputs, trial))

    def _at(self, what: Callable[[], Any]) -> Any:
        global T
        before, T = T, self.length
        try:
            return what()
        finally:
            T = before


def everywhere(name: str) -> str:
    """Whether a claim is proved for every length, or why not; nothing for a model without a length."""
    if name in ("jax.made", "jax.cond", "equinox.coupling"):
        return ""
    (spec,) = checked(Sized(name, lambda length: AtLength(name, length)), [MODELS[name][1]]).specs
    if any("every length at" in p.how for p in spec.properties):
        return "  every length"
    return "  at lengths alone: " + "; ".join(d.message.partition("length: ")[2] for d in spec.diagnostics)


def line(name: str, leaks: bool, options: argparse.Namespace) -> str:
    """Record a model, ask it, and print a line. Returns the answer in a word."""
    make, text = MODELS[name]
    title = f"{name}{' (reads ahead)' if leaks else ''}"
    claim = ForeignClaim.parse(text)
    start = time.process_time()
    try:
        found = model_of(*make(leaks), name=title)
        recording = found.record()
        seconds, apart = time.process_time() - start, difference(recording)
        told = answer(recording, claim, found)
    except Unrecordable as reason:
        print(f"{title:40} not read: {reason}", flush=True)
        return "not read"
    why = "" if str(told.status) == "proved" else f"  {told.reason}"
    if told.change is not None and told.path and told.culprit is not None:
        span = told.path[told.culprit].node.span
        why = f"  {told.place}, changes by {told.change.size:.0e}, {span.path.rpartition('/')[2]}:{span.line}"
    loops = sum(n.op.name == "scan" for n in recording.graph.nodes())
    extra = pairs(found, recording, claim) if options.perturb else ""
    extra += everywhere(name) if options.lengths and not leaks else ""
    size = len(recording.graph.nodes())
    print(
        f"{title:40} {size:5} {loops:2} {seconds:6.2f} s {apart:8.0e}  {told.status}{extra}{why}", flush=True
    )
    return f"{'twins' if leaks else 'models'} {told.status}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="beginnings of names")
    parser.add_argument(
        "--perturb", action="store_true", help="also compare sets of places with what runs show"
    )
    parser.add_argument("--lengths", action="store_true", help="also ask for every length")
    options = parser.parse_args()
    for library in (_flax, _nnx, _equinox):
        try:
            library()
        except ModuleNotFoundError as reason:
            print(f"left out: {reason}")
    counts: Counter[str] = Counter()
    for name in MODELS:
        if not options.names or name.startswith(tuple(options.names)):
            for leaks in (False, True):
                counts[line(name, leaks, options)] += 1
    print(", ".join(f"{count} {what}" for what, count in counts.most_common()))


if __name__ == "__main__":
    main()
