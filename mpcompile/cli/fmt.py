"""`mpcompile fmt PATH...`: format specs, or convert between the two syntaxes."""

from __future__ import annotations

import difflib
import os
import stat
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mpcompile.cli._out import echo, page, result
from mpcompile.cli._specs import require


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
) -> None:
    """Format specs in place, comments kept.

    With --to, convert them to the other syntax.
    """
    from mpcompile.diagnostics.render import printable, render, use_colour
    from mpcompile.frontend import SpecError, parse, syntax_of
    from mpcompile.frontend.formatting import formatted
    from mpcompile.frontend.intake import read_file

    require(paths)
    changed = failed = False
    for path in _specs(paths):
        try:
            model, source = parse(path)
            text = formatted(model, source, to.value if to else syntax_of(path))
        except SpecError as problem:
            failed = True
            sources = [read_file(path)] if path.is_file() and _readable(path) else []
            page(render(problem.diagnostics, sources, colour=use_colour(sys.stderr)), err=True)
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
            before, after = _lines(source.text), _lines(text)
            names = (printable(str(path)), printable(str(target)))
            result("".join(difflib.unified_diff(before, after, *names)) + "\n")
        if check:
            echo(f"would reformat {path}")
        elif not diff:
            if target != path and target.exists() and not force:
                echo(f"error: {target} exists; --force replaces it", err=True)
                failed = True
                continue
            if refused := _write(target, text):
                echo(f"error: {target}: {refused}", err=True)
                failed = True
                continue
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
            sorted(p for p in path.rglob("*") if p.suffix in (".mp", ".yaml", ".yml") and p.is_file())
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


def _lines(text: str) -> list[str]:
    """Lines with their line feeds; other characters that Python breaks lines at stand inside of them."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [last for last in text.split("\n")[-1:] if last]


def _write(path: Path, text: str) -> str:
    """Replace a file in one step, its mode kept, so that an interrupted run leaves the old one. Gives why it cannot."""
    if path.is_symlink():
        return "a symbolic link; name the file that it leads to"
    mode = None
    if path.exists():
        if not path.is_file():
            return "no regular file"
        if not os.access(path, os.W_OK):
            return "may not be written"
        mode = stat.S_IMODE(path.stat().st_mode)
    handle, temporary = -1, ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.chmod(temporary, mode if mode is not None else 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as problem:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        return (problem.strerror or type(problem).__name__).lower()
    return ""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


__all__ = ["fmt"]
