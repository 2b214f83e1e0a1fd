"""Emitted text as a live module: what runs is the file that ships."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

_FOLDER: tempfile.TemporaryDirectory[str] | None = None


def import_source(text: str) -> ModuleType:
    """Import emitted source from a file, so that tracebacks and compilers can read it. The text must have been verified.

    The file lies in a private folder that goes when the process ends; the same text is imported once.
    """
    global _FOLDER
    name = f"mpcompile_model_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    if _FOLDER is None:
        _FOLDER = tempfile.TemporaryDirectory(prefix="mpcompile-")
    path = Path(_FOLDER.name) / f"{name}.py"
    path.write_text(text, encoding="ascii")
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
