"""Snapshots that survive a kill at any moment: written aside, hashed, synced, renamed, verified when read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpcompile.ir import Array

STATE, MANIFEST = "state.safetensors", "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of a session (`parameter/...`, `optimizer/...`) and the loop's own record of where it was."""

    state: dict[str, Array]
    record: dict[str, Any]
    folder: Path


def save(folder: Path, state: Mapping[str, Array], record: Mapping[str, Any]) -> None:
    """Write a checkpoint so that `folder` either holds all of it or is what it was before.

    Where `folder` exists it steps aside as `<folder>.old` for the moment of the exchange.
    """
    from safetensors.numpy import save as serialise

    folder.parent.mkdir(parents=True, exist_ok=True)
    aside, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    _remove(aside)
    aside.mkdir()
    payload = serialise({k: _contiguous(v) for k, v in sorted(state.items())})
    _write(aside / STATE, payload)
    manifest = {"format": 1, "files": {STATE: hashlib.sha256(payload).hexdigest()}, "record": dict(record)}
    _write(aside / MANIFEST, (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode())
    _sync(aside)
    if folder.exists():
        _remove(old)
        folder.rename(old)
    aside.rename(folder)
    _sync(folder.parent)
    _remove(old)


def load(folder: Path) -> Checkpoint | None:
    """The checkpoint in a folder, or None where it is missing, torn or does not match its hashes."""
    from safetensors.numpy import load as deserialise

    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        payload = (folder / STATE).read_bytes()
        if manifest["format"] != 1 or hashlib.sha256(payload).hexdigest() != manifest["files"][STATE]:
            return None
        record = manifest["record"]
        return Checkpoint(dict(deserialise(payload)), record, folder) if isinstance(record, dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_exchanged(folder: Path) -> Checkpoint | None:
    """Like `load` for a folder that is replaced in place: after a kill meanwhile its predecessor counts."""
    return load(folder) or load(folder.with_name(folder.name + ".old"))


def save_last(
    root: Path, step: int, state: Mapping[str, Array], record: Mapping[str, Any], keep: int = 2
) -> None:
    """Write `root/last-<step>` and drop all but the `keep` newest."""
    save(root / f"last-{step:09d}", state, record)
    for stale in _numbered(root)[keep:]:
        _remove(stale)


def newest(root: Path) -> Checkpoint | None:
    """The newest checkpoint under `root` that verifies."""
    for folder in _numbered(root):
        found = load(folder)
        if found is not None:
            return found
    return None


def discard_after(root: Path, step: int) -> None:
    """Drop checkpoints newer than `step`: none of them was sound."""
    for folder in _numbered(root):
        if int(folder.name.removeprefix("last-")) > step:
            _remove(folder)


def _numbered(root: Path) -> list[Path]:
    """Folders `last-<step>`, newest first."""
    found = [p for p in root.glob("last-*") if p.name.removeprefix("last-").isdigit() and p.is_dir()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("last-")), reverse=True)


def _contiguous(array: Array) -> Array:
    import numpy as np

    array = np.asarray(array)
    return array if array.flags.c_contiguous else array.copy(order="C")


def _write(path: Path, payload: bytes) -> None:
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a folder's entries durable (a no-op where folders cannot be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically and durably."""
    aside = path.with_name(path.name + ".tmp")
    _write(aside, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())
    aside.replace(path)
    _sync(path.parent)
