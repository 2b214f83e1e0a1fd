"""Laws over another law: mixtures of its components, and zeros beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from mpcompile import ops
from mpcompile.distributions.base import Elementwise
from mpcompile.distributions.family import Family
from mpcompile.distributions.slots import UNIFORM, Noise, Parameters, Slot
from mpcompile.distributions.support import BY_COUNTS, BY_INNER, Support
from mpcompile.ir import Builder, DType, Field, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Components


@dataclass(frozen=True)
class OverLaw:
    """The arguments of a law over another one: that law by its name, and the net that gives all parameters."""

    law: Family
    net: Value | None = None


@dataclass(frozen=True)
class OverComponents(OverLaw):
    """The arguments of a mixture over single elements."""

    components: Components | None = None


@dataclass(frozen=True)
class Combined(Elementwise):
    """Base of the laws over an inner one, whose parameters follow its own."""

    support: ClassVar[Support] = BY_INNER
    arguments: ClassVar[type | None] = OverLaw
    slots: ClassVar[tuple[Slot, ...]] = ()
    #: A statement of it that is right.
    usage: ClassVar[str]
    inner: Elementwise

    @classmethod
    def fault(cls, inner: Family) -> str:
        """Return why it cannot be over a law, as the end of a sentence; nothing where it can."""
        raise NotImplementedError

    @classmethod
    def supports(cls, inner: Family) -> Support:
        """Return the values that it has over a law."""
        return inner.support

    @classmethod
    def count(cls, family: Family, field: Field) -> int:
        return len(cls.slots) + family.over.count(field)

    @classmethod
    def noise_over(cls, inner: Family) -> tuple[Noise, ...]:
        """Return the noise of a draw over a law."""
        return (UNIFORM, *inner.noise)

    def noises(self) -> tuple[Noise, ...]:
        return (UNIFORM, *self.inner.noises())

    def sharpens(self, b: Builder) -> bool:
        return self.dense and self.inner.sharpens(b)

    @property
    def dense(self) -> bool:
        return self.inner.dense

    def mapped(self, f: Callable[[Value], Value]) -> Self:
        return replace(self, inner=self.inner.mapped(f))

    def tempered(self, ctx: Context, t: float) -> Self:
        return replace(self, inner=self.inner.tempered(ctx, t))

    def parameters(self) -> dict[str, Value]:
        return self.inner.parameters()


@dataclass(frozen=True)
class MixtureOf(Combined):
    """p(x) = sum_k softmax(logits)_k p_k(x), element by element: components of one law, their parameters from a net.

    The parameters are [N, K, ...] for x [N, ...], the logits first, then each slot of the law for all components.
    """

    keyword: ClassVar[str] = "mixture"
    usage: ClassVar[str] = "mixture(normal, net, components = 5)"
    arguments: ClassVar[type | None] = OverComponents
    slots: ClassVar[tuple[Slot, ...]] = (Slot("logits"),)
    stacked: ClassVar[bool] = True
    logits: Value
    axis: int

    @classmethod
    def fault(cls, inner: Family) -> str:
        law = inner.law
        whole = law.has_mean and not law.shared and inner.support.measure != "criterion"
        fits = whole and not inner.stacked and law.dtype is DType.FLOAT
        return "" if fits else "is of a law with slots of its own for each element, such as normal or poisson"

    @classmethod
    def count(cls, family: Family, field: Field) -> int:
        return family.size * (1 + family.over.count(field))

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Elementwise:
        k, over = family.size, family.over
        logits = parameters.several(k)
        inner = over.law.read(parameters.grouped(k), over, field)
        return cls(inner, logits, parameters.axis)

    @property
    def parameter_axis(self) -> int | None:
        return self.axis

    def _wide(self, b: Builder, x: Value) -> Value:
        return F.reshape(b, x, (*x.shape[: self.axis], 1, *x.shape[self.axis :]))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b, axis = ctx.b, self.axis
        each = self.inner.element_log_prob(ctx, self._wide(b, x))
        weighted = F.add(b, b.emit(ops.LogSoftmax(axis), self.logits), each)
        return b.emit(ops.LogSumExp((axis,), False), weighted)

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        """The first number picks the component; the rest draws from the law with the parameters of that component."""
        b, axis, (u, *rest) = ctx.b, self.axis, noise
        upper = b.emit(ops.CumSum(axis), b.emit(ops.Softmax(axis), self.logits))
        count = self.logits.shape[axis]
        assert isinstance(count, int)
        inner, total = F.slice_axis(b, upper, axis, 0, count - 1), F.slice_axis(b, upper, axis, count - 1)
        index = F.count(b, F.less(b, inner, F.mul(b, self._wide(b, u), total)), [axis], True)
        numbers = np.arange(count).reshape(-1, *(1,) * (self.logits.type.rank - axis - 1))
        chosen = F.to_float(b, b.emit(ops.Equal(), index, b.constant(numbers)))
        return self.inner.mapped(lambda v: F.sum_axes(b, F.mul(b, chosen, v), [axis])).draw(ctx, rest)

    def tempered(self, ctx: Context, t: float) -> Self:
        """Return the mixture at a temperature: logits divided by it, and its components at it."""
        return replace(super().tempered(ctx, t), logits=F.mul(ctx.b, self.logits, 1.0 / t))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b, axis = ctx.b, self.axis
        each = self.inner.mean(ctx, self.logits.shape)
        return F.sum_axes(b, F.mul(b, b.emit(ops.Softmax(axis), self.logits), each), [axis])

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits, **self.inner.parameters()}

    def mapped(self, f: Callable[[Value], Value]) -> Self:
        return replace(super().mapped(f), logits=f(self.logits))


@dataclass(frozen=True)
class ZeroInflated(Combined):
    """0 with the probability sigmoid(gate), else the law within: of counts, or of positive numbers.

    Of positive numbers the figure is a mass at 0, and a density elsewhere. The gate is the first parameter.
    """

    keyword: ClassVar[str] = "zero_inflated"
    usage: ClassVar[str] = "zero_inflated(negative_binomial, net)"
    support: ClassVar[Support] = BY_COUNTS
    slots: ClassVar[tuple[Slot, ...]] = (Slot("gate"),)
    gate: Value

    @classmethod
    def fault(cls, inner: Family) -> str:
        fits = inner.support.types in (("integer(0..)",), ("real(0..)",))
        return "" if fits else "is of counts or positive numbers, such as poisson or gamma"

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Elementwise:
        gate, over = parameters.one(), family.over
        return cls(over.law.read(parameters, over, field), gate)

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        zero, other = (F.neg(b, b.emit(ops.Softplus(), v)) for v in (F.neg(b, self.gate), self.gate))
        nothing = F.less(b, x, 1e-30)
        if self.inner.dense:
            held = F.where(b, nothing, 1.0, x)
            return F.where(b, nothing, zero, F.add(b, other, self.inner.element_log_prob(ctx, held)))
        within = F.add(b, other, self.inner.element_log_prob(ctx, x))
        both = F.add(b, zero, b.emit(ops.Softplus(), F.sub(b, within, zero)))
        return F.where(b, nothing, both, within)

    def tempered(self, ctx: Context, t: float) -> Self:
        """Return the law at a temperature: the gate divided by it, and the law within at it."""
        return replace(super().tempered(ctx, t), gate=F.mul(ctx.b, self.gate, 1.0 / t))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        b = ctx.b
        nothing = F.less(b, noise[0], b.emit(ops.Sigmoid(), self.gate))
        return F.where(b, nothing, 0.0, self.inner.draw(ctx, noise[1:]))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b = ctx.b
        return F.mul(b, b.emit(ops.Sigmoid(), F.neg(b, self.gate)), self.inner.mean(ctx, shape))

    def mapped(self, f: Callable[[Value], Value]) -> Self:
        return replace(super().mapped(f), gate=f(self.gate))

    def parameters(self) -> dict[str, Value]:
        return {"gate": self.gate, **self.inner.parameters()}


__all__ = ["Combined", "MixtureOf", "OverComponents", "OverLaw", "ZeroInflated"]
