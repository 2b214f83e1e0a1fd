"""What is behind the end of a sequence changes nothing: proved of every model with a length, and held to numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from typing import Any

import numpy as np
import pytest
from specs_under_test import NAMES, module
from written import lowered

from mpcompile import api, ops
from mpcompile.analysis.padding import FALSE, NEGINF, TRUE, ZERO, Parts, Walk
from mpcompile.analysis.padding.parts import Size
from mpcompile.analysis.verdict import Status, Verdict
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import (
    Array,
    Builder,
    DType,
    Example,
    Graph,
    Module,
    Node,
    NoRule,
    Type,
    TypeMismatch,
    Value,
    float_type,
    substitute,
    symbol,
)
from mpcompile.layers import Context
from mpcompile.lowering import lower
from mpcompile.ops import PRIMITIVES
from mpcompile.ops._base import type_of
from mpcompile.text import parse

#: Real steps, and steps behind them.
REAL, PADS = 4, (0, 1, 6)
LENGTH = "input x: real[time, {}]\ncondition length: integer(1..time)\n"
TAG = (
    LENGTH.format(3)
    + "target y: category(3)[time]\ny ~ categorical(logits = x -> dense(4) -> {} -> dense(3))"
)
CLASS = (
    LENGTH.format(3)
    + "target y: category(3)\ny ~ categorical(logits = x -> dense(4) -> {} -> last -> dense(3))"
)
OWN = LENGTH.format(2) + "x ~ autoregressive {{ dense(4) -> shift -> {} -> dense(4) }}"
#: Every layer that takes a sequence, behind a layer whose bias fills what is behind the end.
NETS = {
    "conv1d, same": (TAG, "conv1d(4, 3, pad = same)"),
    "conv1d, same, even kernel": (TAG, "conv1d(4, 4, pad = same)"),
    "conv1d, twice": (TAG, "conv1d(4, 3, pad = same) -> tanh -> conv1d(4, 3, pad = same) -> tanh"),
    "conv1d, dilated": (TAG, "conv1d(4, 3, dilation = 2, pad = same)"),
    "conv1d, number": (CLASS, "conv1d(4, 3, pad = 2)"),
    "conv1d, valid": (CLASS, "conv1d(4, 3, pad = valid)"),
    "conv1d, valid then same": (CLASS, "conv1d(4, 2, pad = valid) -> conv1d(4, 3, pad = same)"),
    "conv1d, causal": (OWN, "conv1d(4, 3)"),
    "stretch": (CLASS, "stretch(2)"),
    "stretch, then a loop": (CLASS, "stretch(2) -> gru(4)"),
    "stretch, then attention": (CLASS, "stretch(3) -> attention(2)"),
    "stretch, then a convolution": (CLASS, "stretch(2) -> conv1d(4, 3, pad = same)"),
    "attention": (TAG, "attention(2)"),
    "attention, causal": (OWN, "attention(2, mask = causal)"),
    "rnn": (TAG, "rnn(4)"),
    "lstm, both ways": (TAG, "lstm(4, bidirectional = true)"),
    "gru, state": (TAG, "gru(4, output = state) -> over(time)"),
    "last": (TAG, "last -> over(time)"),
    "shift": (OWN, "shift(3)"),
    "position": (TAG, "position(40) -> layer_norm"),
    "several axes": (TAG, "add(x -> conv1d(4, 3, pad = same)) -> residual(dense(4) -> tanh)"),
}


def verdict(m: Module) -> Verdict:
    (found,) = (v for v in api.verdicts(m) if v.claim.kind == "padding")
    return found


def draw(m: Module, name: str, v: Value, shape: tuple[int, ...], seed: int) -> Array:
    rng, f = np.random.default_rng(seed), m.fields.get(name)
    if f is not None and f.counts:
        return np.full(shape, float(REAL))
    if v.dtype is DType.INT or (f is not None and f.base != "real"):
        whole = rng.integers(0, (f.classes if f else None) or 2, shape) + (f.low if f else 0)
        return whole if v.dtype is DType.INT else whole.astype(float)
    return rng.uniform(0.05, 0.95, shape)


def results(m: Module, graph: Graph, pad: int) -> dict[str, Array]:
    """What is before the end, with other contents behind it for every number of steps there."""
    counted = {f.counts for f in m.fields.values() if f.counts}
    env = {"N": 2, **{s: REAL + pad if s in counted else 5 for s in graph.symbols() if s != "N"}}
    real = {s: REAL if s in counted else n for s, n in env.items()}

    def before(type_: Type) -> tuple[slice, ...]:
        return tuple(slice(max(0, substitute(s, real))) for s in type_.shape)

    given: dict[str, Array] = {}
    for name, v in graph.inputs.items():
        given[name] = draw(m, name, v, v.type.concrete(env), 100 + pad)
        given[name][before(v.type)] = draw(m, name, v, v.type.concrete(real), 1)
    rng = np.random.default_rng(0)
    weights = {k: rng.normal(0, 0.5, p.shape) for k, p in m.parameters.items()}
    with np.errstate(all="ignore"):
        found = interpret(graph, weights, given, env)
    return {k: found[k][before(v.type)] for k, v in graph.outputs.items()}


def changed(m: Module) -> list[str]:
    """Outputs that padding changes."""
    out = []
    for name, graph in m.programs.items():
        base, *others = (results(m, graph, pad) for pad in PADS)
        out += [f"{name}.{k}" for k in base for o in others
                if not np.allclose(o[k], base[k], rtol=1e-9, atol=1e-9, equal_nan=True)]  # fmt: skip
    return out


@pytest.mark.parametrize(("model", "net"), NETS.values(), ids=NETS)
def test_layers_over_time(model: str, net: str) -> None:
    m = lowered("model m\n" + model.format(net))
    assert verdict(m).status is Status.PROVED
    assert changed(m) == []


@pytest.mark.parametrize("name", [n for n in NAMES if any(f.counts for f in module(n).fields.values())])
def test_specs_with_a_length(name: str) -> None:
    assert verdict(module(name)).status is Status.PROVED
    assert changed(module(name)) == []


@pytest.mark.parametrize("net", ["conv1d(4, 3, pad = same)", "conv1d(4, 3, pad = 2) -> last -> over(time)"])
def test_a_layer_that_forgets_the_end_is_refuted(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "kept", lambda self, x: x)
    refuted("model m\n" + TAG.format(net), "conv1d")


@pytest.mark.parametrize("net", ["", "conv1d(4, 2) -> ", "stretch(2) -> "])
def test_the_last_step_of_all_is_refuted(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "length_of", lambda self, x: None)
    refuted("model m\n" + CLASS.format(net + "tanh"), "last")


def fresh(text: str) -> Module:
    """As `lowered`, and not shared."""
    return lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})


def refuted(text: str, layer: str) -> None:
    m = fresh(text)
    found = verdict(m)
    assert found.status is Status.REFUTED and changed(m)
    (finding,) = found.diagnostics
    assert finding.code == "MP312" and f"`{layer}" in finding.message
    assert text.splitlines()[finding.span.line - 1][finding.span.column - 1 :].startswith(layer)
    with pytest.raises(SpecError):
        api.require_proven(m, allow_unproven=True)


def test_a_model_without_a_length_promises_nothing() -> None:
    m = lowered("model m\ninput x: real[time, 2]\nx ~ autoregressive { shift -> dense(4) }")
    assert not [c for c in m.claims if c.kind == "padding"]


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 3), (0, symbol("time") - 1), (symbol("k"), symbol("time")), (symbol("time") - 1, symbol("time"))],
)
def test_a_slice_that_may_reach_behind_the_end_is_not_what_is_before_it(start: Size, stop: Size) -> None:
    """There may be fewer steps than it takes, and it may begin behind them."""
    b = Builder(Graph("g"))
    node = b.graph.node(
        b.emit(ops.Slice(1, start, stop), b.input("x", float_type(symbol("N"), symbol("time"))))
    )
    (found,) = Walk(b.graph, {"time": "n"}).node(node, [Parts(real=ZERO, behind={1: None})])
    inside = start == 0 and not isinstance(stop, int)
    assert (found.clean, found.real) == ((True, ZERO) if inside else (False, None))


COUNTS_ALL = """
program f(length: float[N], x: float[N, time]) -> (y: float[N]) {
  %zero = constant 0.0 : float[]
  %start = broadcast_to(%zero) {shape: [N]}
  %y = scan(%start) {carries: 1, length: time} : float[N]
    body body(carry_0: float[N], step: int[]) -> (carry_0: float[N]) {
      %carry_0 = input carry_0 : float[N]
      %step = input step : int[]
      %one = constant 1.0 : float[]
      %next = add(%carry_0, %one)
      return carry_0 = %next
    }
  return y = %y
}
"""


def test_a_loop_that_goes_on_behind_the_end_is_blamed_itself() -> None:
    """Where no operation of its body reads what is behind the end, its number of steps does."""
    graph = parse(COUNTS_ALL)
    walk = Walk(graph, {"time": "length"})
    assert not walk.known[graph.outputs["y"]].clean
    assert [r.node.op.name for r in walk.reads] == ["scan"]


# --- mutants: every place that masks is found by running, and left out in turn ---

#: Models in which every place that masks has an effect.
MASKED = {
    "tagging": TAG.format("conv1d(4, 3, pad = same) -> attention(2) -> lstm(4, bidirectional = true)"),
    "classes": CLASS.format("conv1d(4, 3, pad = 2) -> stretch(2) -> gru(4)"),
    "sequence": OWN.format("attention(2, mask = causal) -> conv1d(4, 3)"),
    "image in every step": "input x: real[time, 2, place: 3]\ncondition length: integer(1..time)\nx ~ normal(0, 2)",
    "latent": LENGTH.format(2) + "latent z ~ normal(x -> dense(4)) prior normal(0, 1)\nx ~ normal(z -> dense(4))",
    "recurrence": LENGTH.format(2)
    + "recurrence over time { carry h[3] = 0; x ~ normal(h -> dense(4)); h = gru(x, h) }",
    "steps with a latent": LENGTH.format(2)
    + "recurrence over time { carry h[3] = 0; latent z ~ normal(dense(4)(concat(x, h))) prior normal(dense(4)(h))\n"
    "  x ~ normal(z -> dense(4)); h = gru(x, h) }",
}  # fmt: skip
#: Where masks are taken whose loss shows in numbers: file and function of the caller.
SHOW = {
    ("convolution.py", "forward"), ("sequence.py", "forward"), ("attention.py", "_masked"), ("recurrent.py", "_scan"),
    ("base.py", "log_prob"), ("base.py", "kl"), ("recurrence.py", "<dictcomp>"),
}  # fmt: skip
MASKS = ("kept", "present_at", "length_of")
Site = tuple[str, str]


@contextmanager
def masks(left_out: Site | None, found: set[Site]) -> Iterator[None]:
    """Note who asks for a mask; what is asked for at `left_out` is not there."""
    real = {name: getattr(Context, name) for name in MASKS}

    def asked(name: str) -> Callable[..., Value | None]:
        def ask(self: Context, x: Value) -> Value | None:
            caller = sys._getframe(1).f_code
            site = (caller.co_filename.rsplit("/", 1)[-1], caller.co_name)
            if "kept" not in site and site[1] not in MASKS:
                found.add(site)
            if site == left_out:
                return x if name == "kept" else None
            answer: Value | None = real[name](self, x)
            return answer

        return ask

    try:
        for name in MASKS:
            setattr(Context, name, asked(name))
        yield
    finally:
        for name, method in real.items():
            setattr(Context, name, method)


def test_every_mask_that_is_left_out_is_found() -> None:
    shown = set[Site]()
    for text in MASKED.values():
        found = set[Site]()
        with masks(None, found):
            assert verdict(fresh(f"model m\n{text}")).status is Status.PROVED
        for site in sorted(found):
            with masks(site, set()):
                mutant = fresh(f"model m\n{text}")
            answer = verdict(mutant)
            if changed(mutant):
                assert answer.status is not Status.PROVED, (site, text)
                assert {d.code for d in answer.diagnostics} <= {"MP312", "MP309"}
                shown.add(site)
    assert shown == SHOW


@pytest.mark.parametrize(
    ("net", "caret"),
    [
        ("{}", "conv1d(4, 3, pad = same)"), ("attention(2) -> {} -> gru(4)", "conv1d(4, 3, pad = same)"),
        ("residual(layer_norm -> residual(tanh -> {}) -> dense(4))", "conv1d(4, 3, pad = same)"),
        ("add(x -> dense(4) -> last -> over(time)) -> add(x -> dense(4) -> {} -> dense(4))", "conv1d(4, 3, pad = same)"),
    ],
)  # fmt: skip
def test_the_caret_is_at_the_layer_that_reads_behind_the_end(net: str, caret: str) -> None:
    """Under the layer alone: no block, residual or statement around it, and no sound layer before it."""
    text = TAG.format(net.format("conv1d(4, 3, pad = same)"))
    with masks(("convolution.py", "forward"), set()):
        mutant = fresh(f"model m\n{text}")
    (finding,) = verdict(mutant).diagnostics
    span, lines = finding.span, f"model m\n{text}".splitlines()
    assert finding.code == "MP312"
    assert lines[span.line - 1][span.column - 1 : span.end_column - 1] == caret


# --- every primitive ---

FILL = {ZERO: 0.0, NEGINF: -np.inf, TRUE: True, FALSE: False}
#: What is known of the steps before the end of an operand, and of those behind it.
KNOWN = {
    "f": [(None, None), (None, ZERO), (None, NEGINF), (ZERO, ZERO), (ZERO, None), (NEGINF, NEGINF)],
    "i": [(None, None)],
    "b": [(None, None), (None, FALSE), (TRUE, TRUE)],
}


def ended(example: Example) -> Iterator[tuple[Node, list[int | None]]]:
    """The primitive on operands one axis of each of which ends, where it takes them."""
    for axes in product(*([None, *range(np.ndim(x))] for x in example.inputs)):
        b = Builder(Graph("g"))
        shapes = [
            tuple(symbol("time") if a == own else n for a, n in enumerate(np.shape(x)))
            for x, own in zip(example.inputs, axes, strict=True)
        ]
        values = [
            b.input(f"x{i}", Type(type_of(np.asarray(x)).dtype, s))
            for i, (x, s) in enumerate(zip(example.inputs, shapes, strict=True))
        ]
        if any(a is not None for a in axes):
            with suppress(TypeMismatch, ValueError):
                yield b.graph.add(example.op, values, b.span, ()), list(axes)


def padded(x: Array, axis: int | None, known: tuple[str | None, str | None], pad: int) -> Array:
    """An operand with some steps behind its end: of one kind, or taken from anywhere."""
    if axis is None:
        return x
    real, behind = known
    x = x if real is None else np.full_like(x, FILL[real])
    index = np.random.default_rng(pad).integers(0, x.shape[axis], pad)
    more = np.take(example_of(x), index, axis)
    return np.concatenate([x, more if behind is None else np.full_like(more, FILL[behind])], axis)


def example_of(x: Array) -> Array:
    """Other contents of the same kind: indices stay valid."""
    return 0.7 - x if x.dtype.kind == "f" and np.isfinite(x).all() else ~x if x.dtype.kind == "b" else x


@pytest.mark.parametrize("name", sorted(set(PRIMITIVES) - {"scan"}))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_primitive_keeps_clean_is_clean(name: str) -> None:
    """Before the end nothing changes with what is behind and with how much; what is said of the rest is so."""
    for example in PRIMITIVES[name].examples():
        arrays = [np.asarray(x) for x in example.inputs]
        for node, axes in ended(example):
            sizes = {x.shape[a] for x, a in zip(arrays, axes, strict=True) if a is not None}
            if len(sizes) > 1:
                continue
            (real,) = sizes
            choices = (
                KNOWN[x.dtype.kind] if a is not None else [(None, None)]
                for x, a in zip(arrays, axes, strict=True)
            )
            for known in product(*choices):
                held(node, arrays, axes, known, real)


def held(node: Node, arrays: list[Array], axes: list[int | None], known: Any, real: int) -> None:
    parts = [Parts(real=r, behind={} if a is None else {a: k}) for (r, k), a in zip(known, axes, strict=True)]
    walk = Walk(Graph("empty"), {"time": "n"})
    try:
        (found, *_) = walk.node(node, parts)
    except NoRule:
        return
    base, where = None, f"{node.op} {axes} {known}"
    for pad in (0, 1, 3):
        op, env = node.op.bind({"time": real + pad}), {"time": real}
        try:
            y = op.evaluate(*(padded(x, a, k, pad) for x, a, k in zip(arrays, axes, known, strict=True)))[0]
        except ValueError:  # an update that does not fit
            return
        before = tuple(slice(max(0, substitute(s, env))) for s in node.types[0].shape)
        base = y[before] if base is None else base
        same = (
            np.isclose(y[before], base) | np.isnan(y[before]) | np.isnan(base)
        )  # zero times anything is zero
        assert not found.clean or same.all(), where
        if found.clean and found.real is not None:
            assert ((y[before] == FILL[found.real]) | np.isnan(y[before])).all(), where
        for a, kind in found.behind.items() if found.clean else ():
            behind = y[(*(slice(None),) * a, slice(before[a].stop, None))]
            assert kind is None or ((behind == FILL[kind]) | (behind != behind)).all(), where
