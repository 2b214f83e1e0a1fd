"""A pipeline of layers on its own: a module with the programs `loss` (in training) and `predict`."""

from __future__ import annotations

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import STATE, Array, Builder, Graph, Module, float_type, symbol
from mpcompile.layers import Context
from mpcompile.lowering.scope import Scope
from mpcompile.ops import build as F
from mpcompile.passes.gradient import differentiate, gradient_name

N = symbol("N")


def pipeline(text: str, *shape: int) -> Module:
    """The pipeline applied to x[N, *shape]: `predict` gives y; `loss`, as in training, sum(y * cotangent) and y."""
    source = Source("layer.mp", f"model layer\ninput x: real[1]\nnet f = {text}\nx ~ normal(0, 1)\n")
    (net,) = parse_text(source.text).nets
    module = Module("layer", source)
    for name, training in (("loss", True), ("predict", False)):
        graph = Graph(name)
        ctx = Context(Builder(graph), module.parameters, in_training=training)
        x = ctx.b.input("x", float_type(N, *shape))
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
