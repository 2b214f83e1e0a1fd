"""The structure of Jacobians, from their support alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpcompile import ops
from mpcompile.analysis.bits import BitMatrix, columns_set
from mpcompile.analysis.dependence import environment_for, sets
from mpcompile.budget import tick
from mpcompile.ir import Array, Constant, Graph, Value, number, product

#: From so many columns on they are taken off the counts together.
AT_ONCE = 64


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


def classify(matrix: Array | BitMatrix) -> Structure:
    """Peel off rows with a single remaining column; a square matrix that peels completely is triangular.

    All rows that are ready are peeled at once. A column is taken off the counts of all rows when its row goes, so a
    matrix of D rows takes O(D^2) operations on bits.
    """
    bits = BitMatrix.of(matrix)
    rows, columns = bits.shape
    if rows != columns:
        return Structure("dense")
    counts = bits.counts()
    order = list[Array]()
    taken = list[Array]()
    gone = np.zeros(bits.words.shape[1], np.uint64)
    ready = np.flatnonzero(counts == 1)
    left = rows
    while ready.size:
        tick()
        open_ = bits.first(ready, gone)
        if len(np.unique(open_)) != len(open_):
            return Structure("dense")  # two rows claim one column: the determinant is structurally zero
        order.append(ready)
        taken.append(open_)
        left -= len(ready)
        new = columns_set(open_, len(gone))
        gone |= new
        if len(ready) > AT_ONCE:
            counts = counts - bits.counts(new)
        else:
            for column in open_:
                counts = counts - bits.column(int(column))
        ready = np.flatnonzero(counts == 1)
    if left:
        return Structure("dense")
    outputs, inputs = (np.concatenate(p) if p else np.zeros(0, np.int64) for p in (order, taken))
    if len(order) <= 1:
        return Structure("diagonal", tuple(zip(outputs.tolist(), inputs.tolist(), strict=True)))
    if np.array_equal(outputs, inputs) and bits.lower():
        inputs = outputs = np.arange(rows)
    return Structure("triangular", tuple(zip(outputs.tolist(), inputs.tolist(), strict=True)))


def coupling_structure(
    direct: Array | BitMatrix, seen: Array | BitMatrix
) -> tuple[Structure, tuple[int, int] | None]:
    """Return the structure of y(x, x) from the supports of y(x, seen) in either argument, and what is wrong with it.

    The log-determinant of the element-wise map x -> y at fixed `seen` is that of the whole when

    * `direct` is diagonal (up to a permutation): y_i transforms one x_j;
    * `seen[i, j]` is false for that pair, else d y_i / d x_j has a second term;
    * both together are triangular, so that nothing but the diagonal enters the determinant.

    The fault is a pair (output, input) that breaks it, or None.
    """
    direct, seen = BitMatrix.of(direct), BitMatrix.of(seen)
    whole = classify(direct | seen)
    if not seen.any():
        return whole, None if whole.kind == "diagonal" else _first(direct)
    own = classify(direct)
    if own.kind != "diagonal":
        return whole, _first(direct)
    pairs = np.asarray(own.pivots, np.int64).reshape(-1, 2)
    both = np.flatnonzero(seen.at(pairs[:, 0], pairs[:, 1]))
    if both.size:
        return whole, own.pivots[int(both[0])]
    return whole, None if whole.kind != "dense" else _first(seen)


def closed_form(graph: Graph) -> int | None:
    """Return the channels C of a flow step y = W x at each of k places, with log_det = k log |det W|; else None.

    Then the Jacobian is W, k times along its diagonal (in the order of places), and that is its determinant, though its
    support is dense. It is read off the graph: one matrix product or 1x1 convolution of `x` itself by a matrix, and the
    `log_abs_det` of that very matrix times k.

    None for any other flow step.
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
    return number(x.shape[1]) if counted is not None and counted == places else None


def _times(graph: Graph, value: Value, matrix: Value) -> float | None:
    """k of a value [N] that is 0 + k log |det matrix|."""
    node = graph.node(value)
    if isinstance(node.op, ops.Add):
        zeros = graph.node(node.inputs[0])
        nothing = graph.node(zeros.inputs[0]) if isinstance(zeros.op, ops.BroadcastTo) else zeros
        if not isinstance(nothing.op, Constant) or nothing.op.stored.any():
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


def _first(matrix: BitMatrix) -> tuple[int, int]:
    """The first entry beside the diagonal, or any."""
    found = matrix.beside_the_diagonal()
    if found is not None:
        return found
    rows = np.flatnonzero(matrix.words.any(1))[:1]
    return (int(rows[0]), int(matrix.first(rows)[0])) if rows.size else (0, 0)


def structure_of(graph: Graph, source: str, output: str) -> Structure:
    """Return the structure of d output / d source for one example."""
    return classify(sets(graph, source, output, environment_for(graph, 8)).value)
