"""Models and runs made live by a backend, or written as standalone files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpcompile import api
from mpcompile.public.model import Model, load
from mpcompile.public.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compile(
    model: Model | Run | Path | str,
    backend: str = "torch",
    *,
    seed: int = 0,
    device: str = "cpu",
    parameters: Mapping[str, NDArray[Any]] | None = None,
    allow_unproven: bool = False,
) -> Any:
    """Compile a model to the live object of a backend: for torch an `nn.Module`. Its methods are the programs.

    Weights are `parameters` by their dotted names, or those of a run, or the initial ones of `seed`. The type of the
    object is the backend's own, so the core cannot name it.

    Raises `SpecError` when a claim is refuted, or is not proved and `allow_unproven` is not set, and
    `mpcompile.backend.BackendMissing`.
    """
    found, run = _opened(model)
    own = run.parameters if run is not None else None
    return api.compile(
        found.module, backend, seed=seed, device=device, allow_unproven=allow_unproven,
        parameters=own if parameters is None else parameters,
    )  # fmt: skip


def build(
    model: Model | Run | Path | str,
    out: Path | str | None = None,
    backend: str = "torch",
    *,
    seed: int = 0,
    parameters: Mapping[str, NDArray[Any]] | None = None,
    inference: bool = False,
    inline: bool = False,
    allow_unproven: bool = False,
    force: bool = False,
    card: bool = False,
) -> Path:
    """Write a standalone model, which needs its framework and not this compiler, and return its folder.

    out        the folder (default: `build/<model>/<backend>`); it is written whole or not at all
    inference  fold what depends on weights alone; no programs that learn
    inline     weights inside ONNX files too
    card       write a model card, README.md, too
    force      replace files of the same names that no build wrote

    Weights are as in `compile`. Raises `SpecError` as that does, and for a folder that is not a build (MP524).
    """
    found, run = _opened(model)
    own, words = (run.parameters, run.words) if run is not None else (None, {})
    folder = Path("build") / found.name / backend if out is None else Path(out)
    api.build(
        found.module, backend, folder, seed=seed, parameters=own if parameters is None else parameters,
        allow_unproven=allow_unproven, overrides=found.overrides, inline=inline, inference=inference, force=force,
        card=card, names=words,
    )  # fmt: skip
    return folder


def _opened(model: Model | Run | Path | str) -> tuple[Model, Run | None]:
    """Return a model, and the run that was given, whose weights it has. A path may be that of a run."""
    if isinstance(model, Path | str):
        if not Path(model).is_dir():
            return load(model), None
        model = Run(model)
    return (model, None) if isinstance(model, Model) else (model.model, model)


__all__ = ["build", "compile"]
