"""Families of specs that grow with one number, and the processor time of each step of the compiler on one of them.

The tests and `benchmarks/growth.py` ask both how the time of each step grows with the number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Family = Callable[[int], str]


def net(body: str, shape: str = "8", head: str = "") -> str:
    """A net from x to one bit."""
    return (
        f"model m\ninput x: real[{shape}]\ntarget y: binary[1]\n{head}y ~ bernoulli(logits = x -> {body})\n"
    )


def masked(body: str, shape: str = "8", head: str = "mask up = degrees(order = natural)\n") -> str:
    """A masked density of bits."""
    return f"model m\ninput x: binary[{shape}]\n{head}x ~ autoregressive {{ {body} }}\n"


def flow(body: str, shape: str = "8") -> str:
    """A flow of real numbers."""
    return f"model m\ninput x: real[{shape}]\nx ~ flow(base = normal) {{ {body} }}\n"


def text(body: str, head: str = "", check: str = "") -> str:
    """A density of a sequence of eight symbols."""
    return (
        f"model m\ninput x: category(8)[time]\n{head}x ~ autoregressive(likelihood = categorical) "
        f"{{ embedding(8) -> shift -> {body} -> dense(8) }}\n{check}"
    )


def numbered(count: int, line: str, between: str = "\n") -> str:
    """A line for each i from 0 on, with `{i}` and, for the one before it, `{j}`."""
    return between.join(line.format(i=i, j=i - 1) for i in range(count))


#: Families that grow in the number of layers, statements or names.
DEEP: dict[str, Family] = {
    "dense": lambda n: net(f"repeat i in 1..{n} {{ dense(8) -> relu }} -> dense(1)"),
    "written_out": lambda n: net("dense(8) -> relu\n  -> " * n + "dense(1)"),
    "affine": lambda n: net(f"repeat i in 1..{n} {{ dense(8) }} -> dense(1)"),
    "residual": lambda n: net(f"repeat i in 1..{n} {{ residual(layer_norm -> dense(8) -> relu) }} -> dense(1)"),
    "masked": lambda n: masked(
        f"repeat i in 1..{n} {{ dense(16, mask = up) -> relu }} -> dense(8, mask = strict(up))"
    ),
    "complete": lambda n: masked(
        f"repeat i in 1..{n} {{ dense(16, mask = up) -> relu }} -> dense(8, mask = strict(up))"
    ) + "check { complete(x) }\n",
    "couplings": lambda n: flow(
        f"repeat i in 1..{n} {{ coupling(mask = checkerboard(parity = i % 2), net = dense(8) -> relu) }}"
    ),
    "splines": lambda n: flow(
        f"repeat i in 1..{n} "
        "{ coupling(mask = checkerboard(parity = i % 2), law = spline(bins = 4), net = dense(8)) }"
    ),
    "maf": lambda n: flow(f"repeat i in 1..{n} {{ autoregressive(hidden = [16]) -> actnorm -> permute(reverse) }}"),
    "lstm": lambda n: text(f"repeat i in 1..{n} {{ lstm(8) }}"),
    "gru_complete": lambda n: text(f"repeat i in 1..{n} {{ gru(8) }}", check="check { complete(x) }\n"),
    "transformer": lambda n: text(
        f"repeat i in 1..{n} {{ residual(layer_norm -> attention(2, mask = causal)) "
        "-> residual(layer_norm -> dense(32) -> gelu -> dense(8)) } -> layer_norm",
        check="check { complete(x) }\n",
    ),
    "attention": lambda n: text(
        f"repeat i in 1..{n} {{ residual(layer_norm -> attention(2, mask = causal)) -> residual(dense(8) -> gelu) }}",
        check="check { path_length(x) >= 1; receptive_field(x) >= 1 }\n",
    ),
    "attend_complete": lambda n: text(
        f"repeat i in 1..{n} {{ residual(layer_norm -> attention(2, mask = causal)) }}",
        check="check { complete(x) }\n",
    ),
    "conv1d": lambda n: text(
        f"repeat i in 1..{n} {{ conv1d(8, 2) -> relu }}",
        check="check { receptive_field(x) >= 1; no_blind_spot(x) }\n",
    ),
    "conv1d_256": lambda n: text(f"repeat i in 1..{n} {{ conv1d(4, 256) -> relu }}"),
    "wavenet": lambda n: text(
        f"repeat i in 0..{n - 1} {{ residual(conv1d(16, 2, dilation = 2 ** (i % 10)) -> gate -> dense(8)) }}",
        check="check { receptive_field(x) >= 1 }\n",
    ),
    "conv": lambda n: net(
        f"repeat i in 1..{n} {{ conv(4, 3, pad = same) -> relu }} -> flatten -> dense(1)", "1, 8, 8"
    ),
    "unet_like": lambda n: net(
        f"repeat i in 1..{n} {{ residual(conv(4, 3, pad = same) -> batch_norm -> relu -> conv(1, 3, pad = same)) }} "
        "-> flatten -> dense(1)", "1, 8, 8",
    ),
    "pixelcnn": lambda n: masked(
        "conv(8, 3, pad = same, mask = causal2d(type = A)) -> relu -> "
        f"repeat i in 1..{n} {{ conv(8, 3, pad = same, mask = causal2d(type = B)) -> relu }} -> conv(1, 1)",
        "1, 8, 8", "",
    ),
    "glow": lambda n: flow(
        f"repeat i in 1..{n} {{ actnorm -> conv1x1 -> coupling(mask = channel, net = conv(4, 3, pad = same)) }}",
        "4, 4, 4",
    ),
    "nested_nets": lambda n: net(f"f{n - 1}", head=numbered(n, "net f{i} = f{j} -> relu").replace(
        "f-1 -> relu", "dense(1)") + "\n"),
    "blocks": lambda n: net(
        f"repeat i in 1..{n} {{ b(8) }} -> dense(1)", head="block b(w) = dense(w) -> relu -> dense(w)\n"
    ),
    "long_sum": lambda n: net("dense(4)\n  -> add(" + ", ".join(["x -> dense(4)"] * n) + ") -> dense(1)"),
    "concat": lambda n: net("concat(" + ",\n ".join(["x -> dense(2)"] * n) + ") -> dense(1)"),
    "skips": lambda n: net(
        "dense(4) as s0\n" + "".join(f"  -> add(s{i}) -> dense(4) as s{i + 1}\n" for i in range(n)) + "  -> dense(1)"
    ),
    "parameters": lambda n: net(
        "dense(" + " +\n ".join(f"p{i}" for i in range(min(n, 100))) + ") -> dense(1)"
    ).replace("model m", "model m(" + ",\n ".join(f"p{i} = 1" for i in range(n)) + ")"),
    "variables": lambda n: "model m\n" + numbered(n, "input x{i}: real[2]") + "\n" + numbered(
        n, "x{i} ~ normal(0, 1)") + "\n",
    "targets": lambda n: "model m\ninput x: real[4]\n" + numbered(n, "target y{i}: real[1]") + "\n" + numbered(
        n, "y{i} ~ normal(x -> dense(1), 1)") + "\n",
    "chain": lambda n: "model m\n" + numbered(n + 1, "input x{i}: real[2]") + "\nx0 ~ normal(0, 1)\n" + "".join(
        f"x{i + 1} ~ normal(x{i} -> dense(2), 1)\n" for i in range(n)),
    "densities": lambda n: "model m\nmask up = degrees(order = natural)\n" + numbered(
        n, "input x{i}: binary[4]") + "\n" + numbered(
        n, "x{i} ~ autoregressive {{ dense(8, mask = up) -> relu -> dense(4, mask = strict(up)) }}") + "\n",
    "latents": lambda n: "model m\ninput x: binary[8]\n" + numbered(
        n, "latent z{i} ~ normal(x -> dense(4)) prior normal(0, 1)") + "\nx ~ bernoulli(logits = "
        + " +\n ".join(f"(z{i} -> dense(8))" for i in range(min(n, 60))) + ")\n",
    "ladder": lambda n: (
        "model m\ninput x: binary[8]\nlatent z0 ~ normal(x -> dense(4)) prior normal(0, 1)\n") + "".join(
        f"latent z{i} ~ normal(concat(x, z{i - 1}) -> dense(4)) prior normal(z{i - 1} -> dense(4))\n"
        for i in range(1, n)) + f"x ~ bernoulli(logits = z{n - 1} -> dense(8))\n",
    "conditions": lambda n: "model m\ninput y: real[2]\n" + numbered(n, "condition c{i}: real[2]") + "\n" + (
        "y ~ normal(concat(" + ",\n ".join(f"c{i}" for i in range(n)) + ") -> dense(4))\n"),
    "recurrence": lambda n: (
        "model m\ninput x: binary[time, 4]\nrecurrence over time {\n  carry h[4] = 0\n"
        f"  x ~ bernoulli(logits = h -> repeat i in 1..{n} {{ dense(4) -> relu }})\n  h = gru(x, h)\n}}\n"
    ),
    "carries": lambda n: (
        "model m\ninput x: binary[time, 4]\nrecurrence over time {\n" + numbered(n, "  carry h{i}[4] = 0") + "\n"
        "  x ~ bernoulli(logits = h0 -> dense(4))\n" + numbered(n, "  h{i} = gru(x, h{i})") + "\n}\n"
    ),
    "members": lambda n: masked(
        "dense(16, mask = up) -> relu -> dense(8, mask = strict(up))"
    ).replace("autoregressive {", f"autoregressive(order = random, orders = {min(n, 256)}) {{"),
    "claims": lambda n: masked(
        "dense(16, mask = up) -> relu -> dense(8, mask = strict(up))"
    ) + "check {\n" + numbered(n, "  parameters <= {i}000000") + "\n}\n",
    "masks": lambda n: masked(
        f"dense(8, mask = m{n - 1} & up) -> dense(8, mask = strict(up))",
        head="mask up = degrees(order = natural)\nmask m0 = band(8, 8)\n" + "".join(
            f"mask m{i} = m{i - 1} & band(8, 8)\n" for i in range(1, n)),
    ),
    "comments": lambda n: net("dense(1)") + numbered(n, "# a line about x, number {i}") + "\n",
}  # fmt: skip

#: Families that grow in a size.
WIDE: dict[str, Family] = {
    "made": lambda n: masked(f"dense({n}, mask = up) -> relu -> dense({n}, mask = strict(up))", str(n)),
    "made_complete": lambda n: masked(
        f"dense({n}, mask = up) -> relu -> dense({n}, mask = strict(up))", str(n)) + "check { complete(x) }\n",
    "made_20": lambda n: masked(
        f"repeat i in 1..20 {{ dense({n}, mask = up) -> relu }} -> dense(64, mask = strict(up))", "64"),
    "made_random": lambda n: masked(
        f"dense({n}, mask = up) -> relu -> dense({n}, mask = strict(up))", str(n),
        "mask up = degrees(order = random)\n").replace("autoregressive {", "autoregressive(order = random) {"),
    "flow": lambda n: flow("coupling(mask = checkerboard, net = dense(8) -> relu)\n"
                           "coupling(mask = checkerboard(parity = 1), net = dense(8) -> relu)", str(n)),
    "maf_wide": lambda n: flow(f"autoregressive(hidden = [{n}]) -> permute(reverse)", str(n)),
    "kernel": lambda n: net(f"conv(1, {n}, pad = same) -> flatten -> dense(1)", "1, 8, 8"),
    "kernel1d": lambda n: text(f"conv1d(8, {n})", check="check { no_blind_spot(x); receptive_field(x) >= 1 }\n"),
    "dilation": lambda n: text(f"conv1d(8, 2, dilation = {n})"),
    "shift": lambda n: text(f"shift({n}) -> conv1d(8, 2)"),
    "image": lambda n: net(
        "conv(4, 3, pad = same) -> relu -> conv(1, 3, pad = same) -> flatten -> dense(1)", f"1, {n}, {n}"),
    "strided": lambda n: net(
        "conv(4, 3, pad = same, stride = 2) -> relu -> maxpool(2) -> flatten -> dense(1)", f"1, {n}, {n}"),
    "picture": lambda n: masked(
        "conv(8, 3, pad = same, mask = causal2d(type = A)) -> relu -> conv(8, 3, pad = same, mask = causal2d(type = B)) "
        "-> relu -> conv(1, 1)", f"1, {n}, {n}", ""),
    "picture_complete": lambda n: masked(
        "conv(8, 3, pad = same, mask = causal2d(type = A)) -> relu -> conv(1, 1)", f"1, {n}, {n}", ""
    ) + "check { no_blind_spot(x); complete(x) }\n",
    "positions": lambda n: text(f"position({n}) -> attention(2, mask = causal)"),
    "fixed_length": lambda n: text("attention(2, mask = causal)").replace("[time]", f"[{n}]"),
    "fixed_lstm": lambda n: text("lstm(8)").replace("[time]", f"[{n}]"),
    "fixed_conv": lambda n: text("conv1d(8, 2)").replace("[time]", f"[{n}]"),
    "classes": lambda n: text("gru(8)").replace("category(8)", f"category({n})").replace("dense(8)", f"dense({n})"),
    "nade": lambda n: f"model m\ninput x: binary[{n}]\nx ~ autoregressive {{ nade(8) }}\n",
    "components": lambda n: f"model m\ninput x: real[4]\nx ~ flow(base = mixture(components = {n})) {{ affine }}\n",
    "stretch": lambda n: (
        f"model m\ninput x: category(8)[{n} * frames]\ncondition c: real[frames, 2]\n"
        "x ~ autoregressive(likelihood = categorical) { embedding(8) -> shift "
        f"-> add(c -> dense(8) -> stretch({n})) -> dense(8) }}\n"),
}  # fmt: skip


class Clock:
    """Seconds of processor time by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.thread_time()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.thread_time() - start


def steps(spec: str, backends: tuple[str, ...] = (), report: bool = False) -> dict[str, float]:
    """Processor time of each step of the compiler on one spec. Raises what the steps raise."""
    from mpcompile import api
    from mpcompile.analysis.findings import FINDINGS, found_by
    from mpcompile.analysis.prove import prove
    from mpcompile.diagnostics import Source
    from mpcompile.frontend import format_model, parse_text
    from mpcompile.frontend.unused import unused_names
    from mpcompile.lowering import lower

    clock = Clock()
    with clock("parse"):
        model = parse_text(spec, "grown.mp", "mp")
    with clock("print mp"):
        format_model(model, "mp", Source("grown.mp", spec))
    with clock("print yaml"):
        written = format_model(model, "yaml")
    with clock("parse yaml"):
        parse_text(written, "grown.yaml", "yaml")
    with clock("lower"):
        module = lower(model, Source("grown.mp", spec))
    for claim in module.claims:
        alone = type(module)(**{**vars(module), "claims": [claim]})
        with clock(f"claim {claim.kind}"):
            prove(alone)
    for code in FINDINGS:
        with clock(f"finding {code}"):
            found_by(code, module)
    with clock("unused"):
        list(unused_names(model))
    with clock("names"):
        api.property_names(module)
    if backends:
        from mpcompile.backend import find_backend
        from mpcompile.passes.pipeline import optimise
        from mpcompile.runner.settings import settings

        with clock("optimise"):
            optimised = optimise(module).module
        for backend in backends:
            with clock(f"emit {backend}"):
                find_backend(backend).emit(optimised, None, settings(module).optimizer)
    if report:
        from mpcompile.report.facts import describe
        from mpcompile.report.page import page

        with clock("inspect"):
            describe(module)
        with clock("page"):
            page(module, list(zip(api.property_names(module), api.verdicts(module), strict=True)), [])
    return clock.seconds
