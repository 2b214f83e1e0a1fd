"""Colours of a pixel from each other, beside a network of the pixels before (Salimans et al. 2017, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from mpcompile import ops
from mpcompile.ir import Value
from mpcompile.layers.axes import described
from mpcompile.layers.base import IMAGE, Acting, Acts, Context, Lift
from mpcompile.ops import build as F
from mpcompile.ranges import Components


@dataclass(frozen=True)
class ColourMixture(Acting):
    """One mixture for the three colours of a pixel, whose components are linear in the colours before.

    Of 10 K numbers a pixel, K are logits of the components, 3 K each are locations, log scales and, through tanh,
    coefficients: in component k green is about m_g + a r, blue about m_b + b r + c g, on the scale of [-1, 1]. A
    component holds for the whole pixel, so the weights that green sees are those of the components given red, and so on.
    [N, 10 K, H, W] -> [N, 9 K, H, W], the parameters of `discretized(mixture(logistic))` with K components.
    """

    keyword: ClassVar[str] = "colour_mixture"
    acts: ClassVar[Acts] = IMAGE
    image: Value
    components: Components = 5

    def beside(self, lift: Lift) -> Self:
        return replace(self, image=lift.beside(IMAGE, self.image, self.over))

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        from mpcompile.distributions.bins import Discretized
        from mpcompile.distributions.location_scale import Logistic

        (h,), b, k = inputs, ctx.b, self.components
        classes = ctx.classes_of(self.image)
        shape = self.image.shape
        if self.image.type.rank != 4 or shape[1] != 3 or classes is None:
            raise ctx.fail(
                "MP201",
                f"colour_mixture is about an image of three colours, got {described(ctx, self.image)}",
            )
        if h.shape != (shape[0], 10 * k, *shape[2:]):
            raise ctx.fail(
                "MP201",
                f"colour_mixture of {k} components needs {10 * k} channels of the image's size, got {described(ctx, h)}",
            )
        levels = b.emit(ops.Floor(), F.add(b, F.mul(b, self.image, float(classes - 1)), 0.5))
        colours = F.split(b, levels, 1, 3)
        of_component = (shape[0], k, 1, *shape[2:])
        parts = [F.reshape(b, part, of_component) for part in F.split(b, h, 1, 10)]
        weights, (red, green, blue), scales = parts[0], parts[1:4], parts[4:7]
        from_red, red_to_blue, from_green = (b.emit(ops.Tanh(), part) for part in parts[7:])
        r, g = (
            F.reshape(b, F.sub(b, F.mul(b, x, 2.0 / (classes - 1)), 1.0), (shape[0], 1, 1, *shape[2:]))
            for x in colours[:2]
        )
        green = F.add(b, green, F.mul(b, from_red, r))
        blue = F.add(b, blue, F.add(b, F.mul(b, red_to_blue, r), F.mul(b, from_green, g)))
        logits: list[Value] = []
        locs, image = (red, green, blue), (shape[0], 1, 1, *shape[2:])
        for loc, scale, colour in zip(locs, scales, colours, strict=True):
            logits.append(weights)
            if loc is not blue:
                bins = Discretized(Logistic(loc, scale), 0, classes - 1)
                weights = F.add(b, weights, bins.element_log_prob(ctx, F.reshape(b, colour, image)))
        wide = [F.concat(b, part, 2) for part in (logits, locs, scales)]
        return F.reshape(b, F.concat(b, wide, 1), (shape[0], 9 * k, *shape[2:]))
