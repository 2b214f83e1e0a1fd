"""Emitted text as a live model: what runs is the file that ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mpcompile.backend import no_device
from mpcompile.emission.files import SAMPLERS
from mpcompile.emission.loading import import_files
from mpcompile.ir import Array
from mpcompile_torch.emit import Emitted


def find_device(name: str) -> torch.device:
    """Return the device `cpu`, `cuda` or `cuda:1`. Raises `SpecError` (MP511) where there is no such device."""
    try:
        device = torch.device(name)
    except RuntimeError as unknown:
        raise no_device("torch", name) from unknown
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise no_device("torch", name)
    return device


def live_class(emitted: Emitted) -> type[nn.Module]:
    """Import the class of a model, and make the functions of `sampling.py` methods of it.

    The class is that of the imported module, so that its instances can be pickled.
    """
    modules = import_files(emitted.files)
    found: type[nn.Module] = getattr(modules["model"], emitted.name)
    for program in SAMPLERS:
        if program in emitted.methods and "sampling" in modules:
            setattr(found, emitted.methods[program], getattr(modules["sampling"], emitted.methods[program]))
    return found


def build_model(
    emitted: Emitted, parameters: Mapping[str, Array], dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Build an instance with these weights, on the CPU, its constants exact in `dtype`."""
    class_ = live_class(emitted)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(
            devices=[]
        ):  # fresh weights are overwritten, and must not move the caller's generator
            model: nn.Module = class_()
    finally:
        torch.set_default_dtype(before)
    state = {name: torch.from_numpy(np.array(array, copy=True)) for name, array in parameters.items()}
    model.load_state_dict({k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()})
    return model


def read_state_dict(path: Path) -> dict[str, Array]:
    """Read the tensors of a state dict that `torch.save` wrote, floats as float32 or float64.

    Raises `ValueError` with one clause for what is no such file.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as bad:
        raise ValueError((bad.strerror or "cannot be read").lower()) from bad
    except Exception as bad:  # pickle, zip and torch's own errors: whatever it is, the file is not read
        raise ValueError("is no file of tensors that torch.save wrote") from bad
    for name in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    tensors = (
        {k: v for k, v in found.items() if isinstance(v, torch.Tensor)} if isinstance(found, dict) else {}
    )
    if not tensors:
        raise ValueError("holds no tensors by name")
    return {str(k): _plain(v.detach()) for k, v in tensors.items()}


def _plain(tensor: torch.Tensor) -> Array:
    narrow = tensor.is_floating_point() and tensor.dtype != torch.float64
    found: Array = (tensor.float() if narrow else tensor).numpy()
    return found
