"""`mpcompile eval RUN`: held-out figures with their standard errors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._bar import late_bar
from mpcompile.cli._complete import data_sets
from mpcompile.cli._out import echo
from mpcompile.cli._run import OtherBackend, OtherDevice, Trust, findings, read_run

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source


class Split(StrEnum):
    """The parts of the data."""

    train = "train"
    valid = "valid"
    test = "test"


class Format(StrEnum):
    """The formats of the figures."""

    full = "full"
    json = "json"


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a training run.")],
    data: Annotated[
        str | None, typer.Option(autocompletion=data_sets, help="Other data than the run's own.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Part of the data.")] = Split.test,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Draws an example: also the importance-weighted bound of latents, the CRPS of quantities.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="A variable, or a column of the data, of few values: figures of each, and of a target its confusions."
        ),
    ] = None,
    output_format: Annotated[Format, typer.Option(help="Lines to read, or JSON.")] = Format.full,
    backend: OtherBackend = None,
    device: OtherDevice = None,
    trust: Trust = False,
) -> None:
    """Evaluate a run's best checkpoint on held-out data.

    Prints the log-likelihood or a metric, beside simple baselines.
    """
    sources: list[Source] = []
    with findings(sources):
        from mpcompile.backend import find_backend
        from mpcompile.runner import evaluate as figures

        opened, module = read_run(run, sources, trust=trust)
        spelled = find_backend(backend) if backend else None
        with late_bar() as watch:
            result = figures.evaluate(
                opened, module, data=data, split=split.value, backend=spelled, device=device, samples=samples, by=by,
                watch=None if watch is None else lambda done, total: watch(done, total, "examples"),
            )  # fmt: skip
        if backend:
            result["backend"] = backend
    echo(*(figures.to_json(result) if output_format is Format.json else figures.to_text(result)).split("\n"))


__all__ = ["evaluate"]
