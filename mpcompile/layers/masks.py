"""Masks as values: constructors and their algebra. A mask takes its size from where it is used (`MaskUse`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from weakref import WeakValueDictionary

import numpy as np

from mpcompile.ir import Array, Constant
from mpcompile.layers.base import Mask, MaskUse
from mpcompile.ranges import MAX_SIZE, Choice, Offset, Order, Range, Seed, Width

Kind = Annotated[str, Choice(("A", "B", "vertical", "horizontal_a", "horizontal"))]
Colours = Annotated[str, Choice(("any", "rgb"))]

#: Masks in use, by what they are made from: the programs of a model share one array.
_made: WeakValueDictionary[Any, Constant] = WeakValueDictionary()


def mask_constant(mask: Mask, use: MaskUse) -> Constant:
    """Return the mask at one use as a constant of zeros and ones. Raises `ValueError` saying what does not fit."""
    around = tuple(None if a is None else (a.shape, a.tobytes()) for a in (use.inputs, use.order))
    key = (mask, use.kind, use.shape, use.last, use.mask_set, around)
    constant = _made.get(key)
    if constant is None:
        constant = _made[key] = Constant.mask(mask.array(use))
    return constant


def stacked(masks: tuple[Constant, ...]) -> Constant:
    """Stack masks of one shape to one constant `[masks, *shape]`."""
    constant = _made.get(masks)
    if constant is None:
        constant = _made[masks] = Constant.mask(np.stack([m.stored for m in masks]))
    return constant


def permutation(size: int, seed: int, index: int = 0) -> Array:
    """Return a fixed permutation of 0 .. size - 1: indices sorted by their SplitMix64 hash (Steele et al. 2014).

    Counter-based, so the same on every machine and version; numpy.random would cost a slow import as well. `index`
    numbers the permutations of one seed.
    """
    golden, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    start = ((seed + (index << 32) + 1) * golden) & mask
    start = ((start ^ (start >> 29)) * 0xBF58476D1CE4E5B9) & mask
    z = np.arange(size, dtype=np.uint64) * np.uint64(golden) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.argsort(z ^ (z >> np.uint64(31)), kind="stable")


def ranks(order: str, size: int, seed: int = 0, index: int = 0) -> Array:
    """Return the rank of each of `size` elements under a named order: natural, reverse or random(seed).

    `index` numbers the random orders of one seed. Raises `ValueError` for an unknown name.
    """
    if order == "natural":
        return np.arange(size)
    if order == "reverse":
        return np.arange(size)[::-1].copy()
    if order == "random":
        return permutation(size, seed, index)
    raise ValueError(f"no order is named '{order}' (natural, reverse, random)")


@dataclass(frozen=True)
class Degrees:
    """MADE's masks (Germain et al. 2015, section 4): a unit of degree d sees the first d variables of the order.

    `strict` is the output layer's: output i sees units of degree <= rank(i), that is, only variables before it.
    Hidden degrees are spread evenly over 1 .. D - 1 and shuffled, so that every degree has its share of units.

    An array [out, in] of a dense layer.
    """

    order: Order = "natural"
    hidden: Width | None = None
    seed: Seed = 0
    strict: bool = False

    def _ranks(self, use: MaskUse) -> Array:
        if use.order is None:
            raise ValueError("a mask of degrees has its place in an autoregressive density")
        return np.asarray(use.order).reshape(-1)

    def output_degrees(self, use: MaskUse) -> Array:
        """Return the degrees of this layer's outputs; that of an output unit is the rank of its variable.

        Raises `ValueError` where the outputs are no multiple of the variables.
        """
        out, order = use.shape[0], self._ranks(use)
        if self.strict:
            if out % order.size:
                raise ValueError(f"{out} outputs are no multiple of the {order.size} variables")
            return np.tile(order, out // order.size)
        top = max(1, order.size - 1)
        degrees = 1 + (np.arange(out) * top) // max(1, out) if out >= top else 1 + np.arange(out) % top
        return degrees[permutation(out, self.seed, use.mask_set)]

    def array(self, use: MaskUse) -> Array:
        if use.kind != "dense":
            raise ValueError(f"a mask of degrees belongs in a dense layer, not in {use.kind}")
        order = self._ranks(use)
        inputs = use.inputs
        if inputs is None:
            if use.shape[1] != order.size:
                raise ValueError(
                    f"the input has {use.shape[1]} features of unknown degree, the variable has {order.size} elements"
                )
            inputs = order + 1
        outputs = self.output_degrees(use)
        return np.asarray(outputs[:, None] >= inputs[None, :])


@dataclass(frozen=True)
class Causal2d:
    """PixelCNN's masks of a 2-D kernel (van den Oord et al. 2016).

    type A: rows above the centre, and the centre row to its left (the centre itself excluded); B: centre included.
    `vertical`: whole rows above and including the centre row (the vertical stack of a gated PixelCNN, which reads
    a map already shifted down); `horizontal_a` / `horizontal`: the centre row to the left, centre excluded /
    included. With `channels=rgb` the centre tap is lower triangular over the three colours instead; channel c
    belongs to colour c mod 3, so that the halves of a gate and the levels of a categorical keep their colours.

    An array [out, in, height, width] of a kernel.
    """

    type: Kind = "B"
    channels: Colours = "any"

    def array(self, use: MaskUse) -> Array:
        if use.kind != "conv" or len(use.shape) != 4:
            raise ValueError("causal2d masks a convolution over images")
        out, inn, kh, kw = use.shape
        rows, columns = np.arange(kh)[:, None] - kh // 2, np.arange(kw)[None, :] - kw // 2
        above, left, centre = rows < 0, (rows == 0) & (columns < 0), (rows == 0) & (columns == 0)
        kinds = {
            "A": above | left,
            "B": above | left | centre,
            "vertical": (rows <= 0) & (columns == columns),
            "horizontal_a": left,
            "horizontal": left | centre,
        }
        mask = np.broadcast_to(kinds[self.type], use.shape).copy()
        if self.channels == "rgb":
            if out % 3 or inn % 3:
                raise ValueError(f"rgb groups need channels in threes, got {inn} -> {out}")
            o, i = np.arange(out) % 3, np.arange(inn) % 3
            strict = self.type in ("A", "horizontal_a")
            allowed = o[:, None] > i[None, :] if strict else o[:, None] >= i[None, :]
            mask[:, :, kh // 2, kw // 2] = allowed
        return mask


@dataclass(frozen=True)
class Checkerboard:
    """True where the sum of the last two coordinates (of a vector: the index) is even (parity 0) or odd (parity 1).

    An array in the shape of a value without its batch axis.
    """

    parity: Seed = 0

    def array(self, use: MaskUse) -> Array:
        grid = np.indices(use.shape)[-2:] if len(use.shape) > 1 else np.indices(use.shape)
        return np.asarray(grid.sum(0) % 2 == self.parity % 2)


@dataclass(frozen=True)
class Channel:
    """True on the first half of the channels (parity 0) or on the second half (parity 1).

    An array in the shape of a value without its batch axis, channels first.
    """

    parity: Seed = 0

    def array(self, use: MaskUse) -> Array:
        first = np.arange(use.shape[0]) < (use.shape[0] + 1) // 2
        chosen = first if self.parity % 2 == 0 else ~first
        return np.broadcast_to(chosen.reshape(-1, *(1,) * (len(use.shape) - 1)), use.shape).copy()


@dataclass(frozen=True)
class Band:
    """Entries (i, j) of a matrix with -lower <= j - i <= upper.

    An array [rows, columns].
    """

    lower: Offset
    upper: Offset

    def array(self, use: MaskUse) -> Array:
        if len(use.shape) < 2:
            raise ValueError("a band masks a matrix, and this is a vector")
        i, j = np.indices(use.shape[:2])
        mask = (j - i >= -self.lower) & (j - i <= self.upper)
        return np.broadcast_to(mask.reshape(*use.shape[:2], *(1,) * (len(use.shape) - 2)), use.shape).copy()


@dataclass(frozen=True)
class Literal:
    """A mask written out, or read from a file: its shape, and a byte for each entry.

    An array in that shape.
    """

    shape: Annotated[tuple[int, ...], Range(1, MAX_SIZE)]
    bits: bytes

    @classmethod
    def of(cls, numbers: Sequence[Any] | Array) -> Literal:
        """Make the mask of the numbers that are not 0."""
        array = np.asarray(numbers) != 0
        return cls(array.shape, array.tobytes())

    def array(self, use: MaskUse) -> Array:
        array = np.frombuffer(self.bits, bool).reshape(self.shape)
        if array.shape != use.shape:
            raise ValueError(f"it is {list(array.shape)} and {list(use.shape)} is needed")
        return array


@dataclass(frozen=True)
class Combined:
    """`a & b`, `a | b`, `~a`, `transpose(a)`."""

    op: str
    operands: tuple[Mask, ...]

    def array(self, use: MaskUse) -> Array:
        if self.op == "transpose":
            if len(use.shape) < 2:
                raise ValueError("the transpose of a mask has its place on a matrix, and this is a vector")
            order = (1, 0, *range(2, len(use.shape)))
            flipped = replace(use, shape=tuple(use.shape[a] for a in order))
            return np.transpose(self.operands[0].array(flipped), order)
        first, *rest = (m.array(use) for m in self.operands)
        if self.op == "~":
            return ~first
        return first & rest[0] if self.op == "&" else first | rest[0]


@dataclass(frozen=True)
class Product:
    """`a @ b`: what a path through both lets through. Both are square."""

    left: Mask
    right: Mask

    def array(self, use: MaskUse) -> Array:
        if len(use.shape) != 2 or use.shape[0] != use.shape[1]:
            raise ValueError("a product of masks needs a square matrix here")
        paths: Array = self.left.array(use).astype(int) @ self.right.array(use).astype(int)
        return np.asarray(paths > 0)


def strict(mask: Mask) -> Mask:
    """Return the output layer's version of a mask. Raises `ValueError` for a mask that has none."""
    if isinstance(mask, Degrees):
        return Degrees(mask.order, mask.hidden, mask.seed, strict=True)
    raise ValueError("strict() takes a mask of degrees")
