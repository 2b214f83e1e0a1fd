"""Graphs that are kernels, as text, and changes after which they are none."""

from __future__ import annotations

from dataclasses import dataclass

from activation_cases import ACTIVATIONS, text


@dataclass(frozen=True)
class Case:
    """A graph that is a kernel, what it is, and changes of its text after which it is less, or none.

    near  what is replaced by what -> the kernels that are left
    """

    text: str
    kernel: str
    near: tuple[tuple[str, str, tuple[str, ...]], ...]


LAYER_NORM = """
program f(x: float[N, 4, 4], g: float[4], c: float[4]) -> (y: float[N, 4, 4]) {
  %share = constant 0.25 : float[]
  %eps = constant 1e-05 : float[]
  %total = sum(%x) {axes: [2], keepdims: true}
  %mean = mul(%total, %share)
  %centred = sub(%x, %mean)
  %square = mul(%centred, %centred)
  %spread = sum(%square) {axes: [2], keepdims: true}
  %variance = mul(%spread, %share)
  %added = add(%variance, %eps)
  %root = sqrt(%added)
  %normal = div(%centred, %root)
  %scaled = mul(%normal, %g)
  %y = add(%scaled, %c)
  return y = %y
}
"""
PHASE = """
program f(n: int[N, 1], w: float[N, 4]) -> (y: float[N, 4]) {
  %speeds = constant [1.0, 0.1, 0.01, 0.001] : float[4]
  %places = cast(%n) {dtype: !float}
  %angle = mul(%places, %speeds)
  %wave = cos(%angle)
  %y = mul(%wave, %w)
  return y = %y
}
"""
RMS_NORM = """
program f(x: float[N, 4, 4], g: float[4]) -> (y: float[N, 4, 4]) {
  %share = constant 0.25 : float[]
  %eps = constant 1e-06 : float[]
  %square = mul(%x, %x)
  %total = sum(%square) {axes: [2], keepdims: true}
  %mean = mul(%total, %share)
  %added = add(%mean, %eps)
  %root = sqrt(%added)
  %normal = div(%x, %root)
  %y = mul(%normal, %g)
  return y = %y
}
"""
GELU = """
program f(x: float[N, 4], w: float[N, 4]) -> (y: float[N, 4]) {
  %half = constant 0.7071067811865476 : float[]
  %one = constant 1.0 : float[]
  %two = constant 0.5 : float[]
  %scaled = mul(%x, %half)
  %erf = erf(%scaled)
  %sum = add(%erf, %one)
  %phi = mul(%sum, %two)
  %y = mul(%x, %phi)
  return y = %y
}
"""
GELU_TANH = """
program f(x: float[N, 4], w: float[N, 4]) -> (y: float[N, 4]) {
  %small = constant 0.044715 : float[]
  %root = constant 0.7978845608028654 : float[]
  %one = constant 1.0 : float[]
  %two = constant 0.5 : float[]
  %square = mul(%x, %x)
  %cube = mul(%square, %x)
  %bent = mul(%cube, %small)
  %inner = add(%x, %bent)
  %scaled = mul(%inner, %root)
  %tanh = tanh(%scaled)
  %sum = add(%tanh, %one)
  %halved = mul(%x, %two)
  %y = mul(%halved, %sum)
  return y = %y
}
"""
SILU = """
program f(x: float[N, 4], w: float[N, 4]) -> (y: float[N, 4]) {
  %gate = sigmoid(%x)
  %y = mul(%gate, %x)
  return y = %y
}
"""
ATTENTION = """
program f(q: float[N, 2, t, 4], k: float[N, 2, t, 4], v: float[N, 2, t, 4]) -> (y: float[N, 2, t, 4]) {
  %scale = constant 0.5 : float[]
  %lowest = constant -inf : float[]
  %turned = transpose(%k) {permutation: [0, 1, 3, 2]}
  %scores = mat_mul(%q, %turned)
  %scaled = mul(%scores, %scale)
  %row = iota() {shape: [t, t], axis: 0}
  %column = iota() {shape: [t, t], axis: 1}
  %mask = less_equal(%column, %row)
  %masked = where(%mask, %scaled, %lowest)
  %weights = softmax(%masked) {axis: 3}
  %y = mat_mul(%weights, %v)
  return y = %y
}
"""
MASKED = """
program f(q: float[N, 2, 2, 4], k: float[N, 2, 3, 4], v: float[N, 2, 3, 5]) -> (y: float[N, 2, 2, 5]) {
  %scale = constant 0.25 : float[]
  %lowest = constant -inf : float[]
  %mask = constant [[true, false, true], [false, true, false]] : bool[2, 3]
  %turned = transpose(%k) {permutation: [0, 1, 3, 2]}
  %scores = mat_mul(%q, %turned)
  %scaled = mul(%scores, %scale)
  %masked = where(%mask, %scaled, %lowest)
  %weights = softmax(%masked) {axis: 3}
  %y = mat_mul(%weights, %v)
  return y = %y
}
"""
CLASSES = """
program f(logits: float[N, 3, t], x: int[N, t], z: int[N, 1, t]) -> (y: float[N, t]) {
  %index = reshape(%x) {shape: [N, 1, t]}
  %log_p = log_softmax(%logits) {axis: 1}
  %taken = take_along(%log_p, %index) {axis: 1}
  %y = reshape(%taken) {shape: [N, t]}
  return y = %y
}
"""
BINARY = """
program f(l: float[N, 3], x: float[N, 3], z: float[3]) -> (y: float[N, 3]) {
  %both = mul(%x, %l)
  %plus = softplus(%l)
  %y = sub(%both, %plus)
  return y = %y
}
"""
LINEAR = """
program f(x: float[N, 3], w: float[3, 3], c: float[3], d: float[N, 3]) -> (y: float[N, 3]) {
  %turned = transpose(%w) {permutation: [1, 0]}
  %product = mat_mul(%x, %turned)
  %y = add(%product, %c)
  return y = %y
}
"""
CONV = """
program f(x: float[N, 2, 4, 4], w: float[3, 2, 1, 1], c: float[3], d: float[4]) -> (y: float[N, 3, 4, 4]) {
  %bias = reshape(%c) {shape: [3, 1, 1]}
  %product = conv(%x, %w) {stride: [1, 1], padding: [[0, 0], [0, 0]], dilation: [1, 1]}
  %y = add(%product, %bias)
  return y = %y
}
"""
UNBIND = """
program f(x: float[N, 3, 4], z: float[N, 1, 4]) -> (y: float[N, 4]) {
  %s0 = slice(%x) {axis: 1, start: 0, stop: 1}
  %s1 = slice(%x) {axis: 1, start: 1, stop: 2}
  %s2 = slice(%x) {axis: 1, start: 2, stop: 3}
  %q = reshape(%s0) {shape: [N, 4]}
  %k = reshape(%s2) {shape: [N, 4]}
  %v = reshape(%s1) {shape: [N, 4]}
  %both = mul(%q, %k)
  %y = sub(%both, %v)
  return y = %y
}
"""
SPLIT = """
program f(x: float[N, 7, t]) -> (y: float[N, 3, t]) {
  %b = slice(%x) {axis: 1, start: 3, stop: 6}
  %a = slice(%x) {axis: 1, start: 0, stop: 3}
  %c = slice(%x) {axis: 1, start: 6, stop: 7}
  %last = slice(%x) {axis: 2, start: 0, stop: 1}
  %all = sum(%last) {axes: [1], keepdims: true}
  %spread = exp(%b)
  %product = mul(%a, %spread)
  %moved = sub(%product, %c)
  %y = mul(%moved, %all)
  return y = %y
}
"""
CASES = {
    "layer_norm": Case(
        LAYER_NORM,
        "layer_norm(x = x, weight = g, bias = c, shape = (4,), eps = 1e-05)",
        (
            ("axes: [2]", "axes: [1]", ()),  # not the last axis
            ("%spread = sum(%square) {axes: [2]", "%spread = sum(%square) {axes: [1]", ()),
            ("0.25", "0.2500001", ()),  # no mean
            ("%added = add(%variance, %eps)", "%added = add(%variance, %mean)", ()),
            ("%root = sqrt(%added)", "%plain = sqrt(%variance)\n  %root = add(%plain, %eps)", ()),
            ("%square = mul(%centred, %centred)", "%square = mul(%x, %centred)", ()),
            ("%normal = div(%centred, %root)", "%normal = div(%x, %root)", ()),
            (
                "-> (y: float[N, 4, 4])",
                "-> (y: float[N, 4, 4], m: float[N, 4, 1])",
                ("rms_norm",),
            ),  # the mean is read
            ("%scaled = mul(%normal, %g)", "%scaled = mul(%normal, %x)", ("layer_norm",)),
            ("c: float[4]", "c: float[4, 4]", ("layer_norm",)),
            ("%y = add(%scaled, %c)", "%y = sub(%scaled, %c)", ("layer_norm",)),
            ("%y = add(%scaled, %c)", "%y = add(%normal, %c)", ("layer_norm",)),
        ),
    ),
    "layer_norm, without weights, over two axes": Case(
        LAYER_NORM.replace("axes: [2]", "axes: [1, 2]")
        .replace("0.25", "0.0625")
        .replace("%scaled = mul(%normal, %g)\n  %y = add(%scaled, %c)", "%y = neg(%normal)"),
        "layer_norm(x = x, weight = None, bias = None, shape = (4, 4), eps = 1e-05)",
        (),
    ),
    "phase": Case(
        PHASE,
        "phase(x = n, base = 10000.0, count = 4)",
        (
            ("0.001]", "0.002]", ()),  # no powers of one base
            ("n: int[N, 1]", "n: int[N, 4]", ()),
            ("%wave = cos(%angle)", "%wave = tanh(%angle)", ()),  # whole turns count
            ("%y = mul(%wave, %w)", "%y = mul(%wave, %angle)", ()),
            ("%angle = mul(%places, %speeds)", "%angle = add(%places, %speeds)", ()),
        ),
    ),
    "rms_norm": Case(
        RMS_NORM,
        "rms_norm(x = x, weight = g, shape = (4,), eps = 1e-06)",
        (
            ("axes: [2]", "axes: [1]", ()),
            ("%root = sqrt(%added)", "%plain = sqrt(%mean)\n  %root = add(%plain, %eps)", ()),
            ("%mean = mul(%total, %share)", "%mean = mul(%total, %eps)", ()),
            ("%normal = div(%x, %root)", "%normal = div(%square, %root)", ()),
            ("g: float[4]", "g: float[1, 4]", ("rms_norm",)),
        ),
    ),
    "gelu": Case(
        GELU,
        "gelu(x = x)",
        (
            ("0.7071067811865476", "0.7071067811865475", ()),
            ("constant 1.0", "constant 1.5", ()),
            ("constant 0.5", "constant 1.0", ()),
            ("%y = mul(%x, %phi)", "%y = mul(%w, %phi)", ()),
            ("-> (y: float[N, 4])", "-> (y: float[N, 4], m: float[N, 4])", ()),
        ),
    ),
    "gelu_tanh": Case(
        GELU_TANH,
        "gelu_tanh(x = x)",
        (
            ("0.044715", "0.0447", ()),
            ("0.7978845608028654", "0.8", ()),
            ("%cube = mul(%square, %x)", "%cube = mul(%square, %square)", ()),
            ("%halved = mul(%x, %two)", "%halved = mul(%w, %two)", ()),
        ),
    ),
    "silu": Case(SILU, "silu(x = x)", (("%y = mul(%gate, %x)", "%y = mul(%gate, %w)", ()),)),
    "attention": Case(
        ATTENTION,
        "attention(q = q, k = k, v = v, mask = None, also = None, scale = 0.5, causal = True)",
        (
            (
                "less_equal(%column, %row)",
                "less_equal(%row, %column)",
                (),
            ),  # the last query sees all: none sees ...
            ("less_equal(%column, %row)", "less(%column, %row)", ()),  # the first query sees nothing
            ("axis: 3", "axis: 2", ()),
            ("q: float[N, 2, t, 4]", "q: float[N, 2, 1, 4]", ()),  # one query that the mask makes t of
            ("k: float[N, 2, t, 4], v: float[N, 2, t, 4]", "k: float[1, 2, t, 4], v: float[N, 2, t, 4]", ()),
            ("constant -inf", "constant -1e9", ()),
            ("%masked = where(%mask, %scaled, %lowest)", "%masked = where(%mask, %lowest, %scaled)", ()),
            ("%weights, %v)", "%scores, %v)", ()),
            ("-> (y: float[N, 2, t, 4])", "-> (y: float[N, 2, t, 4], m: float[N, 2, t, t])", ()),
        ),
    ),
    "attention, masked": Case(
        MASKED,
        "attention(q = q, k = k, v = v, mask = mask, also = None, scale = 0.25, causal = False)",
        (("[false, true, false]]", "[false, false, false]]", ()),),  # a query that sees nothing
    ),
    "attention, of all, with a scale of its own": Case(
        MASKED.replace("%masked = where(%mask, %scaled, %lowest)\n", "")
        .replace("softmax(%masked)", "softmax(%scaled)")
        .replace("0.25", "0.3"),
        "attention(q = q, k = k, v = v, mask = None, also = None, scale = 0.3, causal = False)",
        (),
    ),
    "class_log_prob": Case(
        CLASSES,
        "class_log_prob(logits = logits, classes = x, axis = 1)",
        (
            ("log_softmax(%logits) {axis: 1}", "log_softmax(%logits) {axis: 2}", ()),
            ("log_softmax", "softmax", ()),
            ("take_along(%log_p, %index)", "take_along(%log_p, %z)", ()),
            ("-> (y: float[N, t])", "-> (y: float[N, t], m: float[N, 3, t])", ()),
        ),
    ),
    "class_log_prob, classes last": Case(
        CLASSES.replace("[N, 3, t]", "[N, t, 3]")
        .replace("[N, 1, t]", "[N, t, 1]")
        .replace("axis: 1", "axis: 2"),
        "class_log_prob(logits = logits, classes = x, axis = 2)",
        (),
    ),
    "class_log_prob, classes within": Case(
        CLASSES.replace("[N, 3, t]", "[N, t, 3, 2]")
        .replace("[N, 1, t]", "[N, t, 1, 2]")
        .replace("[N, t]", "[N, t, 2]")
        .replace("axis: 1", "axis: 2"),
        "class_log_prob(logits = logits, classes = x, axis = 2)",
        (),
    ),
    "binary_log_prob": Case(
        BINARY,
        "binary_log_prob(logits = l, x = x)",
        (
            ("%y = sub(%both, %plus)", "%y = add(%both, %plus)", ()),
            ("%y = sub(%both, %plus)", "%y = sub(%plus, %both)", ()),
            ("%plus = softplus(%l)", "%plus = softplus(%z)", ()),
            ("%both = mul(%x, %l)", "%both = mul(%z, %l)", ()),
        ),
    ),
    "linear": Case(
        LINEAR,
        "linear(x = x, weight = w, bias = c)",
        (
            ("%y = add(%product, %c)", "%y = add(%product, %d)", ("linear",)),
            ("%y = add(%product, %c)", "%y = sub(%product, %c)", ("linear",)),
            ("%product = mat_mul(%x, %turned)", "%product = mat_mul(%x, %w)", ()),
        ),
    ),
    "convolution": Case(
        CONV,
        "convolution(x = x, weight = w, bias = c)",
        (
            ("%bias = reshape(%c) {shape: [3, 1, 1]}", "%bias = reshape(%d) {shape: [1, 4, 1]}", ()),
            ("%bias = reshape(%c) {shape: [3, 1, 1]}", "%bias = reshape(%d) {shape: [4]}", ()),
        ),
    ),
    "convolution, transposed": Case(
        CONV.replace("conv(", "conv_transpose(").replace("w: float[3, 2, 1, 1]", "w: float[2, 3, 1, 1]"),
        "convolution(x = x, weight = w, bias = c)",
        (),
    ),
    "unbind": Case(
        UNBIND,
        "unbind(x = x, axis = 1)",
        (
            ("start: 2, stop: 3", "start: 0, stop: 1", ()),  # one element twice, another never
            ("%both = mul(%q, %k)", "%both = mul(%q, %q)", ("unbind",)),  # nobody reads one of them
            ("%s2 = slice(%x)", "%s3 = slice(%x) {axis: 1, start: 0, stop: 3}\n  %s2 = slice(%s3)", ()),
            ("%v = reshape(%s1)", "%again = reshape(%s1) {shape: [N, 4]}\n  %v = reshape(%s1)", ("split",)),
            (
                "%s1 = slice(%x) {axis: 1, start: 1, stop: 2}",
                "%s1 = slice(%z) {axis: 1, start: 0, stop: 1}",
                (),
            ),
        ),
    ),
    "split": Case(
        SPLIT,
        "split(x = x, axis = 1)",
        (
            ("start: 6, stop: 7", "start: 5, stop: 6", ()),  # they overlap
            ("{axis: 1, start: 0, stop: 3}", "{axis: 1, start: 0, stop: 6, step: 2}", ()),
            ("stop: 7}", "stop: 7}\n  %d = slice(%x) {axis: 1, start: 1, stop: 4}", ()),
            (
                "{axis: 1, start: 6, stop: 7}",
                "{axis: 1, start: 0, stop: 1}",
                (),
            ),  # the last one is not reached
            ("%c = slice(%x) {axis: 1, start: 6", "%z = neg(%x)\n  %c = slice(%z) {axis: 1, start: 6", ()),
        ),
    ),
}

CASES |= {name: Case(text(name), kernel, near) for name, (_, kernel, near) in ACTIVATIONS.items()}

__all__ = ["ATTENTION", "CASES", "LINEAR", "MASKED", "Case"]
