"""Declarations of the values that a layer takes from a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcompile.diagnostics import SpecError
from mpcompile.ir import (
    DType,
    Value,
)
from mpcompile.layers.context import Context


@dataclass(frozen=True, slots=True)
class Takes:
    """The values that a layer takes from the pipeline, declared; `check` enforces it. Which axes they need, `Acts` says.

    kind    of the elements; None for any
    inputs  fewest and most values
    """

    kind: DType | None = DType.FLOAT
    inputs: tuple[int, int] = (1, 1)

    def check(self, ctx: Context, who: str, inputs: Sequence[Value]) -> None:
        """Raises MP208 for another number of values and MP204 for another kind."""
        fewest, most = self.inputs
        if not fewest <= len(inputs) <= most:
            raise self._count(ctx, who, len(inputs))
        for x in inputs:
            if self.kind is not None and x.dtype != self.kind:
                raise self._kind(ctx, who, x)

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

ANY = Takes(kind=None)


__all__ = ["ANY", "Takes"]
