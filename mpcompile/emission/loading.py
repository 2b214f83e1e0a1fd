"""Emitted files as a live module: what runs are the files that ship."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

_FOLDER: tempfile.TemporaryDirectory[str] | None = None

#: The file of an emitted model that is imported.
MODEL = "model.py"


def import_files(files: Mapping[str, str | bytes]) -> ModuleType:
    """Import the emitted `model.py` from a folder that holds all the files, so that tracebacks and compilers can read it.

    The text must have been verified. The folder is a private one, which goes when the process ends; the same files are
    imported once.
    """
    global _FOLDER
    payloads = {n: f.encode("ascii") if isinstance(f, str) else f for n, f in sorted(files.items())}
    sums = "".join(f"{name} {hashlib.sha256(payload).hexdigest()}\n" for name, payload in payloads.items())
    name = f"mpcompile_model_{hashlib.sha256(sums.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    if _FOLDER is None:
        _FOLDER = tempfile.TemporaryDirectory(prefix="mpcompile-")
    folder = Path(_FOLDER.name) / name
    folder.mkdir(exist_ok=True)
    for file, payload in payloads.items():
        (folder / file).write_bytes(payload)
    return _import(name, folder / MODEL)


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
