"""`mpcompile fmt PATH...`: format specs, or convert between the two syntaxes."""

from __future__ import annotations

import difflib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._out import echo, page, result
from mpcompile.cli._run import fail
from mpcompile.cli._specs import SpecsOnly, only_specs, require, specs_of

if TYPE_CHECKING:
    from mpcompile.frontend import Source, SpecError


class To(StrEnum):
    """The syntaxes of a spec."""

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
    upgrade: Annotated[
        bool,
        typer.Option("--upgrade", help="Name the axes that specs of 0.1 left to a guess; format nothing."),
    ] = False,
    specs_only: SpecsOnly = False,
) -> None:
    """Format specs in place, comments kept.

    With --to, convert them to the other syntax. With --upgrade, name axes that have one reading.
    """
    from mpcompile.frontend import SpecError, syntax_of

    require(paths)
    if upgrade and to:
        fail("--upgrade and --to are two runs")
    changed = failed = undecided = False
    for path in specs_of(only_specs(paths) if specs_only else paths):
        try:
            source, (text, *others) = _rewritten(path, to, upgrade)
        except SpecError as problem:
            failed = True
            _refused(path, problem)
            continue
        if others:
            undecided = True
            page(_differences(path, [text, *others]), err=True)
            continue
        same = to is None or to.value == syntax_of(path)
        target = path if same else path.with_suffix(f".{to.value if to else ''}")
        if stdout:
            result(text)
            continue
        if target == path and text == source.text:
            continue
        changed = True
        if diff:
            _diff(source, text, target)
        if check:
            echo(f"would {'upgrade' if upgrade else 'reformat'} {path}")
        elif not diff:
            done = "wrote" if target != path else "upgraded" if upgrade else "reformatted"
            failed |= not _replaced(target, text, done, force or target == path)
    if failed:
        raise typer.Exit(2)
    if undecided or (changed and (check or diff)):
        raise typer.Exit(1)


def _replaced(target: Path, text: str, done: str, force: bool) -> bool:
    """Write a text and say so, or say why not. Gives whether it is written."""
    if target.exists() and not force:
        refused = f"{target} exists; --force replaces it"
    elif why := _write(target, text):
        refused = f"{target}: {why}"
    else:
        echo(f"{done} {target}")
        return True
    echo(f"error: {refused}", err=True)
    return False


def _refused(path: Path, problem: SpecError) -> None:
    """Print why a spec is left as it is."""
    from mpcompile.diagnostics.render import render, use_colour
    from mpcompile.frontend.intake import read_file

    sources = [read_file(path)] if path.is_file() and _readable(path) else []
    page(render(problem.diagnostics, sources, colour=use_colour(sys.stderr)), err=True)


def _diff(source: Source, text: str, target: Path) -> None:
    """Print what would change."""
    from mpcompile.diagnostics.render import printable

    names = (printable(source.path), printable(str(target)))
    result("".join(difflib.unified_diff(_lines(source.text), _lines(text), *names)) + "\n")


def _rewritten(path: Path, to: To | None, upgrade: bool) -> tuple[Source, list[str]]:
    """A spec, and what it is to be: several texts where an upgrade leaves several readings. Raises `SpecError`."""
    from mpcompile.frontend import parse, syntax_of

    model, source = parse(path)
    if upgrade:
        from mpcompile.lowering.upgrade import upgraded

        return source, upgraded(model, source, syntax_of(path))
    from mpcompile.frontend.formatting import formatted

    return source, [formatted(model, source, to.value if to else syntax_of(path))]


def _differences(path: Path, texts: list[str]) -> str:
    """The lines in which the readings of a spec differ, for each reading."""
    from mpcompile.diagnostics.render import printable

    out = [f"{path} has {len(texts)} readings that compile, and is left as it is:"]
    for i, text in enumerate(texts, 1):
        out.append(f"reading {i}:")
        for number, row in enumerate(zip(*(t.split("\n") for t in texts), strict=False), 1):
            if len(set(row)) > 1:
                out.append(f"  {number}: {text.split(chr(10))[number - 1].strip()}")
    return "".join(printable(line) + "\n" for line in out)


def _readable(path: Path) -> bool:
    from mpcompile.frontend import SpecError
    from mpcompile.frontend.intake import read_file

    try:
        read_file(path)
    except SpecError:
        return False
    return True


def _lines(text: str) -> list[str]:
    """Lines with their line feeds; other characters that Python breaks lines at stand inside of them."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [last for last in text.split("\n")[-1:] if last]


def _write(path: Path, text: str) -> str:
    """Replace a file in one step, its mode kept, so that an interrupted run leaves the old one. Gives why it cannot."""
    from mpcompile.runner import disk

    if path.is_symlink():
        return "a symbolic link; name the file that it leads to"
    if path.exists() and not path.is_file():
        return "no regular file"
    try:
        with disk.whole(path) as aside:
            aside.write_text(text, encoding="utf-8", newline="")
    except OSError as problem:
        return (problem.strerror or type(problem).__name__).lower()
    return ""


__all__ = ["fmt"]
