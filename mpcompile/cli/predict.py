"""`mpcompile predict RUN DATA`: predictions, probabilities and log-likelihoods of each row, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._bar import late_bar
from mpcompile.cli._out import echo
from mpcompile.cli._run import OtherBackend, OtherDevice, Trust, fail, findings, read_run
from mpcompile.cli.evaluate import Split

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a training run.")],
    data: Annotated[
        str, typer.Argument(help="A file, a folder of pictures or sounds, a pack, or a data set by name.")
    ],
    output: Annotated[Path, typer.Option("--out", "-o", help="The table: .csv, .npz or .parquet.")],
    split: Annotated[
        Split | None,
        typer.Option(
            help="Part of the data. Without it a file is read whole, and of data with named parts the test part.",
            show_default=False,
        ),
    ] = None,
    id: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="A column of the data to copy, such as the name of each row; several times.",
        ),
    ] = None,
    backend: OtherBackend = None,
    device: OtherDevice = None,
    trust: Trust = False,
) -> None:
    """Write what a run's best checkpoint says of each row of some data.

    A row has its number in the data, columns that `--id` names, the prediction of each target, the probability of
    each class, and the log-likelihood (or its bound) where the data have all variables.
    """
    from mpcompile.runner.tables import WRITERS, missing

    ending = output.suffix.lower()
    if ending not in WRITERS:
        fail(f"'{output.name}': known endings are {', '.join(WRITERS)}")
    if package := missing(ending):
        fail(f"'{output.name}' needs {package}: pip install 'mpcompile[data]'")
    sources: list[Source] = []
    with findings(sources):
        from mpcompile.backend import find_backend
        from mpcompile.runner import prediction

        opened, module = read_run(run, sources, trust=trust)
        spelled = find_backend(backend) if backend else None
        with late_bar() as watch:
            made = prediction.predict(
                opened, module, data, output, split=split and split.value, ids=id or (), backend=spelled,
                device=device,
                watch=None if watch is None else lambda done, total: watch(done, total, "rows"),
            )  # fmt: skip
    shown = ", ".join(made.columns[:8]) + (f", ... ({len(made.columns)})" if len(made.columns) > 8 else "")
    echo(f"wrote {output}: {made.rows} rows of {shown}", err=True)


__all__ = ["predict"]
