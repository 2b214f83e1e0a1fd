"""An expression over values with named axes, on its own: a module with the program `predict`."""

from __future__ import annotations

from collections.abc import Mapping

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.functions import FUNCTIONS
from mpcompile.functions.losses import LOSSES
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Builder, DType, Graph, Module, Type, Value, symbol
from mpcompile.ir.axes import Axes
from mpcompile.layers import Context
from mpcompile.lowering.scope import Scope

N = symbol("N")


def expression(text: str, values: Mapping[str, str], length: str = "") -> tuple[Module, Axes]:
    """A module whose program `predict` gives `y`, the expression over `values`, and the names of the axes of y.

    Values are by name, with types as `time, channel: 4`: axes with sizes, or symbols alone; `=` before the first is
    for a value without a batch, `int ` for classes. `length` is the symbol whose length is an input of this name.
    """
    source = Source("expression.mp", f"model m\nnet f = {text}\n")
    (net,) = parse_text(source.text).nets
    module, graph = Module("m", source), Graph("predict")
    ctx = Context(Builder(graph), module.parameters)
    named: dict[str, Value] = {}
    if length:
        ctx.lengths[length] = ctx.b.input("length", Type(DType.INT, (N,)))
    for name, written in values.items():
        kind = DType.INT if written.startswith("int ") else DType.FLOAT
        written = written.removeprefix("int ")
        batch = () if written.startswith("=") else (N,)
        axes, shape = [], []
        for axis in filter(None, written.lstrip("=").split(", ")):
            axis_name, _, size = axis.partition(": ")
            axes.append(axis_name)
            shape.append(int(size) if size.isdigit() else symbol(size or axis_name))
        named[name] = ctx.name_axes(ctx.b.input(name, Type(kind, (*batch, *shape))), tuple(axes))
    y = Scope(source, values=named, functions={**FUNCTIONS, **LOSSES}).value(ctx, net.value)
    graph.outputs["y"] = y
    module.programs["predict"] = graph
    return module, ctx.axes_of(y)


def evaluated(module: Module, **inputs: Array) -> Array:
    """y on the oracle."""
    return interpret(module.programs["predict"], {}, inputs)["y"]
