"""The ways in which a weight starts: rows of a table, which a spec names where a layer or a weight is stated."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mpcompile.ir import Init
from mpcompile.layers.base import fan_in_uniform
from mpcompile.ranges import Positive, Real


@dataclass(frozen=True)
class Start:
    """The distribution of the elements of a new weight. Its fields, in order, are its arguments in a spec."""

    keyword: ClassVar[str]

    def of(self, shape: tuple[int, ...]) -> Init:
        """Return the initialisation of a weight [out, in, ...]; a vector has its size as both."""
        raise NotImplementedError


@dataclass(frozen=True)
class Uniform(Start):
    """U(-width, width); without a width U(-1/sqrt(fan_in), 1/sqrt(fan_in)) (LeCun 1998), PyTorch's default."""

    keyword: ClassVar[str] = "uniform"
    width: Positive | None = None

    def of(self, shape: tuple[int, ...]) -> Init:
        return fan_in_uniform(_fans(shape)[1]) if self.width is None else Init("uniform", self.width)


@dataclass(frozen=True)
class NormalStart(Start):
    """N(0, deviation^2)."""

    keyword: ClassVar[str] = "normal"
    deviation: Positive = 0.02

    def of(self, shape: tuple[int, ...]) -> Init:
        return Init("normal", self.deviation)


@dataclass(frozen=True)
class He(Start):
    """N(0, 2 / fan_in), for rectified units (He et al. 2015, eq. 10)."""

    keyword: ClassVar[str] = "he"

    def of(self, shape: tuple[int, ...]) -> Init:
        return Init("normal", (2.0 / max(1, _fans(shape)[1])) ** 0.5)


@dataclass(frozen=True)
class Glorot(Start):
    """U(-a, a) with a^2 = 6 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16)."""

    keyword: ClassVar[str] = "glorot"

    def of(self, shape: tuple[int, ...]) -> Init:
        return Init("uniform", (6.0 / max(1, sum(_fans(shape)))) ** 0.5)


@dataclass(frozen=True)
class Zeros(Start):
    """Zeros."""

    keyword: ClassVar[str] = "zeros"

    def of(self, shape: tuple[int, ...]) -> Init:
        return Init("zeros")


@dataclass(frozen=True)
class ConstantStart(Start):
    """One number everywhere."""

    keyword: ClassVar[str] = "constant"
    number: Real

    def of(self, shape: tuple[int, ...]) -> Init:
        return Init("constant", self.number)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return fan-out and fan-in: of a kernel all elements of one input or output channel count."""
    if len(shape) < 2:
        return prod(shape), prod(shape)
    out, into, *kernel = shape
    return out * prod(kernel), into * prod(kernel)


#: Starts that a spec names.
STARTS: dict[str, type[Start]] = {
    c.keyword: c for c in (Uniform, NormalStart, He, Glorot, Zeros, ConstantStart)
}

#: How the weights of layers start, those of tables, of rectified units, and of a layer that does nothing at first.
DEFAULT, SMALL, HE, ZERO = Uniform(), NormalStart(), He(), Zeros()

__all__ = ["DEFAULT", "HE", "SMALL", "STARTS", "ZERO", "Start"]
