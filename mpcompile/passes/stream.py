"""A sampler in pieces: its loop run for some of its steps at a time, from state to state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcompile import ops
from mpcompile.ir import Builder, DType, Graph, Input, Node, Symbolic, Type, Value, symbol
from mpcompile.ir.walk import inline

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
    """Cut a derived sampler into pieces; None where its draws are not the steps of one loop."""
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
    start.outputs = {STATE.format(i): v for i, v in enumerate(op.split(loop.inputs).carries)}
    return Pieces(start.live(), _steps(sampler, node, op, name), op.axis, op.length)


def _steps(sampler: Graph, node: Node, op: ops.Scan, name: str) -> Graph:
    """The sampler with its loop over the steps that it is given, from the state that it is given."""
    given: dict[str, Value] = {}
    found: dict[str, Value] = {}

    def rewrite(b: Builder, n: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if n is not node:
            return None
        starts, _, captured = op.split(inputs)
        types = {STATE.format(i): v.type for i, v in enumerate(starts)}
        types[STEPS] = Type(DType.INT, (*(1,) * op.axis, symbol(STEPS)))
        given.update({k: b.emit(Input(k, t)) for k, t in types.items()})
        last, ys = _numbered(b, op, list(given.values()), captured)
        found.update({STATE.format(i): v for i, v in enumerate(last)} | {name: ys[0]})
        return (*last, *ys)

    graph = sampler.rebuild(rewrite, retype=True)  # draws are of some steps, no longer of all
    graph.name = f"{sampler.name}_steps"
    graph.inputs |= given
    graph.outputs = found
    return graph.live()


def _numbered(
    b: Builder, op: ops.Scan, given: Sequence[Value], captured: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    """A loop that starts from given carries and runs over given numbers of its steps, which come last."""
    loop, formals = ops.LoopBuilder(b, axis=op.axis), op.formals
    *starts, numbers = given
    moved = {v: loop.carry(n, x) for (n, v), x in zip(formals.carries.items(), starts, strict=True)}
    number = loop.scan(STEPS, numbers)
    moved |= {v: loop.capture(n, x) for (n, v), x in zip(formals.captured.items(), captured, strict=True)}
    moved[formals.step] = loop.body.emit(ops.Reshape(()), number)
    moved = inline(loop.body, op.body, moved)
    following, ys = op.divide(list(op.body.outputs.items()))
    return loop.close([moved[v] for _, v in following], {name: moved[v] for name, v in ys})
