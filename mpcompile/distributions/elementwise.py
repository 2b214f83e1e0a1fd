"""Likelihoods of single elements. Their negative logs are the usual losses (notes, section 1.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from mpcompile import ops
from mpcompile.distributions.base import Distribution, Elementwise
from mpcompile.distributions.family import Family
from mpcompile.distributions.slots import Parameters, Slot
from mpcompile.distributions.subject import Subject, axes_of, ending
from mpcompile.distributions.support import BITS, CLASSES, SIDES, Support
from mpcompile.ir import Builder, DType, Field, Shape, Value
from mpcompile.ir.axes import CHANNEL, CLASS
from mpcompile.layers.axes import described, ordered, with_batch
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import Fraction


@dataclass(frozen=True)
class Bernoulli(Elementwise):
    """log p(x) = x a - softplus(a) for logits a: binary cross-entropy, computed from logits."""

    keyword: ClassVar[str] = "bernoulli"
    support: ClassVar[Support] = BITS
    shows_mean: ClassVar[bool] = True
    slots: ClassVar[tuple[Slot, ...]] = (Slot("logits"),)
    logits: Value

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        return F.sub(b, F.mul(b, x, self.logits), b.emit(ops.Softplus(), self.logits))

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """p (a - c) + softplus(c) - softplus(a), the other law of logits c."""
        b = ctx.b
        if not isinstance(other, Bernoulli):
            return None
        on = b.emit(ops.Sigmoid(), self.logits)
        free = F.sub(b, b.emit(ops.Softplus(), other.logits), b.emit(ops.Softplus(), self.logits))
        return F.add(b, F.mul(b, on, F.sub(b, self.logits, other.logits)), free)

    def element_entropy(self, ctx: Context) -> Value | None:
        """softplus(a) - p a, which is even in a: taken where a is negative, so that no digits cancel."""
        b = ctx.b
        away = F.neg(b, b.emit(ops.Abs(), self.logits))
        return F.sub(b, b.emit(ops.Softplus(), away), F.mul(b, b.emit(ops.Sigmoid(), away), away))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        p = ctx.b.emit(ops.Sigmoid(), self.logits)
        return F.to_float(ctx.b, F.less(ctx.b, noise[0], p))

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return ctx.b.emit(ops.Sigmoid(), self.logits)

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits}

    def tempered(self, ctx: Context, t: float) -> Bernoulli:
        return Bernoulli(F.mul(ctx.b, self.logits, 1.0 / t))


@dataclass(frozen=True)
class Perceptron(Elementwise):
    """Rosenblatt's criterion: -(2 x - 1) a on mistakes and 0 elsewhere; sgd with rate 1 on it is his update rule.

    Not a density: it has no sampler and its `log_prob` is minus the criterion.
    """

    keyword: ClassVar[str] = "perceptron"
    support: ClassVar[Support] = SIDES
    drawn: ClassVar[bool] = False
    slots: ClassVar[tuple[Slot, ...]] = (Slot("activation"),)
    activation: Value

    def mean(self, ctx: Context, shape: Shape) -> Value:
        b = ctx.b
        return F.to_float(b, F.less(b, 0.0, self.activation))

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        wrong = F.sub(b, x, b.emit(ops.StopGradient(), self.mean(ctx, x.shape)))  # +1, 0 or -1
        return F.mul(b, wrong, self.activation)

    def parameters(self) -> dict[str, Value]:
        return {"activation": self.activation}


@dataclass(frozen=True)
class Logits:
    """The arguments of `categorical`."""

    logits: Value
    smoothing: Fraction = dataclasses.field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class Categorical(Elementwise):
    """Softmax over `axis` of the logits; x holds classes in the logits' shape without that axis, numbered from `low`.

    With `smoothing` s the training loss, and nothing else, is 1 - s of -log p of the class and s of the mean of -log p
    over all classes (Szegedy et al. 2016, section 7).
    """

    keyword: ClassVar[str] = "categorical"
    support: ClassVar[Support] = CLASSES
    arguments: ClassVar[type | None] = Logits
    slots: ClassVar[tuple[Slot, ...]] = (Slot("logits"),)
    dtype: ClassVar[DType] = DType.INT
    stacked: ClassVar[bool] = True
    logits: Value
    axis: int
    low: int = 0
    smoothing: float = 0.0

    @classmethod
    def stated(cls, ctx: Context, given: Logits, subject: Subject) -> Distribution:
        field, logits = subject.field, given.logits
        if field is None or field.classes is None:
            raise subject.fail("MP209", "categorical needs a variable of type category(k)")
        if logits.type.rank == 0:  # one number for all classes: each is as probable
            shape = (*field.type.shape, field.classes)
            return cls(F.add(ctx.b, ctx.zeros(shape), logits), len(shape) - 1, field.low, given.smoothing)
        logits = with_batch(ctx, logits)
        own = dict(zip(ctx.axes_of(logits), ctx.sizes_of(logits), strict=True))
        wanted = dict(zip(field.axes, field.type.shape[1:], strict=True))
        if (wanted.get(CHANNEL), own.get(CHANNEL)) == (1, field.classes):  # the variable is one channel
            places = tuple(n for n in field.axes if n != CHANNEL)
            if own == {**wanted, CHANNEL: field.classes}:
                last = ordered(ctx, logits, (*places, CHANNEL))
                shape = (*field.type.shape, field.classes)
                return cls(F.reshape(ctx.b, last, shape), len(shape) - 1, field.low, given.smoothing)
        over = [n for n in own if n not in wanted]
        if len(over) != 1 or own != wanted | {over[0]: field.classes}:
            name = CLASS if CHANNEL in wanted else CHANNEL
            raise subject.fail(
                "MP207", f"logits {described(ctx, logits)} for {field.name}: category({field.classes})"
                f"{axes_of(field) if field.axes else ''}",
                help=ending(ctx, logits, (*field.axes, name), (*field.type.shape[1:], field.classes)),
            )  # fmt: skip
        at, axes = list(own).index(over[0]), field.axes
        logits = ordered(ctx, logits, (*axes[:at], over[0], *axes[at:]))
        return cls(logits, 1 + at, field.low, given.smoothing)

    @classmethod
    def count(cls, family: Family, field: Field) -> int:
        assert field.classes is not None, "its support has levels"
        return field.classes

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Categorical:
        return cls(parameters.several(parameters.count), parameters.axis, field.low)

    @property
    def parameter_axis(self) -> int | None:
        return self.axis

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        b = ctx.b
        if self.low:  # zeros behind the end of a sequence may be no class
            classes = self.logits.shape[self.axis]
            assert isinstance(classes, int)
            x = b.emit(ops.Sub(), F.cast(b, x, DType.INT), b.constant(self.low))
            x = b.emit(ops.Minimum(), b.emit(ops.Maximum(), x, b.constant(0)), b.constant(classes - 1))
        index = F.reshape(b, F.cast(b, x, DType.INT), (*x.shape[: self.axis], 1, *x.shape[self.axis :]))
        logs = b.emit(ops.LogSoftmax(self.axis), self.logits)
        own = F.reshape(b, b.emit(ops.TakeAlong(self.axis), logs, index), x.shape)
        if not (self.smoothing and ctx.training):
            return own
        even = F.mean_axes(b, logs, [self.axis])
        return F.add(b, F.mul(b, own, 1.0 - self.smoothing), F.mul(b, even, self.smoothing))

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """The sum of p log(p / q) over the classes."""
        b = ctx.b
        if not isinstance(other, Categorical) or (self.axis, self.low) != (other.axis, other.low):
            return None
        log_p, log_q = (b.emit(ops.LogSoftmax(law.axis), law.logits) for law in (self, other))
        each = F.mul(b, b.emit(ops.Softmax(self.axis), self.logits), F.sub(b, log_p, log_q))
        return F.sum_axes(b, each, [self.axis])

    def element_entropy(self, ctx: Context) -> Value | None:
        """Minus the sum of p log p over the classes."""
        b = ctx.b
        each = F.mul(
            b, b.emit(ops.Softmax(self.axis), self.logits), b.emit(ops.LogSoftmax(self.axis), self.logits)
        )
        return F.neg(b, F.sum_axes(b, each, [self.axis]))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        """Inverse of the distribution function: the number of classes whose cumulated probability is below u.

        u is taken on the scale of the total as it is rounded: else a last class of hardly any probability is drawn
        whenever the total of the others is rounded to less than u.
        """
        b, axis = ctx.b, self.axis
        cumulated = b.emit(ops.CumSum(axis), b.emit(ops.Softmax(axis), self.logits))
        inner, total = _split_last(b, cumulated, axis)  # the last is left out, so that no index is too large
        u = F.reshape(b, noise[0], (*noise[0].shape[:axis], 1, *noise[0].shape[axis:]))
        drawn = F.count(b, F.less(b, inner, F.mul(b, u, total)), [axis])
        return b.emit(ops.Add(), drawn, b.constant(self.low)) if self.low else drawn

    def mean(self, ctx: Context, shape: Shape) -> Value:
        return ctx.b.emit(ops.Softmax(self.axis), self.logits)

    def parameters(self) -> dict[str, Value]:
        return {"logits": self.logits}

    def tempered(self, ctx: Context, t: float) -> Categorical:
        return replace(self, logits=F.mul(ctx.b, self.logits, 1.0 / t))

    def most_probable(self, ctx: Context, k: int) -> Categorical:
        """Logits are minus infinity for classes that k or more others exceed."""
        b, axis, shape = ctx.b, self.axis, self.logits.shape
        one = F.reshape(b, self.logits, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        other = F.reshape(b, self.logits, (*shape[:axis], 1, *shape[axis:]))
        above = F.count(b, F.less(b, one, other), [axis + 1])
        likely = b.emit(ops.Less(), above, b.constant(k))
        return replace(self, logits=F.where(b, likely, self.logits, float("-inf")))


def _split_last(b: Builder, x: Value, axis: int) -> tuple[Value, Value]:
    """Return all elements along the axis but the last, and the last, which keeps its axis."""
    size = x.shape[axis]
    assert isinstance(size, int)
    return F.slice_axis(b, x, axis, 0, size - 1), F.slice_axis(b, x, axis, size - 1)
