"""Facts about the parts of a value before and behind the end of an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mpcompile.ir import (
    DType,
    Node,
    NoRule,
    Symbolic,
    availability,
    substitute,
    symbols,
)
from mpcompile.ops.traits import Elementwise, Movement, Verbatim

Size = int | Symbolic
#: What all elements of a part are; anything where it is not one of these.
ZERO, NEGINF, TRUE, FALSE = "zero", "minus infinity", "true", "false"
#: What a number is called that all elements are.
KINDS: Mapping[float | None, str] = {0.0: ZERO, -np.inf: NEGINF}


@dataclass(frozen=True, slots=True)
class Parts:
    """The facts about the parts of a value before and behind the ends of its axes.

    clean   the part before every end does not depend on what is behind one
    real    what all elements of that part are
    behind  the same of the part behind the end of an axis, by axis; nothing is known of an axis that is not there
    steps   axis, its size and c, where an element is its place along the axis plus c
    counts  the number of real steps of axes of this size
    same    the carry of a loop that the part before the end equals
    """

    clean: bool = True
    real: str | None = None
    behind: Mapping[int, str | None] = field(default_factory=dict)
    steps: tuple[int, Size, int] | None = None
    counts: Size | None = None
    same: int | None = None


def everywhere(x: Parts) -> str | None:
    """Return what all elements are, before and behind every end; None where they differ."""
    return x.real if all(k == x.real for k in x.behind.values()) else None


def kind_at(x: Parts, own: int) -> str | None:
    """Return what the elements behind the end of an axis are, of a value that may broadcast along the axis."""
    return x.behind[own] if own in x.behind else everywhere(x)


def kind_of(node: Node, kinds: Sequence[str | None]) -> str | None:
    """Return what all elements of a result are, given the same of each operand, by the dependence rule itself."""
    if not any(kinds):
        return None
    if isinstance(node.op, Movement):
        return kinds[0]
    domain, single = availability(), isinstance(node.op, Elementwise)
    if (
        isinstance(node.op, Verbatim) and not single
    ):  # that a stretch fits its place is not known of every length
        return None
    env = {} if single else _alike(node)
    given = []
    for v, kind in zip(node.inputs, kinds, strict=True):
        shape = (1,) * v.type.rank if single else v.type.concrete(env)
        ones = np.ones((1,) * len(shape), bool)
        if single and kind in (TRUE, FALSE):
            given.append(domain.constant(ones & (kind == TRUE)))
        else:
            given.append(domain.make(shape, None, ones & (kind in (ZERO, FALSE)), ones & (kind == NEGINF)))
    result = node.op.bind(env).depend(domain, *given)[0]
    truth = node.types[0].dtype is DType.BOOL
    if truth and result.constant is not None and result.constant.all():
        return TRUE
    if result.zero.all():
        return FALSE if truth else ZERO
    return NEGINF if result.neginf.all() else None


def _alike(node: Node) -> dict[str, int]:
    """A number for every symbol with which no axis of symbolic size is as long as one of a fixed size."""
    types = (*(v.type for v in node.inputs), *node.types)
    sizes = {s for t in types for s in t.shape}
    fixed = {s for s in sizes if isinstance(s, int)}
    names = {name for s in sizes - fixed for name in symbols(s)}
    for length in (max(fixed, default=1) + 2, 1 << 10, 1 << 20):
        env = dict.fromkeys(names, length)
        if all((n := substitute(s, env)) > 1 and n not in fixed for s in sizes - fixed):
            return env
    raise NoRule(node.op, "padding")
