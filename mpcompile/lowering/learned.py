"""Learned tensors that a spec states: `weight w: real[channel: 4] = normal(0.02)`, and those of a net, `words.weight`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpcompile.diagnostics import error
from mpcompile.frontend import ast
from mpcompile.ir import Init, Value
from mpcompile.ir.axes import CHANNEL, CLASS, Axes
from mpcompile.layers import Context
from mpcompile.layers.starts import SMALL, STARTS, Start
from mpcompile.lowering.binding import Arguments
from mpcompile.lowering.declarations import MAX_ELEMENTS, axes_of, whole
from mpcompile.lowering.files import numbers_in
from mpcompile.lowering.names import unknown
from mpcompile.ranges import Range

if TYPE_CHECKING:
    from mpcompile.lowering.scope import Scope

#: The names of the axes of a layer's weight.
_OF_LAYERS: dict[str, Axes] = {"embedding": (CLASS, CHANNEL), "dense": (CLASS, CHANNEL)}


def learned(ctx: Context, scope: Scope, weight: ast.LearnedWeight, *, local: bool = False) -> Value:
    """Build a weight: one for all uses, or, stated in a block (`local`), one for each use of the block.

    It has no batch; where every example needs its own, it is the same for all. One from a file is not trained. Raises
    `SpecError`: MP113 for a type that is not `real`, MP112 and MP212 for its sizes, MP110 for an unknown start.
    """
    kind = weight.type
    if kind.base != "real" or kind.low is not None or kind.optional:
        raise error(
            "MP113", "a weight is real, without bounds", kind.span, help=f"weight {weight.name}: real[...]"
        )
    sizes = tuple(
        whole(axis.size, scope.numbers, "the size of an axis of a weight", Range(1, MAX_ELEMENTS))
        for axis in kind.shape
    )
    with ctx.frame(weight.name, scope.label(weight.span), weight.span, absolute=not local):
        start = _start(scope, weight, sizes)
        value = ctx.param("weight", sizes, start, trainable=start.kind != "array")
        return ctx.name_axes(value, axes_of(kind.shape, sizes, kind.span))


def _start(scope: Scope, weight: ast.LearnedWeight, sizes: tuple[int, ...]) -> Init:
    if weight.init is None:
        return SMALL.of(sizes)
    call = ast.called(weight.init)
    if call is not None and call.callee == "file":
        array = numbers_in(scope, call)
        if array.shape != sizes:
            raise error(
                "MP203",
                f"the file has the shape {list(array.shape)}, and the weight {list(sizes)}",
                call.span,
            )
        return Init("array", array=array)
    start: Start = Arguments(scope, None, ast.Call(span=weight.span, callee="weight")).chosen(
        STARTS, "start", weight.init, "how a weight starts"
    )
    return start.of(sizes)


def weight_of(ctx: Context, scope: Scope, part: ast.Part) -> Value:
    """Return the weight of a net of one layer, as its other uses share it, with its axes `class` and `channel`.

    Raises `SpecError` (MP110) for a net without such a weight, and for one that nothing has used before.
    """
    net = scope.nets.get(part.name)
    if net is None:
        raise unknown("net", part.name, [], part.span, own=list(scope.nets))
    call = ast.called(net.value)
    if call is None or call.callee not in _OF_LAYERS or part.member != "weight":
        raise error("MP110", f"`{part.name}` has no part `{part.member}`", part.span,
                    help="`net words = embedding(64)` has `words.weight`; so has one dense layer")  # fmt: skip
    found = [n for n in ctx.parameters if n.startswith(f"{part.name}.") and n.endswith(".weight")]
    if not found:
        raise error("MP110", f"`{part.name}` has no weight yet: nothing uses it before", part.span,
                    help=f"x -> {part.name}; or state it: weight table: real[{CLASS}: 8, {CHANNEL}: 16]")  # fmt: skip
    return ctx.name_axes(ctx.shared(found[0]), _OF_LAYERS[call.callee])


__all__ = ["learned", "weight_of"]
