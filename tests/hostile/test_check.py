"""Specs that parse and stand for something huge: `mpcompile check` refuses each with a place, quickly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import warm

SECONDS = 1.5  # without the imports
MEGABYTES = 500
KILLED_AFTER = 3


def net(body: str, shape: str = "4", head: str = "") -> str:
    return (
        f"model m\ninput x: real[{shape}]\ntarget y: binary[1]\n{head}y ~ bernoulli(logits = x -> {body})\n"
    )


def masked(body: str, shape: str = "4", head: str = "mask up = degrees(order = natural)\n") -> str:
    return f"model m\ninput x: binary[{shape}]\n{head}x ~ autoregressive(order = natural) {{ {body} }}\n"


def flow(body: str, shape: str = "4") -> str:
    return f"model m\ninput x: real[{shape}]\nx ~ flow(base = normal) {{ {body} }}\n"


def text(body: str, classes: str = "8") -> str:
    head = f"model m\ninput x: category({classes})[time]\n"
    return f"{head}x ~ autoregressive(likelihood = categorical) {{ {body} }}\n"


def doubled(kind: str, first: str, again: str, count: int) -> str:
    return f"{kind}0 = {first}\n" + "".join(
        f"{kind}{i} = {again.format(i - 1)}\n" for i in range(1, count + 1)
    )


#: name -> (spec, code); an empty code stands for any.
REFUSED = {
    "axis": (net("dense(1)", "10**12"), "MP112"),
    "axes": (net("dense(1)", "4096, 4096, 4096"), "MP112"),
    "size": (net("dense(9**9**9)"), "MP112"),
    "units": (net("dense(10**15) -> dense(1)"), "MP112"),
    "classes": (text("embedding(8) -> shift -> dense(4)", "10**9"), "MP112"),
    "band": (masked("dense(4, mask = band(10**17, 10**17))"), "MP112"),
    "repeat": (net("repeat i in 1..10**9 { dense(4) } -> dense(1)"), "MP120"),
    "repeat_nested": (net("repeat i in 1..4000 { repeat j in 1..4000 { dense(4) } } -> dense(1)"), "MP120"),
    "repeat_flow": (flow("repeat i in 1..10**9 { affine }"), "MP120"),
    "repeat_flow_nested": (flow("repeat i in 1..4000 { repeat j in 1..4000 { affine } }"), "MP120"),
    "doubled_blocks": (
        net("b30", head=doubled("block b", "dense(4) -> dense(4)", "b{0} -> b{0}", 30)), "MP120",
    ),
    "self_net": (net("f", head="net f = f\n"), ""),
    "mutual_nets": (net("f", head="net f = g\nnet g = f\n"), ""),
    "self_block": (net("b(1)", head="block b(a) = b(a + 1)\n"), ""),
    "self_mask": (masked("dense(4, mask = a)", head="mask a = a\n"), ""),
    "mutual_masks": (masked("dense(4, mask = a)", head="mask a = ~b\nmask b = ~a\n"), ""),
    "doubled_masks": (
        masked("dense(4, mask = m40)", head=doubled("mask m", "band(1, 1)", "m{0} & m{0}", 40)), "",
    ),
    "repeat_of_nothing": (
        net("repeat i in 1..4000 { repeat j in 1..4000 { repeat k in 2..1 { relu } } } -> dense(1)"), "MP120",
    ),
    "repeat_of_nothing_in_a_flow": (
        flow("affine\n repeat i in 1..4000 { repeat j in 1..4000 { repeat k in 2..1 { affine } } }"), "MP120",
    ),
    "long_flow": (flow("repeat i in 1..4000 { affine }"), ""),
    "deep": (net("repeat i in 1..4000 { dense(4) } -> dense(1)"), ""),
    "resnet": (net("resnet(4, 10**7) -> flatten -> dense(1)", "1, 8, 8"), ""),
    "weights": (net("dense(2**24) -> dense(2**24) -> dense(1)"), "MP112"),
    "kernel": (net("conv(8, 10**6, pad = same) -> flatten -> dense(1)", "1, 8, 8"), "MP112"),
    "table": (text("embedding(2**24) -> shift -> dense(2**20)", "2**20"), "MP112"),
    "mask": (masked("dense(2**24, mask = up) -> dense(4, mask = strict(up))"), "MP112"),
    "wide_masks": (
        masked("dense(30_000, mask = up) -> dense(30_000, mask = up) -> dense(784, mask = strict(up))", "784"), "",
    ),
    "masked_kernel": (masked("conv(1, 4001, pad = same, mask = causal2d(type = A))", "1, 8, 8"), "MP112"),
    "variables": (masked("dense(100_000, mask = strict(up))", "100_000"), ""),
    "flow_of_many": (flow("coupling(mask = checkerboard, net = dense(8))", "2**24"), ""),
    "attention": (text("embedding(2**24) -> shift -> attention(2**24) -> dense(8)"), ""),
}  # fmt: skip


CASES = [pytest.param(*case, id=name) for name, case in REFUSED.items()]


@pytest.mark.parametrize(("spec", "code"), CASES)
def test_is_refused_quickly_with_a_place(spec: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "huge.mp"
    path.write_text(spec, encoding="utf-8")
    done = warm.run(
        warm.command, "check", str(path), "--output-format", "concise",
        folder=tmp_path, megabytes=MEGABYTES, seconds=KILLED_AFTER,
    )  # fmt: skip
    assert done.status == 1, done.err[-2000:]
    assert "Traceback" not in done.err
    lines = done.out.splitlines()
    assert lines and all(re.match(r"\S+huge\.mp:[1-9]\d*:[1-9]\d*: MP\d{3} ", line) for line in lines)
    assert code in done.out
    # processor time, not the clock: the machine is shared
    assert done.cpu < SECONDS, f"{done.cpu:.1f} s of processor time, {done.wall:.1f} s of clock"
