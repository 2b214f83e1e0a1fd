"""`mpcompile fmt PATH...`: format specs, or convert between the two syntaxes."""

from __future__ import annotations

import difflib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mpcompile.cli._out import echo, page, result


class To(StrEnum):
    mp = "mp"
    yaml = "yaml"


def fmt(
    paths: Annotated[list[Path], typer.Argument(help="Spec files, or folders of them.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 when a file would change.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
    to: Annotated[
        To | None, typer.Option(help="Convert to this syntax, into a file beside the spec.")
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the result; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --to: replace a file that exists.")] = False,
) -> None:
    """Format specs in place, comments kept; with --to, convert them to the other syntax."""
    from mpcompile.diagnostics.render import printable, render, use_colour
    from mpcompile.frontend import SpecError, format_model, parse, syntax_of
    from mpcompile.frontend.intake import read_file

    changed = failed = False
    for path in _specs(paths):
        try:
            model, source = parse(path)
            syntax = to.value if to else syntax_of(path)
        except SpecError as problem:
            failed = True
            sources = [read_file(path)] if path.is_file() and _readable(path) else []
            page(render(problem.diagnostics, sources, colour=use_colour(sys.stderr)), err=True)
            continue
        text = format_model(model, syntax, source)
        target = path if syntax == syntax_of(path) else path.with_suffix(f".{syntax}")
        if stdout:
            result(text)
            continue
        if target == path and text == source.text:
            continue
        changed = True
        if diff:
            before = source.text.splitlines(keepends=True)
            after = text.splitlines(keepends=True)
            names = (printable(str(path)), printable(str(target)))
            result("".join(difflib.unified_diff(before, after, *names)) + "\n")
        if check:
            echo(f"would reformat {path}")
        elif not diff:
            if target != path and target.exists() and not force:
                echo(f"error: {target} exists; --force replaces it", err=True)
                failed = True
                continue
            _write(target, text)
            echo(f"{'reformatted' if target == path else 'wrote'} {target}")
    if failed:
        raise typer.Exit(2)
    if changed and (check or diff):
        raise typer.Exit(1)


def _specs(paths: list[Path]) -> list[Path]:
    """Files as given; of folders, the specs in them."""
    out: list[Path] = []
    for path in paths:
        found = (
            sorted(p for p in path.rglob("*") if p.suffix in (".mp", ".yaml", ".yml"))
            if path.is_dir()
            else [path]
        )
        out += found
    return out


def _readable(path: Path) -> bool:
    from mpcompile.frontend import SpecError
    from mpcompile.frontend.intake import read_file

    try:
        read_file(path)
    except SpecError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, so that an interrupted run leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


__all__ = ["fmt"]
