"""Emitted text as a live model: what runs is the file that ships."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from mpcompile.ir import Array
from mpcompile_torch.emit import Emitted
from mpcompile_torch.verify import verify_source

_FOLDER: tempfile.TemporaryDirectory[str] | None = None


def import_source(text: str) -> ModuleType:
    """Import emitted source from a file, so that tracebacks and torch.compile can read it.

    The file lies in a private folder that goes when the process ends; the same text is imported once.
    """
    global _FOLDER
    verify_source(text)
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


def build_model(
    emitted: Emitted, parameters: Mapping[str, Array], dtype: torch.dtype = torch.float32
) -> nn.Module:
    """An instance with these weights, on the CPU, its constants exact in `dtype`."""
    source = import_source(emitted.text)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(
            devices=[]
        ):  # fresh weights are overwritten, and must not move the caller's generator
            model: nn.Module = getattr(source, emitted.name)()
    finally:
        torch.set_default_dtype(before)
    state = {name: torch.from_numpy(np.array(array, copy=True)) for name, array in parameters.items()}
    model.load_state_dict({k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()})
    return model
