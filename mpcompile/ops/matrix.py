"""The inverse and the determinant of a square matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Along,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Shape,
    Type,
    Value,
    Work,
)
from mpcompile.ir.field import Field
from mpcompile.ops._base import (
    Cotangents,
    Operation,
    as_int,
    full,
    join_over,
    keep_axes,
    require,
    require_dtype,
)
from mpcompile.ops.arithmetic import Add, Div, Mul, Neg, Sub
from mpcompile.ops.control import LoopBuilder
from mpcompile.ops.counting import OneHot
from mpcompile.ops.dynamic import SliceAt
from mpcompile.ops.elementwise import Abs, Log
from mpcompile.ops.linear import MatMul
from mpcompile.ops.parts import Concat, Slice
from mpcompile.ops.reduction import ArgMax, Sum
from mpcompile.ops.structure import Reshape, Transpose
from mpcompile.ops.traits import Fresh
from mpcompile.ops.truth import Less, Where


class Square(Fresh, Operation):
    """A function of all of one matrix [C, C]; which zeros of it stay zero is not followed."""

    mixes: ClassVar[str] = "takes the examples for a matrix"

    conservative: ClassVar[bool] = True

    def _size(self, w: Type) -> int:
        require_dtype(w, DType.FLOAT)
        require(w.rank == 2 and w.shape[0] == w.shape[1], "a square matrix", w)
        return as_int(w.shape[0], "the size of a matrix")

    def along(self, shapes: Sequence[Shape], out: Shape) -> tuple[Along, ...]:
        return ({},)

    @classmethod
    def examples(cls) -> list[Example]:
        rng = np.random.default_rng(0)
        drawn = [rng.normal(size=(n, n)) + np.diag(np.sign(rng.normal(size=n))) for n in (1, 2, 4)]
        pivoted = np.array(
            [[0.0, 2.0, 0.3], [1.5, 0.2, 0.0], [0.1, 0.0, -1.0]]
        )  # no elimination without a swap
        return [Example(cls(), (w,)) for w in (*drawn, pivoted)]


class Inverse(Square):
    """W^-1 of a matrix W[C, C]. Of a singular one it is infinite here; backends differ, and torch raises."""

    name: ClassVar[str] = "inverse"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        self._size(inputs[0])
        return (inputs[0],)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        try:
            return (np.linalg.inv(inputs[0]),)
        except np.linalg.LinAlgError:
            return (np.full_like(inputs[0], np.inf),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        return (field.eliminate(inputs[0])[0],)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (w,) = inputs
        facts = np.broadcast_to(join_over(domain, w.facts, (0, 1)), (*w.shape, w.facts.shape[-1]))
        return (domain.make(w.shape, facts),)

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        """C^3 multiply-adds (Golub and Van Loan 2013, section 3.2)."""
        return Work(rest=2 * self._size(inputs[0]) ** 3)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        """dW = -X^T dX X^T for X = W^-1 (Petersen and Pedersen 2012, eq. 59)."""
        (ct,), flipped = cotangents, b.emit(Transpose((1, 0)), outputs[0])
        if ct is None:
            return (None,)
        return (b.emit(Neg(), b.emit(MatMul(), b.emit(MatMul(), flipped, ct), flipped)),)


class LogAbsDet(Square):
    """log |det W| of a matrix W[C, C], a scalar; minus infinity for one that is singular."""

    name: ClassVar[str] = "log_abs_det"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        self._size(inputs[0])
        return (inputs[0].with_shape(()),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.asarray(np.linalg.slogdet(inputs[0])[1]),)

    def over_field(self, field: Field, *inputs: Array) -> tuple[Array, ...]:
        return (field.log(field.abs(np.asarray(float(field.eliminate(inputs[0])[1])))),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        (w,) = inputs
        return (domain.make((), join_over(domain, w.facts, (0, 1)).reshape(-1)),)

    def cost(self, inputs: Sequence[Type], outputs: Sequence[Type]) -> Work:
        """A third of C^3 multiply-adds for the factors (Golub and Van Loan 2013, section 3.2)."""
        return Work(rest=-(-2 * self._size(inputs[0]) ** 3 // 3))

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        """dW = X^T for X = W^-1 (Petersen and Pedersen 2012, eq. 57)."""
        (ct,) = cotangents
        if ct is None:
            return (None,)
        flipped = b.emit(Transpose((1, 0)), b.emit(Inverse(), inputs[0]))
        return (b.emit(Mul(), keep_axes(b, ct, inputs[0].shape, (0, 1)), flipped),)


def eliminate(b: Builder, w: Value) -> tuple[Value, Value]:
    """Emit W^-1 and log |det W| of a matrix W [C, C], for backends without operators of their own.

    Gauss and Jordan's elimination in C steps. The pivot of a column is its largest entry among the rows not yet used.
    Rows stay in their places: the one-hot vectors of the pivots put them in order at the end.
    """
    size = as_int(w.shape[0], "the size of a matrix")
    table, used = b.emit(Concat(1), w, b.constant(np.eye(size))), full(b, 0.0, (size, 1))
    loop = LoopBuilder(b, axis=0, length=size)
    rows, taken, c = loop.carry("rows", table), loop.carry("used", used), loop.body
    column = c.emit(SliceAt(1, 1), rows, loop.step)
    free = c.emit(Less(), taken, c.constant(0.5))
    sizes = c.emit(Where(), free, c.emit(Abs(), column), c.constant(-1.0))
    index = c.emit(ArgMax(0, False), c.emit(Reshape((size,)), sizes))
    unit = c.emit(Reshape((1, size)), c.emit(OneHot(size), index))
    upright = c.emit(Reshape((size, 1)), unit)
    pivot = c.emit(MatMul(), unit, column)
    scaled = c.emit(Div(), c.emit(MatMul(), unit, rows), pivot)
    change = c.emit(Mul(), c.emit(Sub(), column, upright), scaled)  # leaves the unit vector in the column
    following = [c.emit(Sub(), rows, change), c.emit(Add(), taken, upright)]
    ys = {
        "unit": c.emit(Reshape((size,)), unit),
        "log": c.emit(Reshape(()), c.emit(Log(), c.emit(Abs(), pivot))),
    }
    (done, _), (units, logs) = loop.close(following, ys)
    right = b.emit(Slice(1, size, 2 * size, 1), done)
    return b.emit(MatMul(), units, right), b.emit(Sum((0,), False), logs)
