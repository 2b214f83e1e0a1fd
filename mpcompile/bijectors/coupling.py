"""Coupling layers: half of the elements pass, the other half are transformed given the first (notes, section 7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpcompile.bijectors import conditions
from mpcompile.bijectors.angles import check_periodic
from mpcompile.bijectors.base import CIRCLE, channels
from mpcompile.bijectors.laws import AFFINE, Law, OfLaw
from mpcompile.ir import Array, Value, numbers
from mpcompile.ir.axes import Axes, shown
from mpcompile.layers.axes import described, ordered
from mpcompile.layers.base import Context, Mask, MaskUse, Net
from mpcompile.layers.convolution import Conv
from mpcompile.layers.dense import Dense
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Coupling(OfLaw):
    """Elements of the mask pass, the others follow a law, such as affine or spline (Dinh et al. 2015, 2017, eq. 9).

    `net` sees what passes, beside the `condition` (a category, a vector, or an image of the same size): the channels
    of the mask where it is the same at every place, which is so for vectors; else all channels, with zeros off the mask.
    Its features are projected to the law's parameters by a zero-initialised layer, so that a fresh coupling is the
    identity. Instead of `net`, `log_scale` and `shift` may be nets of their own, which give the law's parameters as
    they are (notes, section 7.5: the nets s and t of RealNVP, with `law = affine(scale = exp)`).
    """

    keyword: ClassVar[str] = "coupling"
    function: ClassVar[bool] = True
    mask: Mask
    net: Net | None = None
    law: Law = AFFINE
    condition: Value | None = None
    log_scale: Net | None = None
    shift: Net | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` unless there is one net, or one for each parameter of the law."""
        given = tuple(name for name in ("log_scale", "shift") if getattr(self, name) is not None)
        if given != (() if self.net is not None else self.law.slots) or not (self.net or given):
            own = f", or {' and '.join(f'`{name}`' for name in self.law.slots)}" if self.law.slots else ""
            raise ValueError(
                f"a coupling with the law {self.law.keyword} needs `net`{own}, {_instead(self.net, given)}"
            )

    def _mask(self, ctx: Context, x: Value) -> Array:
        shape = x.shape[1:]
        if not all(isinstance(s, int) for s in shape):
            raise ctx.fail("MP405", f"a coupling needs a fixed shape, got {described(ctx, x)}")
        try:
            mask = self.mask.array(MaskUse("partition", numbers(shape)))
        except ValueError as problem:
            raise ctx.fail("MP206", f"the mask does not fit: {problem}") from problem
        if mask.all() or not mask.any():
            raise ctx.fail(
                "MP406", "the coupling's mask leaves nothing to transform or nothing to condition on"
            )
        return mask

    def _raw(self, ctx: Context, passed: Value, moved: int, axes: Axes) -> Value:
        """Parameters of the law for `moved` channels, from what passes, whose axes have these names."""
        seen = ctx.name_axes(conditions.join(ctx, passed, self.condition, axes), axes)
        if self.net is None:
            return F.concat(ctx.b, [self._own(ctx, name, seen, passed, moved) for name in self.law.slots], 1)
        outputs = moved * self.law.count()
        features = _within(ctx, self.net(ctx, seen), axes)
        if features.type.rank != passed.type.rank or features.shape[2:] != passed.shape[2:]:
            wanted = ["channel", *(f"{n}: {s}" for n, s in zip(axes[1:], passed.shape[2:], strict=True))]
            raise ctx.fail("MP207", f"the net of a coupling gives [{', '.join(wanted)}] here, and this gives "
                           f"{described(ctx, features)}")  # fmt: skip
        with ctx.frame("project", f"projection to the parameters of {self.law.keyword}", ctx.span):
            layer = (
                Dense(outputs, init=self.law.start)
                if passed.type.rank == 2
                else Conv(outputs, 3, pad="same", init=self.law.start)
            )
            raw = layer.forward(ctx, features)
        if self.law.domain == CIRCLE:
            check_periodic(ctx, passed, self.keyword)
        return raw

    def _own(self, ctx: Context, name: str, seen: Value, passed: Value, moved: int) -> Value:
        """One parameter of the law from a net of its own. Raises MP207 for another shape than that of what is moved."""
        net: Net = getattr(self, name)
        with ctx.frame(name, name, ctx.span):  # the nets share no weights
            value = _within(ctx, net(ctx, seen), ctx.axes_of(seen))
        if value.shape != (passed.shape[0], moved, *passed.shape[2:]):
            wanted = shown(ctx.axes_of(seen), (moved, *passed.shape[2:]))
            raise ctx.fail(
                "MP207", f"`{name}` of a coupling gives {wanted} here, and this gives {described(ctx, value)}"
            )
        return value

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        mask = self._mask(ctx, x)
        halves = _Halves.of(mask)
        if halves is None:
            raw = self._raw(ctx, _masked(ctx, seen, mask), channels(x), ctx.axes_of(seen))
            y, log_slope = self.law.forward(ctx, x, raw, ~mask)
        else:
            raw = self._raw(ctx, F.take(ctx.b, seen, 1, halves.passed), len(halves.moved), ctx.axes_of(seen))
            y, log_slope = self.law.forward(ctx, F.take(ctx.b, x, 1, halves.moved), raw, None)
            y = halves.joined(ctx, F.take(ctx.b, x, 1, halves.passed), y)
        return y, None if log_slope is None else F.event_sum(ctx.b, log_slope)

    def inverse(self, ctx: Context, y: Value) -> Value:
        mask = self._mask(ctx, y)
        halves = _Halves.of(mask)
        if halves is None:
            return self.law.inverse(
                ctx, y, self._raw(ctx, _masked(ctx, y, mask), channels(y), ctx.axes_of(y)), ~mask
            )
        passed = F.take(ctx.b, y, 1, halves.passed)
        raw = self._raw(ctx, passed, len(halves.moved), ctx.axes_of(y))
        return halves.joined(ctx, passed, self.law.inverse(ctx, F.take(ctx.b, y, 1, halves.moved), raw, None))


def _instead(net: Net | None, given: tuple[str, ...]) -> str:
    has = [f"`{name}`" for name in (*(("net",) if net is not None else ()), *given)]
    return f"and has {' and '.join(has) or 'none of them'}"


def _within(ctx: Context, value: Value, axes: Axes) -> Value:
    """Return what a net gives in the order of the axes within a flow, where it has these axes."""
    return ordered(ctx, value, axes) if set(ctx.axes_of(value)) <= set(axes) else value


def _masked(ctx: Context, x: Value, mask: Array) -> Value:
    return F.mul(ctx.b, x, ctx.b.constant(mask.astype(np.float64)))


@dataclass(frozen=True)
class _Halves:
    """The channels of a mask that is the same at every place: networks and laws then see no more than they need."""

    passed: Array
    moved: Array

    @staticmethod
    def of(mask: Array) -> _Halves | None:
        rows = mask.reshape(len(mask), -1)
        if (rows != rows[:, :1]).any():
            return None
        return _Halves(np.flatnonzero(rows[:, 0]), np.flatnonzero(~rows[:, 0]))

    def joined(self, ctx: Context, passed: Value, moved: Value) -> Value:
        order = np.argsort(np.concatenate([self.passed, self.moved]))
        return F.take(ctx.b, F.concat(ctx.b, [passed, moved], 1), 1, order)
