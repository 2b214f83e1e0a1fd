"""The RUN folder: what was trained, on what, with which options; enough to evaluate, sample and continue it.

.mpcompile     the mark that it is ours, and the lock of the process that trains in it (disk.py)
spec.<ext>     the text of the spec          run.json   everything else that defines the run (record.py)
metrics.jsonl  see metrics.py                best/      the checkpoint with the lowest validation loss
checkpoints/last-<step>/  the newest checkpoints, two of them; the first is of step 0
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Module
from mpcompile.runner import checkpoint, disk
from mpcompile.runner.averages import averaged
from mpcompile.runner.record import FORMAT, LARGEST, Facts, checked
from mpcompile.runner.renames import renamed as renamed

RUN, METRICS = "run.json", "metrics.jsonl"
_FRAMEWORKS = {"torch": "torch", "jax": "jax", "onnx": "onnxruntime"}
_SPEC = re.compile(r"spec\.(mp|ya?ml)")
# Names within a run; whatever else is in one was put there by its user.
_OURS = re.compile(
    r"\.mpcompile|run\.json(\.tmp)?|spec\.(mp|ya?ml)|metrics\.(jsonl|csv(\.tmp)?)|samples\.npz|checkpoints"
    r"|(best|checkpoints/last-\d+)(\.tmp|\.old)?(/(state(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?|manifest\.json))?"
    r"|tensorboard(/events\.out\.tfevents\.[^/]*)?"
)


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
        return self.folder / METRICS

    def trained(self, module: Module | None) -> checkpoint.Checkpoint:
        """The best checkpoint, or the newest where none was kept as the best. Raises `SpecError` (MP522).

        Without a module its size has no bound. A damaged best checkpoint is not replaced by another step's.
        """
        why: list[str] = []
        limit = checkpoint.bound(module) if module is not None else 1 << 40
        found, kept = checkpoint.best(self.best, limit, why), os.path.lexists(self.best)
        if found is None and not kept:
            found = checkpoint.newest(self.checkpoints, limit, why)
        if found is None:
            other = f"remove {self.best} to read the newest checkpoint, " if kept else ""
            there = [w for w in why if not w.endswith("is not there")]
            raise error(
                "MP522", f"{self.folder} holds no checkpoint that verifies", Span.none(),
                notes=tuple(dict.fromkeys(there)), help=f"{other}train it again, or copy the run again",
            )  # fmt: skip
        return found

    def arrays(self) -> dict[str, Array]:
        """Trained arrays by name, or their means (`averages`), of whatever model. Raises `SpecError` (MP522)."""
        return self._weights(self.trained(None).state)

    def _weights(self, state: Mapping[str, Array]) -> dict[str, Array]:
        prefix = "parameter/"
        means = averaged(state, self.facts["settings"]["optimizer"].get("ema"))
        return {k.removeprefix(prefix): v for k, v in means.items() if k.startswith(prefix)}

    def parameters(self, module: Module) -> tuple[dict[str, Array], int]:
        """Trained weights of a module by name, or their means (`averages`), and the step they are of.

        Raises `SpecError`: MP522 where no checkpoint verifies, MP521 for weights of another model, MP526 for
        weights that are not finite.
        """
        found = self.trained(module)
        weights = self._weights(renamed(found.state, module))
        fit(weights, module, str(found.folder))
        return weights, int(found.record["step"])


def fit(weights: Mapping[str, Array], module: Module, where: str) -> None:
    """Check that `weights` are finite numbers for all parameters of a module. Raises `SpecError` (MP521, MP526)."""
    for name in [*module.parameters, *weights]:
        ours = module.parameters.get(name)
        theirs = weights.get(name)
        if ours is None or theirs is None or tuple(ours.shape) != theirs.shape:
            found = "not there" if theirs is None else theirs.shape
            here = "not there" if ours is None else tuple(ours.shape)
            raise error(
                "MP521", f"{where} has other parameters: '{name}' is {found}, here {here}", Span.none()
            )
        if theirs.dtype.kind != "f":
            raise error("MP521", f"{where} has other parameters: '{name}' is {theirs.dtype}, here a float",
                        Span.none())  # fmt: skip
    bad = not_finite(weights)
    if bad is not None:
        raise error("MP526", f"{where}: weight '{bad}' is not finite", Span.none(),
                    help="the training diverged: lower the rate, or scale the data, and train again")  # fmt: skip


def not_finite(weights: Mapping[str, Array]) -> str | None:
    """Return the name of the first array with an infinity or NaN in it."""
    return next((k for k, v in weights.items() if v.dtype.kind == "f" and not np.isfinite(v).all()), None)


def open_run(folder: Path, trust: bool = False) -> Run:
    """Open a run that was trained before; `trust` follows the path of its spec out of the folder.

    Raises `SpecError` (MP520).
    """
    why, aid = "", "mpcompile train SPEC --out RUN makes one"
    try:
        if not folder.is_dir():
            why = "it does not exist" if not folder.exists() else "it is a file"
            raise ValueError
        if seeds := [] if (folder / RUN).exists() else sorted(folder.glob(f"seed-*/{RUN}")):
            why, aid = f"it holds {len(seeds)} runs of seeds", f"name one of them, as {seeds[0].parent}"
            raise ValueError
        payload = disk.read(folder / RUN, LARGEST)
        facts = checked(payload, Facts)
        if not trust and not _SPEC.fullmatch(facts["spec"]):
            raise ValueError(f"names the spec {facts['spec'][:80]!r}, which is not a file of the run")
        if not trust and disk.kind(folder / facts["spec"]) == "link":
            why = f"its {facts['spec']} is a link"
            raise ValueError
    except (OSError, ValueError) as bad:
        raise error("MP520", f"{folder} is not a run: {why or f'its {RUN} {bad}'}", Span.none(),
                    help=aid) from bad  # fmt: skip
    return Run(folder, facts)


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run of ours: by its mark, or by a sound `run.json` of a release without marks."""
    if disk.owner(folder):
        return disk.owner(folder) == "run"
    try:
        checked(disk.read(folder / RUN, LARGEST), Facts)
    except ValueError:
        return False
    return disk.kind(folder) == "folder"


def spec_hash(module: Module, overrides: Mapping[str, str]) -> str:
    """Return the identity of a model: the hash of the text of its spec and of what the command line set."""
    return hashlib.sha256(json.dumps([module.source.text, sorted(overrides.items())]).encode()).hexdigest()


def create(
    folder: Path,
    module: Module,
    facts: Mapping[str, Any],
    overrides: Mapping[str, str],
    state: Mapping[str, Array],
    record: Mapping[str, Any],
) -> tuple[Run, disk.Lock]:
    """Create a fresh folder with its first checkpoint, whole or not at all, and return it with its lock.

    A run that is there already steps aside as `<folder>.old`; one is kept. Raises `SpecError`: MP524 where a
    folder that would be replaced or removed is not ours alone, MP525 where another process trains in it, MP527.
    """
    full = disk.target(folder)
    with disk.writing(folder):
        used = disk.kind(full) == "folder" and bool(os.listdir(full))
        if used and not is_run(full):
            raise disk.refused(f"{folder} holds files that are not a run", "choose another --out")
        with _held(full if used else None), disk.staged(full, "run") as (aside, lock):
            ending = Path(module.source.path).suffix
            spec = f"spec{ending}" if ending in (".yaml", ".yml", ".mp") else "spec.yaml"
            disk.write(aside / spec, module.source.text.encode())
            disk.write(aside / METRICS, b"")
            known = {
                "format": FORMAT,
                "model": module.name,
                "spec": spec,
                "spec_path": module.source.path,
                "spec_hash": spec_hash(module, overrides),
                "overrides": dict(overrides),
                **facts,
            }
            record_facts(aside, known)
            os.mkdir(aside / "checkpoints")
            checkpoint.save_last(aside / "checkpoints", 0, state, record)
            if used:
                _step_aside(full)
            disk.publish(aside, full)
    return Run(folder, known), lock


def _held(folder: Path | None) -> AbstractContextManager[object]:
    """Hold the lock of a run that steps aside; nothing to hold where there is none."""
    return disk.Lock.adopt(folder, "run") if folder is not None else nullcontext()


def _step_aside(full: Path) -> None:
    """Rename a run to `<folder>.old` and remove the one of that name. Raises `SpecError` (MP524, MP525)."""
    old = full.with_name(full.name + ".old")
    if disk.kind(old) != "nothing":
        if not is_run(old):
            raise disk.refused(f"{old} is not a run, and {full.name} would become it",
                               f"rename {old.name}, or choose another --out")  # fmt: skip
        if (name := disk.foreign(old, lambda n: bool(_OURS.fullmatch(n)))) is not None:
            raise disk.refused(f"{old} holds '{name}', which training did not write",
                               f"move it, or rename {old.name}")  # fmt: skip
        with disk.Lock.adopt(old, "run"):
            disk.remove(old)
    os.rename(full, old)
    disk.sync(full.parent)


def record_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write `run.json`. Raises `OSError`."""
    disk.replace(folder / RUN, disk.as_json(facts))


def require_plain(run: Run) -> None:
    """Check that training would not write through a link, or into a file with a second name.

    Raises `SpecError` (MP524).
    """
    for name, what in disk.entries(run.folder):
        if not _OURS.fullmatch(name):
            continue
        if what not in ("file", "folder"):
            raise disk.refused(f"{run.folder / name} is a link or a device", "replace it by what it leads to")
    if disk.kind(run.metrics) == "file" and os.lstat(run.metrics).st_nlink != 1:
        raise disk.refused(
            f"{run.metrics} has a second name, whose text would change too",
            f"cp {METRICS} copy && mv copy {METRICS}",
        )


def same_spec(run: Run, module: Module, overrides: Mapping[str, str]) -> None:
    """Check that a run was started from this spec. Raises `SpecError` (MP521)."""
    if run.facts["spec_hash"] != spec_hash(module, overrides):
        raise error(
            "MP521",
            f"{run.folder} was trained from another text or other --set values of '{run.facts['model']}'",
            Span.none(),
            help="leave out --resume to start again, or give the spec and --set values it began with",
        )


def versions(backend: str) -> dict[str, str]:
    """Return the versions of the interpreter, numpy, this project and the framework."""
    from mpcompile import __version__

    found = {"python": platform.python_version(), "numpy": np.__version__, "mpcompile": __version__}
    package = _FRAMEWORKS.get(backend)
    if package:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
