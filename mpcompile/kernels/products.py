"""Products with a weight, and the bias that stands with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile.ir import Node, Value
from mpcompile.kernels.base import Kernel, Rule, Site, formula
from mpcompile.kernels.pattern import Hole, Match, Term, either
from mpcompile.ops import Conv, ConvTranspose, MatMul, Reshape, Transpose


@dataclass(frozen=True)
class Linear(Kernel):
    """x weight^T + bias: x [..., in], weight [out, in], bias [out] or None."""

    name: ClassVar[str] = "linear"
    x: Value
    weight: Value
    bias: Value | None = None


@dataclass(frozen=True)
class Convolution(Kernel):
    """A convolution or transposed convolution with a bias [channels]; `product` has the attributes."""

    name: ClassVar[str] = "convolution"
    x: Value
    weight: Value
    bias: Value
    product: Node


_X, _BIAS = Hole("x"), Hole("bias")
_PRODUCT = Term(MatMul, (_X, Term(Transpose, (Hole("weight"),), "turned")), "product")
_WINDOWS = either(*(Term(op, (_X, Hole("weight")), "product") for op in (Conv, ConvTranspose)))


def _linear(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    turned, result, bias = m.op("turned"), site.node.outputs[0], m.get("bias")
    assert isinstance(turned, Transpose)
    if turned.permutation != (1, 0) or m["product"].shape != result.shape:
        return None
    if bias is not None and bias.shape != m["weight"].shape[:1]:
        return None
    return Linear(result, inside, m["x"], m["weight"], bias)


def _convolution(site: Site, m: Match, inside: frozenset[int]) -> Kernel | None:
    """The bias is a vector in a shape that has its axis where the product has channels."""
    spread, bias, product = m["spread"].shape, m["bias"], m["product"].shape
    channels = product[1]
    apart = (channels, *(1,) * (len(product) - 2))
    if bias.shape != (channels,) or spread not in (apart, (1, *apart)):
        return None
    return Convolution(site.node.outputs[0], inside, m["x"], m["weight"], bias, site.graph.node(m["product"]))


RULES: tuple[Rule, ...] = (
    formula(Linear, _PRODUCT + _BIAS, _linear),
    formula(Linear, _PRODUCT, _linear),
    formula(Convolution, _WINDOWS + Term(Reshape, (_BIAS,), "spread"), _convolution),
)
