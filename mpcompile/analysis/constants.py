"""A model without what is constant although paths lead to it: normalisations and softmaxes of one element.

x - mean(x) over one element is zero, softmax(x) along one element is one, log_softmax(x) zero, whatever finite x is. The
rules of single operations do not see it: each of them reads x. In the module that `without_constants` gives these values
are constants, so offset sets, sets of inputs, paths and runs modulo a prime agree that nothing passes there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.findings.single import alone
from mpcompile.ir import Builder, Constant, Graph, Module, Node, Value


def without_constants(module: Module) -> Module:
    """Replace normalisations of one element by constants; return the same module where it has none."""
    programs = {name: folded(graph) for name, graph in module.programs.items()}
    same = all(programs[name] is graph for name, graph in module.programs.items())
    return module if same else replace(module, programs=programs)


def folded(graph: Graph) -> Graph:
    """Return the same function of finite values, bodies of loops included; the same graph where nothing is replaced."""
    bodies = {
        n.id: body
        for n in graph.nodes()
        if isinstance(n.op, ops.Scan) and (body := folded(n.op.body)) is not n.op.body
    }
    constant = {node.id for node, _ in alone(graph)}
    if not constant and not bodies:
        return graph

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.id in bodies:
            assert isinstance(node.op, ops.Scan)
            return b.emit_all(replace(node.op, body=bodies[node.id]), *inputs)
        if node.id not in constant:
            return None
        value = b.emit(Constant.of(np.full((), float(isinstance(node.op, ops.Softmax)))))
        return (b.emit(ops.BroadcastTo(node.outputs[0].shape), value),)

    return graph.rebuild(rewrite)


__all__ = ["folded", "without_constants"]
