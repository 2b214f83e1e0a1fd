"""Models that were not written here as standalone code: recorded, tidied, emitted, and held to what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpcompile.diagnostics import Span, error

if TYPE_CHECKING:
    from mpcompile.foreign import ForeignModel, Recording
    from mpcompile.foreign.matching import Match
    from mpcompile.ir import Array, Module

#: An emitted model equals its original where they differ by no more than this, relative to the largest output.
CLOSE = 1e-5


@dataclass(frozen=True)
class Import:
    """A model as a module of one program, and its weights by the names of its `state_dict`.

    others  recordings of other sizes of the batch, which the code must compute, too
    fixed   the reason why the batch has the size that was recorded; "" where it is open
    """

    recording: Recording
    module: Module
    weights: dict[str, Array]
    others: tuple[Recording, ...] = ()
    fixed: str = ""


def import_model(model: ForeignModel, name: str = "", source: str = "", any_batch: bool = True) -> Import:
    """Return a recorded call of a model as a module that `build` and `compile` take.

    `source` is what emitted files say that they were made of. With `any_batch` the number of examples is open where
    further recordings show that it can be. Raises `SpecError` for a call that cannot be recorded, or an operation that
    has no primitive (MP700), and for a recording that does not compute what the model computed (MP705).
    """
    from mpcompile.foreign import Unrecordable, running
    from mpcompile.foreign.batch import opened
    from mpcompile.foreign.module import as_module, identifier

    try:
        recording = model.record()
        if what := running.unlike(model, recording):
            raise error("MP705", what, Span.none())
        found = opened(model, recording) if any_batch else "nobody asked for others"
        whole, others, fixed = (recording, (), found) if isinstance(found, str) else (found[0], found[1:], "")
        module = as_module(whole, name or identifier(model.name), source or model.name)
    except Unrecordable as fault:
        raise error("MP700", fault.what, fault.span) from None
    weights = {p.name: recording.parameters[p.former] for p in module.parameters.values()}
    return Import(recording, module, weights, others, fixed)


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
    """Return how far the code of a backend is from the model, on the calls that were recorded, in single precision."""
    from mpcompile.backend import open_session
    from mpcompile.foreign.module import PROGRAM
    from mpcompile.foreign.running import apart

    session = open_session(backend, made.module, made.weights)
    worst = 0.0
    for recording in (made.recording, *made.others):
        inputs: Mapping[str, Array] = {**recording.inputs, **recording.noise}
        found = session.run(
            PROGRAM, {k: v for k, v in inputs.items() if k in made.module.programs[PROGRAM].inputs}
        )
        worst = max([worst, *(apart(found[k], v) for k, v in recording.outputs.items())])
    return worst


#: The files of a match: names for `--init-names`, and the model's weights for `--init`.
NAMES, WEIGHTS = "names.json", "weights.safetensors"


@dataclass(frozen=True)
class Matched:
    """Weights of a spec that are found in a model.

    match       the layout of each, and what is left
    program     of the spec that was compared with the call
    difference  how far a value of the program is from the first output of the model, relative to its largest element;
                None where weights are left, so that there is nothing to run
    value       the line and the layer of that value
    unshifted   whether `shift` was taken out: the spec reads what is before a place, and the model its own place too
    """

    match: Match
    program: str
    difference: float | None = None
    value: str = ""
    unshifted: bool = False

    def names(self) -> dict[str, Any]:
        """Return the file of names that `--init-names` takes."""
        return {name: layout.row() for name, layout in self.match.rows.items()}


#: Programs of a spec that are compared with a call, the first that it has.
PROGRAMS = ("conditionals", "predict", "reconstruct", "forward", "decode")


def match(made: Import, spec: Module, program: str = "") -> Matched:
    """Find the weights of a spec in a model by the structure of both programs, and run both where all are there.

    Raises `SpecError` for a spec without a program that takes the inputs of the call (MP721), and where weights have the
    same structure and the programs differ by more than `CLOSE` (MP722).
    """
    from mpcompile.foreign import matching
    from mpcompile.foreign.matching.running import closest, fitting, unshifted, values
    from mpcompile.foreign.module import PROGRAM
    from mpcompile.runner.initial import initial

    chosen = program or next((p for p in PROGRAMS if p in spec.programs), "")
    if chosen not in spec.programs:
        raise error("MP721", f"{spec.name} has no program of {', '.join(PROGRAMS)}", Span.none())
    graph, call = spec.programs[chosen], made.module.programs[PROGRAM]
    recorded = {**made.recording.inputs, **made.recording.noise}
    inputs = fitting(graph, made.recording.inputs)
    ours = matching.uses(graph, *values(graph, initial(spec, 0), inputs))
    former = {p.name: p.former for p in made.module.parameters.values()}
    theirs = [
        replace(use, path=former[use.path])
        for use in matching.uses(call, *values(call, made.weights, recorded))
    ]
    given = {former[name]: array for name, array in made.weights.items()}
    shapes = {name: tuple(p.shape) for name, p in spec.parameters.items()}
    found = matching.matched(ours, theirs, shapes, {n: a.shape for n, a in given.items()})
    if found.left:
        return Matched(found, chosen)
    weights = {name: layout.apply(given).astype(np.float64) for name, layout in found.rows.items()}
    wanted = next(iter(made.recording.outputs.values()))
    trials = [(False, graph), *((True, g) for g in [unshifted(graph)] if g is not None)]
    tried = [(*closest(g, weights, inputs, wanted), shift) for shift, g in trials]
    apart, value, shift = min(tried, key=lambda t: (t[0] > CLOSE, t[2]))
    if not apart <= CLOSE:
        both = f"weights of {spec.name} and {made.module.name} have the same structure"
        raise error("MP722", f"{both}, and `{chosen}` differs by {apart:.1e}", Span.none())
    return Matched(found, chosen, apart, value, shift)


def write_match(found: Matched, made: Import, folder: Path, force: bool = False) -> None:
    """Write what `train --init --init-names` takes: the model's weights under its own names, and the file of names.

    Raises `SpecError` (MP524) for a folder that has other files, unless `force` is set.
    """
    from mpcompile import __version__
    from mpcompile.emission import tensors
    from mpcompile.runner import builds, disk

    parameters = made.module.parameters.values()
    files: dict[str, Any] = {
        NAMES: disk.as_json(found.names()),
        WEIGHTS: tensors.serialise({p.former: made.weights[p.name] for p in parameters}),
    }
    manifest = {
        "model": made.module.name, "backend": "names", "mpcompile": __version__, "spec": {"name": found.program},
        "proofs": [], "parameters": {p.former: list(p.shape) for p in parameters}, "files": builds.digests(files),
    }  # fmt: skip
    builds.write(folder, {**files, builds.MANIFEST: disk.as_json(manifest)}, force)


__all__ = [
    "CLOSE",
    "PROGRAMS",
    "Import",
    "Matched",
    "build_import",
    "emitted_difference",
    "import_model",
    "match",
    "write_match",
]
