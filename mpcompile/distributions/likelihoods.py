"""Likelihoods of autoregressive densities, and mixtures: the output of a network as the law of each element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpcompile.ir import Shape, Symbolic, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

if TYPE_CHECKING:
    from mpcompile.distributions.base import Elementwise


@dataclass(frozen=True)
class Likelihood:
    """The map from the output of a network to the law of each element.

    `count` parameters an element; `make(ctx, parameters, axis)` builds the law from them, each in the shape of x, or,
    when `stacked`, from one value that keeps them along `axis`.
    """

    law: type[Elementwise]
    count: int
    make: Callable[[Context, Sequence[Value], int], Elementwise]
    stacked: bool = False

    def split(self, ctx: Context, output: Value, shape: Shape) -> Elementwise:
        """The law of each element of a variable of this shape.

        The output is that shape with the parameters either as a new last axis ([N, time, k]), or folded into the
        features, parameter-major: [N, k D] for vectors, [N, k C, H, W] for images, [N, time, k D] for sequences.
        Raises `SpecError` (MP207) for another output.
        """
        b, k, rank = ctx.b, self.count, len(shape)
        if output.shape == (*shape, k) and (k > 1 or output.type.rank > rank):
            if self.stacked:
                return self.make(ctx, [output], rank)
            parts = [F.reshape(b, p, shape) for p in F.split(b, output, rank, k)] if k > 1 else []
            return self.make(ctx, parts or [F.reshape(b, output, shape)], rank)
        axis = rank - 1 if rank == 3 and isinstance(shape[1], Symbolic) else 1
        wanted = (*shape[:axis], shape[axis] * k, *shape[axis + 1 :]) if rank > 1 else (*shape, k)
        if output.shape != wanted:
            raise ctx.fail(
                "MP207",
                f"the network gives {list(output.shape[1:])} for x of shape {list(shape[1:])}: "
                f"{self.law.keyword} needs {k} parameter{'s' if k > 1 else ''} an element",
                help=f"end the network with an output of shape {list(wanted[1:])}",
            )
        if self.stacked:
            wide = F.reshape(b, output, (*shape[:axis], k, *shape[axis:]))
            return self.make(ctx, [wide], axis)
        return self.make(ctx, F.split(b, output, axis, k) if k > 1 else [output], axis)


__all__ = ["Likelihood"]
