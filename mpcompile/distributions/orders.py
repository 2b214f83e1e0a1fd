"""Orders of the elements of a variable, as a spec states them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from mpcompile.ir import Array, Field, numbers
from mpcompile.ir.axes import CHANNEL, SPACES, Axes
from mpcompile.layers.masks import ranks
from mpcompile.ranges import Choice

#: Orders, and what each is.
ORDERS = {
    "natural": "That of the flattened array: the declared order of axes, the last one fastest.",
    "reverse": "`natural` from the last element to the first.",
    "random": "A permutation by `seed`; `orders = 8` trains one network over several.",
    "pixel": "All colours of a pixel before the next pixel.",
    "checkerboard": "The even places before the odd ones.",
    "raster": "Axes by name, the outermost first: raster(height, width, channel).",
    "listed": 'The elements by number in their order: [3, 0, 2, 1], or file("order.npy").',
}
#: Orders that have a name alone.
NAMES = tuple(name for name in ORDERS if name not in ("raster", "listed"))


@dataclass(frozen=True)
class Order:
    """An order of elements.

    name    `natural` (in memory), `reverse`, `random`, `pixel` (all channels of a pixel before the next), `checkerboard`
            (the even places before the odd ones), `raster` or `listed`
    axes    of `raster`, the outermost first
    listed  the elements in their order, flattened
    """

    name: str = "natural"
    axes: Axes = ()
    listed: tuple[int, ...] = ()

    def of(self, field: Field) -> Order:
        """The same order of a variable, by its usual name where it has one: that order is known at every size."""
        if self.name == "raster" and self.axes == field.axes:
            return NATURAL
        pixel = field.axes == (CHANNEL, *SPACES[2]) and self.axes == (*SPACES[2], CHANNEL)
        return Order("pixel") if self.name == "raster" and pixel else self

    def ranks(self, field: Field, seed: int, index: int = 0) -> Array:
        """Return the rank of each element of a variable of fixed size, flattened.

        `index` numbers the random orders of one seed. Raises `ValueError` for an order that the variable cannot have.
        """
        axes, sizes = field.axes, numbers(field.type.shape[1:])
        if self.name == "pixel" and sorted(axes) != sorted((CHANNEL, *SPACES[2])):
            raise ValueError("order=pixel is that of an image [channel, height, width]")
        raster = (*SPACES[2], CHANNEL) if self.name == "pixel" else self.axes
        if raster:
            if sorted(raster) != sorted(axes):
                raise ValueError(f"raster names each axis once: {', '.join(axes)}")
            wide = np.arange(prod(sizes)).reshape([sizes[axes.index(name)] for name in raster])
            return wide.transpose([raster.index(name) for name in axes]).reshape(-1).copy()
        if self.listed:
            return _listed(self.listed, prod(sizes))
        if self.name == "checkerboard":
            odd = np.indices(sizes).sum(0).reshape(-1) % 2
            return np.asarray(np.argsort(np.argsort(odd, kind="stable")))
        return np.asarray(ranks(self.name, prod(sizes), seed, index))


def _listed(order: tuple[int, ...], size: int) -> Array:
    if sorted(order) != list(range(size)):
        raise ValueError(f"an order lists the elements 0 to {size - 1}, each once")
    return np.asarray(np.argsort(order))


NATURAL = Order()
#: Names as messages list them.
NAMED = Choice(NAMES)

__all__ = ["NAMED", "NAMES", "NATURAL", "ORDERS", "Order"]
