"""The parser itself: lark's LALR engine, from tables built ahead of time."""

from __future__ import annotations

import gc
import hashlib
import json
from functools import cache
from typing import Any

import lark
from lark.parsers.lalr_interactive_parser import InteractiveParser

from mpcompile_grammar import GRAMMAR, START_RULES, TABLES


@cache
def parser() -> lark.Lark:
    """Return the one parser of the process, made on first use.

    Building the tables takes 90 ms, loading them 7 ms: a tenth of `mpcompile check`. Tables that do not
    belong to this grammar or this version of lark are left alone, and the grammar is compiled instead.
    """
    text = GRAMMAR.read_text(encoding="utf-8")
    collecting = gc.isenabled()
    gc.disable()  # 20 000 small objects are made and kept: collecting now costs 25 ms and frees nothing
    try:
        return _load(text)
    finally:
        if collecting:
            gc.enable()


def _load(text: str) -> lark.Lark:
    try:
        stored = json.loads(TABLES.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    if (
        stored.get("lark") == lark.__version__
        and stored.get("grammar") == hashlib.sha256(text.encode()).hexdigest()
    ):
        instance = lark.Lark.__new__(lark.Lark)
        instance._load(
            _with_integer_keys(stored), propagate_positions=True
        )  # what lark's standalone tool calls
        return instance
    return lark.Lark(
        text,
        parser="lalr",
        lexer="basic",
        propagate_positions=True,
        maybe_placeholders=True,
        start=list(START_RULES),
    )


def _with_integer_keys(stored: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to a table whose keys are numbers."""
    table = stored["data"]["parser"]["parser"]
    table["tokens"] = {int(key): value for key, value in table["tokens"].items()}
    table["states"] = {
        int(state): {int(token): action for token, action in row.items()}
        for state, row in table["states"].items()
    }
    return {"data": stored["data"], "memo": {int(key): value for key, value in stored["memo"].items()}}


def start(rule: str) -> InteractiveParser:
    """Start a parser at the given rule; it waits for its first token."""
    return parser().parse_interactive("", start=rule)


__all__ = ["parser", "start"]
