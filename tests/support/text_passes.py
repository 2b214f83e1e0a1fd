"""Passes on text: what is written before becomes what is written after."""

from __future__ import annotations

from mpcompile.passes.base import Pass
from mpcompile.passes.dce import DeadCode
from mpcompile.text import Style, parse, printed

STYLE = Style(data=True, scopes=True)


def assert_becomes(rewrite: Pass, before: str, after: str) -> None:
    """A pass, and dead-code elimination behind it, turn one graph into another, scopes included."""
    given = parse(before)
    result = rewrite(given)
    assert printed(DeadCode()(result.graph).graph, STYLE) == printed(parse(after), STYLE)
    assert result.changed == (result.graph is not given)


def assert_stays(rewrite: Pass, text: str) -> None:
    """A pass changes nothing of a graph, and gives the graph itself."""
    given = parse(text)
    result = rewrite(given)
    assert printed(result.graph, STYLE) == printed(given, STYLE)
    assert not result.changed and result.graph is given


__all__ = ["assert_becomes", "assert_stays"]
