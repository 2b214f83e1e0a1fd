"""Gradients as graphs, by reverse accumulation over the primitives' own rules."""

from __future__ import annotations

from collections.abc import Sequence

from mpcompile.ir import Builder, DType, Graph, Parameter, Value
from mpcompile.ops import Add
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
    b = Builder(new)
    forward = new.nodes()
    leaves: dict[str, list[Value]] = {name: [value] for name, value in new.inputs.items()}
    for node in forward:  # a parameter may be read at several places, each with a node of its own
        if isinstance(node.op, Parameter):
            leaves.setdefault(node.op.path, []).append(node.outputs[0])
    wanted = {name: leaves[name] for name in wrt}
    flat = [value for values in wanted.values() for value in values]
    grads = backpropagate(b, forward, [(loss, full(b, 1.0, loss.shape))], flat)
    for name, values in wanted.items():
        parts = [grads[value] for value in values if value in grads]
        total = parts[0] if parts else zeros(b, values[0].shape)
        for part in parts[1:]:
            total = b.emit(Add(), total, part)
        new.outputs[gradient_name(name)] = total
    return new.live()


def gradient_name(name: str) -> str:
    """What `differentiate` calls the gradient for a parameter or an input."""
    return f"grad({name})"
