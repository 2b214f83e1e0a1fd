"""Random specs with claims, as text: what `tests/fuzz/verdicts.py` holds to numbers.

Built from the pieces of `random_sequences` and the models of `enumerated`: sequences with shifts up to 40 (of real
numbers, classes and integers; with lengths, conditions of the same, another and a fixed length, controls that are
stretched), vectors beside sequences, fixed sequences, maps of sequences and images, masked networks and ensembles,
images in order, flows, recurrences, functions over time with masks made of data and blocks that repeat.
"""

from __future__ import annotations

import re

import numpy as np
from enumerated import drawn
from random_sequences import SHIFTS, piece

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower

BOUNDS = (1, 2, 3, 4, 5, 7, 9, 12, 16, 20, 33)
COMPARISONS = ("<=", ">=", "<=", ">=", "==", "<", ">")


def claimed(seed: int, n: int) -> str:
    """The n-th spec of a seed."""
    rng = np.random.default_rng([seed, n])
    kinds = (_sequence,) * 6 + (
        _vector,
        _mapped,
        _mapped,
        _fixed,
        _image,
        _flow,
        _flow,
        _listed,
        _listed,
        _recurrence,
        _spelt,
        _spelt,
    )
    text, claims = kinds[int(rng.integers(len(kinds)))](rng)
    stated = f"check {{ {'; '.join(claims)} }}\n" if claims else ""
    return f"model m\n{text}{stated}"


def _shape(text: str) -> str:
    """The shape of a parameter, as the finding says that it is not that of the target."""
    try:
        lower(parse_text(f"model m\n{text}"), Source("m.mp", text))
    except SpecError as refused:
        found = re.search(r"the parameter has shape \[([\d, ]+)\]", str(refused))
        return found[1] if found else "1"
    raise AssertionError("no parameter has this shape")


def _one(rng: np.random.Generator, *of: str) -> str:
    return of[int(rng.integers(len(of)))]


def _number(rng: np.random.Generator, of: tuple[int, ...]) -> int:
    return int(of[int(rng.integers(len(of)))])


def _some(rng: np.random.Generator, *claims: str) -> list[str]:
    return [c for c in claims if rng.random() < 0.6]


def _bound(rng: np.random.Generator, claim: str) -> str:
    return f"{claim} {_one(rng, *COMPARISONS)} {_number(rng, BOUNDS)}"


def _claims(rng: np.random.Generator, complete: bool = True) -> list[str]:
    reach, path = _bound(rng, "receptive_field(x)"), _bound(rng, "path_length(x)")
    return _some(rng, *(["complete(x)"] if complete else []), "no_blind_spot(x)", reach, path)


def _block(rng: np.random.Generator, width: int, causal: float = 0.5) -> str:
    """A layer of a sequence that keeps its width; with a chance of `causal` one that never reads ahead."""
    if rng.random() >= causal:
        return piece(rng, 1, width)
    kernel, dilation = int(rng.integers(1, 5)), _number(rng, (1, 1, 2, 3, 4, 8))
    conv = f"conv1d({width}, {kernel}, dilation = {dilation})"
    return _one(
        rng,
        conv,
        conv,
        f"{conv} -> tanh",
        f"{conv} -> relu",
        f"residual({conv} -> gelu)",
        f"gru({width})",
        f"lstm({width})",
        f"rnn({width})",
        "attention(1, mask = causal)",
        "layer_norm",
        f"shift({_number(rng, SHIFTS)})",
        f"dense({2 * width}) -> gate",
        "position(64)",
        "residual(layer_norm -> attention(1, mask = causal))",
        f"residual({conv} -> {conv})",
        "tanh",
        f"dense({width})",
    )


def _chain(rng: np.random.Generator, width: int, most: int, causal: float = 0.5) -> list[str]:
    return [_block(rng, width, causal) for _ in range(int(rng.integers(1, most + 1)))]


def _sequence(rng: np.random.Generator) -> tuple[str, list[str]]:
    width, causal = int(rng.integers(1, 4)), 1.0 if rng.random() < 0.5 else 0.6
    blocks = _chain(rng, width, 4, causal)
    if rng.random() < 0.9:
        blocks.insert(
            int(rng.integers(len(blocks) + 1)) if rng.random() < 0.3 else 0, f"shift({_shift(rng)})"
        )
    length, head = "time", ""
    stretched = int(rng.integers(2, 4)) if rng.random() < 0.12 else 0
    if stretched:
        length, head = f"{stretched} * frames", "condition c: real[frames, 2]\n"
        blocks.append(f"add(c -> dense({width}) -> stretch({stretched}))")
    elif rng.random() < 0.2:
        head += "condition length: integer(1..time)\n"
    match int(rng.integers(8)):
        case 0:
            head += f"condition q: real[frames, {width}]\n" if not stretched else ""
            blocks += [f"add(q -> gru({width}, output = state) -> over({length}))"] if not stretched else []
        case 1:
            head += "condition k: category(3)\n"
            blocks.append(f"add(k -> embedding({width}) -> over({length}))" if not stretched else "tanh")
        case 2 if not stretched:
            head += f"condition s: real[time, {width}]\n"
            blocks.append(
                f"add(s{_one(rng, '', ' -> gru(' + str(width) + ')', ' -> conv1d(' + str(width) + ', 3, pad = same)')})"
            )
    match int(rng.integers(3)):
        case 0:
            kind, first, law, last = (
                f"category(3)[{length}]",
                f"embedding({width})",
                "(likelihood = categorical)",
                "dense(3)",
            )
        case 1:
            kind, first, law, last = (
                f"binary[{length}, 1]",
                f"dense({width})",
                "(likelihood = bernoulli)",
                "dense(1)",
            )
        case _:
            d = int(rng.integers(1, 3))
            kind, first, law, last = f"real[{length}, {d}]", f"dense({width})", "", f"dense({2 * d})"
    body = " -> ".join([first, *blocks, last])
    return f"input x: {kind}\n{head}x ~ autoregressive{law} {{ {body} }}\n", _claims(rng)


def _spelt(rng: np.random.Generator) -> tuple[str, list[str]]:
    """A sequence, or a map of one, with functions over time, masks made of data, one net in two places, and blocks that
    repeat.
    """
    width, names = int(rng.integers(1, 4)), iter("abcdefghijklmnopqrs")

    def function() -> str:
        p, lag = next(names), _number(rng, SHIFTS)
        return _one(
            rng,
            f"dense({width}) as {p} -> (where({p} -> step, {p} -> shift({lag}), {p}))",
            f"dense({width}) as {p} -> (where({p} -> cumsum(over = time) -> step, {p}, 0))",
            f"dense({width}) as {p} -> ({p} * ({p} -> shared))",
            f"dense({width}) as {p} -> ({p} - ({p} -> {_one(rng, 'mean', 'max', 'logsumexp')}(over = time)))",
            f"dense({width}) as {p} -> ({p} + ({p} -> at(time, 0)))",
            f"dense({width}) as {p} -> ({p} + ({p} -> shift -> cumsum(over = time)))",
            f"dense({width}) as {p} -> ({p} + ({p} -> argmax(over = channel) -> embedding({width})))",
            f"dense({width}) as {p} -> (({p} -> sigmoid) * ({p} -> shared -> shift({lag})))",
            "cumsum(over = time)",
            "softmax(over = time)",
            "shared",
            "shared -> shift",
        )

    def block() -> str:
        return function() if rng.random() < 0.5 else _block(rng, width, 0.8)

    blocks = [block() for _ in range(int(rng.integers(1, 3)))]
    if rng.random() < 0.6:
        within = " -> ".join(block() for _ in range(int(rng.integers(1, 3))))
        within = f"residual({within})" if rng.random() < 0.5 else within
        blocks.append(f"repeat i in 1..{int(rng.integers(2, 7))} {{ {within} }}")
    if rng.random() < 0.9:
        blocks.insert(0, f"shift({_shift(rng)})")
    net = f"net shared = {_one(rng, 'conv1d({0}, 2)', 'dense({0}) -> tanh', 'gru({0})', 'layer_norm').format(width)}\n"
    head = "condition length: integer(1..time)\n" if rng.random() < 0.3 else ""
    chain = " -> ".join([f"dense({width})", *blocks])
    if rng.random() < 0.5:
        text = f"input x: real[time, 1]\n{head}{net}x ~ autoregressive {{ {chain} -> dense(2) }}\n"
        return text, _claims(rng)
    text = f"input x: real[time, {width}]\n{head}{net}target y: real[time, 1]\ny ~ normal(x -> {chain} -> dense(1), 1)\n"
    return text, _claims(rng, complete=False)


def _shift(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.6 else _number(rng, SHIFTS)


def _vector(rng: np.random.Generator) -> tuple[str, list[str]]:
    size = int(rng.integers(1, 4))
    chain = " -> ".join(_chain(rng, size, 3))
    end = _one(rng, "last", f"gru({size}, output = state)", "last")
    order = _one(rng, "natural", "reverse", "random")
    masked = rng.random() < 0.5
    if masked:
        text = (
            f"input x: real[{size}]\ncondition c: real[time, {size}]\nmask up = degrees(order = {order}, hidden = 8)\n"
            f"x ~ autoregressive(order = {order}) {{ dense(8, mask = up)"
            f" -> add(c -> {chain} -> {end} -> dense(8)) -> tanh"
            f" -> dense({2 * size}, mask = strict(up)) }}\n"
        )
        return text, _some(rng, "complete(x)")
    late = _one(rng, f"shift({_number(rng, SHIFTS)}) -> ", "")
    text = (
        f"input x: real[{size}]\ncondition c: real[time, {size}]\nx ~ autoregressive(order = natural) {{\n"
        f"  over(time) -> {late}{chain} -> add(c) -> {end} -> dense({2 * size}) }}\n"
    )
    return text, _some(rng, "complete(x)")


def _fixed(rng: np.random.Generator) -> tuple[str, list[str]]:
    size, width = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    chain = " -> ".join([f"dense({width})", "shift", *_chain(rng, width, 3, 0.8)])
    body = f"reshape(time = {size}, channel = 1) -> {chain} -> dense(1) -> flatten"
    text = f"input x: binary[{size}]\nx ~ autoregressive(order = natural) {{ {body} }}\n"
    return text, _some(rng, "complete(x)", _bound(rng, "path_length(x)"))


def _mapped(rng: np.random.Generator) -> tuple[str, list[str]]:
    """Something else given x, which has no order."""
    if rng.random() < 0.4:
        size = int(rng.integers(4, 9))
        pieces = [
            _one(
                rng,
                "conv(2, 3, pad = same)",
                "conv(2, 3)",
                "conv(2, 3, stride = 2, pad = same)",
                "maxpool(2)",
                "avgpool(2)",
                "conv(2, [1, 3], dilation = 2, pad = same)",
                "upsample(2)",
                "conv_transpose(2, 2, stride = 2)",
                "tanh",
                "conv(2, 2, stride = 2)",
                "maxpool(3, stride = 1)",
                "space_to_depth(2)",
                "shift_down",
                "instance_norm",
                "relu",
                "conv(2, 5, pad = 2)",
                "row_lstm(2)",
                "global_avgpool -> reshape([2, 1, 1])",
            )
            for _ in range(int(rng.integers(1, 4)))
        ]
        chain = " -> ".join(["conv(2, 1)", *pieces])
        text = f"input x: real[1, {size}, {size}]\ntarget y: real[2]\ny ~ normal(x -> {chain} -> flatten -> dense(4))\n"
        if rng.random() < 0.7:  # the field of a map, not of what is flattened
            text = f"input x: real[1, {size}, {size}]\ntarget y: real[{{}}]\ny ~ normal(x -> {chain} -> conv(1, 1), 1)\n"
            text = text.format(_shape(text.format("9, 9, 9, 9")))
        return text, _claims(rng, complete=False)
    width = int(rng.integers(1, 4))
    length, end, target = "time", f"dense({width})", f"real[time, {width}]"
    match int(rng.integers(4)):
        case 0:
            length, end, target = (
                "frames",
                f"stretch(2) -> conv1d({width}, 3, pad = same)",
                f"real[2 * frames, {width}]",
            )
        case 1 if rng.random() < 0.3:
            end, target = f"gru({width}, output = state)", f"real[{width}]"
    counted = "condition length: integer(1..time)\n" if length == "time" and rng.random() < 0.25 else ""
    chain = " -> ".join(_chain(rng, width, 3))
    text = f"input x: real[{length}, {width}]\n{counted}target y: {target}\ny ~ normal(x -> {chain} -> {end}, 1)\n"
    return text, _claims(rng, complete=False)


def _image(rng: np.random.Generator) -> tuple[str, list[str]]:
    channels, size = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    order = _one(rng, "pixel", "pixel", "natural", "reverse", "random")
    rgb = ", channels = rgb" if channels == 3 and rng.random() < 0.7 else ""
    hidden = 3 * int(rng.integers(1, 3))
    act, kernel = _one(rng, "relu", "tanh", "gelu"), _one(rng, "3", "5", "[3, 1]", "[1, 3]", "1")
    mask = "conv({}, {}, pad = same, mask = causal2d(type = {}" + rgb + "))"
    first = _one(rng, "A", "A", "A", "B", "vertical")
    blocks = [mask.format(hidden, kernel, first), act]
    for _ in range(int(rng.integers(0, 3))):
        blocks.append(
            _one(
                rng,
                mask.format(hidden, 3, "B"),
                mask.format(hidden, 1, "B"),
                "shift_down",
                f"residual({mask.format(hidden, 3, 'B')})",
                f"row_lstm({hidden})",
                f"conv({hidden}, 1)",
            )
        )
    last = mask.format(channels, 1, "B") if rng.random() < 0.7 else f"conv({channels}, 1)"
    body = " -> ".join([*blocks, last])
    text = f"input x: binary[{channels}, {size}, {size}]\nx ~ autoregressive(order = {order}, seed = 2) {{ {body} }}\n"
    return text, _some(
        rng,
        "complete(x)",
        "no_blind_spot(x)",
        _bound(rng, "receptive_field(x)"),
        _bound(rng, "path_length(x)"),
    )


def _flow(rng: np.random.Generator) -> tuple[str, list[str]]:
    size = int(rng.integers(1, 6))
    head, net = "", "dense(4) -> tanh"
    if rng.random() < 0.35:
        head = f"condition c: real[time, {size}]\n"
        net = _one(
            rng,
            f"over(time) -> shift({_number(rng, SHIFTS)}) -> add(c) -> last -> dense(4)",
            "dense(4) -> add(c -> gru(4, output = state))",
            "dense(4) -> add(c -> conv1d(3, 3, pad = same) -> last -> dense(4)) -> tanh",
        )
    pieces = []
    for _ in range(int(rng.integers(1, 4))):
        mask = _one(
            rng,
            "checkerboard",
            "checkerboard(parity = 1)",
            f"[{', '.join(str(int(b)) for b in rng.integers(0, 2, size))}]",
        )
        law = _one(rng, "", "", ", law = additive", ", law = spline(bins = 2, bound = 3)")
        pieces.append(
            _one(
                rng,
                f"coupling(mask = {mask}{law}, net = {net})",
                f"coupling(mask = {mask}{law}, net = {net})",
                "affine",
                "actnorm",
                "scale",
                "permute(reverse)",
                "permute(random)",
                "autoregressive(hidden = [8])",
                "inverse(affine)",
                "leaky_relu",
                "conv1x1",
                "softplus",
                "inverse(autoregressive(hidden = [6]))",
            )
        )
    claims = _some(rng, f"jacobian(x) is {_one(rng, 'diagonal', 'triangular', 'dense')}", "complete(x)")
    return f"input x: real[{size}]\n{head}x ~ flow(base = normal) {{ {' -> '.join(pieces)} }}\n", claims


def _listed(rng: np.random.Generator) -> tuple[str, list[str]]:
    """A model of `enumerated`: masked networks and ensembles of them, sequences, images, pairs, recurrences."""
    text, variables, _ = drawn(rng)
    if "autoregressive" not in text or "x" not in variables:
        return text, []
    return text, _claims(rng)


def _recurrence(rng: np.random.Generator) -> tuple[str, list[str]]:
    size, hidden = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    head, given = "", "h"
    if rng.random() < 0.3:
        head += "condition length: integer(1..time)\n"
    if rng.random() < 0.4:
        head, given = head + "condition c: real[time, 2]\n", "concat(h, c)"
    cell = _one(
        rng,
        "gru(x, h)",
        "rnn(x, h)",
        f"h + (x -> dense({hidden}) -> tanh)",
        f"concat(x, h) -> dense({hidden}) -> tanh",
    )
    up = "degrees(order = natural)"
    law = _one(
        rng,
        f"normal({given} -> dense({2 * size}))",
        f"autoregressive(order = natural) {{ dense(8, mask = {up}) -> tanh -> dense({2 * size}, mask = strict({up})) }}",
    )
    latent = ""
    if rng.random() < 0.3:
        latent, law = (
            "  latent z ~ normal(concat(x, h) -> dense(4)) prior normal(h -> dense(4))\n",
            f"normal(concat(z, h) -> dense({2 * size}))",
        )
    steps = f"  carry h[{hidden}] = 0\n{latent}  x ~ {law}\n  h = {cell}\n"
    text = f"input x: real[time, {size}]\n{head}recurrence over time {{\n{steps}}}\n"
    return text, []
