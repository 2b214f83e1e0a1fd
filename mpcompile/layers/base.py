"""The base classes of layers and masks, which build graphs in a context and declare the values that they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from mpcompile.ir import (
    Array,
    Init,
    Value,
)
from mpcompile.layers.context import Context
from mpcompile.layers.takes import ANY, IMAGE, SEQUENCE, SPACE, Takes

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

    kind      `dense` ([out, in]), `conv` ([out, in, *kernel]), `attention` ([queries, keys]) or
              `partition` (the shape of a value without its batch axis)
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
    #: What it takes from the pipeline.
    takes: ClassVar[Takes] = Takes()

    def __call__(self, ctx: Context, *inputs: Value) -> Value:
        """The layer at values that fit what it takes. Raises `SpecError` for others."""
        self.takes.check(ctx, self.keyword, inputs)
        return self.forward(ctx, *inputs)

    def forward(self, ctx: Context, *inputs: Value) -> Value:
        """Build the layer on its inputs, each with the batch as its first axis, and return its result.

        Raises `SpecError` at the place of the layer in the spec: MP201 for a shape that does not fit, MP205 for an
        argument that does not, and the code of whatever else the layer requires.
        """
        raise NotImplementedError


def fan_in_uniform(fan_in: int) -> Init:
    """Return U(-1/sqrt(fan_in), 1/sqrt(fan_in)): LeCun 1998's scaling, PyTorch's default for linear and conv layers."""
    return Init("uniform", 1.0 / max(1, fan_in) ** 0.5)


__all__ = [
    "ANY", "IMAGE", "MAX_MASK", "SEQUENCE", "SPACE", "Context", "Layer", "Mask", "MaskUse", "Net", "Takes",
    "fan_in_uniform",
]  # fmt: skip
