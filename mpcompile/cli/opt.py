"""`mpcompile opt SPEC -p PASS,...`: programs before and behind passes of the compiler, as text or as a chart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._out import echo, result
from mpcompile.cli._run import Overrides, fail, findings, read_spec, settings_of

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source
    from mpcompile.passes.running import Pipeline, Step


class Emit(StrEnum):
    """The forms in which a program is printed."""

    IR = "ir"
    MERMAID = "mermaid"


def opt(
    spec: Annotated[Path, typer.Argument(help="A spec (.mp or .yaml).")],
    passes: Annotated[
        str,
        typer.Option(
            "-p",
            "--passes",
            help="Passes in their order, such as simplify,cse{across: false},dce; or a pipeline: shipped, inference, "
            "simplifying. None without it.",
        ),
    ] = "",
    program: Annotated[str | None, typer.Option("--program", help="This program alone.")] = None,
    emit: Annotated[Emit, typer.Option("--emit", help="Text, or a Mermaid flowchart.")] = Emit.IR,
    set_: Overrides = None,
    data: Annotated[
        bool,
        typer.Option("--data", help="Large constants behind the programs, so that the text parses back."),
    ] = False,
    scopes: Annotated[
        bool, typer.Option("--scopes", help="Scopes and places as lines that parse back, not as comments.")
    ] = False,
    verify_each: Annotated[
        bool, typer.Option("--verify-each", help="Verify every program before, between and behind passes.")
    ] = False,
    time: Annotated[bool, typer.Option("--time", help="Processor time of each pass, on stderr.")] = False,
) -> None:
    """Print the programs of a spec as the compiler's passes leave them."""
    sources: list[Source] = []
    with findings(sources):
        from mpcompile.passes.running import verified
        from mpcompile.text import Style, mermaid, printed_all

        line = _line(passes)
        module = read_spec(spec, settings_of(set_ or []), sources)
        if program is not None and program not in module.programs:
            fail(f"no program is named '{program}' (there are {', '.join(module.programs)})")
        chosen = [program] if program is not None else list(module.programs)
        with verified(verify_each):
            outcomes = {name: line.run(module.programs[name], name) for name in chosen}
        graphs = {name: o.graph for name, o in outcomes.items()}
        if emit is Emit.IR:
            result(printed_all(graphs, Style(data, scopes)))
        else:
            result("".join(mermaid(g) for g in graphs.values()))
        if time:
            echo(*_table([step for o in outcomes.values() for step in o.steps]), err=True)


def _line(passes: str) -> Pipeline:
    from mpcompile.passes.selection import selected

    try:
        return selected(passes)
    except ValueError as fault:
        fail(f"-p: {str(fault).removeprefix('line 1: ')}")
        raise


def _table(steps: Iterable[Step]) -> Iterator[str]:
    """Each pass over all programs: milliseconds, nodes before and behind it."""
    totals: dict[str, list[float]] = {}
    for s in steps:
        row = totals.setdefault(s.name, [0.0, 0, 0])
        for i, part in enumerate((s.seconds * 1e3, s.before, s.after)):
            row[i] += part
    width = max(map(len, [*totals, "pass"]))
    yield f"{'pass':{width}}  {'ms':>8}  {'before':>7}  {'after':>7}"
    for name, (spent, before, after) in totals.items():
        yield f"{name:{width}}  {spent:8.1f}  {before:7.0f}  {after:7.0f}"


__all__ = ["opt"]
