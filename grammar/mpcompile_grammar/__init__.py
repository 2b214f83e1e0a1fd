"""The grammar of the language, as package data: `mpcompile.lark` and the tables built from it."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

GRAMMAR: Traversable = files(__name__) / "mpcompile.lark"
TABLES: Traversable = files(__name__) / "tables.json"
START_RULES = (
    "model", "statement", "item", "pipeline", "stage", "signature", "type", "initial", "carried", "names", "claim",
)  # fmt: skip

__all__ = ["GRAMMAR", "START_RULES", "TABLES"]
