"""Every spec of the project, lowered once for all tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mpcompile import api
from mpcompile.ir import Module
from mpcompile.runner.examples import example_inputs as inputs
from mpcompile.runner.examples import example_weights as weights

ROOT = Path(__file__).parents[2]
SPECS = sorted(p for p in (ROOT / "specs").iterdir() if p.suffix in (".mp", ".yaml"))
NAMES = [p.stem for p in SPECS]


@cache
def module(name: str) -> Module:
    """The lowered module of specs/<name>; shared between tests, which must not change it."""
    return api.load(next(p for p in SPECS if p.stem == name))


__all__ = ["NAMES", "ROOT", "SPECS", "inputs", "module", "weights"]
