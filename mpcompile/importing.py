"""Models that were not written here as standalone code: recorded, tidied, emitted, and held to what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpcompile.diagnostics import Span, error

if TYPE_CHECKING:
    from mpcompile.foreign import ForeignModel, Recording
    from mpcompile.ir import Array, Module

#: An emitted model equals its original where they differ by no more than this, relative to the largest output.
CLOSE = 1e-5


@dataclass(frozen=True)
class Import:
    """A model as a module of one program, and its weights by the names of its `state_dict`."""

    recording: Recording
    module: Module
    weights: dict[str, Array]


def import_model(model: ForeignModel, name: str = "", source: str = "") -> Import:
    """Return a recorded call of a model as a module that `build` and `compile` take.

    `source` is what emitted files say that they were made of. Raises `SpecError` for a call that cannot be recorded, or
    an operation that has no primitive (MP700), and for a recording that does not compute what the model computed (MP705).
    """
    from mpcompile.foreign import Unrecordable, running
    from mpcompile.foreign.module import as_module, identifier

    try:
        recording = model.record()
        module = as_module(recording, name or identifier(model.name), source or model.name)
    except Unrecordable as fault:
        raise error("MP700", fault.what, fault.span) from None
    apart = running.difference(recording)
    if not apart <= running.CLOSE:
        what = f"the recording of {model.name} differs from the model by {apart:.1e} of its largest output"
        raise error("MP705", what, Span.none())
    return Import(
        recording, module, {p.name: recording.parameters[p.former] for p in module.parameters.values()}
    )


def build_import(made: Import, backend: str, folder: Path, force: bool = False) -> float:
    """Write an imported model as the files of a backend, as `mpcompile.build` does for a spec.

    Returns the largest difference between what the emitted code gives and what the model gave, relative to the largest
    output. Raises `SpecError` where it is more than `CLOSE` (MP720): then nothing is written.
    """
    from mpcompile import api

    apart = emitted_difference(made, backend)
    if not apart <= CLOSE:
        what = f"{made.module.name} in {backend} differs from the model by {apart:.1e} of its largest output"
        raise error("MP720", what, Span.none())
    api.build(made.module, backend, folder, parameters=made.weights, force=force)
    return apart


def emitted_difference(made: Import, backend: str) -> float:
    """Return how far the code of a backend is from the model, on the call that was recorded, in single precision."""
    from mpcompile.backend import open_session
    from mpcompile.foreign.module import PROGRAM
    from mpcompile.foreign.running import apart

    recording = made.recording
    session = open_session(backend, made.module, made.weights)
    inputs: Mapping[str, Array] = {**recording.inputs, **recording.noise}
    found = session.run(
        PROGRAM, {k: v for k, v in inputs.items() if k in made.module.programs[PROGRAM].inputs}
    )
    return max((apart(found[k], v) for k, v in recording.outputs.items()), default=0.0)


__all__ = ["CLOSE", "Import", "build_import", "emitted_difference", "import_model"]
