"""The choice of a layout: which weights of a program are stored in boxes, in which order of their units, in how many."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from mpcompile import ops
from mpcompile.ir import STATE, Array, Constant, Graph, Node, Parameter, Stack, Value
from mpcompile.passes.packing.layout import Box, Layout, Packed
from mpcompile.passes.packing.orders import (
    MaskedProduct,
    Units,
    masked_product,
    masked_weight,
    runs_along,
    spreads,
)

#: Numbers of blocks that are tried.
BLOCKS = (1, 2, 4, 8)
#: The cost of one more block, in elements of a weight that a step reads, differentiates and updates.
BLOCK = 1 << 15
#: What a mask that a step multiplies with costs, as a share of the step of its weight.
MASK = 0.25


def plan(graph: Graph, blocks: int = 0, taken: Container[str] = ()) -> Layout:
    """Choose the layout of the weights that a program reads, most often its loss.

    A weight is stored in row blocks, its units by their degrees, where all its uses are products under one mask; and as
    the bounding box of its live taps where they are convolutions. Parameters that units of such an order are made with
    are stored in it, too.

    blocks  their number, where not the costs decide it
    taken   names of arrays that are there already
    """
    uses = _uses(graph)
    found = [p for p in map(_product(graph), graph.nodes()) if p is not None and _alike(graph, uses[p.name])]
    packed: dict[str, Packed] = {}
    if found:
        units = Units(graph)
        orders = _orders(units, found)
        wanted = [p for p in found if _count(p, units, orders, blocks) > 1]
        orders = _orders(units, wanted)
        for p in wanted:
            packed[p.name] = _blocks(p, units, orders, _count(p, units, orders, blocks), taken)
        packed |= _beside(graph, units, orders, uses, taken)
    return Layout(packed | _cropped(graph, uses, taken))


def _uses(graph: Graph) -> dict[str, list[Node]]:
    """The nodes that read each parameter; none for a weight of a region, and for one that the program writes."""
    leaves = {n.outputs[0]: n.op for n in graph.nodes() if isinstance(n.op, Parameter)}
    found: dict[str, list[Node]] = {op.path: [] for op in leaves.values()}
    for node in graph.nodes():
        for v in dict.fromkeys(node.inputs):
            if v in leaves:
                found[leaves[v].path].append(node)
    ends = set(graph.outputs.values())
    bare = {op.path for v, op in leaves.items() if isinstance(op, Stack) or v in ends}
    bare |= {n for op in leaves.values() if isinstance(op, Stack) for n in op.names}
    bare |= {name.removeprefix(STATE) for name in graph.outputs if name.startswith(STATE)}
    return {name: [] if name in bare else nodes for name, nodes in found.items()}


def _product(graph: Graph) -> Callable[[Node], MaskedProduct | None]:
    return lambda node: masked_product(graph, node)


def _alike(graph: Graph, uses: Sequence[Node]) -> bool:
    """Whether all uses of a weight are products under one mask."""
    masks = set()
    for use in uses:
        found = masked_weight(graph, use.outputs[0])
        turned = graph.users(use.id)
        if found is None or not all(isinstance(t.op, ops.Transpose) for t in turned):
            return False
        if not all(masked_product(graph, n) for t in turned for n in graph.users(t.id)):
            return False
        masks.add(found[1])
    return len(masks) == 1 and not set(graph.outputs.values()) & {v for u in uses for v in u.outputs}


# --- orders and blocks ---


def _orders(units: Units, products: Iterable[MaskedProduct]) -> dict[Value, Array]:
    """The order of each class of units, those first that see little and are seen by many; none where it is their own."""
    keys: dict[Value, Array] = {}
    for p in products:
        mask = p.mask.stored
        for value, key in ((p.result, mask.sum(1)), (p.given, -mask.sum(0))):
            home = units.of(value)
            keys[home] = keys.get(home, 0) + key.astype(np.int64)
    found = {home: np.argsort(key, kind="stable") for home, key in keys.items()}
    return {home: order for home, order in found.items() if (np.diff(order) != 1).any()}


def _sorted(
    p: MaskedProduct, units: Units, orders: Mapping[Value, Array]
) -> tuple[Array, tuple[Array | None, ...]]:
    """The mask with rows and columns in their orders, and these."""
    order = orders.get(units.of(p.result)), orders.get(units.of(p.given))
    mask = p.mask.stored
    for axis, o in enumerate(order):
        mask = mask if o is None else mask.take(o, axis)
    return mask, order


def _ends(mask: Array, blocks: int) -> list[Box]:
    """Row blocks of nearly equal heights, each with the columns up to the last live one."""
    rows = mask.shape[0]
    last = np.where(mask.any(1), mask.shape[1] - mask[:, ::-1].argmax(1), 1)
    cuts = [rows * k // blocks for k in range(blocks + 1)]
    return [((a, b), (0, int(last[a:b].max()))) for a, b in pairwise(cuts) if b > a]


def _count(p: MaskedProduct, units: Units, orders: Mapping[Value, Array], blocks: int) -> int:
    """The number of blocks of a weight: the given one, or that of the least cost."""
    mask, _ = _sorted(p, units, orders)
    if blocks:
        return min(blocks, int(mask.shape[0]))

    def cost(k: int) -> float:
        if k == 1:
            return mask.size * (1 + MASK)
        return sum((b - a) * n for (a, b), (_, n) in _ends(mask, k)) + k * BLOCK

    return min((k for k in BLOCKS if k <= mask.shape[0]), key=cost)


def _blocks(
    p: MaskedProduct, units: Units, orders: Mapping[Value, Array], count: int, taken: Container[str]
) -> Packed:
    mask, order = _sorted(p, units, orders)
    boxes = _ends(mask, count)
    names = tuple(_free(f"{p.name}_block_{k}", taken) for k in range(len(boxes)))
    live = tuple(_mask(mask[a:b, :n]) for (a, b), (_, n) in boxes)
    return Packed(p.name, mask.shape, order, tuple(boxes), names, live)


def _mask(live: Array) -> Constant | None:
    return None if live.all() else Constant.mask(live)


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


# --- weights beside them ---


def _beside(
    graph: Graph,
    units: Units,
    orders: Mapping[Value, Array],
    uses: Mapping[str, list[Node]],
    taken: Container[str],
) -> dict[str, Packed]:
    """Parameters that are read beside units of one order alone, such as biases: stored in it."""
    found: dict[str, Packed] = {}
    leaves = [n for n in graph.nodes() if isinstance(n.op, Parameter) and uses[n.op.path]]
    for leaf in leaves:
        op, shape = leaf.op, leaf.types[0].concrete({})
        assert isinstance(op, Parameter)
        homes = {units.of(n.outputs[0]) for n in uses[op.path]}
        order = orders.get(next(iter(homes)))
        fits = all(spreads(n) and runs_along(shape, n.types[0].shape) for n in uses[op.path])
        if len(homes) == 1 and order is not None and fits:
            box = tuple((0, size) for size in shape)
            name = _free(f"{op.path}_packed", taken)
            kept = (*(None,) * (len(shape) - 1), order)
            found[op.path] = Packed(op.path, shape, kept, (box,), (name,), (None,))
    return found


# --- kernels ---


def _cropped(graph: Graph, uses: Mapping[str, list[Node]], taken: Container[str]) -> dict[str, Packed]:
    """Kernels of convolutions whose live taps have a smaller bounding box."""
    found: dict[str, Packed] = {}
    for name, nodes in uses.items():
        masks = {m[1] for n in nodes if (m := masked_weight(graph, n.outputs[0])) is not None}
        readers = [user for n in nodes for user in graph.users(n.id)]
        ends = set(graph.outputs.values()) & {v for n in nodes for v in n.outputs}
        if len(masks) != 1 or ends or not all(masked_weight(graph, n.outputs[0]) for n in nodes):
            continue
        if not readers or not all(
            is_kernel(n, v) for n in readers for v in n.inputs if graph.node(v) in nodes
        ):
            continue
        mask = masks.pop().stored
        taps: Array = np.asarray(mask.any((0, 1)))
        if not taps.any():
            continue
        spatial = [
            np.flatnonzero(taps.any(tuple(a for a in range(taps.ndim) if a != axis)))
            for axis in range(taps.ndim)
        ]
        box = (*((0, s) for s in mask.shape[:2]), *((int(t[0]), int(t[-1]) + 1) for t in spatial))
        if tuple(stop - start for start, stop in box) != mask.shape:
            live = _mask(mask[tuple(slice(*ends) for ends in box)])
            names = (_free(f"{name}_packed", taken),)
            found[name] = Packed(name, mask.shape, (None,) * mask.ndim, (box,), names, (live,))
    return found


def is_kernel(node: Node, value: Value) -> bool:
    """Return whether a node is a convolution, and a value its kernel alone."""
    return isinstance(node.op, ops.Conv) and node.inputs[1] == value != node.inputs[0]


__all__ = ["BLOCKS", "plan"]
