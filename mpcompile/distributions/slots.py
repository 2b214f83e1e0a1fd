"""The slots of a law: its parameters by name and domain, and how a network or a spec fills them.

A positive parameter is held as its logarithm: the link from a network is `exp`, and a spec states either `scale` or
`log_scale`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass, replace
from functools import cache
from typing import Annotated, Literal

from mpcompile.ir import Field, Shape, Symbolic, Value
from mpcompile.ir.axes import CHANNEL, CLASS, shown
from mpcompile.layers.axes import described, ordered, with_batch
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ranges import HUGE, LOG_HUGE, TINY, Range

#: A parameter that a spec states as a number or as a value.
Operand = Value | float
Domain = Literal["real", "positive"]


@dataclass(frozen=True)
class Slot:
    """A parameter of a law: its name, its domain, and its value where none is stated (None: it must be)."""

    name: str
    domain: Domain = "real"
    default: float | None = None

    @property
    def shown(self) -> str:
        """The slot as a list of laws shows it: `loc`, `exp(scale)`, each the link from a network and the name."""
        return f"exp({self.name})" if self.domain == "positive" else self.name

    @property
    def held(self) -> str:
        """The field of the law that has the parameter: a positive one is held as its logarithm."""
        return f"log_{self.name}" if self.domain == "positive" else self.name


@cache
def arguments_of(slots: tuple[Slot, ...]) -> type:
    """Make the dataclass of the arguments of a law: its slots, logarithms of the positive ones, and `net` for all.

    Only laws whose first slot is positive have a `net`: the value of another first slot may be that net.
    """
    rows: list[tuple[str, object, object]] = []
    for slot in slots:
        least = TINY if slot.domain == "positive" else -HUGE
        rows.append((slot.name, Annotated[Operand, Range(least, HUGE)] | None, field(default=None)))
    logs = Annotated[Operand, Range(-LOG_HUGE, LOG_HUGE)] | None
    rows += [(s.held, logs, field(default=None)) for s in slots if s.domain == "positive"]
    if slots[0].domain == "positive":
        rows.append(("net", Value | None, field(default=None)))
    return make_dataclass("SlotArguments", rows, frozen=True)


@dataclass(frozen=True)
class Noise:
    """The noise that one element is drawn from: a number, or `count` of them along a last axis."""

    kind: Literal["normal", "uniform"]
    count: int | None = None

    def shape(self, shape: Shape) -> Shape:
        """The shape of the noise of elements of this shape."""
        return shape if self.count is None else (*shape, self.count)


NORMAL, UNIFORM = Noise("normal"), Noise("uniform")


@dataclass
class Parameters:
    """Reads the parameters of elements from the output of a network, one slot after the other.

    `output` has the parameters along `axis`: `count` of them an element, folded into the features or, where the law is
    `stacked`, along an axis of their own.
    """

    ctx: Context
    output: Value
    shape: Shape
    axis: int
    count: int
    stacked: bool
    last: bool
    at: int = 0
    group: int = 0

    @staticmethod
    def of(ctx: Context, output: Value, field: Field, count: int, stacked: bool, keyword: str) -> Parameters:
        """Read the output of a network as `count` parameters of each element of a variable.

        The output has the axes of the variable. The parameters are folded into its channels, parameter-major: [k C, H, W]
        for an image, [time, k D] for a sequence of vectors. They are the channels of a variable that has none, or the
        axis `class` of an output that has one beside all axes of the variable.
        Raises `SpecError` (MP207) for another output.
        """
        output = with_batch(ctx, output)
        b, k, shape, axes = ctx.b, count, field.type.shape, field.axes
        own = dict(zip(ctx.axes_of(output), ctx.sizes_of(output), strict=True))
        wanted: dict[str, int | Symbolic] = dict(zip(axes, shape[1:], strict=True))
        if own == wanted and k == 1 and not stacked:
            return Parameters(ctx, ordered(ctx, output, axes), shape, 1, k, False, False)
        for name in (CLASS, CHANNEL):
            if name not in wanted and own == wanted | {name: k}:
                at = list(own).index(name)
                order = (*axes[:at], name, *axes[at:])
                return Parameters(ctx, ordered(ctx, output, order), shape, 1 + at, k, stacked, True)
        channels = wanted.get(CHANNEL, 1)
        folded = {**wanted, CHANNEL: channels * k}
        if own != folded or CHANNEL not in wanted:
            raise ctx.fail(
                "MP207", f"the network gives {described(ctx, output)} for {field.name}, {shown(axes, shape[1:])}: "
                f"{keyword} needs {k} parameter{'s' if k > 1 else ''} an element",
                help=f"end the network with an output of {shown(tuple(folded), list(folded.values()))}",
            )  # fmt: skip
        output, axis = ordered(ctx, output, axes), 1 + axes.index(CHANNEL)
        if stacked:
            output = F.reshape(b, output, (*shape[:axis], k, *shape[axis:]))
        return Parameters(ctx, output, shape, axis, k, stacked, stacked)

    def one(self) -> Value:
        """The next parameter, in the shape of the variable; of a law in a mixture, those of all components."""
        if self.group:
            return self.several(self.group)
        part = self._next(1)
        return F.reshape(self.ctx.b, part, self.shape) if self.last else part

    def several(self, k: int) -> Value:
        """The next `k` parameters of a stacked law, along `axis`."""
        assert self.stacked
        return self._next(k)

    def grouped(self, k: int) -> Parameters:
        """Read what follows as parameters of `k` components each."""
        return replace(self, group=k)

    def _next(self, k: int) -> Value:
        start, self.at = self.at, self.at + k
        if k == self.count:
            return self.output
        size = 1 if self.last else self.output.shape[self.axis] // self.count
        assert isinstance(size, int)
        return F.slice_axis(self.ctx.b, self.output, self.axis, start * size, self.at * size)


__all__ = ["NORMAL", "UNIFORM", "Domain", "Noise", "Operand", "Parameters", "Slot", "arguments_of"]
