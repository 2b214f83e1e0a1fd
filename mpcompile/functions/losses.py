"""Terms of a loss: `minimise squared(a, b)`. They are functions that keep the axes of their values, and no densities.

Each is 0 where prediction and target agree best, but for those of classes, which are cross-entropies in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from mpcompile import ops
from mpcompile.distributions.base import Elementwise
from mpcompile.distributions.elementwise import Categorical
from mpcompile.distributions.slots import Operand
from mpcompile.functions.base import Function, place, real_only, without
from mpcompile.functions.contraction import Product
from mpcompile.functions.reduce import TINY_SQUARE
from mpcompile.ir import DType, Symbolic, Value
from mpcompile.ir.axes import CHANNEL, shown
from mpcompile.layers.axes import aligned, beside, described, ordered, with_batch
from mpcompile.layers.context import Context
from mpcompile.ops import build as F
from mpcompile.ranges import HUGE, TINY, Fraction, Names, NonNegative, Positive, Range


@dataclass(frozen=True)
class _OfErrors(Function):
    """A function of the error a - b, or of the error itself where one value is given."""

    takes: ClassVar[tuple[str, ...]] = ("a", "b")
    optional: ClassVar[int] = 1

    def forward(self, ctx: Context, *values: Value) -> Value:
        b = ctx.b
        together, axes = aligned(ctx, self.keyword, values)
        error = together[0] if len(together) == 1 else F.sub(b, *together)
        return ctx.name_axes(self.of_error(ctx, error), axes)

    def of_error(self, ctx: Context, error: Value) -> Value:
        """The term of each error."""
        raise NotImplementedError


class Squared(_OfErrors):
    """(a - b)^2."""

    keyword: ClassVar[str] = "squared"

    def of_error(self, ctx: Context, error: Value) -> Value:
        return F.mul(ctx.b, error, error)


class Absolute(_OfErrors):
    """|a - b|."""

    keyword: ClassVar[str] = "absolute"

    def of_error(self, ctx: Context, error: Value) -> Value:
        return ctx.b.emit(ops.Abs(), error)


@dataclass(frozen=True)
class Huber(_OfErrors):
    """e^2 / 2 for errors e up to `delta`, and delta (|e| - delta / 2) beyond (Huber 1964)."""

    keyword: ClassVar[str] = "huber"
    delta: Positive = field(default=1.0, kw_only=True)

    def of_error(self, ctx: Context, error: Value) -> Value:
        b = ctx.b
        size = b.emit(ops.Abs(), error)
        near = F.minimum(b, size, self.delta)  # near^2 / 2 + delta (size - near) is both
        return F.add(b, F.mul(b, F.mul(b, near, near), 0.5), F.mul(b, F.sub(b, size, near), self.delta))


@dataclass(frozen=True)
class CrossEntropy(Function):
    """-log softmax(logits) at the class y, along the axis of the logits that y lacks.

    With `smoothing` s the target is 1 - s of the class and s of all classes alike (Szegedy et al. 2016, section 7).
    """

    keyword: ClassVar[str] = "cross_entropy"
    takes: ClassVar[tuple[str, ...]] = ("logits", "y")
    kind: ClassVar[DType | None] = None
    smoothing: Fraction = field(default=0.0, kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        (logits, y), b = values, ctx.b
        if logits.dtype is not DType.FLOAT or y.dtype is not DType.INT:
            raise ctx.fail(
                "MP204",
                "cross_entropy takes logits and classes",
                help="cross_entropy(net(x), y), y: category(k)",
            )
        axes, own = ctx.axes_of(y), ctx.axes_of(logits)
        rest = [n for n in own if n not in axes]
        known = ctx.classes_of(y)
        if len(rest) != 1 or len(own) != len(axes) + 1:
            raise ctx.fail(
                "MP214",
                f"the logits {described(ctx, logits)} have one axis more than the classes {described(ctx, y)}",
            )
        logits = ordered(ctx, with_batch(ctx, logits), (*axes, *rest))
        last = logits.type.rank - 1
        if known is not None and logits.shape[last] != known:
            raise ctx.fail("MP207", f"{logits.shape[last]} logits for {known} classes")
        logs = b.emit(ops.LogSoftmax(last), logits)
        picked = b.emit(ops.TakeAlong(last), logs, F.reshape(b, y, (*y.shape, 1)))
        loss = F.neg(b, F.reshape(b, picked, y.shape))
        if self.smoothing:
            classes = logits.shape[last]
            assert isinstance(classes, int)
            even = F.mul(b, F.sum_axes(b, logs, [last]), -self.smoothing / classes)
            loss = F.add(b, F.mul(b, loss, 1.0 - self.smoothing), even)
        return ctx.name_axes(loss, axes)


@dataclass(frozen=True)
class _OfBits(Function):
    """A function of logits or scores and of bits y, element by element."""

    takes: ClassVar[tuple[str, ...]] = ("logits", "y")

    def forward(self, ctx: Context, *values: Value) -> Value:
        b = ctx.b
        (logits, y), axes = aligned(ctx, self.keyword, values)
        side = F.sub(b, F.mul(b, y, 2.0), 1.0)
        return ctx.name_axes(self.of_margin(ctx, F.mul(b, logits, side)), axes)

    def of_margin(self, ctx: Context, margin: Value) -> Value:
        """The term of each margin: the logit, with its sign changed where y is 0."""
        raise NotImplementedError


@dataclass(frozen=True)
class Focal(_OfBits):
    """-(1 - p)^gamma log p, p the probability of the bit y under the logit (Lin et al. 2017, eq. 4)."""

    keyword: ClassVar[str] = "focal"
    gamma: NonNegative = field(default=2.0, kw_only=True)

    def of_margin(self, ctx: Context, margin: Value) -> Value:
        b = ctx.b
        surprise = b.emit(ops.Softplus(), F.neg(b, margin))  # -log p; log(1 - p) is -softplus(margin)
        easy = b.emit(ops.Exp(), F.mul(b, b.emit(ops.Softplus(), margin), -self.gamma))
        return F.mul(b, easy, surprise)


class Hinge(_OfBits):
    """max(0, 1 - s), s the score of the side of the bit y (Cortes and Vapnik 1995)."""

    keyword: ClassVar[str] = "hinge"

    def of_margin(self, ctx: Context, margin: Value) -> Value:
        return ctx.b.emit(ops.Relu(), F.sub(ctx.b, 1.0, margin))


@dataclass(frozen=True)
class Dice(Function):
    """1 - (2 sum p y + 1) / (sum p + sum y + 1), p = sigmoid(logits), over axes (Milletari et al. 2016, section 3).

    Without `over` over all of them.
    """

    keyword: ClassVar[str] = "dice"
    takes: ClassVar[tuple[str, ...]] = ("logits", "y")
    over: Names | None = field(default=None, kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        b = ctx.b
        (logits, y), axes = aligned(ctx, self.keyword, [with_batch(ctx, v) for v in values])
        p = ctx.name_axes(b.emit(ops.Sigmoid(), logits), axes)
        over = self.over or axes
        at = [place(ctx, self.keyword, p, n) for n in over]
        p, y = real_only(ctx, p, at, 0.0), real_only(ctx, ctx.name_axes(y, axes), at, 0.0)
        both = F.sum_axes(b, F.mul(b, p, y), at)
        either = F.add(b, F.sum_axes(b, p, at), F.sum_axes(b, y, at))
        ratio = F.div(b, F.add(b, F.mul(b, both, 2.0), 1.0), F.add(b, either, 1.0))
        return ctx.name_axes(F.sub(b, 1.0, ratio), without(axes, over))


@dataclass(frozen=True)
class _OfVectors(Function):
    """A function of vectors along the axis `over`."""

    over: Names = field(default=(CHANNEL,), kw_only=True)

    def dot(self, ctx: Context, x: Value, y: Value) -> Value:
        """Return the product of two vectors along the axis."""
        return Product(over=self.over)(ctx, x, y)


@dataclass(frozen=True)
class Cosine(_OfVectors):
    """1 - a b / (|a| |b|), the angle of vectors along `over`."""

    keyword: ClassVar[str] = "cosine"
    takes: ClassVar[tuple[str, ...]] = ("a", "b")

    def forward(self, ctx: Context, *values: Value) -> Value:
        (x, y), b = values, ctx.b
        both = self.dot(ctx, x, y)
        (product, xx, yy), axes = aligned(ctx, self.keyword, [both, self.dot(ctx, x, x), self.dot(ctx, y, y)])
        sizes = F.add(b, F.mul(b, xx, yy), TINY_SQUARE)
        return ctx.name_axes(F.sub(b, 1.0, F.div(b, product, b.emit(ops.Sqrt(), sizes))), axes)


@dataclass(frozen=True)
class Triplet(_OfVectors):
    """max(0, |a - p|^2 - |a - n|^2 + margin) of an anchor, one alike and one unlike (Schroff et al. 2015, eq. 3)."""

    keyword: ClassVar[str] = "triplet"
    takes: ClassVar[tuple[str, ...]] = ("anchor", "alike", "unlike")
    margin: Positive = field(default=1.0, kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        b = ctx.b
        (a, p, n), axes = aligned(ctx, self.keyword, values)
        near, far = (self._distance(ctx, ctx.name_axes(F.sub(b, a, v), axes)) for v in (p, n))
        rest = ctx.axes_of(near)
        return ctx.name_axes(b.emit(ops.Relu(), F.add(b, F.sub(b, near, far), self.margin)), rest)

    def _distance(self, ctx: Context, x: Value) -> Value:
        return self.dot(ctx, x, x)


@dataclass(frozen=True)
class InfoNce(_OfVectors):
    """Each a finds its own b among those of the batch, and each b its a: the mean of both cross-entropies, in nats.

    Logits are scale a_i b_j, along `over` (van den Oord et al. 2018, eq. 4; Radford et al. 2021). No other term reads
    other examples.
    """

    keyword: ClassVar[str] = "info_nce"
    takes: ClassVar[tuple[str, ...]] = ("a", "b")
    whole_batch: ClassVar[bool] = True
    scale: Annotated[Operand, Range(TINY, HUGE)] = field(default=1.0, kw_only=True)

    def forward(self, ctx: Context, *values: Value) -> Value:
        b = ctx.b
        x, y = (self._vector(ctx, v) for v in values)
        if x.shape != y.shape:
            raise ctx.fail("MP214", f"info_nce compares {described(ctx, x)} with {described(ctx, y)}")
        scores = F.mul(b, b.emit(ops.MatMul(), x, F.transpose(b, y, 1, 0)), self.scale)  # [N, N]
        own = F.mul(b, F.sum_axes(b, F.mul(b, x, y), [1]), self.scale)
        each = [b.emit(ops.LogSumExp((axis,), False), scores) for axis in (1, 0)]
        return ctx.name_axes(F.sub(b, F.mul(b, F.add(b, *each), 0.5), own), ())

    def _vector(self, ctx: Context, x: Value) -> Value:
        """One vector an example, [N, size]. Raises `SpecError` (MP214) for another value."""
        if ctx.axes_of(x) != self.over:
            raise ctx.fail("MP214", f"info_nce compares one vector an example, and got {described(ctx, x)}",
                           help=f"mean(x, over = ...) leaves [{', '.join(self.over)}]")  # fmt: skip
        return ordered(ctx, with_batch(ctx, x), self.over)


_Sizes = Mapping[str, int | Symbolic]


@dataclass(frozen=True)
class Divergence(Function):
    """KL(q || p) of each element, in nats, exactly, for two laws of single elements.

    Of one family: normal, laplace, log_normal, gamma, beta, continuous_bernoulli, bernoulli, categorical, poisson; and of
    laplace and logistic from normal, of beta from uniform. Other pairs are refused: they have no closed form here.
    """

    keyword: ClassVar[str] = "divergence"
    takes: ClassVar[tuple[str, ...]] = ("q", "p")
    of_laws: ClassVar[bool] = True
    kind: ClassVar[DType | None] = None

    def between(self, ctx: Context, q: Elementwise, p: Elementwise) -> Value:
        """Build the divergence of q from p, with the axes of their parameters.

        Raises `SpecError`: MP205 for a pair without a closed form, MP214 for parameters with other axes.
        """
        of_q, of_p = (self._sizes(ctx, law) for law in (q, p))
        wide = of_q if len(of_q) >= len(of_p) else of_p
        found = self._along(ctx, q, of_q, wide).element_divergence(ctx, self._along(ctx, p, of_p, wide))
        if found is None:
            raise ctx.fail(
                "MP205", f"the divergence of {q.keyword} from {p.keyword} has no closed form here",
                help="two laws of one family; or laplace or logistic from normal (mpcompile list divergence)",
            )  # fmt: skip
        return ctx.name_axes(found, tuple(wide))

    @staticmethod
    def _along(ctx: Context, law: Elementwise, own: _Sizes, wide: _Sizes) -> Elementwise:
        """A law with its parameters along more axes. Raises `SpecError` (MP214) where those have not its own."""
        if tuple(own.items()) == tuple(wide.items()):
            return law
        if not own.items() <= wide.items() or isinstance(law, Categorical):
            texts = [shown(tuple(sizes), list(sizes.values())) for sizes in (own, wide)]
            raise ctx.fail("MP214", f"divergence compares laws of {texts[0]} and of {texts[1]}")
        return law.mapped(lambda v: beside(ctx, v, tuple(wide)) if v.type.rank else v)

    @staticmethod
    def _sizes(ctx: Context, law: Elementwise) -> _Sizes:
        """The axes of the elements of a law, with their sizes; none where its parameters are numbers."""
        first = next((v for v in law.parameters().values() if v.type.rank), None)
        if first is None:
            return {}
        axes, sizes = ctx.axes_of(first), ctx.sizes_of(first)
        kept = len(axes) - 1 if isinstance(law, Categorical) else len(axes)
        return dict(zip(axes[:kept], sizes[:kept], strict=True))


LOSSES: dict[str, type[Function]] = {
    c.keyword: c
    for c in (
        Squared, Absolute, Huber, CrossEntropy, Focal, Dice, Hinge, Cosine, Triplet, InfoNce, Divergence,
    )
}  # fmt: skip

__all__ = ["LOSSES"]
