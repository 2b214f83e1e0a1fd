"""`symmetric(y, node)`: the prediction of y knows no order along an axis: permuted inputs give the same y.

If y has the axis it is permuted alike. The axes of that name and all others of the same length are permuted together, as
those of nodes and of their edges are; of examples that state how many are real, the real ones are. Declared conservative:
proved where each operation on the way treats all places alike or joins them in whatever order, and undecided otherwise;
never refuted.
"""

from __future__ import annotations

from mpcompile import ops
from mpcompile.analysis.padding import Walk
from mpcompile.analysis.predicted import axes_of_prediction, prediction
from mpcompile.analysis.verdict import Proof, Verdict, scope_of
from mpcompile.ir import Claim, Graph, Input, Module, Node, NoRule, Size, Symbolic, Value, product
from mpcompile.ops.normalisation import Normalisation
from mpcompile.ops.reduction import Reduction
from mpcompile.ops.truth import Comparison

METHOD = "operations that know no order of the axis"

#: The axes of a value that are permuted with the inputs.
Moved = frozenset[int]


def symmetric(module: Module, claim: Claim) -> Verdict:
    """Decide whether the prediction of a variable knows no order along the axis that the claim names."""
    graph = prediction(module, claim)
    if isinstance(graph, Verdict):
        return graph
    sizes = _sizes(graph, claim.axis)
    if len(sizes) != 1:
        some = f"axes `{claim.axis}` of several sizes" if sizes else f"no axis `{claim.axis}`"
        return Verdict.undecided(claim, f"the inputs of the prediction have {some}")
    (size,) = sizes
    counted = {f.counts: f.name for f in module.fields.values() if f.counts}
    walk, moved, stopped = Walk(graph, counted), dict[Value, Moved | None](), None
    for node in graph.nodes():
        given = [moved[v] for v in node.inputs]
        found = (
            _of_input(node, claim.axis, size)
            if isinstance(node.op, Input)
            else _after(graph, walk, node, given, size)
        )
        if found is None and stopped is None and None not in given:
            stopped = node
        moved.update(dict.fromkeys(node.outputs, found))
    found = moved[graph.outputs[claim.subject]]
    if found is not None:
        reason = _otherwise(module, graph, claim, found, size)
        if reason:
            return Verdict.undecided(claim, reason)
        return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), METHOD))
    assert stopped is not None
    where = f" in `{stopped.scope[-1].label}`" if stopped.scope else ""
    return Verdict.undecided(
        claim, f"`{stopped.op.name}`{where} orders the axis `{claim.axis}`", stopped.op.name
    )


def _otherwise(module: Module, graph: Graph, claim: Claim, found: Moved, size: Size) -> str:
    """Return why a prediction is not permuted along the axes that the claim says; empty where it is."""
    output = graph.outputs[claim.subject]
    names = axes_of_prediction(module, graph, claim.subject)
    if isinstance(size, Symbolic):
        wanted = {a for a, s in enumerate(output.shape) if s == size}
    else:
        wanted = {a for a, name in enumerate(names, 1) if name == claim.axis}
    if any(output.shape[a] != size for a in found):
        return f"an axis of {claim.subject} has more elements than `{claim.axis}`"
    if found - wanted:
        return f"what moves along `{claim.axis}` is another axis of {claim.subject}"
    if any(not _alike(graph, output, a) for a in wanted - found):
        return f"{claim.subject} tells places along `{claim.axis}` apart that do not move"
    return ""


def _sizes(graph: Graph, name: str) -> set[Size]:
    """Return the sizes of all axes of inputs with a name."""
    found = set[Size]()
    for node in graph.nodes():
        if isinstance(node.op, Input):
            shape = node.types[0].shape[1:]
            found |= {size for own, size in zip(node.op.axes, shape, strict=False) if own == name}
    return found


def _of_input(node: Node, name: str, size: Size) -> Moved:
    """The axes of an input that are permuted: those of the length, or of a fixed size those of the name."""
    assert isinstance(node.op, Input)
    shape = node.types[0].shape
    if isinstance(size, Symbolic):
        return frozenset(a for a, s in enumerate(shape) if s == size)
    return frozenset(1 + i for i, own in enumerate(node.op.axes) if own == name)


def _after(graph: Graph, walk: Walk, node: Node, inputs: list[Moved | None], size: Size) -> Moved | None:
    """The axes of a result that are permuted with the inputs; None where an order counts, or nothing is known."""
    op, shapes, out = node.op, [v.shape for v in node.inputs], node.types[0].shape
    if isinstance(op, Comparison) and (real := _real(walk, node, size)) is not None:
        return frozenset({real})
    given = [m for m in inputs if m is not None]
    if len(given) < len(inputs):
        return None
    if not any(given):
        return frozenset()
    if op.bodies() or len(node.outputs) != 1:
        return None
    if isinstance(op, ops.Reshape):
        return _reshaped(node, given[0], size)
    try:
        along = op.along(shapes, out)
    except NoRule:
        return None
    result = set[int]()
    for i, axes in enumerate(given):
        for axis in axes:
            if axis in along[i]:
                result.add(along[i][axis])
            elif isinstance(op, Normalisation) and axis == op.axis:
                result.add(axis)
            elif not (
                isinstance(op, Reduction)
                or (isinstance(op, ops.MatMul) and _both(graph, node, given, i, axis))
            ):
                return None
    for i, axes in enumerate(
        given
    ):  # an operand that does not move along a permuted axis is alike at all its places
        for axis, target in along[i].items():
            if target in result and axis not in axes and not _alike(graph, node.inputs[i], axis):
                return None
    return frozenset(result)


def _real(walk: Walk, node: Node, size: Size) -> int | None:
    """The axis of a mask of what is real along the permuted axis, which stays where real places move; else None."""
    (x, y), rank = (walk.known[v] for v in node.inputs), node.types[0].rank
    for steps, v, counts in ((x, node.inputs[0], y), (y, node.inputs[1], x)):
        if (
            steps.steps is not None
            and steps.steps[0] >= 0
            and steps.steps[2] == 0
            and counts.counts == steps.steps[1]
            and v.shape[steps.steps[0]] == size
        ):
            strict = isinstance(node.op, ops.Less) and v == node.inputs[0]
            return steps.steps[0] - v.type.rank + rank if strict else None
    return None


def _both(graph: Graph, node: Node, given: list[Moved], i: int, axis: int) -> bool:
    """Whether a product of matrices sums over a permuted axis of both operands, or of one beside what is alike."""
    ranks = [v.type.rank for v in node.inputs]
    inner = (ranks[0] - 1, ranks[1] - 2)
    other = inner[1 - i]
    return axis == inner[i] and (other in given[1 - i] or _alike(graph, node.inputs[1 - i], other))


def _reshaped(node: Node, axes: Moved, size: Size) -> Moved | None:
    """The axes in another shape: each stays itself, alone or with those before it merged in, as the batch is."""
    before, after = node.inputs[0].shape, node.types[0].shape
    result = set[int]()
    for a in axes:
        end = product(before[: a + 1])
        to = next((b for b in range(len(after)) if product(after[: b + 1]) == end and after[b] != 1), None)
        inside = (
            to is not None and any(c in axes for c in range(a)) and product(before[:a]) != product(after[:to])
        )
        if to is None or inside or not _times(after[to], size):
            return None
        result.add(to)
    return frozenset(result)


def _times(size: Size, each: Size) -> bool:
    """Whether a size is a multiple of another one."""
    if isinstance(size, int):
        return isinstance(each, int) and size % each == 0
    try:
        return bool(size // each)
    except ValueError:
        return False


def _alike(graph: Graph, value: Value, axis: int) -> bool:
    """Whether all elements of a value along an axis are one."""
    node = graph.node(value)
    return value.shape[axis] == 1 or axis in node.op.repeats([v.shape for v in node.inputs], value.shape)
