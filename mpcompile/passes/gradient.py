"""Gradients as graphs, by reverse accumulation over the primitives' own rules."""

from __future__ import annotations

from collections.abc import Sequence

from mpcompile.ir import Builder, DType, Graph, Value
from mpcompile.ops._base import full, zeros
from mpcompile.ops._reverse import backpropagate


def differentiate(graph: Graph, output: str, wrt: Sequence[str]) -> Graph:
    """The graph with, beside its outputs, `grad(name)` of one scalar output for each named leaf.

    A parameter or input that the output does not depend on gets zeros. Raises `KeyError` for an unknown name
    and `ValueError` when the output is not one float.
    """
    new = graph.rebuild(lambda _b, _node, _inputs: None)
    loss = new.outputs[output]
    if loss.dtype is not DType.FLOAT or any(s != 1 for s in loss.shape):
        raise ValueError(f"expected one float to differentiate, '{output}' is {loss.type}")
    leaves: dict[str, Value] = {**new.inputs, **new.parameters()}
    wanted = {name: leaves[name] for name in wrt}
    b = Builder(new)
    forward = new.nodes()
    grads = backpropagate(b, forward, [(loss, full(b, 1.0, loss.shape))], wanted.values())
    for name, value in wanted.items():
        new.outputs[gradient_name(name)] = grads[value] if value in grads else zeros(b, value.shape)
    return new.live()


def gradient_name(name: str) -> str:
    """What `differentiate` calls the gradient for a parameter or an input."""
    return f"grad({name})"
