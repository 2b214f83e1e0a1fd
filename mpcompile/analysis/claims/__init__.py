"""The claims that can be proven: one file each, one row here.

A rule takes the module and the claim. It answers with a `Verdict` (`analysis/verdict.py` lists the ways to make one),
or raises `NoRule` or `TooLarge`, which leaves the claim undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mpcompile.analysis.claims.autoregressive import autoregressive
from mpcompile.analysis.claims.complete import complete
from mpcompile.analysis.claims.independent import independent
from mpcompile.analysis.claims.jacobian import jacobian
from mpcompile.analysis.claims.no_blind_spot import no_blind_spot
from mpcompile.analysis.claims.padding import padding
from mpcompile.analysis.claims.parameters import parameters
from mpcompile.analysis.claims.path_length import path_length
from mpcompile.analysis.claims.receptive_field import receptive_field
from mpcompile.analysis.verdict import Verdict
from mpcompile.ir import Claim, Module

Rule = Callable[[Module, Claim], Verdict]

RULES: Mapping[str, Rule] = {
    "autoregressive": autoregressive,
    "complete": complete,
    "independent": independent,
    "jacobian": jacobian,
    "padding": padding,
    "parameters": parameters,
    "path_length": path_length,
    "receptive_field": receptive_field,
    "no_blind_spot": no_blind_spot,
}

__all__ = ["RULES", "Rule"]
