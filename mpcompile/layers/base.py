"""The base classes of layers and masks, which build graphs in a context and declare the values that they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

from mpcompile.ir import (
    Array,
    Init,
    Value,
)
from mpcompile.ir.axes import CHANNEL
from mpcompile.layers.axes import (
    CHANNELS,
    ELEMENTS,
    IMAGE,
    LAST,
    POOLED,
    SEQUENCE,
    SPACE,
    STEPS,
    TOKENS,
    Acts,
    Lift,
    Part,
)
from mpcompile.layers.classes import check_not_relaxed
from mpcompile.layers.context import Context
from mpcompile.layers.takes import ANY, Takes
from mpcompile.ranges import Names

#: More elements than this in one mask are refused.
MAX_MASK = 1 << 26


class Net(Protocol):
    """A function of values that a spec wrote: a pipeline, a block, a named net."""

    def __call__(self, ctx: Context, *inputs: Value) -> Value: ...


class Mask(Protocol):
    """A 0/1 array that takes its size from where it is used."""

    def array(self, use: MaskUse) -> Array:
        """Bool array; its shape is the use's business. Raises `ValueError` saying what does not fit."""
        ...


@dataclass(frozen=True, slots=True)
class MaskUse:
    """The place where a mask is applied.

    kind      `dense` ([out, in]), `conv` ([out, in, *kernel]), `attention` ([queries, keys]), `adjacency` ([children,
              parents]) or `partition` (the shape of a value without its batch axis)
    shape     the array's shape
    degrees   of the inputs and of the outputs that a mask of degrees relates; None where unknown
    order     rank of each element of the modelled variable, flattened, inside an autoregressive density
    mask_set  which of several sets of hidden degrees
    """

    kind: str
    shape: tuple[int, ...]
    inputs: Array | None = None
    order: Array | None = None
    last: bool = False
    mask_set: int = 0


@dataclass(frozen=True, kw_only=False)
class Layer:
    """A deterministic function with weights. Its fields, in order, are its arguments in a spec."""

    #: How it is written in a spec.
    keyword: ClassVar[str]
    #: Why it is not injective, for a layer in the place of a bijector: `it sends ...`; empty where nothing is said.
    merges: ClassVar[str] = ""
    #: How many values of which kind it takes from the pipeline.
    takes: ClassVar[Takes] = Takes()
    #: Whether it reads a relaxed category by the shares of its classes.
    by_shares: ClassVar[bool] = False
    #: The axes that it acts on, in the order in which `forward` has them.
    acts: ClassVar[Acts] = ELEMENTS

    @property
    def gives(self) -> tuple[Part, ...]:
        """The parts of the result's axes, in its order."""
        return self.acts.result

    def __call__(self, ctx: Context, *inputs: Value) -> Value:
        """The layer at values whose axes have names.

        Raises `SpecError` for values that it does not take, and MP411 for a relaxed category of which it would read the
        class.
        """
        self.takes.check(ctx, self.keyword, inputs)
        if not self.by_shares:
            check_not_relaxed(ctx, self.keyword, inputs)
        if not self.acts.parts:
            y = self.forward(ctx, *inputs)
            return y if y in ctx.axes or not inputs else ctx.name_axes(y, ctx.axes_of(inputs[0]))
        lift = Lift.of(ctx, self.keyword, self.acts, inputs[0], getattr(self, "over", None))
        return lift.result(self.beside(lift).forward(ctx, lift.value), self.gives)

    def beside(self, lift: Lift) -> Self:
        """The layer with the values among its arguments in its own order of axes."""
        return self

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        """Build the layer on its inputs and return its result.

        Inputs have the batch first, and behind it the axes that the layer acts on (`acts`), by place. A layer within
        another is called by its `forward`.

        Raises `SpecError` at the place of the layer in the spec: MP201 for a shape that does not fit, MP205 for an
        argument that does not, and the code of whatever else the layer requires.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Acting(Layer):
    """A layer whose axes can be named: `over` has the names, one or a list."""

    over: Names | None = field(default=None, kw_only=True)

    def place(self, ctx: Context, x: Value) -> int:
        """Return the place of the channels of a value that came as it was (`Acts.inside`)."""
        return ctx.axis(x, self.over[0] if self.over else CHANNEL)


def fan_in_uniform(fan_in: int) -> Init:
    """Return U(-1/sqrt(fan_in), 1/sqrt(fan_in)): LeCun 1998's scaling, PyTorch's default for linear and conv layers."""
    return Init("uniform", 1.0 / max(1, fan_in) ** 0.5)


__all__ = [
    "ANY", "CHANNELS", "ELEMENTS", "IMAGE", "LAST", "MAX_MASK", "POOLED", "SEQUENCE", "SPACE", "STEPS", "TOKENS",
    "Acting", "Acts", "Context", "Layer", "Lift", "Mask", "MaskUse", "Net", "Part", "Takes", "fan_in_uniform",
]  # fmt: skip
