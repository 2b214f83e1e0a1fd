"""A program as layers: primitives gathered into cells, cells into boxes that can be folded.

A layer is drawn once for each place where it acts. Every group is convex (no path leaves it and comes back), so that
each level of the picture is a directed acyclic graph of its own: a net that is used twice becomes two boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from mpcompile.ir import Constant, Frame, Graph, Input, Node, Parameter, Value

#: This many blocks of one kind in a row are drawn as the first of them and a folded rest.
SMALLEST_REPEAT = 3
#: The contents of a folded rest are left out of a drawing with more cells than this.
LARGEST_DRAWING = 600


@dataclass(eq=False)
class Cell:
    """One layer where it acts, or (without a frame of its own) the primitives between layers, or an input."""

    name: str
    frame: Frame | None
    nodes: list[Node]
    glue: bool = False


@dataclass(eq=False)
class Box:
    """A block of the spec, or (`repeats` > 0) the blocks that repeat the one before."""

    name: str
    frame: Frame | None
    children: list[Cell | Box] = field(default_factory=list)
    repeats: int = 0


def cells_of(child: Cell | Box) -> list[Cell]:
    """Return all cells inside, in order."""
    return [child] if isinstance(child, Cell) else [c for inner in child.children for c in cells_of(inner)]


def gather(graph: Graph) -> Box:
    """Gather a program without dead nodes into its outermost box.

    Parameters and constants belong to the cells that use them.
    """
    nodes = [n for n in graph.nodes() if not isinstance(n.op, Parameter | Constant)]
    used = {v.node for n in nodes for v in n.inputs} | {v.node for v in graph.outputs.values()}
    nodes = [n for n in nodes if not isinstance(n.op, Input) or n.id in used]
    root = Box("", None, _children(nodes, 0))
    while len(boxes := [c for c in root.children if isinstance(c, Box)]) == 1 and all(
        isinstance(c, Box) or isinstance(c.nodes[0].op, Input) for c in root.children
    ):  # the density and its only network say nothing that the title does not
        i = root.children.index(boxes[0])
        root.children[i : i + 1] = boxes[0].children
    _fold_repeats(root)
    large = len(cells_of(root)) > LARGEST_DRAWING
    return _without_rests(root) if large else root


def _children(nodes: Sequence[Node], depth: int) -> list[Cell | Box]:
    def key(node: Node) -> Hashable:
        if isinstance(node.op, Input):
            return node.id
        return node.scope[depth].name if len(node.scope) > depth else None

    out: list[Cell | Box] = []
    for k, group in partition(nodes, key):
        first = group[0]
        if isinstance(first.op, Input):
            out.append(Cell(first.op.path, None, group))
        elif k is None:
            name = ".".join(f.name for f in first.scope)
            out.append(Cell(name, first.scope[-1] if first.scope else None, group, glue=True))
        else:
            frame = first.scope[depth]
            name = ".".join(f.name for f in first.scope[: depth + 1])
            if all(len(n.scope) == depth + 1 for n in group):
                out.append(Cell(name, frame, group))
                continue
            inner = _children(group, depth + 1)
            # The frame in which a layer runs its own network says nothing that its owner does not.
            out += inner if len(inner) == 1 or (frame.name == "net" and depth) else [Box(name, frame, inner)]
    return out


def partition(nodes: Sequence[Node], key: Callable[[Node], Hashable]) -> list[tuple[Hashable, list[Node]]]:
    """Group nodes (topologically ordered) by their key, such that no two groups need each other.

    A node joins the latest group of its key unless that closes a cycle. Nodes without a key (None) only join a
    group that they read from.
    """
    groups: list[tuple[Hashable, list[Node]]] = []
    above: list[int] = []  # for each group the set of groups that it depends on, as bits
    read: set[int] = set()  # groups that another one reads from
    latest: dict[Hashable, int] = {}
    home: dict[int, int] = {}
    for node in nodes:
        sources = {home[v.node] for v in node.inputs if v.node in home}
        k = key(node)
        g = latest.get(k)
        if g is not None and (
            (k is None and g not in sources) or any(above[s] >> g & 1 for s in sources - {g})
        ):
            g = None
        if g is None:
            g = latest[k] = len(groups)
            groups.append((k, []))
            above.append(0)
        groups[g][1].append(node)
        home[node.id] = g
        more = 0
        for s in sources - {g}:
            more |= 1 << s | above[s]
        if more & ~above[g]:
            above[g] |= more
            if g in read:
                above[:] = [a | above[g] if a >> g & 1 else a for a in above]
        read |= sources - {g}
    return groups


def edges(graph: Graph, children: Sequence[Cell | Box]) -> list[tuple[int, int, Value]]:
    """Return the values that pass between siblings, no edge twice: (place of the maker, place of a reader, value)."""
    home = {n.id: i for i, child in enumerate(children) for c in cells_of(child) for n in c.nodes}
    found: dict[tuple[int, int, Value], None] = {}
    for i, child in enumerate(children):
        for cell in cells_of(child):
            for node in cell.nodes:
                for v in node.inputs:
                    if home.get(v.node, i) != i:
                        found[home[v.node], i, v] = None
    return list(found)


def _fold_repeats(box: Box) -> None:
    """Put what repeats the block before it, and what stands between the repetitions, into one folded box."""
    for child in box.children:
        if isinstance(child, Box):
            _fold_repeats(child)
    i = 0
    while i < len(box.children):
        same = [i]
        first = box.children[i]
        if isinstance(first, Box):
            for j in range(i + 1, len(box.children)):
                other = box.children[j]
                if isinstance(other, Box):
                    if signature(other) != signature(first):
                        break
                    same.append(j)
                elif not other.glue:
                    break
        if len(same) >= SMALLEST_REPEAT and isinstance(first, Box):
            rest = box.children[same[1] : same[-1] + 1]
            name = f"{rest[0].name} .. {rest[-1].name.rpartition('.')[2]}"
            box.children[same[1] : same[-1] + 1] = [Box(name, first.frame, rest, repeats=len(same) - 1)]
        i += 1


def signature(box: Box) -> Hashable:
    """Return a key, equal for blocks written in one place of the spec with the same operations in the same layers."""
    skip = box.name.count(".") + 1
    layers = tuple((tuple(f.name for f in n.scope[skip:]), n.op.name) for c in cells_of(box) for n in c.nodes)
    return box.frame and (box.frame.label, box.frame.span), layers


def _without_rests(box: Box) -> Box:
    """The same with each folded rest as one cell."""
    children: list[Cell | Box] = []
    for child in box.children:
        if isinstance(child, Box) and child.repeats:
            nodes = [n for c in cells_of(child) for n in c.nodes]
            children.append(Cell(f"{child.name} (x {child.repeats})", child.frame, nodes))
        else:
            children.append(_without_rests(child) if isinstance(child, Box) else child)
    return Box(box.name, box.frame, children, box.repeats)
