"""Maps of angles: real numbers modulo 2 pi (Rezende et al. 2020, Normalizing flows on tori and spheres)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mpcompile import ops
from mpcompile.bijectors.base import CIRCLE, Bijector, Interval, for_each_channel
from mpcompile.diagnostics import error
from mpcompile.ir import Constant, Graph, Node, Value
from mpcompile.layers.base import Context
from mpcompile.ops import build as F
from mpcompile.ops.traits import Movement
from mpcompile.ranges import Real


@dataclass(frozen=True)
class Rotate(Bijector):
    """y = x + shift modulo 2 pi, in [-pi, pi): a learned shift for each channel, or a given one for all.

    The volume stays.
    """

    keyword: ClassVar[str] = "rotate"
    domain: ClassVar[Interval | None] = CIRCLE
    codomain: ClassVar[Interval | None] = CIRCLE
    shift: Real | None = None

    def _shift(self, ctx: Context, x: Value) -> Value:
        return for_each_channel(ctx, "shift", x) if self.shift is None else ctx.b.constant(self.shift)

    def apply(self, ctx: Context, x: Value, seen: Value) -> tuple[Value, Value | None]:
        return F.wrapped(ctx.b, F.add(ctx.b, x, self._shift(ctx, x))), None

    def inverse(self, ctx: Context, y: Value) -> Value:
        return F.wrapped(ctx.b, F.sub(ctx.b, y, self._shift(ctx, y)))


def check_periodic(ctx: Context, angles: Value, who: str) -> None:
    """Check that all nodes so far read angles by cosines and sines alone, which may be of whole multiples of them.

    Raises `SpecError` (MP409) at the place of one that does not.
    """
    node = _reads_otherwise(ctx.b.graph, angles)
    if node is not None:
        said = f"the net of this {who} reads an angle as a number, so that x and x + 2 pi differ"
        how = "begin the net with `circle`, the cosine and the sine of each angle"
        raise error("MP409", said, node.span, help=how)


def _reads_otherwise(graph: Graph, angles: Value) -> Node | None:
    """The first node that reads angles, and neither moves them, nor multiplies by integers, nor is a cosine or sine."""
    held = {angles}
    for node in graph.nodes():
        if held.isdisjoint(node.inputs) or isinstance(node.op, ops.Cos | ops.Sin):
            continue
        others = [v for v in node.inputs if v not in held]
        multiplied = isinstance(node.op, ops.Mul) and _whole(graph, others)
        if not (multiplied or isinstance(node.op, Movement | ops.Concat | ops.Gather)):
            return node
        held.update(node.outputs)
    return None


def _whole(graph: Graph, others: list[Value]) -> bool:
    """Whether the other factor of a product is a constant of integers."""
    found = [graph.node(v).op for v in others]
    return len(found) == 1 and isinstance(found[0], Constant) and bool((found[0].array % 1 == 0).all())
