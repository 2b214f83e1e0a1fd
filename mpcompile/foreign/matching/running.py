"""Runs of a spec's program beside a recorded call: its inputs, all of its values, and the one that is the output."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.foreign.running import apart
from mpcompile.interpret import size_environment
from mpcompile.ir import Array, Builder, Constant, DType, Graph, Input, Node, Parameter, Value

_SHIFT = re.compile(r"shift_\d+")


def fitting(graph: Graph, recorded: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs of a call as those of a program: by name, else in their order, of the same type and sizes.

    Raises `SpecError` (MP721) where the program asks for something else.
    """
    kinds = {DType.FLOAT: "f", DType.INT: "iu", DType.BOOL: "b"}
    left, found = dict(recorded), {}

    def fits(value: Value, array: Array) -> bool:
        sizes = zip(value.shape, array.shape, strict=True)
        return (
            array.ndim == value.type.rank
            and array.dtype.kind in kinds[value.dtype]
            and all(not isinstance(s, int) or s == n for s, n in sizes)
        )

    for name, value in sorted(graph.inputs.items(), key=lambda item: item[0] not in recorded):
        chosen = next((k for k in ([name] if name in left else left) if fits(value, left[k])), None)
        if chosen is None:
            call = ", ".join(f"{k} {a.dtype}{list(a.shape)}" for k, a in recorded.items())
            raise error("MP721", f"the call has no input for `{name}`, {value.type}: it has {call}", Span.none(),
                        help="record a call of the spec's sizes, or set those of the spec with --set")  # fmt: skip
        found[name] = left.pop(chosen)
    return found


def values(
    graph: Graph, weights: Mapping[str, Array], inputs: Mapping[str, Array]
) -> tuple[dict[Value, Array], dict[str, int]]:
    """Return the values of all nodes of a graph, and the number of each symbolic size."""
    sizes = size_environment(graph, inputs)
    memory: dict[Value, Array] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes():
            if isinstance(node.op, Input):
                results: tuple[Array, ...] = (inputs[node.op.path],)
            elif isinstance(node.op, Parameter):
                results = (node.op.value(weights),)
            else:
                results = node.op.bind(sizes).evaluate(*(memory[v] for v in node.inputs))
            memory.update(zip(node.outputs, results, strict=True))
    return memory, sizes


def closest(
    graph: Graph, weights: Mapping[str, Array], inputs: Mapping[str, Array], wanted: Array
) -> tuple[float, str]:
    """Return how far the value of a program that is nearest to an array is from it, and where that value is made.

    Axes of length one do not count: an output of probabilities has logits before it, and those are found.
    """
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
    best = (np.inf, "")
    for value, array in values(graph, weights, wide)[0].items():
        node = graph.node(value)
        if array.dtype.kind != "f" or isinstance(node.op, Parameter | Constant) or array.size != wanted.size:
            continue
        if array.squeeze().shape == wanted.squeeze().shape:
            label = node.scope[-1].label if node.scope else node.op.name
            best = min(best, (apart(array.squeeze(), wanted.squeeze()), f"{node.span}: {label}"))
    return best


def unshifted(graph: Graph) -> Graph | None:
    """Return a program without `shift`, which then reads each place itself; None for one that shifts nothing."""
    inside = {n.id for n in graph.nodes() if any(_SHIFT.fullmatch(f.name) for f in n.scope)}
    entries: dict[tuple[str, ...], Value] = {}
    for node in graph.nodes():
        if node.id in inside:
            for v in node.inputs:
                if v.node not in inside and not isinstance(graph.node(v).op, Constant | Parameter):
                    entries.setdefault(tuple(f.name for f in node.scope), v)
    if not entries:
        return None
    moved: dict[Value, Value] = {}

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        moved.update(zip(node.inputs, inputs, strict=True))
        entry = entries.get(tuple(f.name for f in node.scope)) if node.id in inside else None
        leaves = any(u.id not in inside for u in graph.users(node.id))
        if entry is not None and leaves and node.types == (entry.type,) and entry in moved:
            return (moved[entry],)
        return None

    return graph.rebuild(rewrite).live()


__all__ = ["closest", "fitting", "unshifted", "values"]
