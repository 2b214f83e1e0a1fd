"""Verdicts of what a spec states or its densities need, without those derived for every model."""

from __future__ import annotations

from mpcompile.analysis import Verdict, prove
from mpcompile.ir import Module

#: Derived for every model, and swept by tests of their own.
DERIVED = ("independent", "padding", "joint")


def answers(module: Module) -> list[Verdict]:
    """The verdicts of a module in order, but for those of `DERIVED`."""
    return [v for v in prove(module) if v.claim.kind not in DERIVED]
