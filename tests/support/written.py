"""Specs that a test writes itself, lowered once."""

from __future__ import annotations

from functools import cache

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.ir import Module
from mpcompile.lowering import lower


@cache
def lowered(text: str, syntax: str = "mp") -> Module:
    """The module of a spec; shared between tests, which must not change it."""
    path = f"written.{syntax}"
    return lower(parse_text(text, path, syntax), Source(path, text), {})
