"""Axes by name: the declared order of axes permutes programs and changes nothing else; other axes go with the batch."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module, symbol
from mpcompile.ir.axes import Role, TwoReadings, default_axes, role, shown
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights as weights

SIZES = {"time": 5, "channel": 4, "height": 6, "width": 3, "node": 2}


def predicting(axes: tuple[str, ...], net: str) -> Module:
    declared = ", ".join(f"{name}: {SIZES[name]}" for name in axes)
    text = f"model m\ninput x: real[{declared}]\ntarget y: real[3]\ny ~ normal(loc = x -> {net}, scale = 1)\n"
    return lower(parse_text(text), Source("m.mp", text))


#: Nets that end in a vector, whatever the order of the axes before; the axes of what they read.
NETS = {
    "image": (
        ("channel", "height", "width"),
        "conv(4, 3, pad = same) -> group_norm(2) -> maxpool(2, 1) -> layer_norm -> gate -> global_avgpool -> dense(3)",
    ),
    "tokens": (
        ("channel", "height", "width"),
        "attention(2, over = [height, width]) -> residual(dense(4)) -> dense(2, over = height) -> global_avgpool"
        " -> dense(3)",
    ),
    "sequence": (
        ("time", "channel"),
        "shift -> conv1d(4, 2) -> attention(2, mask = causal) -> gru(3) -> last -> dense(3)",
    ),
    "lifted": (
        ("time", "channel", "node"),
        "lstm(2, bidirectional = true) -> dense(4) -> attention(1, over = node) -> last(over = node) -> last -> dense(3)",
    ),
    "video": (
        ("time", "channel", "height", "width"),
        "conv(2, 3) -> batch_norm -> prelu -> global_avgpool -> rnn(4) -> instance_norm -> last -> dense(3)",
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_the_declared_order_permutes_programs_only(name: str) -> None:
    axes, net = NETS[name]
    first = predicting(axes, net)
    w = {k: v + 0.1 * np.arange(v.size).reshape(v.shape) / v.size for k, v in weights(first).items()}
    x = np.random.default_rng(0).normal(size=(2, *(SIZES[a] for a in axes)))
    wanted = interpret(first.programs["predict"], w, {"x": x})["y"]
    for order in list(permutations(range(len(axes))))[1::3]:
        m = predicting(tuple(axes[i] for i in order), net)
        assert {k: p.shape for k, p in m.parameters.items()} == {
            k: p.shape for k, p in first.parameters.items()
        }
        found = interpret(m.programs["predict"], w, {"x": x.transpose(0, *(1 + i for i in order))})["y"]
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_axes_without_a_role_go_with_the_batch() -> None:
    net = "gru(3) -> last -> dense(3)"
    lifted = predicting(("time", "node", "channel"), "gru(3) -> last -> dense(3) -> last(over = node)")
    alone = predicting(("time", "channel"), net)
    w = weights(alone)
    x = np.random.default_rng(1).normal(size=(2, 5, 2, 4))
    found = interpret(lifted.programs["predict"], w, {"x": x})["y"]
    np.testing.assert_allclose(
        found, interpret(alone.programs["predict"], w, {"x": x[:, :, 1]})["y"], rtol=1e-9
    )


@pytest.mark.parametrize(
    ("axes", "net", "code", "says"),
    [
        (("channel", "height", "width"), "lstm(3) -> flatten -> dense(3)", "MP213", "an ordered axis"),
        (
            ("channel", "height", "width"),
            "attention(2) -> flatten -> dense(3)",
            "MP213",
            "several: height, width",
        ),
        (("channel",), "conv(3, 3) -> dense(3)", "MP213", "axes of space"),
        (("time", "channel"), "gru(3, over = channel) -> flatten -> dense(3)", "MP213", "at each place"),
        (
            ("time", "node", "channel"),
            "dense(3, over = place) -> flatten -> dense(3)",
            "MP213",
            "no such axis",
        ),
        (("time", "channel"), "residual(last) -> flatten -> dense(3)", "MP214", "other axes"),
        (("channel",), "reshape([2, 2]) -> flatten -> dense(3)", "MP212", "two readings"),
    ],
)
def test_is_refused(axes: tuple[str, ...], net: str, code: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        predicting(axes, net)
    (found,) = caught.value.diagnostics
    assert found.code == code and says in found.message


def test_default_names() -> None:
    time = symbol("time")
    assert default_axes([None, None], [time, 80]) == ("time", "channel")
    assert default_axes([None] * 3, [3, 8, 8]) == ("channel", "height", "width")
    assert default_axes([None] * 2, [8, 8], True) == ("height", "width")
    assert default_axes(["token", None], [4, 8]) == ("token", "channel")
    for sizes, categories in (([12, 16], False), ([12], True), ([3, 8, 8], True)):
        with pytest.raises(TwoReadings):
            default_axes([None] * len(sizes), sizes, categories)
    assert role("words", symbol("words")) is Role.ORDERED and role("token", 4) is Role.PLAIN
    assert shown(("time", "channel"), (time, 16)) == "[time, channel: 16]"
