"""Initial weights: a function of (seed, parameter name) alone, the same on every backend."""

from __future__ import annotations

import numpy as np

from mpcompile.ir import Array, Init, Module
from mpcompile.runner.noise import generator


def initial(module: Module, seed: int = 0) -> dict[str, Array]:
    """Every parameter of a module by name, float32. Raises `ValueError` for an unknown kind of `Init`."""
    return {
        name: fill(spec.init, spec.shape, seed, name).astype(np.float32)
        for name, spec in module.parameters.items()
    }


def fill(init: Init, shape: tuple[int, ...], seed: int, name: str) -> Array:
    """One parameter in float64. `scale` is a deviation, half width, constant or (orthogonal) gain."""
    source = generator(seed, "initial", name)
    match init.kind:
        case "zeros":
            return np.zeros(shape)
        case "ones":
            return np.ones(shape)
        case "constant":
            return np.full(shape, init.scale)
        case "normal":
            return init.scale * source.standard_normal(shape)
        case "uniform":
            return source.uniform(-init.scale, init.scale, shape)
        case "orthogonal":
            return init.scale * _orthogonal(source, shape)
        case "array":
            if init.array is None or init.array.shape != tuple(shape):
                raise ValueError(
                    f"parameter {name}: its initial array is missing or not of shape {list(shape)}"
                )
            return np.asarray(init.array, dtype=np.float64)
    raise ValueError(f"parameter {name}: unknown initialisation {init.kind!r}")


def _orthogonal(source: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform (Haar) orthonormal rows or columns, whichever are fewer; axes after the first count as one."""
    if len(shape) < 2:
        raise ValueError(f"an orthogonal start needs two axes, not shape {list(shape)}")
    rows, columns = shape[0], int(np.prod(shape[1:]))
    q, r = np.linalg.qr(source.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.asarray(q if rows >= columns else q.T).reshape(shape)
