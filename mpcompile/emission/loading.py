"""Emitted files as a live module: what runs are the files that ship."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import ModuleType

from mpcompile.emission.files import MODEL, SAMPLING

_FOLDER: tempfile.TemporaryDirectory[str] | None = None

#: One import at a time: while `sampling.py` is imported, `model` is the module beside it.
_LOCK = Lock()


def import_files(files: Mapping[str, str | bytes]) -> dict[str, ModuleType]:
    """Import the emitted modules, `model` and `sampling`, from a folder that holds all the files.

    So tracebacks and compilers can read them. The texts must have been verified. The folder is a private one, which goes
    when the process ends; the same files are imported once.
    """
    global _FOLDER
    payloads = {n: f.encode("ascii") if isinstance(f, str) else f for n, f in sorted(files.items())}
    sums = "".join(f"{name} {hashlib.sha256(payload).hexdigest()}\n" for name, payload in payloads.items())
    name = f"mpcompile_model_{hashlib.sha256(sums.encode()).hexdigest()[:16]}"
    with _LOCK:
        if _FOLDER is None:
            _FOLDER = tempfile.TemporaryDirectory(prefix="mpcompile-")
        folder = Path(_FOLDER.name) / name
        if name not in sys.modules:
            folder.mkdir(exist_ok=True)
            for file, payload in payloads.items():
                (folder / file).write_bytes(payload)
        found = {"model": _import(name, folder / MODEL)}
        if SAMPLING in files:
            with _known_as("model", found["model"]):
                found["sampling"] = _import(f"{name}_sampling", folder / SAMPLING)
    return found


@contextmanager
def _known_as(name: str, module: ModuleType) -> Iterator[None]:
    """Let a module have a name for a while; a module that had the name has it again afterwards."""
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before


def _import(name: str, path: Path) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
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
