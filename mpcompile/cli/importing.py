"""`mpcompile import MODEL -o DIR --backend B`: a model that was not written here as standalone code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._complete import backends
from mpcompile.cli._out import echo
from mpcompile.cli._run import ImportCode, Overrides, fail, findings, read_spec, settings_of

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source
    from mpcompile.foreign import ForeignModel
    from mpcompile.importing import Import


def import_(
    file: Annotated[Path | None, typer.Argument(help="An .onnx file.")] = None,
    import_code: ImportCode = None,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder (default build/<model>/<backend>).")
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", "-b", autocompletion=backends, help="torch, jax or onnx.")
    ] = "torch",
    length: Annotated[
        int, typer.Option(min=1, help="The length that a factory is called with, if it takes one.")
    ] = 11,
    spec: Annotated[
        Path | None,
        typer.Option(
            "--match", help="Write no code: find the weights of this spec, for `train --init-names`."
        ),
    ] = None,
    set_: Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of the same names that no build wrote.")
    ] = False,
) -> None:
    """Write a model of another program as code of a backend.

    Its weights keep their names. With --match they are found for a spec instead.
    """
    if (file is None) == (import_code is None):
        fail("mpcompile import takes an .onnx file, or --import-code package.module:factory")
    if set_ and spec is None:
        fail("--set changes the spec of --match")
    sources: list[Source] = []
    with findings(sources):
        from mpcompile.importing import build_import, import_model

        made = import_model(
            _model(file, import_code, length), source=import_code or str(file), any_batch=spec is None
        )
        if spec is not None:
            _match(made, spec, settings_of(set_ or []), sources, output, force)
            return
        folder = output if output is not None else Path("build") / made.module.name / backend
        apart = build_import(made, backend, folder, force)
    call = ", ".join(f"{k} {list(v.shape)}" for k, v in made.recording.inputs.items())
    echo(f"{made.module.name}: recorded at {call}")
    echo(f"{backend} differs from the model by {apart:.1e} of its largest output")
    if made.fixed:
        echo(f"the number of examples stays as it was: {made.fixed}")
    other = [p for p in made.module.parameters.values() if p.name != p.former]
    if other:
        echo(f"{len(other)} weights have other names, as {other[0].former}: {other[0].name}")
    echo(f"wrote {folder}")


def _match(
    made: Import,
    spec: Path,
    overrides: dict[str, str],
    sources: list[Source],
    output: Path | None,
    force: bool,
) -> None:
    """Find the weights of a spec in a model, say what has no counterpart, and write the file of names."""
    from mpcompile.importing import NAMES, WEIGHTS, match, write_match

    module = read_spec(spec, overrides, sources)
    found = match(made, module)
    rows, left = found.match.rows, found.match.left
    echo(f"{len(rows)} of {len(module.parameters)} weights of {module.name} are found in {made.module.name}")
    for name, why in left.items():
        echo(f"  {name}: {why}")
    if found.match.unread:
        echo(
            f"{len(found.match.unread)} weights of {made.module.name} are not taken: {', '.join(found.match.unread[:5])}"
        )
    if found.difference is not None:
        echo(f"{found.value} of `{found.program}` differs from the model by {found.difference:.1e}")
    if found.unshifted:
        echo("  without its `shift`: the spec reads what is before a place, and the model its own place too")
    folder = output if output is not None else Path("build") / module.name / "names"
    write_match(found, made, folder, force)
    echo(f"wrote {folder}: mpcompile train {spec} --init {folder / WEIGHTS} --init-names {folder / NAMES}")


def _model(file: Path | None, code: str | None, length: int) -> ForeignModel:
    from mpcompile.diagnostics import error
    from mpcompile.foreign import Sized, Unrecordable, imported, model_of

    if file is not None and not file.is_file():
        fail(f"no such file: {file}")
    try:
        found = imported(code) if code is not None else model_of(str(file), {})
        return found.at(length) if isinstance(found, Sized) else found
    except Unrecordable as fault:
        raise error("MP700", fault.what, fault.span) from fault
