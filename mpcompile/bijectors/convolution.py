"""Invertible 1x1 convolutions (Kingma and Dhariwal 2018, section 3.2), plain and by their LU factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar
from zlib import crc32

import numpy as np

from mpcompile import ops
from mpcompile.bijectors.base import Bijector, Part, along_channels, channels, spread
from mpcompile.ir import Array, Init, Value, number
from mpcompile.layers.base import Context
from mpcompile.layers.masks import permutation
from mpcompile.ops import build as F
from mpcompile.ranges import Choice, Seed

Begin = Annotated[str, Choice(("rotation", "permutation"))]
Form = Annotated[str, Choice(("lu", "plain"))]

#: A matrix of more channels than this is refused: the factors of its start are found in Python.
MAX_CHANNELS = 1024


@dataclass(frozen=True)
class Conv1x1(Bijector):
    """A dense matrix W at every place, over the channels (for vectors, over the elements).

    `form = lu`: W = P L U. P is fixed, L has a unit diagonal, that of U is sign exp(log_diagonal); so log |det W| is the
    sum of log_diagonal, W stays invertible, and all but P is triangular. `form = plain`: W itself is learned, and log
    |det W| costs O(C^3) a call; training may take it to a singular matrix. At the start W is a `rotation`, or a
    `permutation`, drawn by the seed and the layer's name.
    """

    keyword: ClassVar[str] = "conv1x1"
    init: Begin = "rotation"
    seed: Seed = 0
    form: Form = "lu"

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        if self.form == "plain":
            weight = self._weight(ctx, x)
            return mixed(ctx, weight, x), spread(ctx, x, ctx.b.emit(ops.LogAbsDet(), weight))
        f = self.factors(ctx, x)
        eye = ctx.b.constant(np.eye(channels(x)))
        lower = F.add(ctx.b, f.lower, eye)
        upper = F.add(ctx.b, f.upper, F.mul(ctx.b, f.diagonal(ctx), eye))
        product = ctx.b.emit(ops.MatMul(), lower, upper)
        weight = ctx.b.emit(ops.Gather(0), product, ctx.b.constant(f.rows))
        return mixed(ctx, weight, x), spread(ctx, x, f.log_diagonal)

    def inverse(self, ctx: Context, y: Value) -> Value:
        if self.form == "plain":
            return mixed(ctx, ctx.b.emit(ops.Inverse(), self._weight(ctx, y)), y)
        b, f = ctx.b, self.factors(ctx, y)
        solved = _substitute(ctx, f.lower, b.constant(np.eye(channels(y))[:, f.rows]), reverse=False)
        diagonal = F.reshape(b, f.diagonal(ctx), (channels(y), 1))
        upper, right = F.div(b, f.upper, diagonal), F.div(b, solved, diagonal)
        return mixed(ctx, _substitute(ctx, upper, right, reverse=True), y)

    def parts(self) -> tuple[Part, ...]:
        return (self,) if self.form == "plain" else (_Upper(self), _Lower(self), _Rows(self))

    def _start(self, ctx: Context, x: Value) -> Array:
        size = channels(x)
        if size > MAX_CHANNELS:
            raise ctx.fail("MP112", f"conv1x1 has at most {MAX_CHANNELS} channels, not {size}")
        return _start(self.init, size, self.seed ^ crc32(ctx.path.encode()))

    def _weight(self, ctx: Context, x: Value) -> Value:
        """W of the plain form."""
        return ctx.param("weight", (channels(x),) * 2, Init("array", array=self._start(ctx, x)))

    def factors(self, ctx: Context, x: Value) -> _Factors:
        """Parameters of the LU form at x, declared under the layer's name."""
        size = channels(x)
        rows, lower, upper = _factorised(self._start(ctx, x))
        b, shape, diagonal = ctx.b, (size, size), np.diagonal(upper)
        below = b.constant(np.tri(size, k=-1))
        above = b.constant(np.tri(size, k=-1).T)
        return _Factors(
            rows,
            np.sign(diagonal),
            F.mul(b, ctx.param("lower", shape, Init("array", array=np.tril(lower, -1))), below),
            F.mul(b, ctx.param("upper", shape, Init("array", array=np.triu(upper, 1))), above),
            ctx.param("log_diagonal", (size,), Init("array", array=np.log(np.abs(diagonal)))),
        )


@dataclass(frozen=True)
class _Factors:
    """`rows` of P, signs of U's diagonal, L and U strictly beside their diagonals, log of U's diagonal."""

    rows: Array
    signs: Array
    lower: Value
    upper: Value
    log_diagonal: Value

    def diagonal(self, ctx: Context) -> Value:
        """[C]"""
        return F.mul(ctx.b, ctx.b.emit(ops.Exp(), self.log_diagonal), ctx.b.constant(self.signs))


@dataclass(frozen=True)
class _Upper:
    """y_i = u_ii x_i + sum of u_ij x_j over j > i."""

    of: Conv1x1

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        f = self.of.factors(ctx, x)
        own = F.mul(ctx.b, x, along_channels(ctx, f.diagonal(ctx), x))
        return F.add(ctx.b, own, mixed(ctx, f.upper, seen)), spread(ctx, x, f.log_diagonal)


@dataclass(frozen=True)
class _Lower:
    """y_i = x_i + sum of l_ij x_j over j < i."""

    of: Conv1x1

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return F.add(ctx.b, x, mixed(ctx, self.of.factors(ctx, x).lower, seen)), None


@dataclass(frozen=True)
class _Rows:
    """y_i = x of the row that P takes there."""

    of: Conv1x1

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return ctx.b.emit(ops.Gather(1), x, ctx.b.constant(self.of.factors(ctx, x).rows)), None


def mixed(ctx: Context, weight: Value, x: Value) -> Value:
    """Multiply the channels of x[N, C, ...] by weight[C, C], at every place."""
    if x.type.rank == 2:
        return F.linear(ctx.b, x, weight, None)
    axes = x.type.rank - 2
    kernel = F.reshape(ctx.b, weight, (*weight.shape, *(1,) * axes))
    return ctx.b.emit(ops.Conv((1,) * axes, ((0, 0),) * axes, (1,) * axes, 1), x, kernel)


def _substitute(ctx: Context, strict: Value, right: Value, reverse: bool) -> Value:
    """(I + strict)^-1 right, row by row: X_i = right_i - strict_i X; from the last row up when `reverse`."""
    size = strict.shape[0]
    eye = ctx.b.constant(np.eye(number(size)))

    def step(state: list[Value], rows: list[Value], _: Value) -> tuple[list[Value], list[Value]]:
        b, (known,), (row, right, unit) = ctx.b, state, rows
        found = F.sub(
            b, F.reshape(b, right, (1, size)), b.emit(ops.MatMul(), F.reshape(b, row, (1, size)), known)
        )
        return [F.add(b, known, F.mul(b, F.reshape(b, unit, (size, 1)), found))], []

    (solved,), _ = ctx.scan(step, [ctx.zeros(strict.shape)], [strict, right, eye], axis=0, reverse=reverse)
    return solved


def _start(init: str, size: int, seed: int) -> Array:
    """The W that a layer starts from."""
    if init == "permutation":
        return np.eye(size)[permutation(size, seed)]
    noise = permutation(size * size, seed).reshape(size, size) / (size * size) - 0.5
    q, r = np.linalg.qr(noise + 1e-3 * np.eye(size))
    return np.asarray(q * np.where(np.diagonal(r) < 0, -1.0, 1.0))


def _factorised(matrix: Array) -> tuple[Array, Array, Array]:
    """rows, L, U with W[i] = (L U)[rows[i]]."""
    size = len(matrix)
    left, order, lower = matrix.copy(), np.arange(size), np.eye(size)
    for k in range(size):  # Doolittle's elimination with partial pivoting
        pivot = k + int(np.argmax(np.abs(left[k:, k])))
        for rows, stop in ((left, size), (lower, k)):
            rows[[k, pivot], :stop] = rows[[pivot, k], :stop]
        order[[k, pivot]] = order[[pivot, k]]
        lower[k + 1 :, k] = left[k + 1 :, k] / left[k, k]
        left[k + 1 :] -= np.outer(lower[k + 1 :, k], left[k])
    return np.argsort(order), lower, np.triu(left)
