"""Snapshots that survive a kill at any moment: written aside, hashed, synced, renamed, verified when read."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpcompile.ir import Array, Module
from mpcompile.ir.optimizers import OPTIMIZERS
from mpcompile.runner import disk, parts
from mpcompile.runner.parts import STATE
from mpcompile.runner.record import LARGEST, Manifest, checked

MANIFEST = "manifest.json"
_NUMBERED = re.compile(r"last-[0-9]{1,19}")
_LEFT = re.compile(r"last-\d+\.(tmp|old)|best\.tmp")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of a session (`parameter/...`, `optimizer/...`) and the loop's own record of where it was."""

    state: dict[str, Array]
    record: dict[str, Any]
    folder: Path


def save(folder: Path, state: Mapping[str, Array], record: Mapping[str, Any]) -> None:
    """Write a checkpoint so that `folder` either holds all of it or is what it was before.

    An older one is exchanged for it at once; where the system cannot, the old one is `<folder>.old` for a moment.
    Raises `OSError`.
    """
    aside, old = folder.with_name(folder.name + ".tmp"), _old(folder)
    discard(aside)
    os.mkdir(aside)
    files = parts.split({k: np.asarray(v) for k, v in state.items()}, parts.largest())
    for name, payload in files.items():
        disk.write(aside / name, payload)
    digests = {name: disk.digest(payload) for name, payload in files.items()}
    manifest = {"format": 1, "files": digests, "record": dict(record)}
    disk.write(aside / MANIFEST, disk.as_json(manifest))
    disk.sync(aside)
    there = disk.kind(folder) != "nothing"
    if there and disk.exchange(aside, folder):
        disk.sync(folder.parent)
        discard(aside)
    else:
        if there:
            discard(old)
            os.rename(folder, old)
        os.rename(aside, folder)
        disk.sync(folder.parent)
    discard(old)


def load(folder: Path, limit: int = 1 << 40, why: list[str] | None = None) -> Checkpoint | None:
    """Load the checkpoint in a folder; None where it is missing, torn or does not match its hashes.

    A state of more than `limit` bytes is not read. `why` takes what is wrong, in one clause.

    Nothing is raised: every fault of the folder is a reason in `why`.
    """
    name = MANIFEST
    try:
        if disk.kind(folder) != "folder":
            raise ValueError("is not there")
        manifest = checked(disk.read(folder / MANIFEST, LARGEST), Manifest)
        step = manifest["record"]["step"]
        if _NUMBERED.fullmatch(folder.name.removesuffix(".old")) and number(folder) != step:
            raise ValueError(f"is of step {step}")
        files, left = manifest["files"], limit
        name = STATE

        def read(file: str) -> bytes:
            nonlocal name, left
            name = file
            payload = disk.read(folder / file, left)
            left -= len(payload)
            if hashlib.sha256(payload).hexdigest() != files[file]:
                raise ValueError("is not the file that its manifest names")
            name = file if file == STATE else parts.INDEX
            return payload

        state = parts.joined(files, read)
        return Checkpoint(state, manifest["record"], folder)
    except (OSError, ValueError) as bad:
        if why is not None:
            why.append(f"{folder.name}/{name} {bad}")
        return None


def best(folder: Path, limit: int = 1 << 40, why: list[str] | None = None) -> Checkpoint | None:
    """Load from a folder that is replaced in place, as `load` does: after a kill meanwhile its predecessor counts."""
    return _settled(lambda: load(folder, limit, why) or load(_old(folder), limit), lambda: _identity(folder))


def newest(root: Path, limit: int = 1 << 40, why: list[str] | None = None) -> Checkpoint | None:
    """Load the newest checkpoint under `root` that verifies."""
    return _settled(
        lambda: next(
            (c for f in _numbered(root) if (c := load(f, limit, why) or load(_old(f), limit))), None
        ),
        lambda: _numbered(root),
    )


def _settled(find: Callable[[], Checkpoint | None], state: Callable[[], object]) -> Checkpoint | None:
    """Call `find` until no training replaced the folders while it looked: only then does None count."""
    for _ in range(20):
        before = state()
        found = find()
        if found is not None or state() == before:
            return found
    return None


def _identity(folder: Path) -> int:
    try:
        return os.lstat(folder).st_ino
    except OSError:
        return 0


def exists(root: Path) -> bool:
    """Return whether anything under `root` bears the name of a checkpoint, sound or not."""
    return bool(_numbered(root))


def steps(root: Path) -> list[int]:
    """Return the steps of the checkpoints under `root`, newest first."""
    return [number(folder) for folder in _numbered(root)]


def bound(module: Module) -> int:
    """Return the bytes that a state of this module can need at most."""
    slots = 2 + max(len(rule.slots) for rule in OPTIMIZERS.values())  # the weight and its mean, too
    size = sum(8 * slots * int(_product(p.shape)) for p in module.parameters.values())
    return size + 65536 + 4096 * len(module.parameters)


def _product(shape: tuple[int, ...]) -> int:
    out = 1
    for size in shape:
        out *= size
    return out


def save_last(
    root: Path, step: int, state: Mapping[str, Array], record: Mapping[str, Any], keep: int = 2
) -> None:
    """Write `root/last-<step>` and drop all but the `keep` newest. Raises `OSError`."""
    save(root / f"last-{step:09d}", state, record)
    for stale in _numbered(root)[keep:]:
        _drop(stale)


def discard_after(root: Path, step: int) -> None:
    """Drop checkpoints newer than `step`: none of them was sound."""
    for folder in _numbered(root):
        if number(folder) > step:
            _drop(folder)


def _drop(folder: Path) -> None:
    discard(folder, others=True)
    discard(_old(folder), others=True)


def tidy(root: Path) -> None:
    """Drop what saves that were killed left under `root`; one that had stepped aside for another gets its name back."""
    for name in os.listdir(root) if disk.kind(root) == "folder" else ():
        if not _LEFT.fullmatch(name):
            continue
        folder = root / name.removesuffix(".old")
        if name.endswith(".old") and disk.kind(folder) == "nothing":
            os.rename(root / name, folder)
        else:
            discard(root / name, others=True)


def discard(folder: Path, others: bool = False) -> None:
    """Remove a checkpoint, but no other file: `others` leaves a folder that holds one, else it is an `OSError`."""
    if disk.kind(folder) != "folder":
        if disk.kind(folder) != "nothing":
            os.unlink(folder)  # a link goes, what it leads to stays
        return
    for name in (MANIFEST, *(n for n in sorted(os.listdir(folder)) if parts.OURS.fullmatch(n))):
        with suppress(FileNotFoundError):
            os.unlink(folder / name)
    try:
        os.rmdir(folder)
    except OSError as fault:
        if not (others and fault.errno in (errno.ENOTEMPTY, errno.EEXIST)):
            raise


def number(folder: Path) -> int:
    """Return the step of a folder `last-<step>`."""
    return int(folder.name.removeprefix("last-").removesuffix(".old"))


def _old(folder: Path) -> Path:
    """Return where a checkpoint steps aside for its successor, on systems that cannot exchange two folders."""
    return folder.with_name(folder.name + ".old")


def _numbered(root: Path) -> list[Path]:
    """Folders `last-<step>`, also those that stepped aside, newest first; none where `root` is a link."""
    names = os.listdir(root) if disk.kind(root) == "folder" else []
    bases = {n.removesuffix(".old") for n in names if disk.kind(root / n) == "folder"}
    found = [root / n for n in bases if _NUMBERED.fullmatch(n)]
    return sorted(found, key=number, reverse=True)
