"""`equivariant(y)`: the prediction of y moves with the inputs, y(T x) = T y(x) for shifts T in space or time.

A shift moves the axes of one name of all inputs, and y has this axis. Away from the borders, at every size: a zero that
pads an image does not move with it. Declared conservative: proved where each operation on the way treats all places
alike, and undecided otherwise; never refuted.
"""

from __future__ import annotations

from mpcompile import ops
from mpcompile.analysis.predicted import axes_of_prediction, prediction
from mpcompile.analysis.verdict import Proof, Verdict, scope_of
from mpcompile.ir import Claim, DType, Graph, Input, Module, Node, NoRule, Symbolic, Value
from mpcompile.ir.axes import Role, role, usual_axes
from mpcompile.ops.traits import Product

METHOD = "operations that treat all places alike"

#: The axes of a value that move with the inputs: axis -> its name in the inputs. Empty for a value that no input reaches.
Moves = dict[int, str]


def equivariant(module: Module, claim: Claim) -> Verdict:
    """Decide whether the prediction of a variable moves with the inputs of the program `predict`."""
    graph = prediction(module, claim)
    if isinstance(graph, Verdict):
        return graph
    moves: dict[Value, Moves | None] = {}
    stopped: Node | None = None
    for node in graph.nodes():
        found = (
            _of_input(node)
            if isinstance(node.op, Input)
            else _moved(graph, node, [moves[v] for v in node.inputs])
        )
        if found is None and stopped is None and all(moves.get(v) is not None for v in node.inputs):
            stopped = node
        moves.update(dict.fromkeys(node.outputs, found))
    output = graph.outputs[claim.subject]
    if found := moves[output]:
        names = axes_of_prediction(module, graph, claim.subject)
        other = next((name for a, name in found.items() if names[a - 1] != name), None)
        if other is None:
            # a longer axis may tell places apart where one place does not
            one = any(v.shape[a] == 1 for v, m in moves.items() for a in m or ())
            scope = scope_of(graph, covers="lengths" if one else "sizes")
            return Verdict.proved(claim, Proof(scope, METHOD))
        return Verdict.undecided(claim, f"what moves along `{other}` is another axis of {claim.subject}")
    if stopped is None or isinstance(stopped.op, Input):
        return Verdict.undecided(claim, f"{claim.subject} has no axis of space or time")
    where = f" in `{stopped.scope[-1].label}`" if stopped.scope else ""
    return Verdict.undecided(claim, f"`{stopped.op.name}`{where} tells places apart", stopped.op.name)


def _of_input(node: Node) -> Moves | None:
    """The axes of space or time of an input; none of one that has no such axis, which every place reads alike."""
    (type,) = node.types
    if type.dtype is DType.BOOL:
        return None
    names = (node.op.axes if isinstance(node.op, Input) else ()) or usual_axes(type.shape[1:])
    extended = (Role.SPACE, Role.ORDERED)
    sizes = zip(names, type.shape[1:], strict=True)
    return {a: n for a, (n, s) in enumerate(sizes, 1) if isinstance(s, Symbolic) or role(n, s) in extended}


def _moved(graph: Graph, node: Node, inputs: list[Moves | None]) -> Moves | None:
    """The axes of a result that move; None where places are told apart, or nothing is known."""
    op, shapes, out = node.op, [v.shape for v in node.inputs], node.types[0].shape
    if any(m is None for m in inputs):
        return None
    if not any(inputs):
        return {}
    if op.bodies() or len(node.outputs) != 1:
        return None
    try:
        along = op.along(shapes, out)
    except NoRule:
        return None
    windows = op.reach(shapes) if isinstance(op, Product | ops.Pad | ops.Slice) else {}
    result: Moves = {}
    for i, moving in enumerate(inputs):
        for axis, k in (moving or {}).items():
            target = along[i].get(axis, axis if i == 0 and axis in windows else None)
            if target is None or result.setdefault(target, k) != k:
                return None
    for i, moving in enumerate(inputs):  # what does not move along an axis is alike at all of its places
        for axis, target in along[i].items():
            if target in result and axis not in (moving or {}) and not _alike(graph, node.inputs[i], axis):
                return None
    return result


def _alike(graph: Graph, value: Value, axis: int) -> bool:
    """Whether all elements of a value along an axis are one."""
    node = graph.node(value)
    return value.shape[axis] == 1 or axis in node.op.repeats([v.shape for v in node.inputs], value.shape)
