"""Opening and closing the body of a loop around a list of carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mpcompile import ops
from mpcompile.ir import Builder, DType, Graph, Node, Scope, Type, Value
from mpcompile.passes.sampler.storage import Carry, Size, zeros


def part_of(scope: Scope, role: str) -> Scope:
    """The scope of a part of a network that a sampler runs by itself: its functions are called after their part.

    `prepare` is before the loops, `step` in the one over time, `row` and `pixel` in those over an image, `turn` in one
    that settles.
    """
    return tuple(replace(frame, role=role) for frame in scope)


def hoist(outer: Builder, node: Node, static: dict[Value, Value]) -> None:
    """Compute what does not depend on what is drawn once, before the loop."""
    with outer.within(part_of(node.scope, "prepare"), node.span):
        made = outer.emit_all(node.op, *(static[v] for v in node.inputs))
    static.update(zip(node.outputs, made, strict=True))


@contextmanager
def open_loop(outer: Builder, carries: Sequence[Carry]) -> Iterator[tuple[Builder, Value]]:
    """A builder for the body of a loop, and the number of the step; the carries are what they are in it.

    A carry that is something already starts as that, another one as its `start`, or as zeros.
    """
    for c in carries:
        if c.now is None:
            c.now = c.start if c.start is not None else zeros(outer, c.type)
        c.start = c.now
    b = Builder(Graph("body"), outer.scope, outer.span, outer)
    for c, name in zip(carries, _distinct([c.name for c in carries]), strict=True):
        c.now = b.input(name, c.type)
    yield b, b.input("step", Type(DType.INT, ()))


def close(
    outer: Builder,
    b: Builder,
    carries: Sequence[Carry],
    ys: Sequence[Value],
    axis: int,
    length: Size,
    settles: bool = False,
) -> list[Value]:
    """The loop as a node of the graph around it: ys stacked along an axis. The carries become their last values."""
    ys = [b.here(y) for y in ys]
    following = [b.here(c.value) for c in carries]
    step = b.graph.inputs.pop("step")
    b.graph.inputs["step"] = step
    names = list(b.graph.inputs)[: len(carries)]
    b.graph.outputs = dict(zip(names, following, strict=True)) | {f"y_{i}": y for i, y in enumerate(ys)}
    op = ops.Scan(body=b.graph, carries=len(carries), axis=axis, length=length, settles=settles)
    starts = [c.start for c in carries if c.start is not None]
    results = outer.emit_all(op, *starts, *b.captured)
    for c, v in zip(carries, results, strict=False):
        c.now = v
    return list(results[len(carries) :])


def named(node: Node) -> str:
    """What a value that a loop carries is called: its layer, or its primitive where it is of none."""
    return node.scope[-1].name if node.scope else node.op.name


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
