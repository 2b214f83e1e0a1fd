"""`mpcompile data pack SOURCE -o FOLDER`: data of any size as a pack, which training reads row by row."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mpcompile.cli._out import echo
from mpcompile.cli._run import findings


class Action(Enum):
    """The things that can be done to data."""

    pack = "pack"


def data(
    action: Annotated[Action, typer.Argument(help="pack: read a source once, in bounded memory.")],
    source: Annotated[
        Path,
        typer.Argument(help="A .npz, .npy, .csv, .txt, .wav, .parquet, .arrow, .feather, or a folder."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the pack, which is made.")],
    columns: Annotated[str | None, typer.Option(help="Columns to take, in this order: age,job,y.")] = None,
    resize: Annotated[
        int | None, typer.Option(min=1, max=65536, help="Pixels of a picture's shorter side.")
    ] = None,
    crop: Annotated[
        str | None, typer.Option(help="The middle of a picture: 64 or 48x64 (height x width).")
    ] = None,
    text: Annotated[
        str, typer.Option(help="What a text is cut into: characters, bytes or a tokenizer.json.")
    ] = "characters",
    text_column: Annotated[str | None, typer.Option(help="The column of a table that is the text.")] = None,
) -> None:
    """Make a pack of data, which training reads row by row.

    A pack is a folder: one flat .npy a column, and a manifest with names, classes, statistics and digests.
    """
    with findings([]):
        from mpcompile.runner.data.pack import Wishes, pack
        from mpcompile.runner.data.pictures import Fit

        fit = Fit(resize, _sides(crop)) if resize or crop else None
        names = tuple(name.strip() for name in columns.split(",")) if columns else ()
        shapes = pack(source, out, Wishes(names, fit, text, text_column))
    for name, shape in shapes.items():
        echo(f"{name} {list(shape)}")


def _sides(text: str | None) -> tuple[int, int] | None:
    """Height and width of a crop."""
    if text is None:
        return None
    sides = text.split("x")
    if not 1 <= len(sides) <= 2 or not all(
        s.isascii() and s.isdigit() and 0 < int(s) <= 65536 for s in sides
    ):
        echo("error: --crop is a number of pixels, or two as 48x64", err=True)
        raise typer.Exit(2)
    return int(sides[0]), int(sides[-1])


__all__ = ["data"]
