"""A sampler in pieces: its loop run for some of its steps at a time, from state to state."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpcompile import ops
from mpcompile.ir import Builder, DType, Graph, Input, Node, Symbolic, Type, Value, symbol

#: Inputs of a piece: the numbers of its steps, and the state that the piece before left.
STEPS = "steps"
STATE = "carry_{}"


@dataclass(frozen=True)
class Pieces:
    """Two programs that together are a sampler.

    start  of the sampler's inputs: the first state, `carry_0`, `carry_1`, ...
    steps  of the sampler's inputs, the numbers of some successive steps and a state: what they draw, under the
           sampler's name for it, stacked along `axis`, and the next state
    """

    start: Graph
    steps: Graph
    axis: int
    length: int | Symbolic


def pieces(sampler: Graph) -> Pieces | None:
    """The pieces of a derived sampler, or None where its draws are not the steps of one loop."""
    if len(sampler.outputs) != 1:
        return None
    ((name, drawn),) = sampler.outputs.items()
    node = sampler.node(drawn)
    op = node.op
    if not isinstance(op, ops.Scan) or op.scanned or op.reverse or drawn.index != op.carries:
        return None
    assert op.length is not None
    start = sampler.rebuild(lambda b, n, inputs: None)
    start.name = f"{sampler.name}_start"
    loop = start.node(next(iter(start.outputs.values())))
    start.outputs = {STATE.format(i): v for i, v in enumerate(loop.inputs[: op.carries])}
    return Pieces(start.live(), _steps(sampler, node, op, name), op.axis, op.length)


def _steps(sampler: Graph, node: Node, op: ops.Scan, name: str) -> Graph:
    """The sampler with its loop over the steps that it is given, from the state that it is given."""
    given: dict[str, Value] = {}
    found: dict[str, Value] = {}

    def rewrite(b: Builder, n: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if n is not node:
            return None
        types = {STATE.format(i): v.type for i, v in enumerate(inputs[: op.carries])}
        types[STEPS] = Type(DType.INT, (*(1,) * op.axis, symbol(STEPS)))
        given.update({k: b.emit(Input(k, t)) for k, t in types.items()})
        results = b.emit_all(_numbered(op), *given.values(), *inputs[op.carries :])
        found.update({STATE.format(i): v for i, v in enumerate(results[: op.carries])})
        found[name] = results[op.carries]
        return results

    graph = sampler.rebuild(rewrite)
    graph.name = f"{sampler.name}_steps"
    graph.inputs |= given
    graph.outputs = found
    return graph.live()


def _numbered(op: ops.Scan) -> ops.Scan:
    """A loop that runs over the numbers of its steps."""
    names, last = list(op.body.inputs), op.body.node(list(op.body.inputs.values())[-1])
    number: dict[str, Value] = {}
    kept: dict[str, Value] = {}

    def rewrite(b: Builder, n: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if n is not last:
            return None
        number[STEPS] = b.emit(Input(STEPS, Type(DType.INT, (1,) * op.axis)))
        kept[names[-1]] = b.emit(n.op)  # every body has it; nothing reads it any more
        return (b.emit(ops.Reshape(()), number[STEPS]),)

    body = op.body.rebuild(rewrite)
    inputs = list(body.inputs.items())
    body.inputs = {**dict(inputs[: op.carries]), **number, **dict(inputs[op.carries : -1]), **kept}
    return replace(op, body=body, scanned=1, length=None)
