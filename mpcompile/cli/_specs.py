"""The specs that the paths of a command lead to."""

from __future__ import annotations

from collections.abc import Iterable
from os.path import realpath
from pathlib import Path
from typing import Annotated

import typer

from mpcompile.cli._run import fail
from mpcompile.folders import SUFFIXES, is_spec

#: For hooks, which name the files that changed.
SpecsOnly = Annotated[
    bool,
    typer.Option(
        "--specs-only", help="Leave out named YAML files that are no specs, as those in folders are."
    ),
]


def specs_in(path: Path) -> list[Path]:
    """Return a file itself; of a folder every spec below it that is not in a hidden folder or one named `invalid`.

    Exits with 2 where the settings say in another form which folders hold specs.
    """
    if not path.is_dir():
        return [path]
    try:
        return [file for file in _files_in(path) if is_spec(file)]
    except ValueError as fault:
        fail(str(fault))


def _files_in(folder: Path) -> list[Path]:
    return sorted(
        f
        for f in folder.rglob("*")
        if f.suffix in SUFFIXES
        and not f.is_dir()
        and not any(part == "invalid" or part.startswith(".") for part in f.relative_to(folder).parts)
    )


def only_specs(paths: Iterable[Path]) -> list[Path]:
    """Return folders, and of files those that are specs where they stand in a folder.

    Exits with 0 where none is left, and with 2 where the settings say in another form which folders hold specs.
    """
    try:
        kept = [path for path in paths if path.is_dir() or is_spec(path)]
    except ValueError as fault:
        fail(str(fault))
    if not kept:
        raise typer.Exit(0)
    return kept


def left_out(paths: Iterable[Path]) -> list[Path]:
    """Return the YAML files of folders that are taken for somebody else's."""
    return [file for path in paths if path.is_dir() for file in _files_in(path) if not is_spec(file)]


def specs_of(paths: Iterable[Path]) -> list[Path]:
    """Return the specs of several paths, each once; sorted, so that the order of the paths changes nothing."""
    return sorted({realpath(spec): spec for path in paths for spec in specs_in(path)}.values())


def require(paths: list[Path]) -> None:
    """Check that there are paths, and that each leads somewhere. Exits with 2."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        fail(f"no such file or folder: {', '.join(missing)}")
    if not paths:
        fail("name a spec, or a folder of specs")


def require_some(specs: list[Path], paths: list[Path]) -> None:
    """Check that the paths hold a spec: that nothing fails is else no result. Exits with 2."""
    if not specs:
        fail(f"no spec (.mp, .yaml) in {', '.join(map(str, paths))}")
