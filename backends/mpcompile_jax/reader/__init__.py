"""Functions of JAX, read as graphs: one call is traced, and its jaxpr is read equation by equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mpcompile.foreign.arguments import leaves
from mpcompile_jax.reader.callee import callee
from mpcompile_jax.reader.model import JaxModel


class JaxReader:
    """Reads functions, callable trees of arrays such as equinox modules, and modules of flax."""

    name = "jax"

    def model(
        self, model: Any, inputs: Any, call: Callable[..., Any] | None = None, name: str = ""
    ) -> JaxModel | None:
        arrays = jax.Array | np.ndarray | np.generic | bool | int | float | str | None
        if not isinstance(inputs, Mapping) or not all(isinstance(x, arrays) for _, x in leaves(inputs)):
            return None
        if any(base.__module__.startswith("torch.") for base in type(model).__mro__):
            return None
        found = callee(model, call)
        if found is None:
            return None
        return JaxModel(found, inputs, name or getattr(model, "__name__", type(model).__name__))


READER = JaxReader()

__all__ = ["READER", "JaxModel", "JaxReader"]
