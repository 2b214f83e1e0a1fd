"""`mpcompile check PATH...`: every analysis and claim of every spec; imports no framework."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mpcompile.cli._run import fail, settings_of

SUFFIXES = (".mp", ".yaml", ".yml")


def check(
    paths: Annotated[list[Path], typer.Argument(help="Specs, or folders to search for them.")],
    output_format: Annotated[str, typer.Option("--output-format", help="full, concise or json.")] = "full",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a parameter: name=value.")] = None,
) -> None:
    """Prove what specs promise. Exit 0 when all holds, 1 with findings, 2 on wrong usage."""
    from mpcompile import api
    from mpcompile.diagnostics import Diagnostic, Severity, Source, SpecError
    from mpcompile.diagnostics.render import RENDERERS, render, use_colour

    if output_format not in RENDERERS:
        fail(f"no output format is named '{output_format}' ({', '.join(RENDERERS)})")
    specs = [f for p in paths for f in specs_in(p)]
    if not specs:
        fail(f"no spec (.mp, .yaml) in {', '.join(map(str, paths))}")
    overrides = settings_of(set_ or [])
    found: list[Diagnostic] = []
    sources: list[Source] = []
    proved = 0
    for path in specs:
        try:
            module = api.load(path, overrides)
            sources.append(module.source)
            verdicts = api.verdicts(module)
        except SpecError as problem:
            found.extend(problem.diagnostics)
            if path.is_file():
                sources.append(Source(str(path), path.read_text(encoding="utf-8", errors="replace")))
            continue
        found.extend(d for v in verdicts for d in v.diagnostics)
        proved += sum(v.status == "proved" for v in verdicts)
        if output_format == "full":
            for v in verdicts:
                claim = f"{v.claim.kind}({v.claim.subject})" if v.claim.subject else v.claim.kind
                typer.echo(f"{path}: {claim} {v.status}: {v.how}")
    text = render(found, sources, output_format, colour=use_colour(sys.stdout))
    typer.echo(text, nl=not text.endswith("\n"))
    errors = sum(d.severity is Severity.ERROR for d in found)
    if output_format == "full":
        specs_text = f"{len(specs)} spec{'s' if len(specs) != 1 else ''}"
        typer.echo(f"checked {specs_text}: {proved} claims proved, {errors} errors")
    raise typer.Exit(1 if found else 0)


def specs_in(path: Path) -> list[Path]:
    """A file itself; of a folder every spec below it that is not in a folder named `invalid`."""
    if not path.is_dir():
        return [path]
    return sorted(
        f for f in path.rglob("*") if f.suffix in SUFFIXES and "invalid" not in f.relative_to(path).parts
    )
