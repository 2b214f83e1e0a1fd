"""Run graphs in numpy: the oracle that every backend is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mpcompile.ir import Array, Graph, Input, Parameter, Primitive, Value

#: A meaning of primitives on arrays.
Apply = Callable[..., tuple[Array, ...]]


def size_environment(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Read the number of every symbolic size off the inputs that fix it."""
    return {s: inputs[name].shape[axis] // times for s, (name, axis, times) in graph.symbols().items()}


def evaluate(op: Primitive, *inputs: Array) -> tuple[Array, ...]:
    """Evaluate a primitive in numpy."""
    return op.evaluate(*inputs)


def interpret(
    graph: Graph,
    parameters: Mapping[str, Array],
    inputs: Mapping[str, Array],
    environment: Mapping[str, int] | None = None,
    apply: Apply = evaluate,
) -> dict[str, Array]:
    """Run a graph in numpy, and return its outputs by name.

    `apply` gives each primitive its meaning, on arrays: numpy's unless another is given.
    """
    env = dict(environment or {}) | size_environment(graph, inputs)
    memory: dict[Value, Array] = {}
    nodes = list(graph.nodes())
    last = {value: node for node in nodes for value in (*node.outputs, *node.inputs)}
    kept = set(graph.outputs.values())
    for node in nodes:
        if isinstance(node.op, Input):
            results: tuple[Array, ...] = (inputs[node.op.path],)
        elif isinstance(node.op, Parameter):
            results = (node.op.value(parameters),)
        else:
            results = apply(node.op.bind(env), *(memory[v] for v in node.inputs))
        memory.update(zip(node.outputs, results, strict=True))
        for value in {*node.outputs, *node.inputs}:
            if last[value] is node and value not in kept:
                del memory[value]  # a gradient of images would hold gigabytes
    return {name: memory[value] for name, value in graph.outputs.items()}
