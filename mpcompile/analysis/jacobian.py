"""The structure of Jacobians, from their support alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import environment_for, support
from mpcompile.ir import Array, Constant, Graph, Value, product


@dataclass(frozen=True, slots=True)
class Structure:
    """`kind` is diagonal (up to a permutation of the outputs), triangular or dense.

    For the first two, `pivots[k] = (output, input)` is an order in which output k depends on inputs of pivots 0 .. k
    only: with rows and columns in that order the matrix is lower triangular and the pivots are its diagonal, so the
    log-determinant is the sum of their logarithms, at a cost of O(D). A dense one costs O(D^3).
    """

    kind: str
    pivots: tuple[tuple[int, int], ...] = ()

    @property
    def cost(self) -> str:
        return "O(D^3)" if self.kind == "dense" else "O(D)"

    @property
    def natural(self) -> bool:
        """Whether the order is that of the elements themselves."""
        return all(i == o for o, i in self.pivots) and self.pivots == tuple(sorted(self.pivots))


def classify(matrix: Array) -> Structure:
    """Peel off rows with a single remaining column; a square matrix that peels completely is triangular."""
    rows, columns = matrix.shape
    if rows != columns:
        return Structure("dense")
    left = matrix.astype(np.int32)
    counts = left.sum(1)
    if (counts == 1).all() and (left.sum(0) == 1).all():
        return Structure("diagonal", tuple((i, int(j)) for i, j in enumerate(matrix.argmax(1))))
    pivots: list[tuple[int, int]] = []
    ready = list(np.flatnonzero(counts == 1)[::-1])
    gone = np.zeros(columns, bool)
    while ready:
        row = int(ready.pop())
        open_columns = np.flatnonzero(matrix[row] & ~gone)
        if open_columns.size != 1:
            return Structure("dense")  # two rows claim one column: the determinant is structurally zero
        column = int(open_columns[0])
        pivots.append((row, column))
        gone[column] = True
        before = counts
        counts = counts - left[:, column]
        ready.extend(int(r) for r in np.flatnonzero((counts == 1) & (before == 2))[::-1])
    return Structure("triangular", tuple(pivots)) if len(pivots) == columns else Structure("dense")


def coupling_structure(direct: Array, seen: Array) -> tuple[Structure, tuple[int, int] | None]:
    """Structure of y(x, x) from the supports of y(x, seen) in either argument, and what is wrong with it.

    The log-determinant of the element-wise map x -> y at fixed `seen` is that of the whole when

    * `direct` is diagonal (up to a permutation): y_i transforms one x_j;
    * `seen[i, j]` is false for that pair, else d y_i / d x_j has a second term;
    * both together are triangular, so that nothing but the diagonal enters the determinant.

    The fault is a pair (output, input) that breaks it, or None.
    """
    whole = classify(direct | seen)
    if not seen.any():
        return whole, None if whole.kind == "diagonal" else _first(direct)
    own = classify(direct)
    if own.kind != "diagonal":
        return whole, _first(direct)
    for i, j in own.pivots:
        if seen[i, j]:
            return whole, (i, j)
    return whole, None if whole.kind != "dense" else _first(seen)


def closed_form(graph: Graph) -> int | None:
    """The number of channels C of a piece that is y = W x over the channels at each of k places, with log_det =
    k log |det W|; None for any other.

    Then the Jacobian is W, k times along its diagonal (in the order of places), and that is its determinant, though its
    support is dense. It is read off the graph: one matrix product or 1x1 convolution of `x` itself by a matrix, and the
    `log_abs_det` of that very matrix times k.
    """
    x, y, log_det = graph.inputs.get("x"), graph.outputs.get("y"), graph.outputs.get("log_det")
    if x is None or y is None or log_det is None:
        return None
    matrix, node = None, graph.node(y)
    match node.op:
        case ops.MatMul() if node.inputs[0] == x and x.type.rank == 2:
            flipped = graph.node(node.inputs[1])
            matrix = flipped.inputs[0] if flipped.op == ops.Transpose((1, 0)) else None
        case ops.Conv(groups=1) as op if node.inputs[0] == x:
            kernel = graph.node(node.inputs[1])
            plain = not any(sum(op.padding, ())) and set(op.stride) == {1}
            matrix = kernel.inputs[0] if plain and isinstance(kernel.op, ops.Reshape) else None
    if matrix is None or matrix.shape != (x.shape[1], x.shape[1]):
        return None
    places = product(x.shape[2:])
    counted = _times(graph, log_det, matrix)
    return int(str(x.shape[1])) if counted is not None and counted == places else None


def _times(graph: Graph, value: Value, matrix: Value) -> float | None:
    """k of a value [N] that is 0 + k log |det matrix|."""
    node = graph.node(value)
    if isinstance(node.op, ops.Add):
        zeros = graph.node(node.inputs[0])
        nothing = graph.node(zeros.inputs[0]) if isinstance(zeros.op, ops.BroadcastTo) else zeros
        if not isinstance(nothing.op, Constant) or nothing.op.array.any():
            return None
        node = graph.node(node.inputs[1])
    if not isinstance(node.op, ops.Mul):
        return None
    of, factor = (graph.node(v) for v in node.inputs)
    exact = isinstance(of.op, ops.LogAbsDet) and of.inputs[0] == matrix and isinstance(factor.op, Constant)
    return (
        float(factor.op.array)
        if exact and isinstance(factor.op, Constant) and factor.op.array.ndim == 0
        else None
    )


def _first(matrix: Array) -> tuple[int, int]:
    """The first entry beside the diagonal, or any."""
    beside = np.logical_not(np.eye(*matrix.shape, dtype=np.bool_))
    off = np.argwhere(matrix & beside)
    entries = off if off.size else np.argwhere(matrix)
    return (int(entries[0][0]), int(entries[0][1])) if entries.size else (0, 0)


def structure_of(graph: Graph, source: str, output: str) -> Structure:
    """Structure of d output / d source for one example."""
    return classify(support(graph, source, output, environment_for(graph, 8)).value)
