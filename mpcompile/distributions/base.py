"""The base class of distributions. One object answers for loss, log_prob and sampler, so they cannot disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from mpcompile import ops
from mpcompile.distributions.family import Family
from mpcompile.distributions.sampling import Sampling
from mpcompile.distributions.slots import UNIFORM, Noise, Parameters, Slot
from mpcompile.distributions.subject import Subject
from mpcompile.distributions.support import Support
from mpcompile.ir import Answer, Builder, DType, Field, Graph, Parameter, Shape, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Distribution:
    """The law of one variable, given values of its parameters.

    A law is stated like a layer: its fields, in order, are its arguments in a spec, and values among them take the
    shape of the variable. One whose arguments are others names them (`arguments`) and makes itself of them (`stated`).
    """

    keyword: ClassVar[str]
    #: The values it is a law of.
    support: ClassVar[Support]
    #: The kind of claim that it makes of its variable; empty for none.
    implies: ClassVar[str] = ""
    #: A dataclass whose fields are the arguments; None for the law's own fields.
    arguments: ClassVar[type | None] = None
    #: Arguments that it is often given and does not have: where to state each.
    elsewhere: ClassVar[Mapping[str, str]] = {}
    #: Whether `mean` has a closed form; programs that give means give a draw where it has not.
    has_mean: ClassVar[bool] = True
    #: Whether it can be drawn from; a model with a law that cannot has no program `sample`.
    drawn: ClassVar[bool] = True
    #: Whether the program `sample` gives the mean beside a draw, where latents were drawn first.
    shows_mean: ClassVar[bool] = False
    #: Whether draws are differentiable functions of the parameters (Kingma and Welling 2014, section 2.4).
    reparameterised: ClassVar[bool] = False

    @classmethod
    def stated(cls, ctx: Context, given: Any, subject: Subject) -> Distribution:
        """The law that a spec states of `subject`; `given` has its arguments. Raises `SpecError` for other shapes."""
        values = {f.name: getattr(given, f.name) for f in fields(given)}
        return cls(**{k: subject.fit(ctx, v) if isinstance(v, Value) else v for k, v in values.items()})

    @property
    def parameter_axis(self) -> int | None:
        """The axis of the parameters that the variable does not have (classes, components); None where there is none."""
        return None

    def log_prob(self, ctx: Context, x: Value) -> Value:
        """Log density (nats) of each example: [N, ...] -> [N]."""
        raise NotImplementedError

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        """A draw of the given shape, from noise inputs named after `name`."""
        raise NotImplementedError

    def sample_and_log_prob(self, ctx: Context, name: str, shape: Shape) -> tuple[Value, Value]:
        """A draw and its log density [N]."""
        x = self.sample(ctx, name, shape)
        return x, self.log_prob(ctx, x)

    def mean(self, ctx: Context, shape: Shape) -> Value:
        """The mean, or what stands for it (class probabilities)."""
        raise NotImplementedError

    def sharpens(self, b: Builder) -> bool:
        """Whether a weight is its scale, so that its density at one point has no bound. Of real numbers alone."""
        return False

    @property
    def answer(self) -> Answer:
        """The meaning of what the program `predict` gives of a variable with this law."""
        if not self.drawn:
            return Answer("best", self.parameter_axis)
        return Answer("mean" if self.has_mean else "draw", self.parameter_axis)

    def parameters(self) -> dict[str, Value]:
        """Values of its parameters by name: what `conditionals` and `encode` give."""
        return {}

    def adjusted(self, ctx: Context, options: Sampling) -> Distribution:
        """The law that is sampled in its place. Raises `SpecError` (MP209) where an option does not apply to it."""
        return self


@dataclass(frozen=True)
class Elementwise(Distribution):
    """Independent elements: x is [N, ...], parameters have the shape of x or broadcast to it.

    `log_prob` sums the log densities (nats) of the elements of each example: [N].
    """

    #: Its parameters, in the order in which a network gives them.
    slots: ClassVar[tuple[Slot, ...]]
    #: The noise that one element is drawn from.
    noise: ClassVar[tuple[Noise, ...]] = (UNIFORM,)
    #: Type of the elements of a draw.
    dtype: ClassVar[DType] = DType.FLOAT
    #: Whether a network that gives its parameters gives a scale among them, which may become as small as it likes.
    scaled: ClassVar[bool] = False
    #: Whether it has several parameters of one name an element (classes, components), along an axis of their own.
    stacked: ClassVar[bool] = False
    #: Whether some parameters are weights of the law that all elements share.
    shared: ClassVar[bool] = False

    @classmethod
    def count(cls, family: Family, field: Field) -> int:
        """Return how many parameters an element of a variable has."""
        return len(cls.slots)

    @classmethod
    def supports(cls, inner: Family) -> Support:
        """Return the values that a law over another one has."""
        return cls.support

    @classmethod
    def noise_over(cls, inner: Family) -> tuple[Noise, ...]:
        """Return the noise of a draw of a law over another one."""
        return cls.noise

    @classmethod
    def read(cls, parameters: Parameters, family: Family, field: Field) -> Elementwise:
        """Build the law of each element from the parameters that a network gives."""
        return cls(*[parameters.one() for _ in cls.slots])

    def element_log_prob(self, ctx: Context, x: Value) -> Value:
        """Log density of each element, in the shape of x."""
        raise NotImplementedError

    def there_log_prob(self, ctx: Context, x: Value) -> Value:
        """Log density of each element that is there, and 0 of one that is missing, in the shape of x."""
        each = self.element_log_prob(ctx, x)
        return F.where(ctx.b, ctx.missing[x], each, 0.0) if x in ctx.missing else each

    def log_prob(self, ctx: Context, x: Value) -> Value:
        return F.event_sum(ctx.b, ctx.kept(self.there_log_prob(ctx, x)))

    def element_kl(self, ctx: Context, other: Elementwise) -> Value | None:
        """KL(self || other) of each element, in nats, in closed form; None where there is none."""
        return None

    def element_entropy(self, ctx: Context) -> Value | None:
        """-E log p(x) of each element, in nats, in closed form; None where there is none."""
        return None

    def element_variance(self, ctx: Context) -> Value | None:
        """The variance of each element in closed form; None where there is none, or where it may be infinite."""
        return None

    def element_cross_entropy(self, ctx: Context, drawn: Elementwise) -> Value | None:
        """-E log p(x) of each element for draws x of another law, in closed form; None where there is none."""
        return None

    def element_divergence(self, ctx: Context, other: Elementwise) -> Value | None:
        """KL(self || other) of each element, exactly: that of one family, or the cross-entropy less the entropy."""
        if (own := self.element_kl(ctx, other)) is not None:
            return own
        cross = other.element_cross_entropy(ctx, self)
        entropy = None if cross is None else self.element_entropy(ctx)
        return None if cross is None or entropy is None else F.sub(ctx.b, cross, entropy)

    def kl(self, ctx: Context, other: Distribution, shape: Shape) -> Value | None:
        """KL(self || other) of each example, [N], of a variable of a shape, in closed form; None where there is none."""
        each = self.element_divergence(ctx, other) if isinstance(other, Elementwise) else None
        return None if each is None else F.event_sum(ctx.b, ctx.kept(spread(ctx, each, shape)))

    def draw(self, ctx: Context, noise: Sequence[Value]) -> Value:
        """A draw of each element from its noise: the same function at every step of a sampler."""
        raise NotImplementedError

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        return self.draw(ctx, noise_of(ctx, name, shape, self.noises()))

    def noises(self) -> tuple[Noise, ...]:
        """The noise that one element is drawn from: that of the law, or of a law over another."""
        return self.noise

    @property
    def dense(self) -> bool:
        """Whether it has a density, and no mass at any point."""
        return self.support.measure == "density"

    def mapped(self, f: Callable[[Value], Value]) -> Self:
        """The law with a function of each parameter in its place."""
        return replace(self, **{k: f(v) for k, v in self.parameters().items()})

    def adjusted(self, ctx: Context, options: Sampling) -> Elementwise:
        law = self if options.temperature == 1.0 else self.tempered(ctx, options.temperature)
        return law if options.top_k is None else law.most_probable(ctx, options.top_k)

    def tempered(self, ctx: Context, t: float) -> Self:
        """Return the law at a temperature: logits divided by it, scales multiplied by it. Raises `SpecError` (MP209)."""
        raise ctx.fail("MP209", f"a {self.keyword} likelihood has no temperature")

    def most_probable(self, ctx: Context, k: int) -> Self:
        """Return the law of the k most probable classes alone. Raises `SpecError` (MP209) for a law without classes."""
        raise ctx.fail("MP209", f"top_k is for categorical likelihoods, this is {self.keyword}")


def spread(ctx: Context, value: Value | float, shape: Shape) -> Value:
    """Emit a value that broadcasts to a shape, in that shape."""
    if isinstance(value, Value) and value.shape == shape:
        return value
    return F.add(ctx.b, ctx.zeros(shape), value)


def noise_of(ctx: Context, name: str, shape: Shape, noise: Sequence[Noise]) -> list[Value]:
    """Declare the noise inputs from which elements of a variable, of this shape, are drawn."""
    return [ctx.noise_input(f"noise_{name}", n.shape(shape), n.kind) for n in noise]


def learned(graph: Graph, value: Value, b: Builder | None = None) -> bool:
    """Return whether a weight leads to a value.

    For a value within a loop, `b` is its builder, and captured values count.
    """
    outside = {inner: outer for outer, inner in b.captured.items()} if b else {}
    seen, open_ = set[Value](), [value]
    while open_:
        v = open_.pop()
        node = graph.node(v)
        if isinstance(node.op, Parameter):
            return True
        if v in outside and b and b.outer and learned(b.outer.graph, outside[v], b.outer):
            return True
        open_ += [u for u in node.inputs if u not in seen]
        seen.update(node.inputs)
    return False


def logit(ctx: Context, u: Value) -> Value:
    """Emit log u - log(1 - u): a standard logistic draw from a uniform one."""
    b = ctx.b
    return F.sub(b, b.emit(ops.Log(), u), b.emit(ops.Log(), F.sub(b, 1.0, u)))


def standard_logistic(ctx: Context, z: Value) -> Value:
    """Emit the log density of the standard logistic: -softplus(z) - softplus(-z), precise in both tails."""
    b = ctx.b
    return F.neg(b, F.add(b, b.emit(ops.Softplus(), z), b.emit(ops.Softplus(), F.neg(b, z))))
