"""Opening and closing the body of a loop around a list of carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mpcompile.ir import Builder, Node, Scope, Value
from mpcompile.ops import LoopBuilder
from mpcompile.passes.incremental.buffers import Carry, Size, zeros


def part_of(scope: Scope, role: str) -> Scope:
    """Return the scope of a part of a network that a sampler runs by itself.

    Emitted functions are named after their part.

    `prepare` is before the loops, `step` in the one over time, `row` and `pixel` in those over an image, `turn` in one
    with `until_fixed_point`.
    """
    return tuple(replace(frame, role=role) for frame in scope)


def hoist(outer: Builder, node: Node, static: dict[Value, Value]) -> None:
    """Compute what does not depend on what is drawn once, before the loop."""
    with outer.within(part_of(node.scope, "prepare"), node.span):
        results = outer.emit_all(node.op, *(static[v] for v in node.inputs))
    static.update(zip(node.outputs, results, strict=True))


@contextmanager
def open_loop(
    outer: Builder, carries: Sequence[Carry], axis: int, length: Size, until_fixed_point: bool = False
) -> Iterator[LoopBuilder]:
    """Open a loop of `length` steps; inside of the context the carries are the values of its body.

    A carry that is something already starts as that, another one as its `start`, or as zeros.
    """
    loop = LoopBuilder(outer, axis=axis, length=length, until_fixed_point=until_fixed_point)
    for c, name in zip(carries, _distinct([c.name for c in carries]), strict=True):
        if c.now is None:
            c.now = c.start if c.start is not None else zeros(outer, c.type)
        c.now = loop.carry(name, c.now)
    yield loop


def close(loop: LoopBuilder, carries: Sequence[Carry], ys: Sequence[Value] = ()) -> list[Value]:
    """Close the loop into a node of the graph around it, and return ys stacked along its axis.

    The carries become their last values.
    """
    stacked = {f"y_{i}": loop.body.here(y) for i, y in enumerate(ys)}
    last, found = loop.close([c.value for c in carries], stacked)
    for c, v in zip(carries, last, strict=True):
        c.now = v
    return found


def named(node: Node) -> str:
    """Return the name of a value that a loop carries: its layer, or its primitive where it belongs to no layer."""
    return node.scope[-1].name.replace(".", "_") if node.scope else node.op.name


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with numbers where they occur again; `step` and `y` are the loop's own."""
    taken, found = {"step"}, []
    for name in names:
        chosen, count = name, 1
        while chosen in taken:
            count += 1
            chosen = f"{name}_{count}"
        taken.add(chosen)
        found.append(chosen)
    return found
