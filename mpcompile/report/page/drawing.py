"""The boxes and cells of a program as data for the page, with everything that is known of each layer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any

from mpcompile.bijectors import BIJECTORS
from mpcompile.diagnostics import PathStep, Source, Span
from mpcompile.ir import Array, Frame, Input, Module, Parameter, Value
from mpcompile.layers import LAYERS
from mpcompile.report.page.cells import Box, Cell, cells_of, edges, gather
from mpcompile.report.page.formula import formula
from mpcompile.report.page.layout import layered
from mpcompile.report.page.masks import masks, picture, side
from mpcompile.report.page.raster import Blobs
from mpcompile.report.page.reach import Reach, layer_reach

_SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}


class Drawing:
    """One program. Cells have numbers in the order in which they run; values have numbers of their own."""

    def __init__(self, module: Module, reach: Reach, blobs: Blobs) -> None:
        self.module, self.reach, self.graph = module, reach, reach.graph
        self.root = gather(self.graph)
        self.cells = cells_of(self.root)
        self.number = {id(c): i for i, c in enumerate(self.cells)}
        self.home = {n.id: i for i, c in enumerate(self.cells) for n in c.nodes}
        self._values: dict[Value, int] = {}
        found = [(i, m) for i, c in enumerate(self.cells) for m in masks(reach, c.nodes)]
        limit = side([array for _, (_, array) in found])
        self.masks = [self._mask(i, *m, limit, blobs) for i, m in found]
        self.facts = [self._cell(i, c, blobs) for i, c in enumerate(self.cells)]
        self.boxes: list[dict[str, Any]] = []
        self._box(self.root)

    def _mask(self, cell: int, kind: str, array: Array, limit: int, blobs: Blobs) -> dict[str, Any]:
        return {"cell": cell, **picture(kind, array, limit, blobs)}

    @property
    def values(self) -> list[str]:
        """The type of each numbered value."""
        return [str(v.type) for v in self._values]

    # --- one layer ---

    def _cell(self, number: int, cell: Cell, blobs: Blobs) -> dict[str, Any]:
        title, arguments = self._title(cell)
        last, result = cell.nodes[-1], self._result(cell)
        specs = self.module.parameters
        paths = dict.fromkeys(
            op.path
            for n in cell.nodes
            for v in n.inputs
            if isinstance(op := self.graph.node(v).op, Parameter)
        )
        keyword = re.match(r"\w*", cell.frame.label)[0] if cell.frame and not cell.glue else ""  # type: ignore[index]  # matches always
        kind: type | None = LAYERS.get(keyword) or BIJECTORS.get(keyword)
        return {
            "name": cell.name,
            "title": title,
            "arguments": arguments,
            "kind": self._kind(cell),
            "span": _place(cell.frame.span if cell.frame and not cell.glue else last.span),
            "shape": str(result.type),
            "parameters": [[p, list(specs[p].shape), specs[p].live, specs[p].trainable] for p in paths],
            "about": (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ") if kind else "",
            "formula": [] if isinstance(last.op, Input) else formula(self.graph, cell.nodes),
            "masks": [i for i, m in enumerate(self.masks) if m["cell"] == number],
            "reach": layer_reach(self.reach, result, blobs),
        }

    def _result(self, cell: Cell) -> Value:
        """Return the result of a layer; a bijector's log-determinants, which have fewer axes, stand beside it."""
        inside = {n.id for n in cell.nodes}
        leaving = [v for n in cell.nodes for v in n.outputs if self._leaves(v, inside)]
        return max(leaving or cell.nodes[-1].outputs, key=lambda v: v.type.rank)

    def _kind(self, cell: Cell) -> str:
        if isinstance(cell.nodes[0].op, Input):
            return "noise" if cell.name in self.module.noise.get(self.reach.program, {}) else "input"
        return "glue" if cell.glue else "layer"

    def _title(self, cell: Cell) -> tuple[str, str]:
        first = cell.nodes[0].op
        if isinstance(first, Input):
            return cell.name, ""
        if cell.glue or cell.frame is None:
            names = [_SIGNS.get(n.op.name, n.op.name) for n in cell.nodes]
            return " ".join(names if len(names) <= 3 else [names[0], "…", names[-1]]), ""
        return written(cell.frame, self.module.source)

    # --- boxes ---

    def _box(self, box: Box) -> int:
        """Number of a box in `boxes`; its items are children, ports and dummies, as `layout` has drawn them."""
        number = len(self.boxes)
        self.boxes.append({})
        inside = {n.id for c in cells_of(box) for n in c.nodes}
        leaving = dict.fromkeys(
            v for c in cells_of(box) for n in c.nodes for v in n.outputs
            if box is not self.root and self._leaves(v, inside)
        )  # fmt: skip
        entering = dict.fromkeys(
            v for c in cells_of(box) for n in c.nodes for v in n.inputs
            if v.node in self.home and v.node not in inside
        )  # fmt: skip
        outputs = {v: k for k, v in self.graph.outputs.items()} if box is self.root else {}
        count = len(box.children)
        ports = [*entering, *leaving, *outputs]
        place = {n.id: i for i, child in enumerate(box.children) for c in cells_of(child) for n in c.nodes}
        found: list[tuple[int, int, Value]] = edges(self.graph, box.children)
        for i, v in enumerate(entering):
            users = [u.id for u in self.graph.users(v.node) if u.id in inside and v in u.inputs]
            found += [(count + i, k, v) for k in dict.fromkeys(place[u] for u in users)]
        for i, v in enumerate([*leaving, *outputs]):
            found.append((place[v.node], count + len(entering) + i, v))
        top = range(count, count + len(entering))
        bottom = range(count + len(entering), count + len(ports))
        drawn = layered(count + len(ports), found, top, bottom)
        items: list[list[Any]] = []
        for child in box.children:
            items.append(
                ["cell", self.number[id(child)]] if isinstance(child, Cell) else ["box", self._box(child)]
            )
        items += [["in", self._value(v)] for v in entering] + [["out", self._value(v)] for v in leaving]
        items += [["result", self._value(v), k] for v, k in outputs.items()]
        items += [["via", self._value(v)] for v in drawn.dummies]
        self._turn(items, drawn.rows)
        title, arguments = written(box.frame, self.module.source) if box.frame else ("", "")
        numbers = [self.number[id(c)] for c in cells_of(box)]
        self.boxes[number] = {
            "name": box.name, "title": title, "arguments": arguments, "repeats": box.repeats,
            "span": _place(box.frame.span) if box.frame else None,
            "cells": [min(numbers, default=0), max(numbers, default=-1)],
            "items": items, "rows": drawn.rows,
            "links": [[a, b, self._value(v)] for a, b, v in drawn.links],
        }  # fmt: skip
        return number

    def _turn(self, items: list[list[Any]], rows: Sequence[Sequence[int]]) -> None:
        """Mirror boxes whose values enter in the other order than they left the box before, top to bottom."""
        left = {items[i][1]: (-1, k) for k, i in enumerate(rows[0]) if items[i][0] == "in"}
        for i in (i for row in rows for i in row if items[i][0] == "box"):
            box = self.boxes[items[i][1]]
            enter = [left[box["items"][j][1]] for j in box["rows"][0] if box["items"][j][1] in left]
            pairs = [(a, b) for (m, a), (n, b) in combinations(enter, 2) if m == n]
            if sum(a > b for a, b in pairs) > sum(a < b for a, b in pairs):
                self._mirror(items[i][1])
            for k, j in enumerate(box["rows"][-1]):
                if box["items"][j][0] == "out":
                    left[box["items"][j][1]] = (i, k)

    def _mirror(self, number: int) -> None:
        box = self.boxes[number]
        box["rows"] = [row[::-1] for row in box["rows"]]
        for kind, inner, *_ in box["items"]:
            if kind == "box":
                self._mirror(inner)

    def _leaves(self, value: Value, inside: set[int]) -> bool:
        users = [u for u in self.graph.users(value.node) if value in u.inputs]
        return value in self.graph.outputs.values() or any(u.id not in inside for u in users)

    def _value(self, value: Hashable) -> int:
        assert isinstance(value, Value)
        return self._values.setdefault(value, len(self._values))

    # --- witnesses ---

    def walk(self, steps: Sequence[PathStep]) -> dict[str, Any]:
        """The cells of a witness path: for each step its cell (or None), and all cells and values on the way.

        A step says the name and the place of a layer; where several fit, it is the one that the path so far leads to.
        """
        names = [(step.text.partition("[")[0], step.span) for step in steps]
        return self.route([{i for i, c in enumerate(self.cells) if _is(c, *name)} for name in names])

    def route(self, goals: Sequence[set[int]]) -> dict[str, Any]:
        """Lead a path through one cell of each of these sets, in order (`walk`)."""
        readers: dict[int, dict[int, Value]] = {}
        for i, cell in enumerate(self.cells):
            for node in cell.nodes:
                for v in node.inputs:
                    if v.node in self.home and self.home[v.node] != i:
                        readers.setdefault(self.home[v.node], {}).setdefault(i, v)
        at: list[int | None] = []
        route: list[int] = []
        values: list[int] = []
        for fits in goals:
            way = _shortest(readers, route[-1], fits)[1:] if route else sorted(fits)[:1]
            at.append(way[-1] if way else None)
            for i in way:
                if route:
                    values.append(self._value(readers[route[-1]][i]))
                route.append(i)
        if route:
            values += [
                self._value(v) for v in self.graph.outputs.values() if self.home.get(v.node) == route[-1]
            ]
        return {"at": at, "cells": route, "values": values}


def _is(cell: Cell, name: str, span: Span) -> bool:
    if isinstance(cell.nodes[0].op, Input):
        return cell.name == name
    return cell.frame is not None and cell.frame.name == name and cell.frame.span == span


def _shortest(readers: dict[int, dict[int, Value]], start: int, goals: set[int]) -> list[int]:
    """A shortest way from a cell to one of some others, itself included; empty when there is none."""
    came: dict[int, int] = {start: start}
    todo = [start]
    for i in todo:
        if i in goals and i != start:
            way = [i]
            while way[-1] != start:
                way.append(came[way[-1]])
            return way[::-1]
        for j in sorted(readers.get(i, {})):
            if j not in came:
                came[j] = i
                todo.append(j)
    return []


def written(frame: Frame, source: Source) -> tuple[str, str]:
    """Return keyword and arguments of a layer, as they stand in the spec."""
    span, label = frame.span, frame.label
    keyword = re.match(r"\w*", label)[0]  # type: ignore[index]  # matches always
    if (density := re.search(r"~\s*(\w+)", label)) is not None:
        return f"{frame.name} ~ {density[1]}", ""
    if re.sub(r"[_.]\d+$", "", frame.name) != keyword:
        return frame.name, ""  # a part of a layer, which has no text of its own
    if span.line == span.end_line and label.endswith("..."):
        text = source.line(span.line)[span.column - 1 : span.end_column - 1]
        label = text if text.startswith(keyword) else label
    inner = label[len(keyword) :].strip()
    return keyword, inner[1:-1] if inner.startswith("(") and inner.endswith(")") else inner


def _place(span: Span) -> list[int] | None:
    return [span.line, span.column, span.end_line, span.end_column] if span.line else None
