"""A pipeline of layers on its own: a module with the programs `loss` (in training) and `predict`."""

from __future__ import annotations

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import STATE, Array, Builder, Graph, Module, float_type, symbol
from mpcompile.ir.axes import Axes, default_axes
from mpcompile.layers import Context
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F
from mpcompile.passes.gradient import differentiate, gradient_name

N = symbol("N")
SEQUENTIAL = (
    "attention", "conv1d", "dense", "gru", "last", "lstm", "position", "residual", "rnn", "shift", "sinusoid", "stretch",
)  # fmt: skip


def pipeline(text: str, *shape: int, axes: Axes | None = None) -> Module:
    """The pipeline applied to x[N, *shape]: `predict` gives y; `loss`, as in training, sum(y * cotangent) and y.

    Two axes without names are a sequence of vectors for a layer that reads one, and else channels and one place.
    """
    source = Source("layer.mp", f"model layer\ninput x: real[1]\nnet f = {text}\nx ~ normal(0, 1)\n")
    (net,) = parse_text(source.text).nets
    module = Module("layer", source)
    for name, training in (("loss", True), ("predict", False)):
        graph = Graph(name)
        ctx = Context(Builder(graph), module.parameters, in_training=training)
        sequence = text.partition("(")[0].split()[0] in SEQUENTIAL
        two = ("time", "channel") if sequence else ("channel", "place")
        names = axes or (two if len(shape) == 2 else default_axes([None] * len(shape), shape))
        x = ctx.name_axes(ctx.b.input("x", float_type(N, *shape)), names)
        (y,) = Scope(source).run(ctx, net.value, [x])
        if training:
            weighted = F.mul(ctx.b, y, ctx.b.input("cotangent", y.type))
            graph.outputs["loss"] = F.sum_axes(ctx.b, weighted, range(y.type.rank))
        graph.outputs["y"] = y
        graph.outputs |= {f"{STATE}{k}": v for k, v in ctx.updates.items()}
        module.programs[name] = graph.live()
        module.noise[name] = dict(ctx.noise)
    return module


def predict(module: Module, weights: dict[str, Array], x: Array) -> Array:
    """y of `predict` on the oracle."""
    return interpret(module.programs["predict"], weights, {"x": x})["y"]


def gradients(
    module: Module, weights: dict[str, Array], x: Array, cotangent: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs of `loss`, and its gradients for x and for every parameter that is trained, on the oracle."""
    names = ["x", *(k for k, p in module.parameters.items() if p.trainable)]
    graph = differentiate(module.programs["loss"], "loss", names)
    out = interpret(graph, weights, {"x": x, "cotangent": cotangent})
    return out, {name: out[gradient_name(name)] for name in names}
