"""Changes of training examples that keep what they show: settings of a `train` section, drawn anew in every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from mpcompile.ranges import MAX_WINDOW, AnyName, Names, Positive, Range


@dataclass(frozen=True)
class Augmentation:
    """A random change of variables; those that are named together are changed alike, as a picture and its mask."""

    keyword: ClassVar[str]
    of: Names


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror an example along an axis, by default its width, with probability 1/2."""

    keyword: ClassVar[str] = "flip"
    over: Annotated[str, AnyName()] = "width"


@dataclass(frozen=True)
class Crop(Augmentation):
    """Cut a window of the same size out of an example with `by` lowest values on each side of each axis of space.

    The usual change of CIFAR-10 with `by = 4` (He et al. 2016, "Deep residual learning", section 4.2).
    """

    keyword: ClassVar[str] = "crop"
    by: Annotated[int, Range(1, MAX_WINDOW)] = 4


@dataclass(frozen=True)
class Shift(Augmentation):
    """Move an example by -by to by steps along each axis of space; what leaves at one side enters at the other."""

    keyword: ClassVar[str] = "shift"
    by: Annotated[int, Range(1, MAX_WINDOW)] = 1


@dataclass(frozen=True)
class Noise(Augmentation):
    """Add normal noise, of its own for each number."""

    keyword: ClassVar[str] = "noise"
    deviation: Positive = 0.1


AUGMENTATIONS: dict[str, type[Augmentation]] = {c.keyword: c for c in (Flip, Crop, Shift, Noise)}

__all__ = ["AUGMENTATIONS", "Augmentation", "Crop", "Flip", "Noise", "Shift"]
