"""Rules of `mapped` that several primitives share: where one more axis stands, and which axes it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mpcompile.ir import Mapped, Primitive, Shape

#: Where operands have the axis, counted in their own shapes with it; None for one that lacks it.
At = Sequence[int | None]


def behind(axis: int, at: int) -> int:
    """Return the number of an axis once one more stands at `at`."""
    return axis + (axis >= at)


def mapped_beside(op: Primitive, at: At) -> Mapped | None:
    """Map a primitive of one operand whose result has its axes: an attribute `axis` moves behind the new one."""
    (place,) = at
    if place is None:
        return None
    changed = {name: behind(a, place) for name, a in op.attributes().items() if name == "axis"}
    return Mapped(replace(op, **changed) if changed else op, (place,), place)


def mapped_reduction(op: Primitive, at: At, axes: Sequence[int], keepdims: bool) -> Mapped | None:
    """Map a primitive of one operand that drops some axes; its attribute is `axes`, or `axis` for one of them."""
    (place,) = at
    if place is None:
        return None
    moved = tuple(behind(a, place) for a in axes)
    changed = {"axes": moved} if "axes" in op.attributes() else {"axis": moved[0]}
    return Mapped(
        replace(op, **changed), (place,), place if keepdims else place - sum(a < place for a in axes)
    )


def mapped_broadcasting(op: Primitive, at: At, shapes: Sequence[Shape], out: Shape) -> Mapped | None:
    """Map a primitive whose operands broadcast: the axis of each lies where that of the result does.

    None where an operand ends behind the axis, which has no place in it.
    """
    extra = [len(out) - len(s) for s in shapes]
    places = {a + d for a, d in zip(at, extra, strict=True) if a is not None}
    if len(places) != 1:
        return None
    (place,) = places
    given = tuple(place - d if a is not None or place > d else None for a, d in zip(at, extra, strict=True))
    return Mapped(op, given, place)


__all__ = ["At", "behind", "mapped_beside", "mapped_broadcasting", "mapped_reduction"]
