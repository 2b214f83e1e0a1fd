"""Gradients as graphs, by reverse accumulation over the primitives' own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcompile.ir import Builder, DType, Graph, Module, Node, Parameter, Shape, Stack, Value
from mpcompile.ops import Add, Mul, Reshape, Scan, Slice
from mpcompile.ops._base import full, zeros
from mpcompile.ops._loop_gradient import taped
from mpcompile.ops._reverse import backpropagate


def differentiate(graph: Graph, output: str, wrt: Sequence[str]) -> Graph:
    """Return a graph that gives, beside its outputs, `grad(name)` of one scalar output for each named leaf.

    A stack of weights is named by its path, or each of its weights by its own name.
    A parameter or input that the output does not depend on gets zeros. Raises `KeyError` for an unknown name
    and `ValueError` when the output is not one float.
    """
    new = _tape_loops(graph, output, set(wrt))
    loss = new.outputs[output]
    if loss.dtype is not DType.FLOAT or any(s != 1 for s in loss.shape):
        raise ValueError(f"expected one float to differentiate, '{output}' is {loss.type}")
    b = Builder(new)
    forward = new.nodes()
    leaves: dict[str, list[_Read]] = {name: [_Read(value)] for name, value in new.inputs.items()}
    for node in forward:  # a parameter may be read at several places, each with a node of its own
        if isinstance(node.op, Parameter):
            for row, name in enumerate(node.op.names):
                read = _Read(node.outputs[0], row if isinstance(node.op, Stack) else None)
                leaves.setdefault(name, []).append(read)
            if isinstance(node.op, Stack):
                leaves.setdefault(node.op.path, []).append(_Read(node.outputs[0]))
    wanted = {name: leaves[name] for name in wrt}
    flat = list(dict.fromkeys(read.value for reads in wanted.values() for read in reads))
    grads = backpropagate(b, forward, [(loss, full(b, 1.0, loss.shape))], flat)
    for name, reads in wanted.items():
        parts = [read.part(b, grads[read.value]) for read in reads if read.value in grads]
        total = parts[0] if parts else zeros(b, reads[0].shape)
        for part in parts[1:]:
            total = b.emit(Add(), total, part)
        new.outputs[gradient_name(name)] = total
    return new.live()


def loss_gradient(module: Module, output: str, names: Sequence[str]) -> Graph:
    """Return `differentiate` of the loss of a module for some trained parameters, or stacks of them.

    The gradient of a weight that is read without its mask (`ParameterSpec.fused`) is zero outside of its support. Raises
    as `differentiate` does.
    """
    graph = differentiate(module.programs["loss"], output, names)
    b = Builder(graph)
    for name in [n for n in names if n in module.parameters]:
        support = module.parameters[name].support
        if module.parameters[name].fused and support is not None:
            key = gradient_name(name)
            graph.outputs[key] = b.emit(Mul(), graph.outputs[key], b.emit(support))
    return graph


@dataclass(frozen=True)
class _Read:
    """A value that brings a leaf in: the leaf itself, or a stack that has it as a row."""

    value: Value
    row: int | None = None

    @property
    def shape(self) -> Shape:
        return self.value.shape if self.row is None else self.value.shape[1:]

    def part(self, b: Builder, gradient: Value) -> Value:
        """The gradient of the leaf in that of the value."""
        if self.row is None:
            return gradient
        return b.emit(Reshape(self.shape), b.emit(Slice(0, self.row, self.row + 1), gradient))


def _tape_loops(graph: Graph, output: str, wrt: set[str]) -> Graph:
    """A copy in which loops between the leaves and the output keep what their gradient reads of each step."""
    nodes = graph.nodes()
    reached = {graph.inputs[name].node for name in wrt if name in graph.inputs}
    for node in nodes:
        if (isinstance(node.op, Parameter) and not wrt.isdisjoint((node.op.path, *node.op.names))) or any(
            v.node in reached for v in node.inputs
        ):
            reached.add(node.id)
    needed = {graph.outputs[output].node}
    for node in reversed(nodes):
        if node.id in needed:
            needed.update(v.node for v in node.inputs)

    def tape(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Scan) and node.id in reached and node.id in needed:
            return b.emit_all(taped(node.op), *inputs)[: len(node.types)]
        return None

    return graph.rebuild(tape)


def gradient_name(name: str) -> str:
    """Return the name of the gradient that `differentiate` gives for a parameter or an input."""
    return f"grad({name})"
