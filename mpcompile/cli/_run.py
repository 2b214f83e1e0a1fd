"""What `train`, `eval` and `sample` share: reading specs and runs, findings and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mpcompile.diagnostics import Diagnostic, Source
    from mpcompile.ir import Module
    from mpcompile.runner.run import Run

USAGE = 2


def settings_of(given: Iterable[str]) -> dict[str, str]:
    """`k=v` texts of --set as a dictionary. Exits with 2 for another form."""
    out: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            fail(f"--set takes name=value, not '{text}'")
        out[key.strip()] = value.strip()
    return out


def fail(message: str, code: int = USAGE) -> None:
    """Print an error and exit."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


def show(diagnostics: Iterable[Diagnostic], sources: Iterable[Source] = ()) -> None:
    """Findings on stderr, in the long form."""
    from mpcompile.diagnostics.render import render, use_colour

    typer.echo(render(list(diagnostics), list(sources), colour=use_colour(sys.stderr)), err=True, nl=False)


@contextmanager
def findings(sources: list[Source]) -> Iterator[None]:
    """Turns what can go wrong into messages: a finding exits with 1, a missing backend or file with 2.

    `sources` may still be empty on entry; what is in it when an error comes gives the excerpts.
    """
    from mpcompile.backend import BackendMissing
    from mpcompile.diagnostics import SpecError

    try:
        yield
    except SpecError as problem:
        show(problem.diagnostics, sources)
        raise typer.Exit(1) from problem
    except BackendMissing as missing:
        fail(str(missing))


def read_spec(path: Path, overrides: Mapping[str, str], sources: list[Source]) -> Module:
    """The module of a spec. Raises `SpecError`; an excerpt of the file goes with it."""
    from mpcompile import api
    from mpcompile.diagnostics import Source, SpecError

    try:
        module: Module = api.load(path, overrides)
    except SpecError:
        if path.is_file():
            sources.append(Source(str(path), path.read_text(encoding="utf-8", errors="replace")))
        raise
    sources.append(module.source)
    return module


def read_run(folder: Path, sources: list[Source]) -> tuple[Run, Module]:
    """A run folder and the module that it was trained from. Raises `SpecError`."""
    from mpcompile.runner.run import open_run

    run = open_run(folder)
    return run, read_spec(run.spec, run.overrides, sources)
