"""`mpcompile sample RUN`: draws from a trained model, as arrays, pictures, text or sound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcompile.cli._bar import late_bar
from mpcompile.cli._out import echo, page, visible
from mpcompile.cli._run import fail, findings, read_run, settings_of

if TYPE_CHECKING:
    from mpcompile.backend import Backend
    from mpcompile.diagnostics import Source
    from mpcompile.distributions.sampling import Sampling
    from mpcompile.ir import Array, Module
    from mpcompile.runner.run import Run
    from mpcompile.runner.sampling import Draws, Samples


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
    temperature: Annotated[
        float | None,
        typer.Option(help="Of every conditional, or a flow's base; below 1: more probable, less various."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Draw among the k most probable classes only.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A text to go on from, for `--length` more characters.")
    ] = None,
    given: Annotated[
        str | None, typer.Option(help="A data set or file whose examples are completed.")
    ] = None,
    upto: Annotated[
        float | None, typer.Option(help="Elements of --given to keep: a number, or a share below 1 (0.5).")
    ] = None,
    condition: Annotated[
        list[str] | None, typer.Option(help="name=value; classes k,l,... take turns.")
    ] = None,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Test examples above what their codes are decoded to.")
    ] = False,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Points between the codes, or latents, of test examples.")
    ] = False,
    density: Annotated[
        bool, typer.Option("--density", help="Draw the density in the plane, and a flow's warped grid.")
    ] = False,
    forward: Annotated[
        str | None, typer.Option(help="A data set or file: a flow's latents and log p of every example.")
    ] = None,
    inverse: Annotated[
        Path | None, typer.Option(help="A file of latents z, as --forward writes it: a flow's data again.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write text or sound while it is drawn; -o - is the terminal.")
    ] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="Most examples at once.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Another backend.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: as trained).")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Follow a path in the run that leads out of its folder.")
    ] = False,
) -> None:
    """Draw samples from a run's best checkpoint."""
    from mpcompile.report.pictures import ENDINGS, missing
    from mpcompile.runner.sampling import ARRAYS

    sources: list[Source] = []
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
    if prompt is not None and given is not None:
        fail("--prompt and --given exclude each other")
    if upto is not None and given is None:
        fail("--upto says how much of --given is kept")
    chosen = {"--reconstruct": reconstruct, "--interpolate": interpolate, "--density": density,
              "--forward": forward is not None, "--inverse": inverse is not None, "--stream": stream}  # fmt: skip
    kinds = [name for name, asked in chosen.items() if asked]
    if len(kinds) > 1:
        fail(f"{kinds[0]} and {kinds[1]} exclude each other")
    if density and target.suffix.lower() not in ENDINGS:
        fail(f"--density is a picture: -o FILE with {', '.join(ENDINGS)}")
    options = _options(temperature, top_k, prompt is not None or given is not None)
    with findings(sources):
        from mpcompile.backend import find_backend
        from mpcompile.runner import completion, sampling

        opened, module = read_run(run, sources, options, trust)
        start = None
        if options is not None and top_k is None and prompt is None and given is None:
            completion.tempered(module)
        elif options is not None:
            completion.autoregressive(module)
        if prompt is not None:
            start = completion.prompt(
                opened, module, prompt, length or int(opened.facts["settings"]["length"])
            )
        elif given is not None:
            start = completion.given(opened, module, given, upto)
        spelled = find_backend(backend) if backend else None
        stated = settings_of(condition or [], "--condition")
        if stream:
            plan = sampling.Draws(opened, module, n, seed, length, spelled, device, start, stated)
            _stream(plan, target)
            return
        if density:
            _draw_density(target, opened, module, stated, spelled, device)
            return
        if forward is not None or inverse is not None:
            from mpcompile.runner import flows

            if forward is not None:
                drawn = flows.forward(opened, module, forward, backend=spelled, device=device)
            elif inverse is not None:
                drawn = flows.inverse(opened, module, inverse, backend=spelled, device=device)
        elif reconstruct or interpolate:
            from mpcompile.runner import reconstruct as codes

            decoded = codes.reconstruct if reconstruct else codes.interpolate
            drawn = decoded(opened, module, n, backend=spelled, device=device)
        else:
            with late_bar() as watch:
                drawn = sampling.sample(
                    opened, module, n, seed=seed, length=length, backend=spelled, device=device, batch=batch,
                    completion=start, conditions=stated,
                    watch=None if watch is None else lambda done: watch(done, n, "samples"),
                )  # fmt: skip
        if target.suffix.lower() in ENDINGS:
            _draw_picture(target, drawn, opened, module)
        else:
            sampling.write_arrays(target, drawn)
            if target.suffix.lower() == ".txt" and n <= 4:
                page(visible("\n\n".join(sampling.texts(drawn)) + "\n"))
    echo(f"wrote {target}: {', '.join(sampling.sizes(drawn.values))}", err=True)


def _options(temperature: float | None, top_k: int | None, given: bool) -> Sampling | None:
    """How the law is changed; None where it is not."""
    from mpcompile.distributions.sampling import Sampling

    if temperature is None and top_k is None and not given:
        return None
    try:
        return Sampling(1.0 if temperature is None else temperature, top_k, given)
    except ValueError as problem:
        fail(str(problem))
    return None


def _stream(plan: Draws, target: Path) -> None:
    """Text or sound, piece by piece: of a model of text or by the file's ending."""
    from mpcompile.diagnostics import Span, error
    from mpcompile.runner.sampling import frames, open_sound, rate_of
    from mpcompile.runner.streaming import Letters, Stream

    source = Stream(plan)
    vocabulary, field = plan.run.facts.get("vocabulary"), plan.module.fields.get(source.name)
    if target.suffix.lower() == ".txt" and vocabulary is None:
        raise error("MP541", "only a model of text can be written as .txt", Span.none(), help="use .wav")
    sound = vocabulary is None or target.suffix.lower() == ".wav"
    shown = str(target) == "-" and sys.stdout.isatty()  # a file or pipe has every byte as it is
    if sound and shown:
        fail("sound is nothing to read: -o FILE.wav, or a pipe")
    pipe = sys.stdout.buffer if str(target) == "-" else target.open("wb")
    try:
        if sound:
            rate = rate_of(plan.run.facts["statistics"])
            with open_sound(pipe, len(plan.drawn_by) * source.length, rate) as waves:
                for piece in source.pieces():
                    waves.writeframesraw(frames(piece.values, field))
                    pipe.flush()
        else:
            letters = Letters(vocabulary or [])
            for piece in source.pieces():
                end = "" if not piece.last else "\n" if piece.number + 1 == len(plan.drawn_by) else "\n\n"
                text = letters.text(piece.values, piece.last) + end
                pipe.write((visible(text) if shown else text).encode(errors="replace"))
                pipe.flush()
    finally:
        if pipe is not sys.stdout.buffer:
            pipe.close()
            echo(f"wrote {target}", err=True)


def _draw_density(
    target: Path,
    run: Run,
    module: Module,
    stated: dict[str, str],
    backend: Backend | None,
    device: str | None,
) -> None:
    """The density in the plane, and a grid of latents as a flow bends it."""
    from mpcompile.report import pictures
    from mpcompile.runner import flows

    found = flows.density(run, module, conditions=stated, backend=backend, device=device)
    pictures.density(target, found.log_p, found.box, found.points, found.lines, name=found.name)
    left, right, bottom, top = found.box
    echo(f"wrote {target}: density of {found.name} on [{left:.2f}, {right:.2f}] x [{bottom:.2f}, {top:.2f}], "
               f"whose mass there is {found.mass:.4f}", err=True)  # fmt: skip


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

    from mpcompile.runner.run_data import data_of

    if name not in module.fields:
        return None
    data = data_of(run, module)
    train = data.splits["train"]
    return train.take(np.arange(min(count, len(train))))[name]


__all__ = ["sample"]
