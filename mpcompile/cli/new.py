"""`mpcompile new NAME`: start a spec from a template."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from mpcompile.cli._complete import templates as complete_templates
from mpcompile.cli._out import echo
from mpcompile.cli._run import write_text


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the model; the file is NAME.mp, or NAME.yaml with --yaml.")
    ],
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            "-t",
            autocompletion=complete_templates,
            help="One of `mpcompile list templates` (default: the one called NAME, else mlp).",
        ),
    ] = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Write the YAML syntax.")] = False,
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Folder for the file.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Start a spec from a template."""
    from mpcompile.frontend import Syntax, format_model, parse_text
    from mpcompile.frontend.expressions import name_problem
    from mpcompile.frontend.intake import guard
    from mpcompile.frontend.templates import read_template, templates

    problem = (
        name_problem(name)
        if name.isascii() and name.isidentifier()
        else ("this is no name", "use letters, digits and _")
    )
    if problem:
        raise typer.BadParameter(f"{name!r}: {problem[0]}; {problem[1]}")
    known = templates()
    if template is None:
        template = name if name in known else "mlp"
    elif template not in known:
        near = get_close_matches(template, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else "templates are " + ", ".join(known)
        raise typer.BadParameter(f"no template {template!r}; {hint}")
    text = read_template(template)
    model = parse_text(text, f"{template}.mp", "mp").model_copy(update={"name": name})
    syntax: Syntax = "yaml" if yaml else "mp"
    path = directory / f"{name}.{syntax}"
    if path.exists() and not force:
        echo(f"error: {path} exists; --force replaces it", err=True)
        raise typer.Exit(2)
    directory.mkdir(parents=True, exist_ok=True)
    write_text(path, format_model(model, syntax, guard(text, f"{template}.mp")))
    echo(f"wrote {path}", f"next: mpcompile check {path}")


__all__ = ["new"]
