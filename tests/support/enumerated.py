"""Sums of probabilities over all states of discrete models: the shipped specs, made small, and random ones.

In float64, by the numpy interpreter. A density whose parts are right one by one, and which states a variable twice or
reads a later element, sums to something else than one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from mpcompile import api
from mpcompile.interpret import interpret
from mpcompile.ir import Array, DType, Module
from mpcompile.runner.examples import example_inputs, example_weights

ROOT = Path(__file__).parents[2]
#: States that are evaluated at once, and the most of one model.
CHUNK, MOST = 1 << 12, 1 << 14


@dataclass(frozen=True)
class Small:
    """A spec of which all states can be listed: sizes, replacements in its text, the variables, lengths."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    text: tuple[tuple[str, str], ...] = ()
    variables: tuple[str, ...] = ("x",)
    lengths: tuple[int, ...] = (1,)


_IMAGE = (("1, 8, 8]", "1, 3, 4]"),)

#: Every shipped spec whose `log_prob` is that of discrete variables. The others have real variables, latents or
#: dequantised ones, whose `log_prob` or `elbo` is no sum over states.
SPECS: dict[str, Small] = {
    "bilstm": Small({"keys": 3, "hidden": 3}, variables=("minor",), lengths=(1, 5, 14)),
    "char_lstm": Small({"characters": 3, "width": 3, "hidden": 5}, variables=("text",), lengths=(1, 2, 8)),
    "cnn": Small({"width": 2}, variables=("label",)),
    "elman": Small({"hidden": 4}, variables=("digit",)),
    "fvsbn": Small({"pixels": 14}),
    "gated_pixelcnn": Small({"width": 3, "layers": 1, "classes": 2}, _IMAGE),
    "gru": Small({"keys": 2, "hidden": 4}, lengths=(1, 2, 7)),
    "hmm": Small({"states": 3, "keys": 2}, lengths=(1, 2, 6)),
    "made": Small({"pixels": 14, "hidden": 30}),
    "made_ensemble": Small({"pixels": 9, "hidden": 12, "orders": 3, "masks": 2}),
    "mlp": Small({"hidden": 3}, variables=("y",)),
    "nade": Small({"pixels": 14, "hidden": 6}),
    "pixel_rnn": Small({"width": 2, "layers": 1}, _IMAGE),
    "pixel_transformer": Small({"width": 4, "heads": 2, "pixels": 14}, lengths=(1, 2, 9, 14)),
    "pixelcnn": Small({"width": 3, "layers": 2}, _IMAGE),
    "rgb_pixelcnn": Small({"width": 3, "layers": 1, "levels": 2, "size": 2}),
    "seq2seq": Small({"tokens": 3, "width": 3, "hidden": 4}, variables=("reply",), lengths=(1, 2, 8)),
    "transformer": Small(
        {"characters": 2, "width": 4, "heads": 2, "layers": 1, "longest": 16},
        variables=("text",),
        lengths=(1, 3, 14),
    ),
    "unet": Small(
        {"size": 4, "width": 2}, (("category(4)", "category(2)"), ("conv(4, 1)", "conv(2, 1)")), ("mask",)
    ),
    "wavenet": Small({"width": 3, "layers": 2, "cycles": 1, "levels": 2, "classes": 2}, lengths=(1, 3, 14)),
    "vision/pixelcnn_mixture": Small({"width": 3, "layers": 1, "levels": 2, "size": 2, "components": 2}),
}


def load(folder: Path, name: str, small: Small) -> Module:
    """A shipped spec, small."""
    path = next(
        p for p in (ROOT / "specs").rglob("*") if p.stem == Path(name).stem and p.suffix in (".mp", ".yaml")
    )
    text = path.read_text(encoding="utf-8")
    for old, new in small.text:
        assert old in text, (name, old)
        text = text.replace(old, new)
    copy = folder / path.name
    copy.write_text(text, encoding="utf-8")
    return api.load(copy, dict(small.sizes))


def total(module: Module, variables: Sequence[str], length: int, seed: int = 0) -> float:
    """The sum of exp(log_prob) over all states of some variables, all else held fixed.

    Of a sequence that states its length the steps behind it are no state: they are zero.
    """
    graph = module.programs["log_prob"]
    given = example_inputs(module, "log_prob", 1, length, seed)
    weights = {k: np.asarray(v) for k, v in example_weights(module, seed, spread=0.4).items()}
    cells: list[tuple[str, int, list[int]]] = []
    for name in variables:
        declared, shape = module.fields[name], given[name].shape[1:]
        levels = 2 if declared.base == "binary" else declared.classes
        assert levels is not None, name
        real = np.ones(shape, bool)
        for counts in (n for n, f in module.fields.items() if f.counts and shape and n in given):
            real[int(given[counts][0]) :] = False
        given[name] = np.zeros_like(given[name])
        cells += [
            (name, int(i), list(range(declared.low, declared.low + levels))) for i in np.flatnonzero(real)
        ]
    values = [c for _, _, c in cells]
    count = int(np.prod([len(v) for v in values]))
    assert count <= 4 * MOST, (count, variables)
    grid = product(*values)
    sum_, left = 0.0, count
    while left:
        rows = min(CHUNK, left)
        states = np.array([next(grid) for _ in range(rows)]).reshape(rows, len(cells))
        feed = {k: np.repeat(v, rows, 0) for k, v in given.items()}
        for k, (name, at, _) in enumerate(cells):
            feed[name].reshape(rows, -1)[:, at] = states[:, k]
        out: Array = interpret(graph, weights, {k: _kind(graph.inputs[k].dtype, v) for k, v in feed.items()})[
            "log_prob"
        ]
        sum_ += float(np.exp(out).sum())
        left -= rows
    return sum_


def _kind(dtype: DType, array: Array) -> Array:
    return array.astype(np.int64 if dtype is DType.INT else np.float64)


# --- random specs ---

_MASKED = ("relu", "tanh", "sigmoid", "gelu", "leaky_relu", "softplus")


def drawn(rng: np.random.Generator) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    """A random discrete model: its text, its variables, and lengths at which its states can be listed."""
    make = (_vector, sequence, sequence, _image, _pair, _recurrence)[rng.integers(6)]
    return make(rng)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _type(rng: np.random.Generator) -> tuple[str, int]:
    """A kind of element with its number of levels."""
    levels = int(rng.integers(2, 5))
    kinds = [("binary", 2), (f"category({levels})", levels), (f"integer(0..{levels - 1})", levels)]
    kinds.append((f"integer(-2..{levels - 3})", levels))
    return kinds[int(rng.integers(len(kinds)))]


def _fit(levels: int, longest: int = 14) -> int:
    """The largest number of elements, at most `longest`, whose states are not too many."""
    return min(longest, int(np.log(MOST) / np.log(levels)))


def _law(kind: str, levels: int) -> tuple[str, int]:
    """A likelihood and how many parameters an element has in it."""
    return ("bernoulli", 1) if kind == "binary" else ("categorical", levels)


def _vector(rng: np.random.Generator) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    kind, levels = _type(rng)
    if kind.startswith("category"):  # which a masked layer does not read
        kind = f"integer(1..{levels})"
    size = int(rng.integers(1, _fit(levels, 10) + 1))
    law, count = _law(kind, levels)
    order = _pick(rng, ["natural", "reverse", "random"])
    seed = f", seed = {int(rng.integers(9))}" if order == "random" else ""
    members = (
        f", seed = {int(rng.integers(9))}, orders = 2, masks = 3"
        if order == "random" and rng.random() < 0.5
        else ""
    )
    masks = f"mask up = degrees(order = {order}{seed})\n" if not members else ""
    hidden, act = int(rng.integers(size, 16)), _pick(rng, _MASKED)
    up, strict = ("degrees", "strict(degrees)") if members else ("up", "strict(up)")
    head = f"order = {order}{members or seed}, likelihood = {law}"
    layers = f"dense({hidden}, mask = {up}) -> {act} -> dense({size * count}, mask = {strict})"
    return f"input x: {kind}[{size}]\n{masks}x ~ autoregressive({head}) {{ {layers} }}\n", ("x",), (1,)


def _block(rng: np.random.Generator, width: int) -> str:
    """A causal layer of a sequence that keeps its width."""
    return _pick(rng, [
        f"conv1d({width}, {int(rng.integers(1, 5))}, dilation = {int(rng.integers(1, 6))}) -> tanh",
        f"gru({width})", f"lstm({width})", f"rnn({width})", "attention(1, mask = causal)", "layer_norm",
        f"residual(dense({width}) -> gelu)", f"shift({int(rng.integers(1, 12))})",
        f"residual(shift({int(rng.integers(1, 13))}) -> conv1d({width}, 2))",
        f"dense({2 * width}) -> gate",
    ])  # fmt: skip


def sequence(rng: np.random.Generator) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    """A sequence of causal layers behind a shift."""
    kind, levels = _type(rng)
    law, count = _law(kind, levels)
    width, top = int(rng.integers(2, 4)), _fit(levels)
    first = f"embedding({width})" if kind.startswith("category") else f"dense({width})"
    shape = "[time]" if kind.startswith("category") else "[time, 1]"
    blocks = [_block(rng, width) for _ in range(int(rng.integers(1, 4)))]
    at = int(rng.integers(len(blocks) + 1))
    blocks.insert(at, "shift")
    if rng.random() < 0.3:
        blocks.insert(int(rng.integers(len(blocks) + 1)), "position(16)")
    condition = "condition length: integer(1..time)\n" if rng.random() < 0.3 else ""
    if condition:
        blocks = [b for b in blocks if b != "layer_norm"] or ["shift"]
    blocks = [
        b if i > blocks.index("shift") or "attention" not in b else "layer_norm" for i, b in enumerate(blocks)
    ]
    if rng.random() < 0.3:
        condition += "condition c: category(3)\n"
        blocks.append(f"add(c -> embedding({width}) -> over(time))")
    body = " -> ".join([first, *blocks, f"dense({count})"])
    lengths = sorted({1, 2, int(rng.integers(1, top + 1)), top})
    head = f"input x: {kind}{shape}\n{condition}"
    return f"{head}x ~ autoregressive(likelihood = {law}) {{ {body} }}\n", ("x",), tuple(lengths)


def _image(rng: np.random.Generator) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    levels, height = int(rng.integers(2, 4)), int(rng.integers(1, 4))
    width = max(1, _fit(levels, 12) // height)
    law, count = ("bernoulli", 1) if levels == 2 else ("categorical", levels)
    kind = "binary" if levels == 2 else f"integer(0..{levels - 1})"
    act = _pick(rng, ["relu", "tanh", "gelu"])
    kernels = rng.choice([1, 3], int(rng.integers(0, 3)))
    deeper = "".join(f" -> conv(3, {k}, pad = same, mask = causal2d(type = B)) -> {act}" for k in kernels)
    first = f"conv(3, {_pick(rng, ['3', '5'])}, pad = same, mask = causal2d(type = A)) -> {act}"
    text = (
        f"input x: {kind}[1, {height}, {width}]\n"
        f"x ~ autoregressive(order = pixel, likelihood = {law}) {{ {first}{deeper} -> conv({count}, 1) }}\n"
    )
    return text, ("x",), (1,)


def _pair(rng: np.random.Generator) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    """Two variables given a third: their joint sums to one."""
    size, classes = int(rng.integers(1, 8)), int(rng.integers(2, 5))
    net = f"dense(4) -> {_pick(rng, _MASKED)} -> "
    text = (
        f"input f: real[3]\ntarget x: binary[{size}]\ntarget y: category({classes})\n"
        f"x ~ bernoulli(logits = f -> {net}dense({size}))\ny ~ categorical(logits = f -> {net}dense({classes}))\n"
    )
    return text, ("x", "y"), (1,)


def _recurrence(rng: np.random.Generator) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    keys, hidden = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    condition = "condition length: integer(1..time)\n" if rng.random() < 0.5 else ""
    text = (
        f"input x: binary[time, {keys}]\n{condition}recurrence over time {{\n  carry h[{hidden}] = 0\n"
        f"  x ~ bernoulli(logits = dense({keys})(h))\n  h = gru(x, h)\n}}\n"
    )
    top = 14 // keys
    return text, ("x",), tuple(sorted({1, 2, top}))
