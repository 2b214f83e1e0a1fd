"""The facts about a module as tables and lines for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpcompile.diagnostics.render import printable
from mpcompile.ir.names import split

#: Columns for output that goes to a file or a pipe.
WIDE = 160


def plain(text: str) -> Text:
    """Return a cell that shows text as it is: nothing in it is markup, and what does not print is escaped."""
    return Text(printable(text))


class Terminal(Console):
    """A console that leaves a reader that went away to the guard of the commands, which ends all of them alike."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the BrokenPipeError


def show(facts: dict[str, Any]) -> None:
    """Print what `describe` gives, and the claims."""
    console = Terminal()
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    console.print(_variables(facts))
    console.print(_layers(facts))
    console.print(_programs(facts))
    for line in (*_totals(facts), *map(_claim, facts["claims"])):
        console.print(printable(line), markup=False, highlight=False)


@dataclass
class Branch:
    """A scope with the scopes inside of it. `row` is its own row of the facts, where it has one."""

    name: str
    row: dict[str, Any] | None = None
    inner: dict[str, Branch] = field(default_factory=dict)

    def total(self, key: str) -> Any:
        """A figure of this scope and all inside of it."""
        return (self.row[key] if self.row else 0) + sum(b.total(key) for b in self.inner.values())

    def likeness(self) -> tuple[Any, ...]:
        """Equal for scopes that differ in their names alone."""
        row = self.row or {}
        own = tuple(row.get(k) for k in ("layer", "shape", "formula", "flops", "parameters"))
        return (*own, *((re.sub(r"\d+$", "", b.name), b.likeness()) for b in self.inner.values()))


def _tree(rows: Sequence[dict[str, Any]]) -> Branch:
    root = Branch("")
    for row in rows:
        at = root
        for name in split(row["name"]):
            at = at.inner.setdefault(name, Branch(name))
        at.row = row
    return root


def _layers(facts: dict[str, Any]) -> Table:
    table = Table(
        title=plain(f"{facts['model']}: {facts['parameters']:,} parameters"), box=None, header_style="bold"
    )
    for column in ("layer", "written as", "output", "formula", "line", "parameters", "FLOPs", "share"):
        right = column in ("line", "parameters", "FLOPs", "share")
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=len(column) if right else None,
            max_width={"written as": 36, "formula": 44}.get(column),
        )
    _grow(table, _tree(facts["layers"]), 0)
    return table


def _grow(table: Table, branch: Branch, depth: int) -> None:
    """One line for each scope, with its total; repeats of one scope, one after the other, share their lines."""
    for _, group in groupby(branch.inner.values(), key=lambda b: (re.sub(r"\d+$", "", b.name), b.likeness())):
        alike = list(group)
        first, name = alike[0], alike[0].name
        while (
            first.row is None and len(first.inner) == 1
        ):  # a scope that only holds another says nothing itself
            first = next(iter(first.inner.values()))
            name += f".{first.name}"
        if len(alike) > 1:
            name += f" .. {alike[-1].name}, each"
        table.add_row(*map(plain, ("  " * depth + name, *_cells(first))))
        _grow(table, first, depth + 1)


def _cells(branch: Branch) -> Iterator[str]:
    row = branch.row or {"layer": "", "shape": "", "formula": "", "line": "", "parameters": 0, "stored": 0}
    yield row["layer"]
    yield row["shape"].removeprefix("float")
    yield (f"{row['parameters']:,} of " if row["parameters"] < row["stored"] else "") + row["formula"]
    yield str(row["line"])
    yield f"{branch.total('parameters'):,}" if branch.total("parameters") else ""
    flops = branch.total("flops_example")
    yield engineering(flops) if flops else ""
    yield f"{branch.total('share'):.1%}" if flops else ""


def _variables(facts: dict[str, Any]) -> Table:
    """One line for each variable: what it is, and the role of each of its axes by name."""
    table = Table(title="variables", box=None, header_style="bold")
    for column in ("variable", "is", "type", "axes", "line"):
        table.add_column(column, justify="right" if column == "line" else "left")
    for v in facts["variables"]:
        cells = (v["name"], v["role"], v["kind"], axes_text(v["axes"]), str(v["line"]))
        table.add_row(*map(plain, cells))
    return table


def axes_text(axes: Sequence[dict[str, str]]) -> str:
    """Return names and sizes of axes as messages have them, each with its role: `time (ordered), channel: 12`.

    A role that is the name itself is not said again.
    """
    parts = (
        (a["name"] if a["size"] == a["name"] else f"{a['name']}: {a['size']}")
        + ("" if a["role"] == a["name"] else f" ({a['role']})")
        for a in axes
    )
    return ", ".join(parts) or "one number"


def _programs(facts: dict[str, Any]) -> Table:
    programs = Table(title="programs", box=None, header_style="bold")
    for column in ("program", "inputs", "outputs", "primitives", "FLOPs"):
        programs.add_column(column, justify="right" if column == "primitives" else "left")
    for name, p in facts["programs"].items():
        cells = (name, _few(p["inputs"]), _few(p["outputs"]), str(p["primitives"]), p["flops"])
        programs.add_row(*map(plain, cells))
    return programs


def _few(values: dict[str, str]) -> str:
    """Names and types, the first four of many: a training program gives back every running statistic."""
    first = ", ".join(f"{k}: {v}" for k, v in list(values.items())[:4])
    return first + (f" and {len(values) - 4} more" if len(values) > 4 else "")


def _totals(facts: dict[str, Any]) -> Iterator[str]:
    """Parameters, operations, memory, paths and sampling, a line each."""
    at = ", ".join(f"{k} = {v}" for k, v in facts["at"].items())
    masked = facts["stored"] - facts["parameters"]
    removed = f"; masks remove {masked:,} more elements of weights" if masked else ""
    yield f"parameters: {facts['parameters']:,}{removed}"
    flops, memory = facts["flops"], facts["memory"]
    lengths = "".join(f" of {k} {v}" for k, v in facts["at"].items() if k != "N")
    yield f"FLOPs: {flops['total']} (a multiply-add is 2); {engineering(flops['example'])} for one example{lengths}"
    if flops["fused"] is not None:
        yield f"FLOPs with masks fused: {flops['fused']['total']}; {'; '.join(flops['fused']['weights'])}"
    if memory["saved_for_backward"] is not None:
        yield (
            f"activations: {memory['saved_for_backward']} bytes kept for the backward pass, "
            f"{binary(memory['saved_at'])} at {at}"
        )
        yield f"peak: {binary(memory['peak_forward'])} forward, {binary(memory['peak_training'])} in training at {at}"
    for name, path in facts["paths"].items():
        yield f"path length of {name}: {_path(path)}"
    for name, fields in facts["receptive"].items():
        for output, receptive in fields["outputs"].items():
            yield f"receptive field of {output} in {name}: {_field(receptive)}"
    for name, steps in facts["sampling"].items():
        yield f"sampling {name}: {_sampler(steps)}"


def _sampler(facts: dict[str, Any]) -> str:
    if facts["refused"]:
        return f"{facts['steps']} passes of the network, one after the other: {'; '.join(facts['refused'])}"
    most = "at most " if any("at most" in way for way in facts["how"]) else ""
    whose = f"the first of {facts['members']} orders and masks: " if facts["members"] > 1 else ""
    return (
        f"{whose}{facts['steps']} elements; {'; '.join(facts['how'])}: "
        f"{most}the work of {facts['work']:.2f} passes of the network, "
        f"{engineering(round(facts['step_flops']))} FLOP a step, {binary(facts['kept'])} kept for each example"
    )


def _field(receptive: dict[str, Any]) -> str:
    if "why" in receptive:
        return f"unknown, {receptive['why']}"
    sizes = " x ".join("unbounded" if n is None else str(n) for n in receptive["size"])
    bounds = not receptive["exact"] and any(n is not None for n in receptive["size"])
    return ("at most " if bounds else "") + sizes + ("" if receptive["aligned"] else ", not aligned")


def _path(path: dict[str, Any]) -> str:
    if "why" in path:
        return f"unknown, {path['why']}"
    last = path["measured"][-1]
    if last["longest"] is None:
        return f"no position reaches an output of {path['program']}"
    if last["length"] is None:
        name, *element = last["to"]
        return f"{last['longest']}, from {last['from']} to {name}{element}"
    lengths = ", ".join(str(m["longest"]) for m in path["measured"])
    return f"{path['growth']}: {lengths} at length {', '.join(str(m['length']) for m in path['measured'])}"


def _claim(claim: dict[str, Any]) -> str:
    subject = f"({claim['subject']})" if claim["subject"] else ""
    detail = ", ".join(f"{k}: {v}" for k, v in claim["detail"].items())
    return f"{claim['claim']}{subject}: {claim['status']}, {claim['how']}{f' ({detail})' if detail else ''}"


def engineering(number: int) -> str:
    """Format a number as `3.2 M`: three digits at most before the unit, powers of 1000."""
    value, unit = float(number), ""
    for unit in ("", " k", " M", " G", " T", " P"):
        if value < 999.5 or unit == " P":
            break
        value /= 1000
    return f"{number}" if not unit else f"{value:.3g}{unit}"


def binary(number: int) -> str:
    """Format bytes as `1.5 MiB`: powers of 1024."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{number} B" if unit == "B" else f"{value:.1f} {unit}"
