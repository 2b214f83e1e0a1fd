"""Folders of builds: replaced whole, and only where all that is in them was built."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex

from mpcompile.runner import disk
from mpcompile.runner.disk import Payload
from mpcompile.runner.record import LARGEST, Build, checked

MANIFEST = "manifest.json"
# What python leaves beside a model that was imported.
_CACHE = re.compile(r"__pycache__(/[^/]+\.pyc)?")
# Files of builds before their manifests listed them.
_UNLISTED = re.compile(r"model\.py|weights\.safetensors|[A-Za-z0-9_.-]+\.onnx")


def digests(files: Mapping[str, Payload]) -> dict[str, str]:
    """Return the hashes that the manifest lists, by which a later build knows its files again."""
    return {name: disk.digest(payload) for name, payload in sorted(files.items())}


def write(folder: Path, files: Mapping[str, Payload], force: bool = False) -> list[str]:
    """Write all files of a build, whole or not at all; gives the paths of others' files that `force` replaced.

    The folder may be missing, empty, or a build whose files nobody changed. `force` writes into any other folder, each
    file at once, and leaves the files of other names there. Raises `SpecError` (MP524, MP525, MP527).
    """
    with disk.writing(folder):
        full = Path(os.path.abspath(folder))
        if disk.kind(full) == "folder" and os.listdir(full):
            stranger = _stranger(full)
            if stranger and force:
                return _into(folder, files)
            if stranger:
                raise disk.refused(f"{folder / stranger[0]} {stranger[1]}",
                                   "choose another -o, or --force to replace the files that a build has")  # fmt: skip
        full = disk.target(folder)
        with disk.staged(full, "build") as (aside, lock):
            for name, payload in files.items():
                disk.make((aside / name).parent)
                disk.write(aside / name, payload)
            _publish(aside, full)
        lock.release()
    return []


def _publish(aside: Path, full: Path) -> None:
    """Exchange the old build for the new one, so that at every moment one of them is there, whole."""
    if disk.kind(full) == "nothing" or not os.listdir(full):
        disk.publish(aside, full)
        return
    with disk.Lock.adopt(full, "build"):
        disk.sync(aside)
        if disk.exchange(aside, full):
            disk.sync(full.parent)
            disk.remove(aside)
            return
        old = aside.with_name(aside.name + "-old")
        os.rename(full, old)
        disk.publish(aside, full)
        disk.remove(old)


def _stranger(folder: Path) -> tuple[str, str] | None:
    """The first entry of a folder that no build wrote, or that was changed since, and what is the matter with it."""
    known: dict[str, str] | None = None
    if disk.owner(folder) != "run":
        try:
            manifest = checked(disk.read(folder / MANIFEST, LARGEST), Build)
            known = manifest["files"]
        except ValueError:
            pass
    marked = disk.owner(folder) == "build"
    for name, what in disk.entries(folder):
        if what not in ("file", "folder"):
            return name, "is a link" if what == "link" else "is not a file"
        if what == "file" and os.lstat(folder / name).st_nlink != 1:
            return name, "has a second name, a hard link"
        if known is None:
            return name, "was not written by a build"
        if (name == disk.MARKER and marked) or name == MANIFEST or _CACHE.fullmatch(name):
            continue
        if what == "folder" and any(file.startswith(f"{name}/") for file in known):
            continue
        if not (name in known or (not known and _UNLISTED.fullmatch(name))) or what == "folder":
            return name, "was not written by a build"
        if name in known and _digest(folder / name) != known[name]:
            return name, "was changed since it was built"
    return None


def _digest(path: Path) -> str:
    with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _into(folder: Path, files: Mapping[str, Payload]) -> list[str]:
    """Write file by file, each at once, into a folder that others use too. Raises `SpecError` (MP524)."""
    replaced = []
    for name, payload in files.items():
        path = folder / name
        for parent in list(path.relative_to(folder).parents)[:-1]:
            if disk.kind(folder / parent) not in ("folder", "nothing"):
                raise disk.refused(f"{folder / parent} is not a folder", "choose another -o")
        disk.make(path.parent)
        if disk.kind(path) == "folder":
            raise disk.refused(f"{path} is a folder", "choose another -o")
        if disk.kind(path) != "nothing":
            replaced.append(str(path))
        disk.replace(path, payload, f"{disk.MARKER}-{token_hex(4)}")
    return replaced
