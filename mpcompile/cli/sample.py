"""`mpcompile sample RUN`: draws from a trained model, as arrays, pictures, text or sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._out import echo
from mpcompile.cli._run import (
    OtherBackend,
    OtherDevice,
    Trust,
    fail,
    findings,
    read_run,
    read_spec,
    settings_of,
)
from mpcompile.cli._sampling import Asked, Decoded, Density, Draws, Latents, Mode, OfLatents, Streamed, write

if TYPE_CHECKING:
    from mpcompile.diagnostics import Source


def sample(  # typer makes the options of the parameters: one for each, which `_sampling.py` gathers into modes
    run: Annotated[Path, typer.Argument(help="The folder of a training run.")],
    n: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of samples.")] = 64,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help=".npz, .npy, .csv, .txt, .wav, .png or .jpg (default: samples.npz)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    length: Annotated[
        int | None, typer.Option(min=1, help="Length of sequences (default: as trained).")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Temperature of every conditional, or of a flow's base; below 1: more probable, less various."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Draw among the k most probable classes only.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A text to go on from, for `--length` more characters.")
    ] = None,
    given: Annotated[
        str | None, typer.Option(help="Data whose rows are completed, or hold the conditions of draws.")
    ] = None,
    upto: Annotated[
        float | None,
        typer.Option(help="Elements of --given to keep: a number, or a share below 1 (0.5); 0: none."),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A condition; samples take classes k,l,... one after another; several times.",
        ),
    ] = None,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Write test examples above their reconstructions.")
    ] = False,
    interpolate: Annotated[
        bool,
        typer.Option("--interpolate", help="Decode points between the codes, or latents, of test examples."),
    ] = False,
    density: Annotated[
        bool, typer.Option("--density", help="Draw the density in the plane, and a flow's warped grid.")
    ] = False,
    forward: Annotated[
        str | None, typer.Option(help="A data set or file: a flow's latents and log p of every example.")
    ] = None,
    inverse: Annotated[
        Path | None,
        typer.Option(help="Map a file of latents z, as --forward writes it, back to data of a flow."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write text or sound while it is drawn; -o - is the terminal.")
    ] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="Largest number of examples at once.")] = None,
    backend: OtherBackend = None,
    device: OtherDevice = None,
    trust: Trust = False,
) -> None:
    """Draw samples from a run's best checkpoint."""
    target = _target(run, output, stream)
    if prompt is not None and given is not None:
        fail("--prompt and --given exclude each other")
    if upto is not None and given is None:
        fail("--upto says how much of --given is kept")
    modes: dict[str, Mode | None] = {
        "--reconstruct": Decoded("reconstruct") if reconstruct else None,
        "--interpolate": Decoded("interpolate") if interpolate else None,
        "--density": Density() if density else None,
        "--forward": Latents(forward) if forward is not None else None,
        "--inverse": OfLatents(inverse) if inverse is not None else None,
        "--stream": Streamed(seed, length) if stream else None,
    }
    mode = _one(modes) or Draws(seed, length, batch)
    mode.check(target)
    sources: list[Source] = []
    with findings(sources):
        from mpcompile.backend import find_backend
        from mpcompile.distributions.sampling import Sampling
        from mpcompile.runner import completion

        try:
            Sampling(1.0 if temperature is None else temperature, top_k)
        except ValueError as problem:
            fail(str(problem))
        opened, module = read_run(run, sources, trust=trust)
        request = completion.Asked(prompt, given, upto, temperature, top_k)
        if request.changes(module):
            module = read_spec(opened.spec, opened.overrides, sources, request.sampling(module))
        start = request.start(opened, module, length)
        spelled = find_backend(backend) if backend else None
        stated = settings_of(condition or [], "--condition")
        asked = Asked(opened, module, n, target, spelled, device, start, stated)
        drawn = mode.samples(asked)
        if drawn is None:
            return
        said = write(asked, drawn)
    echo(f"wrote {target}: {said}", err=True)


def _target(run: Path, output: Path | None, stream: bool) -> Path:
    """Return where samples go. Exits with 2 for an ending that is not known, or whose package is not there."""
    from mpcompile.report.pictures import ENDINGS, missing
    from mpcompile.runner.sampling import ARRAYS

    target = output if output is not None else run / "samples.npz"
    if output is None and target.is_symlink():
        fail(f"{target} is a link: say with -o where samples go")
    if stream:
        target = output if output is not None else Path("-")
        if str(target) != "-" and target.suffix.lower() not in (".txt", ".wav"):
            fail(f"'{target.name}': --stream writes .txt or .wav, or with -o - to the terminal")
    elif target.suffix.lower() not in (*ARRAYS, *ENDINGS):
        fail(f"'{target.name}': known endings are {', '.join((*ARRAYS, *ENDINGS))}")
    if target.suffix.lower() in ENDINGS and (package := missing()):
        fail(f"'{target.name}' needs {package}: pip install 'mpcompile[plots]'")
    return target


def _one(modes: dict[str, Mode | None]) -> Mode | None:
    """The mode that is asked for, of which there is at most one. Exits with 2 for two."""
    chosen = {option: mode for option, mode in modes.items() if mode is not None}
    if len(chosen) > 1:
        first, second, *_ = chosen
        fail(f"{first} and {second} exclude each other")
    return next(iter(chosen.values()), None)


__all__ = ["sample"]
