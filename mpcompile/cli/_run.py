"""Reading specs and runs, findings and exit codes: the code that commands share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mpcompile.cli._complete import backends
from mpcompile.cli._out import echo, page

if TYPE_CHECKING:
    from mpcompile.budget import Budget
    from mpcompile.diagnostics import Diagnostic, Source
    from mpcompile.distributions.sampling import Sampling
    from mpcompile.ir import Module
    from mpcompile.runner.run import Run

USAGE = 2

TimeBudget = Annotated[
    float,
    typer.Option(
        "--time-budget",
        min=0,
        help="Seconds of processor time a spec may take; what takes more is not decided.",
    ),
]
MemoryBudget = Annotated[
    str,
    typer.Option(
        "--memory-budget", help="Memory a spec may take, such as 500MB or 4GB (a bare number is MB)."
    ),
]

#: Options of the commands that read a run.
OtherBackend = Annotated[
    str | None, typer.Option("--backend", "-b", autocompletion=backends, help="Another backend.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the spec; several times."),
]
ForeignClaims = Annotated[
    list[str] | None,
    typer.Option(
        "--claim",
        metavar="CLAIM",
        help="A claim about a model that was not written here: 'autoregressive(input_ids -> logits)'; several times.",
    ),
]
ImportCode = Annotated[
    str | None,
    typer.Option(
        "--import-code",
        metavar="MODULE:FACTORY",
        help="A model that was not written here: package.module:factory, whose code is run.",
    ),
]
OtherDevice = Annotated[str | None, typer.Option(help="cpu or cuda (default: as trained).")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Follow a path in the run that leads out of its folder.")
]


def budget_of(seconds: float, memory: str) -> Budget:
    """Parse the budget that two options state. Exits with 2 for a size of another form."""
    from mpcompile.budget import Budget

    form = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(mb?|gb?|)\s*", memory.lower())
    size = float(form[1]) * (1e9 if form[2].startswith("g") else 1e6) if form else 0
    if not size or seconds != seconds:
        fail(f"--memory-budget takes a size such as 500MB or 4GB, not '{memory}'")
    return Budget(seconds, int(size))


def settings_of(given: Iterable[str], option: str = "--set") -> dict[str, str]:
    """Parse `k=v` texts of an option to a dictionary.

    Exits with 2 for another form, and for a name that is given twice.
    """
    out: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            fail(f"{option} takes name=value, not '{text}'")
        if key.strip() in out:
            fail(f"{option} gives '{key.strip()}' twice")
        out[key.strip()] = value.strip()
    return out


def fail(message: str, code: int = USAGE) -> NoReturn:
    """Print an error and exit."""
    echo(f"error: {message}", err=True)
    raise typer.Exit(code)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in a folder that is there. Exits with 2 where it cannot be written."""
    from mpcompile.runner import disk

    try:
        os.stat(path.parent)
        with disk.whole(path) as aside:
            aside.write_text(text, encoding="utf-8", newline="\n")
    except OSError as problem:
        fail(f"cannot write {path}: {(problem.strerror or str(problem)).lower()}")


def show(diagnostics: Iterable[Diagnostic], sources: Iterable[Source] = ()) -> None:
    """Print findings on stderr, in the long form."""
    from mpcompile.diagnostics.render import render, use_colour

    page(render(list(diagnostics), list(sources), colour=use_colour(sys.stderr)), err=True)


def warn(module: Module) -> None:
    """Print what a module is warned of; it stops nothing."""
    from mpcompile import api

    if found := api.warnings(module):
        show(found, [module.source])


@contextmanager
def findings(sources: list[Source]) -> Iterator[None]:
    """Turn faults into messages: a finding exits with 1; a missing backend, file or factory with 2.

    `sources` may still be empty on entry; what is in it when an error comes gives the excerpts.
    """
    from mpcompile.backend import BackendMissing
    from mpcompile.budget import OutOfBudget
    from mpcompile.diagnostics import SpecError
    from mpcompile.foreign import Unimportable

    try:
        yield
    except SpecError as problem:
        show(problem.diagnostics, sources)
        raise typer.Exit(USAGE if isinstance(problem, Unimportable) else 1) from problem
    except OutOfBudget as limit:
        fail(f"not decided within {limit}; allow more with --time-budget and --memory-budget", 1)
    except BackendMissing as missing:
        fail(str(missing))


def read_spec(
    path: Path, overrides: Mapping[str, str], sources: list[Source], sampling: Sampling | None = None
) -> Module:
    """Load the module of a spec. Raises `SpecError`; an excerpt of the file goes with it."""
    from mpcompile import api
    from mpcompile.diagnostics import SpecError

    try:
        module: Module = api.load(path, overrides, sampling)
    except SpecError:
        text = api.excerpts(path)
        sources += [text] if text else []
        raise
    sources.append(module.source)
    return module


def read_run(
    folder: Path, sources: list[Source], sampling: Sampling | None = None, trust: bool = False
) -> tuple[Run, Module]:
    """Open a run folder and the module that it was trained from; `sampling` changes its sampler. Raises `SpecError`.

    `trust` follows the path of its spec out of the folder.
    """
    from mpcompile.runner.divergence import told
    from mpcompile.runner.run import open_run

    run = open_run(folder, trust)
    if line := told(run):
        echo(f"warning: {line}", err=True)
    return run, read_spec(run.spec, run.overrides, sources, sampling)
