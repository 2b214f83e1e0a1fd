"""The reference of the language, from the tables that lowering reads: signatures, slots, axes, defaults, examples."""

from __future__ import annotations

from mpcompile.reference.entries import Entry, described, entry, options, summary
from mpcompile.reference.schema import json_schema
from mpcompile.reference.tables import KINDS, Kind

__all__ = ["KINDS", "Entry", "Kind", "described", "entry", "json_schema", "options", "summary"]
