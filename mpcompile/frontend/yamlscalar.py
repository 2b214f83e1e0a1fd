"""The place in the file of each character of a decoded YAML scalar.

YAML folds lines, drops indentation and knows escapes, so a position in the decoded text is not a position
in the file. In every style the characters that are not white space appear in the file in the same order, as
themselves or as an escape: aligning those is exact. When it fails (it should not), everything is put at the
scalar's start.
"""

from __future__ import annotations

from collections.abc import Iterator

from mpcompile.frontend.locate import Fragment, Locator

_SPACE = frozenset(" \t\r\n\x85\u2028\u2029")
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r",
    "e": "\x1b",
    " ": " ", '"': '"', "\\": "\\", "/": "/", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_HEX = {"x": 2, "u": 4, "U": 8}


def fragment(locator: Locator, value: str, start: int, end: int, style: str | None) -> Fragment:
    """Return the decoded text of the scalar at `[start, end)` of the file, with its positions."""
    text = locator.source.text
    if style is None and text[start:end] == value:
        return Fragment(locator, value, start, whole=(start, end))
    if style in ("'", '"') and text[start + 1 : end - 1] == value:
        return Fragment(locator, value, start + 1, whole=(start, end))
    if style in ("|", ">"):
        first = text.find("\n", start)
        start_of_text = end if first < 0 else first + 1
    else:
        start_of_text = start + (style is not None)
        end -= style is not None
    units = _units(text, start_of_text, end, style)
    starts: list[int] = []
    ends: list[int] = []
    unit = next(units, None)
    last = start_of_text
    for char in value:
        if unit is not None and unit[0] == char and (char not in _SPACE or unit[2] - unit[1] > 1):
            starts.append(unit[1])
            ends.append(unit[2])
            last = unit[2]
            unit = next(units, None)
        elif char in _SPACE:
            starts.append(last)
            ends.append(last + 1)
        else:
            return Fragment.unmapped(locator, value, (start, end))
    return Fragment(locator, value, starts=starts, ends=ends, whole=(start, end))


def _units(text: str, at: int, end: int, style: str | None) -> Iterator[tuple[str, int, int]]:
    """Characters that the decoded text must show in this order: (character, start, end)."""
    while at < end:
        char, size = text[at], 1
        if style == "'" and text[at : at + 2] == "''":
            size = 2
        elif style == '"' and char == "\\":
            code = text[at + 1]
            if code in _HEX:
                size = 2 + _HEX[code]
                char = chr(int(text[at + 2 : at + size], 16))
            elif code in _ESCAPES:
                size, char = 2, _ESCAPES[code]
            else:  # an escaped line break: it stands for nothing
                at += 2
                continue
        if char not in _SPACE or size > 1:
            yield char, at, at + size
        at += size


__all__ = ["fragment"]
