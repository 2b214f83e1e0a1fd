"""Loops that libraries have a kernel for: a layer of an LSTM, of a GRU, or of Elman's network.

A loop is one where its body is, node for node, what a step of the layer builds, and what it scans is an affine map of a
sequence, made for it alone. Then the kernel means the same, and the loop is written as a call of it. A step that stands
still behind the end of its sequence is one too, forwards, where nobody reads the last state: there the kernel reads on,
and what it gives is masked. Forwards, a loop may also give the state that each step starts from.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mpcompile.ir import Builder, DType, Graph, Input, Node, Type, Value, float_type
from mpcompile.layers import Context
from mpcompile.layers.recurrent import Gru, Lstm, Recurrent, Rnn, Weights
from mpcompile.ops import Add, Iota, Less, MatMul, Scan, Transpose
from mpcompile.outline import Block, Loop

#: Layers that are looked for, of any number of units, and with or without biases.
KINDS: tuple[Recurrent, ...] = (Lstm(1), Gru(1), Gru(1, bias=False), Rnn(1))


@dataclass(frozen=True)
class RecurrentLayer:
    """A loop as a call of a kernel.

    kernel     `lstm`, `gru` or `rnn`; `lstm_unbiased`, ... for one whose gates have no biases
    arguments  x [N, time, F], the first states [N, U], the weights: values around the loop
    present    which steps are real, bool [N, time]; None where all are
    reverse    from the last step to the first
    before     whether the states that steps start from are its results, and not those that they end in
    absorbed   numbers of the nodes before the loop that the call stands for
    """

    kernel: str
    arguments: tuple[Value, ...]
    present: Value | None
    reverse: bool
    before: bool
    absorbed: frozenset[int]


def find_recurrent_layers(block: Block, uses: Counter[Value]) -> dict[int, RecurrentLayer]:
    """Find the loops of a function that are layers, by the number of their node."""
    plain = {item.id for item in block.items if isinstance(item, Node)}
    found = {}
    for item in block.items:
        if not isinstance(item, Loop):
            continue
        for kind in KINDS:
            layer = _layer(block.graph, item.node, kind, uses)
            if layer is not None and layer.absorbed <= plain:
                found[item.node.id] = layer
    return found


def is_recurrent_layer(graph: Graph, loop: Node) -> bool:
    """Return whether a loop is a layer, where it stands with all that it reads."""
    uses = Counter(v for node in graph.nodes() for v in node.inputs) + Counter(graph.outputs.values())
    return any(_layer(graph, loop, kind, uses) is not None for kind in KINDS)


def _layer(graph: Graph, loop: Node, kind: Recurrent, uses: Counter[Value]) -> RecurrentLayer | None:
    op = loop.op
    assert isinstance(op, Scan)
    if (op.carries, op.axis, len(loop.outputs)) != (kind.states, 1, kind.states + 1) or op.scanned not in (
        1,
        2,
    ):
        return None
    first, (driven, *others), around = op.split(loop.inputs)
    state, affine = first[0].type, _affine(graph, driven, uses)
    if affine is None or state.rank != 2 or any(v.type != state for v in first):
        return None
    units = state.shape[1]
    if not isinstance(units, int) or driven.shape[-1] != kind.gates * units:
        return None
    present = others[0] if others else None
    if present is not None and (
        op.reverse or any(uses[v] for v in op.divide(loop.outputs)[0]) or not _prefix(graph, present)
    ):
        return None

    step, formals = _step(kind, state, present), op.formals
    mine = op.split(list(step.inputs.values()))
    theirs = (*formals.carries.values(), *formals.scanned.values())
    known = dict(zip((*mine.carries, *mine.scanned), theirs, strict=True))
    pairs = list(zip(step.outputs.values(), op.body.outputs.values(), strict=True))
    before = pairs[-1][1] == theirs[0]  # the state h that a step is given
    if before and (op.reverse or present is not None):
        return None
    if not all(_same(step, a, op.body, b, known) for a, b in pairs[: len(pairs) - before]):
        return None
    captured = dict(zip(formals.captured.values(), around, strict=True))
    own = [captured.get(known[v]) for v in mine.captured]
    x, weight, bias, absorbed = affine
    if any(v is None for v in own) or (isinstance(kind, Gru) and kind.bias != (bias is not None)):
        return None
    kernel = kind.keyword if bias is not None else f"{kind.keyword}_unbiased"
    arguments = (x, *first, weight, own[0], *([] if bias is None else [bias]), *own[1:])
    return RecurrentLayer(kernel, arguments, present, op.reverse, before, absorbed)  # type: ignore[arg-type]  # none is None


def _affine(
    graph: Graph, value: Value, uses: Counter[Value]
) -> tuple[Value, Value, Value | None, frozenset[int]] | None:
    """x, weight and bias of `F.linear` over a sequence x, and the numbers of its nodes, which nobody else reads."""
    nodes, bias = [graph.node(value)], None
    if isinstance(nodes[0].op, Add):
        product, bias = nodes[0].inputs
        nodes.append(graph.node(product))
    if not isinstance(nodes[-1].op, MatMul):
        return None
    x, turned = nodes[-1].inputs
    nodes.append(graph.node(turned))
    last = nodes[-1]
    if not isinstance(last.op, Transpose) or last.op.permutation != (1, 0):
        return None
    rank = None if bias is None else bias.type.rank
    if x.type.rank != 3 or rank not in (None, 1) or any(uses[n.outputs[0]] != 1 for n in nodes):
        return None
    return x, last.inputs[0], bias, frozenset(n.id for n in nodes)


def _prefix(graph: Graph, present: Value) -> bool:
    """Whether a bool [N, time] is `step < length`: true up to a place, and false from there on."""
    node = graph.node(present)
    if not isinstance(node.op, Less) or node.inputs[1].type.rank != 2 or node.inputs[1].shape[1] != 1:
        return False
    return isinstance(graph.node(node.inputs[0]).op, Iota)


def _step(kind: Recurrent, state: Type, present: Value | None) -> Graph:
    """One step as the layer builds it: inputs are the states, what drives it, whether it is real, its weights."""
    graph = Graph("step")
    ctx = Context(Builder(graph), {})
    b, (n, units) = ctx.b, state.shape
    assert isinstance(units, int)
    before = [b.input(f"state_{i}", state) for i in range(kind.states)]
    driven = b.input("driven", float_type(n, kind.gates * units))
    real = None if present is None else b.input("real", Type(DType.BOOL, (n,)))
    weight = b.input("weight", float_type(kind.gates * units, units))
    own = b.input("own", float_type(units)) if kind.candidate else None
    after, ys = kind.held(ctx, Weights(driven, weight, None, own), driven, before, real)
    graph.outputs = {**{f"after_{i}": v for i, v in enumerate(after)}, "ys": ys}
    return graph


def _same(step: Graph, a: Value, body: Graph, b: Value, known: dict[Value, Value]) -> bool:
    """Whether two values are made by equal nodes of equal values; inputs that are not known yet are from here on."""
    if a in known:
        return known[a] == b
    ours, theirs = step.node(a), body.node(b)
    if isinstance(ours.op, Input):
        same = isinstance(theirs.op, Input) and a.type == b.type
    else:
        same = (ours.op, a.index, len(ours.inputs)) == (theirs.op, b.index, len(theirs.inputs)) and all(
            _same(step, x, body, y, known) for x, y in zip(ours.inputs, theirs.inputs, strict=True)
        )
    if same:
        known[a] = b
    return same
