"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mpcompile.ir import (
    Abstract,
    Array,
    Builder,
    Domain,
    DType,
    Example,
    Type,
    TypeMismatch,
    Value,
    broadcast_shapes,
    product,
)
from mpcompile.ops._base import Operation, expand, lift, require, require_dtype, unbroadcast
from mpcompile.ops.structure import Reshape, Transpose

Cotangents = Sequence[Value | None]


def _sample(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(0.3, 1.9, shape)


class MatMul(Operation):
    """z[.., i, j] = Σ_k x[.., i, k] y[.., k, j]; leading axes broadcast."""

    name: ClassVar[str] = "mat_mul"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        x, y = inputs
        for t in inputs:
            require_dtype(t, DType.FLOAT)
            require(t.rank >= 2, "at least two axes", t)
        require(x.shape[-1] == y.shape[-2], f"{x.shape[-1]} rows to multiply {x} by", y)
        try:
            lead = broadcast_shapes(x.shape[:-2], y.shape[:-2])
        except ValueError:
            raise TypeMismatch(f"expected leading axes that broadcast, found {x} and {y}") from None
        return (x.with_shape((*lead, x.shape[-2], y.shape[-1])),)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return (np.matmul(*inputs),)

    def flow(self, domain: Domain, *inputs: Abstract) -> tuple[Abstract, ...]:
        x, y = inputs
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        shape = (*lead, x.shape[-2], y.shape[-1])
        rank = len(shape)
        x_live, y_live = lift(x.live, rank), lift(y.live, rank)
        x_facts, y_facts = lift(x.facts, rank + 1), lift(y.facts, rank + 1)
        from_x = domain.contract(x_facts, y_live[..., None, :, :])
        flipped = domain.contract(np.swapaxes(y_facts, -3, -2), np.swapaxes(x_live, -1, -2)[..., None, :, :])
        from_y = np.swapaxes(flipped, -3, -2)
        live = _live_product(x_live, y_live, x.shape[-1])
        return (domain.make(shape, domain.union(from_x, from_y), ~live),)

    def vjp(
        self, b: Builder, inputs: Sequence[Value], outputs: Sequence[Value], cotangents: Cotangents
    ) -> tuple[Value | None, ...]:
        (ct,) = cotangents
        x, y = inputs
        if ct is None:
            return None, None
        dx = unbroadcast(b, b.emit(MatMul(), ct, _swap(b, y)), x.shape)
        if len(y.shape) == 2 and len(x.shape) > 2:  # one product over all rows, not one for each batch
            rows = product(x.shape[:-1])
            x = b.emit(Reshape((rows, x.shape[-1])), x)
            ct = b.emit(Reshape((rows, ct.shape[-1])), ct)
        return dx, unbroadcast(b, b.emit(MatMul(), _swap(b, x), ct), y.shape)

    @classmethod
    def examples(cls) -> list[Example]:
        shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
            ((2, 3), (3, 4)),
            ((1, 1), (1, 2)),
            ((2, 3, 4), (4, 2)),
            ((2, 2, 3), (2, 3, 1)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((3, 2), (2, 2, 1)),
        ]
        return [
            Example(cls(), (_sample(*s, seed=i), _sample(*t, seed=i + 9))) for i, (s, t) in enumerate(shapes)
        ]


def _live_product(x: Array, y: Array, inner: int) -> Array:
    """Which elements of a matrix product have a term that is not known to be zero."""
    if x.all():
        return np.asarray(y.any(-2, keepdims=True)) if inner else np.zeros((1,) * x.ndim, bool)
    if y.all():
        return np.asarray(x.any(-1, keepdims=True))
    size = max(x.shape[-1], y.shape[-2])
    x, y = expand(x, x.ndim - 1, size), expand(y, y.ndim - 2, size)
    return np.asarray(np.matmul(x.astype(np.float32), y.astype(np.float32)) > 0)


def _swap(b: Builder, value: Value) -> Value:
    """Transpose the last two axes."""
    rank = len(value.shape)
    return b.emit(Transpose((*range(rank - 2), rank - 1, rank - 2)), value)
