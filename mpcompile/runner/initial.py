"""Initial weights: a function of (seed, parameter name) alone, the same on every backend."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mpcompile.ir import Array, Init, Module, ParameterSpec
from mpcompile.runner.noise import generator

#: Numbers that are drawn in float64 before they are rounded, so that a large weight is never held twice.
_PIECE = 1 << 16
#: Numbers that a thread draws at once.
_PORTION = 1 << 18


def initial(module: Module, seed: int = 0) -> dict[str, Array]:
    """Return every parameter of a module by name, float32. Raises `ValueError` for an unknown kind of `Init`.

    Each has a counter of its own, so they are drawn on all cores at once.
    """

    def draw(specs: Sequence[ParameterSpec]) -> dict[str, Array]:
        return {spec.name: _draw(spec, seed) for spec in specs}

    found: dict[str, Array] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy draws without the interpreter's lock
        for drawn in pool.map(draw, _portions(module.parameters.values())):
            found |= drawn
    return found


def _portions(specs: Iterable[ParameterSpec]) -> Iterator[list[ParameterSpec]]:
    """Yield parameters in their order, as many at once as take a thread longer than it takes to hand them over."""
    portion: list[ParameterSpec] = []
    size = 0
    for spec in specs:
        portion.append(spec)
        size += spec.size
        if size >= _PORTION:
            yield portion
            portion, size = [], 0
    yield portion


def _draw(spec: ParameterSpec, seed: int) -> Array:
    """The initial value of a parameter: zero where masks remove an element, else as if there were none."""
    value = fill(spec.init, tuple(spec.shape), seed, spec.name)
    if spec.support is not None:
        value *= spec.support.stored
    return value


def fill(init: Init, shape: tuple[int, ...], seed: int, name: str) -> Array:
    """Return one parameter, float32. `scale` is a deviation, half width, constant or (orthogonal) gain.

    Raises `ValueError` for an unknown kind of initialisation.
    """
    source = generator(seed, "initial", name)

    def drawn(piece: Callable[[int], Array]) -> Array:
        out = np.empty(math.prod(shape), np.float32)
        for start in range(0, out.size, _PIECE):
            part = out[start : start + _PIECE]
            part[:] = piece(part.size)
        return out.reshape(shape)

    match init.kind:
        case "zeros":
            return np.zeros(shape, np.float32)
        case "ones":
            return np.ones(shape, np.float32)
        case "constant":
            return np.full(shape, init.scale, np.float32)
        case "normal":
            return drawn(lambda n: init.scale * source.standard_normal(n))
        case "uniform":
            return drawn(lambda n: source.uniform(-init.scale, init.scale, n))
        case "orthogonal":
            return (init.scale * _orthogonal(source, shape)).astype(np.float32)
        case "array":
            if init.array is None or init.array.shape != tuple(shape):
                raise ValueError(
                    f"parameter {name}: its initial array is missing or not of shape {list(shape)}"
                )
            return init.array.astype(np.float32)
    raise ValueError(f"parameter {name}: unknown initialisation {init.kind!r}")


def _orthogonal(source: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform (Haar) orthonormal rows or columns, whichever are fewer; axes after the first count as one."""
    if len(shape) < 2:
        raise ValueError(f"an orthogonal start needs two axes, not shape {list(shape)}")
    rows, columns = shape[0], int(np.prod(shape[1:]))
    q, r = np.linalg.qr(source.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.asarray(q if rows >= columns else q.T).reshape(shape)
