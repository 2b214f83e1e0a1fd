"""Layers that are alike as elements of a list: the statements that make them, and the head of a loop over them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mpcompile.emission.names import attribute, free
from mpcompile.emission.text import WIDTH
from mpcompile.ir import Graph, Module, Node, Stack, Value
from mpcompile.ir.names import element
from mpcompile.ops import Repeat, Scan, unrolled

#: Stands for the object in statements that are written before it is known how they reach it.
OWNER = "@"
#: Elements of a list that repeat after more others than this are written one by one.
LONGEST = 8
#: How a module is made, and the statements that give it its own modules.
Made = tuple[str, list[str]]


def assignments(owner: str, made: Mapping[str, Made], taken: Collection[str]) -> list[str]:
    """Write how `owner` gets its modules, by the text of their attribute: `dense_0`, or `layer[0]` in a list.

    No variable has a name that is `taken`.
    """
    lists: dict[str, dict[int, Made]] = {}
    for name, module in made.items():
        stem, bracket, number = name.partition("[")
        if bracket:
            lists.setdefault(stem, {})[int(number[:-1])] = module
    lines: list[str] = []
    for name, (text, inside) in made.items():
        if "[" not in name:
            lines += [f"{owner}.{name} = {text}", *_of(f"{owner}.{name}", inside)]
    for stem, elements in lists.items():
        found = [elements.get(n, ("nn.Identity()", [])) for n in range(max(elements) + 1)]
        lines += _list(f"{owner}.{stem}", free(stem, taken), found)
    return lines


def _list(name: str, one: str, elements: Sequence[Made]) -> list[str]:
    """Write a list; elements that repeat are written once, however many they are."""
    runs = list(_runs(elements))
    annotated = f"{name}: Any" if name.startswith("self.") and name.count(".") == 1 else name
    short = f"{annotated} = nn.ModuleList({elements[0][0]} for _ in range({len(elements)}))"
    if all(times == 1 for _, _, times in runs):
        lines = [f"{annotated} = nn.ModuleList([{', '.join(text for text, _ in elements)}])"]
    elif len(runs) == 1 and runs[0][1] == 1 and len(short) + 3 * 4 <= WIDTH:
        lines = [short]
    else:
        lines = [f"{annotated} = nn.ModuleList()"]
        for start, period, times in runs:
            appended = [f"{name}.append({text})" for text, _ in elements[start : start + period]]
            repeated = [f"for _ in range({times}):", *(f"    {line}" for line in appended)]
            lines += repeated if times > 1 else appended
    for start, period, times in runs:
        for n in range(start, start + period):
            inside = elements[n][1]
            if times == 1 or not inside:
                lines += _of(f"{name}[{n}]", inside)
                continue
            whole = (start, start + period * times) == (0, len(elements)) and period == 1
            which = (
                name if whole else f"{name}[{n}:{start + period * times}{f':{period}' if period > 1 else ''}]"
            )
            lines += [f"for {one} in {which}:", *(f"    {line}" for line in _of(one, inside))]
    return lines


def _runs(elements: Sequence[Made]) -> Iterator[tuple[int, int, int]]:
    """Cut a list into runs: where each starts, after how many elements it repeats, and how often it is there."""
    at = 0
    while at < len(elements):
        period, times = 1, 1
        for p in range(1, min(LONGEST, (len(elements) - at) // 2) + 1):
            t = 1
            while elements[at : at + p] == elements[at + p * t : at + p * (t + 1)]:
                t += 1
            if t > 1 and p * t > period * times:
                period, times = p, t
        yield at, period, times
        at += period * times


def _of(owner: str, lines: Sequence[str]) -> list[str]:
    return [line.replace(OWNER, owner) for line in lines]


def as_lists(module: Module) -> dict[str, Graph]:
    """Return the programs of a module, with regions where each is a loop over lists of layers."""
    layered = module.with_layers().programs
    return {
        name: graph if _listed(graph) else unrolled(module.programs[name]) for name, graph in layered.items()
    }


def _listed(graph: Graph, stacks: Collection[Value] = ()) -> bool:
    """Return whether nothing but regions reads stacks of weights; `stacks` are inputs that stand for some."""
    own = {*stacks, *(n.outputs[0] for n in graph.nodes() if isinstance(n.op, Stack))}
    for node in graph.nodes():
        if isinstance(node.op, Scan):
            starts, scanned, captured = node.op.split(node.inputs)
            formals = node.op.formals.captured.values()
            inside = [f for f, v in zip(formals, captured, strict=True) if v in own]
            read = {*starts} if isinstance(node.op, Repeat) else {*starts, *scanned}
            if not own.isdisjoint(read) or not _listed(node.op.body, inside):
                return False
        elif not own.isdisjoint(node.inputs):
            return False
    return own.isdisjoint(graph.outputs.values())


@dataclass(frozen=True)
class Over:
    """One list that a region is a loop over: how its first element is spelled, and how what the loop takes of it."""

    first: str
    taken: str
    stem: str


def lists(node: Node, depth: int, weights: Collection[str], me: str = "self") -> list[Over]:
    """Return the lists of which a region takes an element in each iteration, seen from `depth` scopes inside.

    `me` is the name of the instance there. `weights` are the names of all weights of the module, which tell how long a
    list is.
    """
    op = node.op
    assert isinstance(op, Repeat)
    count = op.iterations([v.type for v in node.inputs])
    whole = "".join(f"{frame.name}." for frame in node.scope)
    found: list[Over] = []
    for name, step in op.frames:
        stem, start = element(name) or ("", 0)
        tails = [w[len(whole) + len(stem) + 1 :] for w in weights if w.startswith(f"{whole}{stem}.")]
        numbers = {int(tail.partition(".")[0]) for tail in tails if tail.partition(".")[0].isdigit()}
        if start not in numbers:
            continue
        text = ".".join([me, *(attribute(f.name) for f in node.scope[depth:]), stem])
        ends = len(range(start, max(numbers) + 1, step)) == count
        parts = [str(start) if start else "", "" if ends else str(start + step * count)]
        parts += [str(step)] if step > 1 else []
        taken = text if parts == ["", ""] else f"{text}[{':'.join(parts)}]"
        found.append(Over(f"{text}[{start}]", taken, stem))
    return found


__all__ = ["OWNER", "Over", "as_lists", "assignments", "lists"]
