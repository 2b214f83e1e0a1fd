"""The RUN folder: what was trained, on what, with which options; enough to evaluate, sample and continue it.

spec.<ext>     the text of the spec          run.json   everything else that defines the run
metrics.jsonl  see metrics.py                best/      the checkpoint with the lowest validation loss
checkpoints/last-<step>/  the newest checkpoints, two of them
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Module
from mpcompile.runner import checkpoint

RUN = "run.json"
_FRAMEWORKS = {"torch": "torch", "jax": "jax", "onnx": "onnxruntime"}


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder that exists."""

    folder: Path
    facts: dict[str, Any]

    @property
    def spec(self) -> Path:
        return self.folder / str(self.facts["spec"])

    @property
    def overrides(self) -> dict[str, str]:
        return {str(k): str(v) for k, v in self.facts["overrides"].items()}

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        return self.folder / "best"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def trained(self) -> checkpoint.Checkpoint:
        """The best checkpoint, or the newest where none was better. Raises `SpecError` (MP522)."""
        found = checkpoint.load_exchanged(self.best) or checkpoint.newest(self.checkpoints)
        if found is None:
            raise error("MP522", f"{self.folder} holds no checkpoint that verifies", Span.none(),
                        help="continue the training with --resume")  # fmt: skip
        return found

    def parameters(self) -> tuple[dict[str, Array], int]:
        """Trained weights by name, and the step they are of."""
        found = self.trained()
        prefix = "parameter/"
        weights = {k.removeprefix(prefix): v for k, v in found.state.items() if k.startswith(prefix)}
        return weights, int(found.record["step"])


def open_run(folder: Path) -> Run:
    """A run that was trained before. Raises `SpecError` (MP520)."""
    try:
        facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or facts.get("format") != 1:
            raise ValueError(f"{RUN} is of another version")
    except (OSError, ValueError) as bad:
        why = "it does not exist" if not folder.exists() else f"no sound {RUN} in it"
        raise error("MP520", f"{folder} is not a run: {why}", Span.none(),
                    help="mpcompile train SPEC --out RUN makes one") from bad  # fmt: skip
    return Run(folder, facts)


def spec_hash(module: Module, overrides: Mapping[str, str]) -> str:
    """Identity of a model: the text of its spec and what was set on the command line."""
    return hashlib.sha256(json.dumps([module.source.text, sorted(overrides.items())]).encode()).hexdigest()


def create(folder: Path, module: Module, facts: Mapping[str, Any], overrides: Mapping[str, str]) -> Run:
    """A fresh folder. A run that is there already steps aside as `<folder>.old` (one is kept).

    Raises `SpecError` (MP524) for a folder that holds something else.
    """
    used = folder.exists() and any(folder.iterdir())
    if used and not (folder / RUN).exists():
        raise error(
            "MP524", f"{folder} holds files that are not a run", Span.none(), help="choose another --out"
        )
    aside = folder.with_name(folder.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    ending = Path(module.source.path).suffix
    spec = f"spec{ending}" if ending in (".yaml", ".yml", ".mp") else "spec.yaml"
    (aside / spec).write_text(module.source.text, encoding="utf-8")
    run = record(
        aside,
        {
            "format": 1,
            "model": module.name,
            "spec": spec,
            "spec_path": module.source.path,
            "spec_hash": spec_hash(module, overrides),
            "overrides": dict(overrides),
            **facts,
        },
    )
    if used:
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    elif folder.exists():
        folder.rmdir()
    aside.rename(folder)  # whole or not at all: a kill never leaves half a run
    return Run(folder, run.facts)


def record(folder: Path, facts: dict[str, Any]) -> Run:
    """Write `run.json`."""
    checkpoint.write_json(folder / RUN, facts)
    return Run(folder, facts)


def same_spec(run: Run, module: Module, overrides: Mapping[str, str]) -> None:
    """Raises `SpecError` (MP521) where a run was started from another spec."""
    if run.facts["spec_hash"] != spec_hash(module, overrides):
        raise error(
            "MP521",
            f"{run.folder} was trained from another text or other --set values of '{run.facts['model']}'",
            Span.none(),
            help="leave out --resume to start again, or give the spec and --set values it began with",
        )


def versions(backend: str) -> dict[str, str]:
    """What ran: interpreter, numpy, this project and the framework."""
    from mpcompile import __version__

    found = {"python": platform.python_version(), "numpy": np.__version__, "mpcompile": __version__}
    package = _FRAMEWORKS.get(backend)
    if package:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
