"""Concrete inputs and weights for programs, where data is not the point: verification and tests."""

from __future__ import annotations

import numpy as np

from mpcompile.ir import Array, DType, Module, symbols
from mpcompile.runner.data.lengths import longest
from mpcompile.runner.initial import initial


def example_weights(module: Module, seed: int = 0, spread: float = 0.05) -> dict[str, Array]:
    """Return initial weights with noise on top, so that zero-initialised layers do something. float64."""
    rng = np.random.default_rng(seed)
    return {
        k: np.asarray(v + spread * rng.standard_normal(v.shape), np.float64)
        for k, v in initial(module, seed).items()
    }


def example_inputs(
    module: Module, program: str, batch: int, length: int = 7, seed: int = 0
) -> dict[str, Array]:
    """Return data and noise for one program: float64 and int64, of the fields' own kinds, `length` for symbolic axes.

    Axes that conditions alone have are four times as long, and at least half real: texts fit into the frames they are of.
    None is longer than the model has learned positions.
    """
    rng = np.random.default_rng(seed)
    graph = module.programs[program]
    fields = module.fields.values()
    modelled = {s for f in fields if f.role != "condition" for size in f.type.shape for s in symbols(size)}
    wide = (
        {s for f in fields for size in f.type.shape for s in symbols(size)} - modelled if modelled else set()
    )
    env = {s: batch if s == "N" else length * (4 if s in wide else 1) for s in graph.symbols()}
    env |= {s: min(env[s], most) for s, most in longest(module).items() if s in env}
    out: dict[str, Array] = {}
    for name, value in graph.inputs.items():
        shape, field = value.type.concrete(env), module.fields.get(name) or module.latents.get(name)
        noise = module.noise[program].get(name)
        if noise is not None and noise.kind == "choice":
            out[name] = rng.integers(0, noise.classes, shape)
        elif noise is not None:
            uniform = noise.kind == "uniform"
            out[name] = rng.uniform(0.01, 0.99, shape) if uniform else rng.standard_normal(shape)
        elif field is not None and field.base != "real":
            least, most = 0, 2 if field.base == "binary" else field.classes or 9
            if field.counts:
                most = max(1, env.get(field.counts, length))
                least = most // 2 if field.counts in wide else 0
            drawn = rng.integers(least, most, shape) + field.low
            out[name] = drawn if value.dtype == DType.INT else drawn.astype(np.float64)
        elif not value.shape:
            out[name] = np.asarray(100.0)  # the number of examples of a data set
        elif field is not None and field.interval is not None:
            out[name] = _within(rng, field.interval, shape)
        else:
            out[name] = rng.standard_normal(shape)
        if field is not None and field.optional:
            hole = -1 if value.dtype == DType.INT else np.nan
            out[name] = np.where(rng.random(shape) < 0.3, hole, out[name])
    return out


def _within(rng: np.random.Generator, interval: tuple[float, float], shape: tuple[int, ...]) -> Array:
    """Numbers in the interior of an interval."""
    low, high = interval
    return low + rng.exponential(1, shape) if high == np.inf else rng.uniform(low, high, shape)
