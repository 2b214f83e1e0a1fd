"""`mpcompile train SPEC`: the shared runner, on any backend."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._complete import backends, data_sets
from mpcompile.cli._out import echo
from mpcompile.cli._run import Overrides, fail, findings, read_spec, settings_of, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mpcompile.diagnostics import Source
    from mpcompile.ir import Module
    from mpcompile.runner.loop import Options, Report, Result
    from mpcompile.runner.run import Run


def train(
    spec: Annotated[Path, typer.Argument(help="A spec (.mp or .yaml).")],
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            "-b",
            autocompletion=backends,
            help="torch, jax or onnx (default: torch, or as the run resumed).",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=data_sets,
            help="A data set by name, a file (.npz, .npy, .csv, .txt, .wav, .parquet, .arrow, .feather), a folder of "
            "pictures or sounds, or a pack.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run's folder (default runs/<model>).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Weights, order of data and noise.")] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Train from as many seeds, in OUT/seed-0 and so on, with a table of losses."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Steps in all, instead of the spec's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from the best weights of this run, or a .safetensors file or torch state dict."
        ),
    ] = None,
    init_names: Annotated[
        Path | None,
        typer.Option(
            help='A JSON file {"ours": "theirs"}: paths of weights here and in --init; others start anew.'
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda (default: cpu, or as the run resumed).")
    ] = None,
    set_: Overrides = None,
    mixed: Annotated[
        bool | None, typer.Option("--mixed/--no-mixed", help="bfloat16 where it is safe.")
    ] = None,
    compile_: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Loss and gradient by torch.compile (torch alone)."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or float64 (default: float32, or as the run resumed).")
    ] = None,
    checkpoint_every: Annotated[int | None, typer.Option(min=1, help="Steps between checkpoints.")] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also write metrics to csv, tensorboard, wandb or mlflow; several times, or none.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, max=256, help="Processes that make batches; the run is the same for any number."),
    ] = 0,
    shards: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pieces of a batch that are computed apart (default: as many as processes)."
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Weights of several processes: replicated or sharded.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes on this machine that train together.")] = 1,
    max_restarts: Annotated[
        int, typer.Option(min=0, help="With --processes: how often they are started again when one fails.")
    ] = 0,
    allow_unproven: Annotated[
        bool | None,
        typer.Option("--allow-unproven", help="Train although a proof failed; recorded in the run."),
    ] = None,
) -> None:
    """Train a model in a run folder.

    The folder has checkpoints, metrics and the spec.

    --resume continues with the backend, device, precision, seed, data and settings of the run. An option on
    the command line replaces one of these, and the change is reported.
    """
    if device not in (None, "cpu", "cuda") or precision not in (None, "float32", "float64"):
        echo("error: --device is cpu or cuda, --precision float32 or float64", err=True)
        raise typer.Exit(2)
    if init_names and not init:
        echo("error: --init-names says how to read --init", err=True)
        raise typer.Exit(2)
    if layout not in (None, "replicated", "sharded"):
        echo("error: --layout is replicated or sharded", err=True)
        raise typer.Exit(2)
    if resume and init:
        echo("error: --init begins a run, --resume continues one that began", err=True)
        raise typer.Exit(2)
    trackers = _trackers(track)
    overrides = settings_of(set_ or [])
    sources: list[Source] = []
    with findings(sources):
        from mpcompile import api
        from mpcompile.backend import find_backend
        from mpcompile.diagnostics import Severity
        from mpcompile.group import processes as world
        from mpcompile.group import restarted
        from mpcompile.runner.loop import Options
        from mpcompile.runner.pages import keep_pages
        from mpcompile.runner.setup import require_launch

        rank, size = world()
        resume = resume or restarted()
        keep_pages()
        earlier = _earlier(spec, out) if resume else None
        if earlier is not None:
            overrides = earlier.overrides | overrides
            allow_unproven = allow_unproven or earlier.facts["unproven"]
        module = read_spec(spec, overrides, sources)
        found = api.check(module)
        errors = [d for d in found if d.severity is Severity.ERROR]
        if rank == 0:  # the first process speaks for all
            show(found, sources)
        if errors and not allow_unproven:
            raise typer.Exit(1)
        options = Options(
            backend, data, seed, steps, resume, device, mixed, precision, trackers, checkpoint_every,
            overrides, bool(errors), init, shards, layout, workers, compile_, init_names,
        )  # fmt: skip
        if processes > 1 and size == 1:
            require_launch(module, options, earlier, processes)
            name = backend or (earlier.facts["backend"] if earlier is not None else "torch")
            command = (sys.executable, "-P", "-m", "mpcompile", *sys.argv[1:])
            raise typer.Exit(find_backend(name).launch(command, processes, max_restarts))
        results = _trained(module, out if out is not None else Path("runs") / module.name, options, seeds)
    if rank == 0 and seeds is not None:
        _tabulate(results)
    _close(results[-1][1], rank == 0)


def _trained(module: Module, out: Path, options: Options, seeds: int | None) -> list[tuple[int, Result]]:
    """Train once, or from several seeds, and return each seed with its result."""
    from mpcompile.runner.loop import train
    from mpcompile.runner.seeds import train_seeds

    def say(text: str) -> None:
        echo(text, err=True)

    with _watching(module.name) as watch:
        if seeds is None:
            return [(0, train(module, out, options, say=say, watch=watch))]
        return train_seeds(module, out, options, seeds, say, watch)


def _tabulate(results: Sequence[tuple[int, Result]]) -> None:
    """Print the losses of runs of several seeds."""
    from mpcompile.runner.seeds import table

    for line in table(results):
        echo(line)


def _trackers(names: list[str] | None) -> list[str] | None:
    """Return the trackers that are asked for; none of them for `none`. Exits with 2 for another name."""
    from mpcompile.runner.options import TRACKED

    if names and (wrong := next((n for n in names if n not in (*TRACKED, "none")), None)) is not None:
        fail(f"no tracker is named '{wrong}' (known: {', '.join(TRACKED)}; none)")
    return [n for n in dict.fromkeys(names) if n != "none"] if names else None


def _earlier(spec: Path, out: Path | None) -> Run | None:
    """The run that `--resume` continues, where there is one."""
    from mpcompile.frontend import parse
    from mpcompile.runner import disk
    from mpcompile.runner.run import RUN, open_run

    folder = out if out is not None else Path("runs") / parse(spec)[0].name
    with disk.writing(folder):
        return open_run(folder) if disk.kind(folder / RUN) != "nothing" else None


def _close(result: Result, speaks: bool) -> None:
    """The last line, of the process that `speaks`, and the exit status of an interrupted run."""
    best = (
        f"; best validation loss {result.best:.5g} at step {result.best_step}"
        if result.best is not None
        else ""
    )
    if result.reason == "interrupted":
        if speaks:
            echo(f"stopped at step {result.step}, saved in {result.folder}; --resume continues", err=True)
        raise typer.Exit(128 + (result.signal or 2))
    why = "no better for a while" if result.reason == "patience" else "done"
    if speaks:
        echo(f"{why}: {result.step} steps in {result.folder}{best}")


@contextmanager
def _watching(name: str) -> Iterator[Callable[[Report], None]]:
    """A bar on a terminal, else one line for each validation."""
    if not sys.stderr.isatty():
        yield _print_validation
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from mpcompile.report.terminal import Terminal

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.completed}/{task.total}"),
               TimeRemainingColumn(), TextColumn("{task.fields[figures]}", markup=False))  # fmt: skip
    with Progress(*columns, console=Terminal(stderr=True)) as bar:
        task = bar.add_task(name, total=None, figures="")
        last: dict[str, float] = {}

        def watch(report: Report) -> None:
            last[str(report.line["split"])] = float(report.line["loss"])
            figures = "  ".join(f"{split} {loss:.4f}" for split, loss in last.items())
            bar.update(task, completed=report.line["step"], total=report.total, figures=figures)

        yield watch


def _print_validation(report: Report) -> None:
    line = report.line
    if line["split"] == "valid":
        bits = f"  {line['bits_per_dim']:.4f} bits/dim" if "bits_per_dim" in line else ""
        echo(f"step {line['step']}/{report.total}  valid {line['loss']:.5f}{bits}", err=True)


__all__ = ["train"]
