"""Every spec of the project, and concrete inputs for its programs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from mpcompile import api
from mpcompile.ir import Array, DType, Graph, Module
from mpcompile.runner.initial import initial

ROOT = Path(__file__).parents[2]
SPECS = sorted(p for p in (ROOT / "specs").iterdir() if p.suffix in (".mp", ".yaml"))
NAMES = [p.stem for p in SPECS]


@cache
def module(name: str) -> Module:
    """The lowered module of specs/<name>; shared between tests, which must not change it."""
    return api.load(next(p for p in SPECS if p.stem == name))


def weights(m: Module, seed: int = 0, spread: float = 0.05) -> dict[str, Array]:
    """Initial weights with noise on top, so that zero-initialised layers do something. float64."""
    rng = np.random.default_rng(seed)
    return {k: v + spread * rng.standard_normal(v.shape) for k, v in initial(m, seed).items()}


def inputs(m: Module, program: str, batch: int, length: int = 7, seed: int = 0) -> dict[str, Array]:
    """Data and noise of one program, float64 and int64."""
    rng = np.random.default_rng(seed)
    graph: Graph = m.programs[program]
    env = {s: batch if s == "N" else length for s in graph.symbols()}
    out: dict[str, Array] = {}
    for name, value in graph.inputs.items():
        shape, field = value.type.concrete(env), m.fields.get(name)
        noise = m.noise[program].get(name)
        if noise is not None:
            out[name] = (
                rng.uniform(0.01, 0.99, shape) if noise.kind == "uniform" else rng.standard_normal(shape)
            )
        elif field is not None and field.base != "real":
            levels = 2 if field.base == "binary" else field.classes
            drawn = rng.integers(0, levels, shape) + field.low
            out[name] = drawn if value.dtype == DType.INT else drawn.astype(np.float64)
        else:
            out[name] = rng.standard_normal(shape)
    return out
