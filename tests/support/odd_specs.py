"""Random specs that put constructs together which no shipped spec has side by side.

Every spec is well formed by construction; the compiler may refuse it with a finding at a place. `SPECS` is a hypothesis
strategy of spec texts in `.mp`; `spec(seed)` is the same without hypothesis.
"""

from __future__ import annotations

import random

from hypothesis import strategies as st

#: Sizes of a fixed axis: one element, few, an odd number.
SIZES = (1, 2, 3, 5)
#: Symbolic lengths: plain, and multiples, which no input need state alone.
LENGTHS = ("time", "2 * time", "3 * time")
LAYERS = (
    "dense({n})",
    "relu",
    "tanh",
    "layer_norm",
    "dropout(0.1)",
    "residual(dense({same}))",
    "leaky_relu",
    "batch_norm",
)
OVER_TIME = (
    "conv1d({n}, 3, pad = same)", "lstm({n})", "gru({n})", "rnn({n})", "lstm({n}, bidirectional = true)", "dense({n})",
    "attention(1)", "shift", "layer_norm", "relu", "position(64)", "gru({n}) -> lstm({n})",
)  # fmt: skip
CAUSAL = (
    "conv1d({n}, 2, pad = causal)", "lstm({n})", "gru({n})", "dense({n})", "attention(1, mask = causal)", "layer_norm",
    "relu", "shift", "rnn({n})",
)  # fmt: skip
BIJECTORS = (
    "affine", "actnorm", "coupling(mask = checkerboard, net = {net})", "coupling(mask = channel, net = {net})", "scale",
    "inverse(affine)", "leaky_relu", "batch_norm", 
    "coupling(mask = checkerboard, law = spline(bins = 2, bound = 3), net = {net})",
    "coupling(mask = checkerboard(parity = 1), law = additive, net = {net})", "tanh", "softplus",
    "permute(random)", "permute(reverse)", "conv1x1",
)  # fmt: skip


class _Maker:
    """Draws one spec."""

    def __init__(self, source: random.Random) -> None:
        self.r = source

    def one(self, *of: str) -> str:
        return self.r.choice(of)

    def size(self) -> int:
        return self.r.choice(SIZES)

    def chain(self, of: tuple[str, ...], last: str) -> str:
        steps = [self.one(*of).format(n=self.size(), same=self.size()) for _ in range(self.r.randint(0, 3))]
        return " -> ".join([*steps, last])

    def spec(self) -> str:
        body = self.one("supervised", "sequence", "made", "causal", "flow", "dequantised", "latent", "recurrence",
                        "conditional", "image")  # fmt: skip
        made: str = getattr(self, f"_{body}")()
        return f"model odd(k = {self.size()})\n{made}\n"

    def _law(self, target: str, net: str, size: int) -> str:
        return f"{target} ~ normal({net} -> dense({2 * size}))"

    def _supervised(self) -> str:
        n, m = self.size(), self.size()
        net = self.chain(LAYERS, "dense(k)")
        kind = self.one("real", "binary", "category")
        head = f"input x: real[{n}]\n"
        if kind == "category":
            return (
                head + f"target y: category({m + 1})\ny ~ categorical(logits = x -> {net} -> dense({m + 1}))"
            )
        if kind == "binary":
            return head + f"target y: binary[{m}]\ny ~ bernoulli(logits = x -> {net} -> dense({m}))"
        return head + f"target y: real[{m}]\n" + self._law("y", f"x -> {net}", m)

    def _sequence(self) -> str:
        length, n = self.one(*LENGTHS), self.size()
        counted = (
            f"condition length: integer(1..{length})\n" if length == "time" and self.r.random() < 0.4 else ""
        )
        net = self.chain(OVER_TIME, "dense(k)")
        if self.r.random() < 0.5:
            m = self.size()
            end = self.one("lstm(3, output = state)", "gru(2, output = state)", "last", "lstm(3) -> last")
            return (
                f"input x: real[{length}, {n}]\n{counted}target y: category({m + 1})\n"
                f"y ~ categorical(logits = x -> {net} -> {end} -> dense({m + 1}))"
            )
        return f"input x: real[{length}, {n}]\n{counted}target y: real[{length}, {n}]\n" + self._law(
            "y", f"x -> {net}", n
        )

    def _made(self) -> str:
        n, h = self.size(), self.size()
        order = self.one("natural", "random")
        more = self.one("", f", orders = {self.r.randint(1, 3)}", ", masks = 2") if order == "random" else ""
        hidden = " -> relu -> ".join(f"dense({h}, mask = up)" for _ in range(self.r.randint(1, 2)))
        degrees = self.one("order = natural", "seed = 3") if order == "natural" else "seed = 3"
        return (
            f"input x: binary[{n}]\nmask up = degrees({degrees})\n"
            f"x ~ autoregressive(order = {order}{more}) {{ {hidden} -> relu -> dense({n}, mask = strict(up)) }}"
        )

    def _causal(self) -> str:
        net = self.chain(CAUSAL, self.one("relu", "tanh", "layer_norm"))
        if self.r.random() < 0.4:
            n = self.size()
            return (
                f"input x: binary[{n}]\nx ~ autoregressive(order = natural) {{ reshape(time = {n}, channel = 1) -> "
                f"{net} -> shift -> dense(1) -> flatten }}"
            )
        length, n = self.one(*LENGTHS), self.size()
        if self.r.random() < 0.5:
            c = n + 1
            head = f"input x: category({c})[{length}]\nx ~ autoregressive(likelihood = categorical) "
            return head + f"{{ embedding(k) -> shift -> {net} -> dense({c}) }}"
        return f"input x: real[{length}, {n}]\nx ~ autoregressive {{ shift -> {net} -> dense({2 * n}) }}"

    def _bijectors(self, net: str) -> str:
        return " -> ".join(self.one(*BIJECTORS).format(net=net) for _ in range(self.r.randint(1, 4)))

    def _flow(self) -> str:
        n = self.size()
        condition = "condition c: real[2]\n" if self.r.random() < 0.3 else ""
        return f"input x: real[{n}]\n{condition}x ~ flow(base = normal) {{ {self._bijectors('dense(4) -> tanh')} }}"

    def _dequantised(self) -> str:
        shape = self.one("1, 4, 4", "2, 2, 2", "1, 2, 2", "1, 1, 1")
        net = "conv(2, 3, pad = same) -> relu"
        noise = self.one(
            "dequantize",
            f"dequantize {{ logit(alpha = 0) -> coupling(mask = checkerboard, net = {net}, condition = x) }}",
            "dequantize { logit(alpha = 0) -> actnorm }",
        )
        rest = self._bijectors(net)
        squeeze = self.one("", " -> squeeze(2)", " -> squeeze(2) -> factor_out(1 / 2)")
        return (
            f"input x: integer(0..3)[{shape}]\n"
            f"x ~ flow(base = normal) {{ {noise} -> logit(alpha = 0.05){squeeze} -> {rest} }}"
        )

    def _latent(self) -> str:
        n, z = self.size(), self.size()
        body = self.one("", " -> actnorm", " -> affine")
        posterior = f"normal(x -> dense(3) -> tanh -> dense({2 * z}))"
        if body:
            posterior = f"flow(base = {posterior}) {{ {body.removeprefix(' -> ')} }}"
        law = self.one(
            f"normal(z -> dense({2 * n}))",
            f"flow(base = normal(z -> dense({2 * n}))) {{ actnorm }}",
            f"normal(z -> dense({2 * n}))",
        )
        return f"input x: real[{n}]\nlatent z ~ {posterior} prior normal(0, 1)\nx ~ {law}"

    def _recurrence(self) -> str:
        n, h = self.size(), self.size()
        length = self.one("time", "time", "time")
        cell = self.one("gru(x, h)", f"h + (x -> dense({h}) -> tanh)", "rnn(x, h)")
        density = self.one("x", "x", "none", "latent")
        head = f"input x: real[{length}, {n}]\nrecurrence over time {{\n  carry h[{h}] = 0\n"
        if density == "none":
            return head + f"  h = {cell}\n}}\ntarget y: real[{n}]".split("\n}")[0] + "\n}"
        if density == "latent":
            return (
                head + f"  latent z ~ normal(concat(x, h) -> dense(4)) prior normal(h -> dense(4))\n"
                f"  x ~ normal(concat(z, h) -> dense({2 * n}))\n  h = {cell}\n}}"
            )
        return head + f"  x ~ normal(h -> dense({2 * n}))\n  h = {cell}\n}}"

    def _conditional(self) -> str:
        n = self.size()
        return (
            f"input x: real[{n}]\ncondition c: category(3)\n"
            "x ~ flow(base = normal) { actnorm -> "
            "coupling(mask = checkerboard, net = dense(4) -> tanh, condition = c) }"
        )

    def _image(self) -> str:
        c, s = self.one("1", "2"), self.one("1", "2", "3", "4")
        mask = "conv({}, 3, pad = same, mask = causal2d(type = {}))"
        inner = self.one("relu", "layer_norm", mask.format(2, "B"), f"residual({mask.format(2, 'B')})")
        classes = f"input x: binary[{c}, {s}, {s}]\n"
        return classes + (
            f"x ~ autoregressive(order = pixel) {{ {mask.format(2, 'A')} -> {inner} -> {mask.format(c, 'B')} }}"
        )


def spec(seed: int) -> str:
    """The spec of a number."""
    return _Maker(random.Random(seed)).spec()


#: Spec texts.
SPECS = st.integers(0, 2**32 - 1).map(spec)

__all__ = ["SPECS", "spec"]
