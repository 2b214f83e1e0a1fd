"""Small flows: every bijector at sizes 1, 2, odd and even, and on images; every law; with and without conditions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

NET = "net = dense(5) -> tanh -> dense(5) -> tanh"
CONV = "net = conv(3, 3, pad = same) -> tanh"
SPLINE = "spline(bins = 4, bound = 2)"
CIRCULAR = "law = spline(bins = 4, circular = true)"
ANGLES = "net = circle -> dense(7) -> tanh"
LABEL = "c: category(3)"
MONOTONE = "monotone(units = 3)"
LAWS = ("additive", "affine", SPLINE, MONOTONE)


@dataclass(frozen=True)
class Case:
    """A chain of bijectors of a variable; data is drawn within the interval `at`."""

    type: str
    chain: str
    at: tuple[float, float] = (-2.0, 2.0)
    condition: str = ""

    @property
    def name(self) -> str:
        return f"{self.type} {self.chain}{' | ' + self.condition if self.condition else ''}"


def couple(parity: int) -> str:
    return f"coupling(mask = checkerboard(parity = {parity}), {CIRCULAR}, {ANGLES})"


#: Flows of angles, whose laws are swept in `test_angles.py`: type and chain.
ANGULAR = {
    "couplings": ("angle[2]", f"{couple(0)} -> rotate -> {couple(1)} -> permute(reverse)"),
    "autoregressive": ("angle[2]", f"rotate(1) -> autoregressive(hidden = [6, 5], {CIRCULAR}) -> permute(reverse) -> "
                       f"autoregressive(hidden = [6], {CIRCULAR})"),
    "inverse": ("angle[2]", f"inverse({couple(1)}) -> inverse(rotate) -> "
                f"inverse(autoregressive(hidden = [6], {CIRCULAR}))"),
    "one": ("angle[1]", f"autoregressive(hidden = [3], {CIRCULAR}) -> rotate"),
    "planes": ("angle[1, 2, 1]", "coupling(mask = checkerboard, law = spline(bins = 3, circular = true), net = circle -> "
               "conv(3, 3, pad = same) -> tanh)"),
}  # fmt: skip


def cases() -> list[Case]:
    unit, vectors, image = (0.02, 0.98), ("real[1]", "real[2]", "real[3]", "real[4]"), "real[2, 4, 2]"
    made = [
        Case("integer(2..5)[3]", "dequantize -> logit(alpha = 0.1)", (2, 6)),
        Case("real[3]", "logit", unit), Case("real[3]", "logit(alpha = 0)", unit),
        Case("real[3]", "inverse(sigmoid)", unit), Case("real[3]", "sigmoid -> logit(alpha = 0)", (-4, 4)),
        Case("real[3]", "inverse(tanh)", (-0.98, 0.98)), Case("real[3]", "inverse(softplus)", (0.01, 9)),
        Case("real[3]", "leaky_relu(slope = 0.2)"), Case(image, "leaky_relu"), Case(image, "scale"),
        Case("real[4, 4, 2]", "factor_out(1 / 2) -> affine"), Case(image, "squeeze(2) -> affine"),
        *(Case(t, b) for t in (*vectors, image) for b in ("affine", "scale", "actnorm", "batch_norm")),
        *(Case(t, b) for t in (*vectors, image) for b in ("standardise", "conv1x1")),
        *(Case(t, f"permute({o})") for t in (*vectors, image) for o in ("reverse", "random, seed = 1")),
        Case("real[4]", "conv1x1(init = permutation)"),
        *(Case(t, "conv1x1(form = plain)") for t in (*vectors, image)),
        Case(image, "inverse(conv1x1(form = plain))"), Case("real[3]", "conv1x1(init = permutation, form = plain)"),
        Case("real[3]", "affine(condition = c)", condition=LABEL),
        Case(image, "inverse(affine(condition = c))", condition="c: real[2]"),
    ]  # fmt: skip
    for scale in ("exp", "softplus", "sigmoid"):
        law = f"affine(scale = {scale})"
        made += [
            Case("real[3]", f"coupling(mask = checkerboard, law = {law}, {NET})"),
            Case("real[2]", f"inverse(autoregressive(hidden = [6], law = {law}))"),
        ]
    for law in LAWS:
        made += [
            *(Case(t, f"coupling(mask = checkerboard, law = {law}, {NET})") for t in vectors[1:]),
            Case(image, f"coupling(mask = channel(parity = 1), law = {law}, {CONV})"),
            Case("real[1, 3, 3]", f"coupling(mask = checkerboard, law = {law}, {CONV})"),
            Case("real[2]", f"coupling(mask = checkerboard, law = {law}, {NET}, condition = c)", condition=LABEL),
            Case(image, f"coupling(mask = channel, law = {law}, {CONV}, condition = c)", condition="c: real[2]"),
            *(Case(t, f"autoregressive(hidden = [6, 5], law = {law})") for t in vectors),
            *(Case("real[5]", f"autoregressive(hidden = [9, 7], order = {order}, law = {law})")
              for order in ("reverse", "random")),
            Case("real[3]", f"autoregressive(hidden = [6], law = {law}, condition = c)", condition=LABEL),
            *(Case(t, f"inverse(autoregressive(hidden = [6, 5], law = {law}))") for t in vectors[:3]),
            Case("real[3]", f"inverse(coupling(mask = checkerboard, law = {law}, {NET}))"),
        ]  # fmt: skip
    return made


def spec(case: Case) -> str:
    condition = f"condition {case.condition}\n" if case.condition else ""
    return f"model flow\ninput x: {case.type}\n{condition}x ~ flow(base = normal) {{\n  {case.chain}\n}}\n"


@cache
def module(case: Case) -> Module:
    """The lowered flow; shared between tests, which must not change it."""
    text = spec(case)
    return lower(parse_text(text), Source("flow.mp", text))


def flow(type: str, chain: str) -> Module:
    """The lowered flow of a variable x."""
    return module(Case(type, chain))


def weights(m: Module, seed: int = 0) -> dict[str, Array]:
    """Weights that make every part of the flow do something."""
    return example_weights(m, seed, spread=0.3)


def points(case: Case, count: int, seed: int = 0) -> dict[str, Array]:
    """Inputs of `forward`: x within the case's interval, its noise and conditions."""
    m, rng = module(case), np.random.default_rng(seed)
    out: dict[str, Array] = {}
    for name, value in m.programs["forward"].inputs.items():
        shape = (count, *(int(str(s)) for s in value.shape[1:]))
        field = m.fields.get(name)
        if field is not None and field.base in ("category", "integer"):
            drawn = field.low + rng.integers(0, field.classes or 2, shape)
            out[name] = drawn if field.base == "category" else drawn.astype(float)
        elif name == "x":
            out[name] = rng.uniform(*case.at, shape)
        else:
            noise = m.noise["forward"].get(name)
            out[name] = rng.uniform(0.1, 0.9, shape) if noise else rng.standard_normal(shape)
    return out


def forward(m: Module, w: dict[str, Array], inputs: dict[str, Array]) -> tuple[Array, Array]:
    """z and log_det on the oracle."""
    out = interpret(m.programs["forward"], w, inputs)
    return out["z"], out["log_det"]


def backward(m: Module, w: dict[str, Array], z: Array, inputs: dict[str, Array]) -> Array:
    """x on the oracle."""
    given = {k: v for k, v in inputs.items() if k in m.programs["inverse"].inputs}
    return interpret(m.programs["inverse"], w, {"z": z, **given})["x"]


def jacobians(m: Module, w: dict[str, Array], inputs: dict[str, Array], step: float = 1e-6) -> Array:
    """dz/dx of every example by central differences: [N, D, D], rows are outputs."""
    x = inputs["x"]
    count, size = len(x), x[0].size
    wide = {k: np.repeat(v, 2 * size, axis=0) for k, v in inputs.items()}
    moves = np.concatenate([np.eye(size), -np.eye(size)]) * step
    wide["x"] = wide["x"] + np.tile(moves, (count, 1)).reshape(-1, *x.shape[1:])
    z = forward(m, w, wide)[0].reshape(count, 2, size, size)
    return np.swapaxes((z[:, 0] - z[:, 1]) / (2 * step), 1, 2)
