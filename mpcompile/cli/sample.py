"""`mpcompile sample RUN`: draws from a trained model, as arrays, pictures, text or sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._run import fail, findings, read_run

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source
    from mpcompile.ir import Array, Module
    from mpcompile.runner.run import Run
    from mpcompile.runner.sampling import Samples


def sample(
    run: Annotated[Path, typer.Argument(help="The folder of a training run.")],
    n: Annotated[int, typer.Option("-n", "--count", min=1, help="How many.")] = 64,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help=".npz, .npy, .csv, .txt, .wav, .png or .jpg (default: samples.npz)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    length: Annotated[int | None, typer.Option(min=1, help="Of sequences (default: as trained).")] = None,
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Another backend.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: as trained).")] = None,
) -> None:
    """Draw samples from a run's best checkpoint."""
    from mpcompile.report.pictures import ENDINGS
    from mpcompile.runner.sampling import ARRAYS

    sources: list[Source] = []
    target = output if output is not None else run / "samples.npz"
    if target.suffix.lower() not in (*ARRAYS, *ENDINGS):
        fail(f"'{target.name}': known endings are {', '.join((*ARRAYS, *ENDINGS))}")
    with findings(sources):
        from mpcompile.backend import find_backend
        from mpcompile.runner import sampling

        opened, module = read_run(run, sources)
        spelled = find_backend(backend) if backend else None
        drawn = sampling.sample(opened, module, n, seed=seed, length=length, backend=spelled, device=device)
        if target.suffix.lower() in ENDINGS:
            _draw_picture(target, drawn, opened, module)
        else:
            sampling.write_arrays(target, drawn)
            if target.suffix.lower() == ".txt" and n <= 4:
                typer.echo("\n\n".join(sampling.texts(drawn)))
    typer.echo(f"wrote {target}: {', '.join(sampling.sizes(drawn.values))}", err=True)


def _draw_picture(target: Path, drawn: Samples, run: Run, module: Module) -> None:
    """The first variable, with the training data beside it where that is a plot."""
    from mpcompile.report import pictures

    name = drawn.first()
    values = drawn.values[name]
    field = drawn.fields.get(name)
    span: tuple[float, float] | None = None
    if field is not None and field.base == "binary":
        span = (0.0, 1.0)
    elif field is not None and field.base == "integer" and field.classes:
        span = (float(field.low), float(field.low + field.classes - 1))
    elif name in drawn.statistics["fields"]:
        known = drawn.statistics["fields"][name]
        span = (float(known["low"]), float(known["high"]))
    reference = None
    series = field is not None and values.ndim == 2 and not isinstance(field.type.shape[-1], int)
    if series or pictures.as_images(values[:1], span) is None:
        reference = _reference(run, module, name, len(values))
    few = field is not None and field.base == "category"
    pictures.picture(target, values, name=name, span=span, reference=reference, classes=few, series=series)


def _reference(run: Run, module: Module, name: str, count: int) -> Array | None:
    """As many training values of a variable."""
    import numpy as np

    from mpcompile.runner.data import load_data

    if name not in module.fields:
        return None
    facts = run.facts
    vocabulary = facts.get("vocabulary")
    data = load_data(
        module,
        facts["data"],
        facts["settings"]["length"],
        facts["settings"]["threshold"],
        vocabulary=vocabulary,
    )
    train = data.splits["train"]
    return train.take(np.arange(min(count, len(train))))[name]


__all__ = ["sample"]
