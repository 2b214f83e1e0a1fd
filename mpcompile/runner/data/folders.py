"""Folders of pictures or of sounds: their files in order, the classes that they are sorted into, and their digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.opening import Unreadable, digest
from mpcompile.runner.data.pictures import PICTURES

_MOST_FILES = 2**20


def classes_of(path: Path, files: list[Path]) -> tuple[list[str], Array]:
    """Return the names of the folders that files are in, in order, and the number of each file's.

    No names where a file is in none. Raises `Unreadable` for a folder that cannot name a class.
    """
    folders = [p.parent.relative_to(path).as_posix() for p in files]
    if "." in folders:
        return [], np.zeros(0, np.int64)
    names = sorted(set(folders), key=lambda name: name.split("/"))
    for name in names:
        if not name.isprintable():
            raise Unreadable(f"{path}: the folder {name!r} cannot name a class")
    number = {name: i for i, name in enumerate(names)}
    return names, np.array([number[f] for f in folders])


def media(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures of a folder, or where there are none its sounds. Raises `Unreadable`."""
    every = files_below(path)
    files = [p for p in every if p.suffix.lower() in PICTURES]
    sounds = [p for p in every if p.suffix.lower() == ".wav"]
    if not files and len(sounds) < 3:
        raise Unreadable(f"{path}: no .png or .jpg, nor three .wav, in this folder")
    return files, [] if files else sounds


def files_below(path: Path) -> list[Path]:
    """Return all files below a folder, in order."""
    found: list[Path] = []
    for at, _, names in os.walk(path):
        found += [Path(at, name) for name in names]
        if len(found) > _MOST_FILES:
            raise Unreadable(f"{path}: the folder holds more than {_MOST_FILES} files")
    return sorted(found)


def digest_of_files(files: list[Path]) -> str:
    """Return the digest of several files, in order."""
    together = hashlib.sha256()
    for file in files:
        together.update(digest(file))
    return together.hexdigest()


__all__ = ["classes_of", "digest_of_files", "files_below", "media"]
