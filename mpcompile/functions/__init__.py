"""Functions of expressions: without weights, values first, options by name."""

from __future__ import annotations

from collections.abc import Mapping

from mpcompile.functions.base import Function
from mpcompile.functions.changing import CHANGING
from mpcompile.functions.circle import ANGULAR
from mpcompile.functions.contraction import CONTRACTIONS
from mpcompile.functions.reduce import REDUCTIONS
from mpcompile.functions.rotary import ROTARY
from mpcompile.functions.shaping import SHAPING
from mpcompile.functions.tables import TABLES
from mpcompile.functions.where import CHOICES

#: Functions by their names in a spec.
FUNCTIONS: Mapping[str, type[Function]] = {
    c.keyword: c
    for c in (*ANGULAR, *CHANGING, *REDUCTIONS, *CONTRACTIONS, *ROTARY, *SHAPING, *TABLES, *CHOICES)
}

__all__ = ["FUNCTIONS", "Function"]
