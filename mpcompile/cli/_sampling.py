"""Modes of `mpcompile sample`: one class for each result that a run can give, of which a command asks for one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from mpcompile.cli._bar import late_bar
from mpcompile.cli._out import echo, page, visible
from mpcompile.cli._run import fail

if TYPE_CHECKING:
    from mpcompile.backend import Backend
    from mpcompile.ir import Array, Module
    from mpcompile.runner.completion import Completion
    from mpcompile.runner.run import Run
    from mpcompile.runner.sampling import Draws as Plan
    from mpcompile.runner.sampling import Samples
    from mpcompile.runner.streaming import Stream


@dataclass(frozen=True)
class Asked:
    """The request to a run, whatever the mode: how many examples, where they go, by what, from what."""

    run: Run
    module: Module
    count: int
    target: Path
    backend: Backend | None
    device: str | None
    completion: Completion | None
    conditions: dict[str, str]


class Mode:
    """One thing that the command makes. Its fields are the options that it alone reads."""

    def check(self, target: Path) -> None:
        """Exits with 2 for a file that the mode does not write."""

    def samples(self, asked: Asked) -> Samples | None:
        """Return the samples to write; None where they are written already.

        Raises `SpecError` for a model that has none.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Draws(Mode):
    """Draws of the model, or predictions."""

    seed: int
    length: int | None
    batch: int | None

    def samples(self, asked: Asked) -> Samples | None:
        from mpcompile.runner import sampling

        with late_bar() as watch:
            return sampling.sample(
                asked.run, asked.module, asked.count, seed=self.seed, length=self.length, batch=self.batch,
                backend=asked.backend, device=asked.device, completion=asked.completion, conditions=asked.conditions,
                watch=None if watch is None else lambda done: watch(done, asked.count, "samples"),
            )  # fmt: skip


@dataclass(frozen=True)
class Decoded(Mode):
    """Test examples from their codes, or points between the codes."""

    what: Literal["reconstruct", "interpolate"]

    def samples(self, asked: Asked) -> Samples | None:
        from mpcompile.runner import reconstruct as codes

        decoded = codes.reconstruct if self.what == "reconstruct" else codes.interpolate
        return decoded(asked.run, asked.module, asked.count, backend=asked.backend, device=asked.device)


@dataclass(frozen=True)
class Latents(Mode):
    """A flow's latents of a data set."""

    data: str

    def samples(self, asked: Asked) -> Samples | None:
        from mpcompile.runner import flows

        return flows.forward(asked.run, asked.module, self.data, backend=asked.backend, device=asked.device)


@dataclass(frozen=True)
class OfLatents(Mode):
    """A flow's data of the latents in a file."""

    file: Path

    def samples(self, asked: Asked) -> Samples | None:
        from mpcompile.runner import flows

        return flows.inverse(asked.run, asked.module, self.file, backend=asked.backend, device=asked.device)


@dataclass(frozen=True)
class Density(Mode):
    """The density in the plane, and a grid of latents as a flow bends it."""

    def check(self, target: Path) -> None:
        from mpcompile.report.pictures import ENDINGS

        if target.suffix.lower() not in ENDINGS:
            fail(f"--density is a picture: -o FILE with {', '.join(ENDINGS)}")

    def samples(self, asked: Asked) -> Samples | None:
        from mpcompile.report import pictures
        from mpcompile.runner import disk, flows

        found = flows.density(
            asked.run, asked.module, conditions=asked.conditions, backend=asked.backend, device=asked.device
        )
        with disk.whole(asked.target) as aside:
            pictures.density(aside, found.log_p, found.box, found.points, found.lines, name=found.name)
        left, right, bottom, top = found.box
        echo(f"wrote {asked.target}: density of {found.name} on [{left:.2f}, {right:.2f}] x [{bottom:.2f}, {top:.2f}], "
             f"whose mass there is {found.mass:.4f}", err=True)  # fmt: skip
        return None


@dataclass(frozen=True)
class Streamed(Mode):
    """Text or sound, written while it is drawn: of a model of text or by the file's ending."""

    seed: int
    length: int | None

    def samples(self, asked: Asked) -> Samples | None:
        from mpcompile.diagnostics import Span, error
        from mpcompile.runner import disk, sampling, streaming

        target = asked.target
        plan = sampling.Draws(
            asked.run, asked.module, asked.count, self.seed, self.length, asked.backend, asked.device,
            asked.completion, asked.conditions,
        )  # fmt: skip
        source = streaming.Stream(plan)
        vocabulary = plan.run.facts.get("vocabulary")
        if target.suffix.lower() == ".txt" and vocabulary is None:
            raise error("MP541", "only a model of text can be written as .txt", Span.none(), help="use .wav")
        sound = vocabulary is None or target.suffix.lower() == ".wav"
        shown = str(target) == "-" and sys.stdout.isatty()  # a file or pipe has every byte as it is
        if sound and shown:
            fail("sound is nothing to read: -o FILE.wav, or a pipe")
        written = (
            partial(_sound, plan, source)
            if sound
            else partial(_text, plan, source, list(vocabulary or []), shown)
        )
        if str(target) == "-":
            written(sys.stdout.buffer)
            return None
        with disk.whole(target) as aside, aside.open("wb") as file:
            written(file)
        echo(f"wrote {target}", err=True)
        return None


def _sound(plan: Plan, source: Stream, pipe: BinaryIO) -> None:
    """Every draw after the other, as sound, piece by piece."""
    from mpcompile.runner.sampling import frames, open_sound, rate_of

    rate, field = rate_of(plan.run.facts["statistics"]), plan.module.fields.get(source.name)
    with open_sound(pipe, len(plan.drawn_by) * source.length, rate) as waves:
        for piece in source.pieces():
            waves.writeframesraw(frames(piece.values, field))
            pipe.flush()


def _text(plan: Plan, source: Stream, vocabulary: list[str], shown: bool, pipe: BinaryIO) -> None:
    """Every draw after the other, as text, piece by piece; what is `shown` on a terminal is escaped."""
    from mpcompile.runner.streaming import Letters

    letters = Letters(vocabulary)
    for piece in source.pieces():
        end = "" if not piece.last else "\n" if piece.number + 1 == len(plan.drawn_by) else "\n\n"
        text = letters.text(piece.values, piece.last) + end
        pipe.write((visible(text) if shown else text).encode(errors="replace"))
        pipe.flush()


def write(asked: Asked, drawn: Samples) -> str:
    """Write samples by the file's ending, and give the sizes of them as text."""
    from mpcompile.report.pictures import ENDINGS
    from mpcompile.runner import sampling

    if asked.target.suffix.lower() in ENDINGS:
        _draw_picture(asked.target, drawn, asked.run, asked.module)
    else:
        sampling.write_arrays(asked.target, drawn)
        if asked.target.suffix.lower() == ".txt" and asked.count <= 4:
            page(visible("\n\n".join(sampling.texts(drawn)) + "\n"))
    return ", ".join(sampling.sizes(drawn.values))


def _draw_picture(target: Path, drawn: Samples, run: Run, module: Module) -> None:
    """The first variable, with the training data beside it where that is a plot."""
    from mpcompile.report import pictures
    from mpcompile.runner import disk

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
    with disk.whole(target) as aside:
        pictures.picture(aside, values, name=name, span=span, reference=reference, classes=few, series=series)


def _reference(run: Run, module: Module, name: str, count: int) -> Array | None:
    """Return `count` training values of a variable."""
    import numpy as np

    from mpcompile.runner.run_data import data_of

    if name not in module.fields:
        return None
    data = data_of(run, module)
    train = data.splits["train"]
    return train.take(np.arange(min(count, len(train))))[name]


__all__ = ["Asked", "Decoded", "Density", "Draws", "Latents", "Mode", "OfLatents", "Streamed", "write"]
