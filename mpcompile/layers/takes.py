"""Declarations of the values that a layer takes from a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcompile.diagnostics import SpecError
from mpcompile.ir import (
    DType,
    Type,
    Value,
)
from mpcompile.layers.context import Context
from mpcompile.ranges import MAX_AXES


@dataclass(frozen=True, slots=True)
class Takes:
    """The values that a layer takes from the pipeline, declared; `check` enforces it.

    what         a value as messages name it: `a real sequence [time, features]`
    least, most  number of axes besides the batch
    fixed        axes whose size must be a number, counted with the batch; negative ones from the end
    kind         of the elements; None for any
    inputs       fewest and most values
    """

    what: str = "real numbers"
    least: int = 0
    most: int = MAX_AXES
    fixed: tuple[int, ...] = ()
    kind: DType | None = DType.FLOAT
    inputs: tuple[int, int] = (1, 1)

    def check(self, ctx: Context, who: str, inputs: Sequence[Value]) -> None:
        """Raises MP208 for another number of values, MP204 for another kind and MP201 for another shape."""
        fewest, most = self.inputs
        if not fewest <= len(inputs) <= most:
            raise self._count(ctx, who, len(inputs))
        for x in inputs:
            if self.kind is not None and x.dtype != self.kind:
                raise self._kind(ctx, who, x)
            self.check_shape(ctx, who, x.type)

    def check_shape(self, ctx: Context, who: str, type_: Type) -> None:
        """Raises MP201 for another shape."""
        fits = self.least <= type_.rank - 1 <= self.most
        if not fits or not all(isinstance(type_.shape[a], int) for a in self.fixed):
            raise ctx.fail("MP201", f"{who} needs {self.what}, got {type_}")

    def _count(self, ctx: Context, who: str, found: int) -> SpecError:
        fewest, most = self.inputs
        wanted = "one value" if fewest == most == 1 else f"{fewest} to {most} values"
        how = (
            f"write what it reads before it: x -> {who}" if found < fewest else "`concat(a, b)` joins values"
        )
        return ctx.fail("MP208", f"`{who}` takes {wanted} and gets {found or 'none'}", help=how)

    def _kind(self, ctx: Context, who: str, x: Value) -> SpecError:
        wanted = "real numbers" if self.kind is None else NOUNS[self.kind]
        how = "declare x: category(k)" if self.kind is DType.INT else "embed categories first: embedding(dim)"
        return ctx.fail("MP204", f"{who} needs {wanted} and got {NOUNS[x.dtype]}", help=how)


#: Kinds of elements as messages name them.
NOUNS = {DType.FLOAT: "real numbers", DType.INT: "categories", DType.BOOL: "truth values"}

#: Images, volumes and audio.
SPACE = Takes("real [channels, space...]", 2, 4, (1,))
#: Sequences; the last axis has a fixed size.
SEQUENCE = Takes("a real sequence [time, features]", 2, 2, (2,))
#: An image of known size.
IMAGE = Takes("an image [channels, height, width] of fixed size", 3, 3, (1, 2, 3))
ANY = Takes("a value", kind=None)


__all__ = ["ANY", "IMAGE", "SEQUENCE", "SPACE", "Takes"]
