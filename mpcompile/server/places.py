"""Places of a text as editors count them: lines and UTF-16 code units from 0, against characters and `Span`s."""

from __future__ import annotations

import re
from bisect import bisect_right

from lsprotocol.types import Position, Range

from mpcompile.diagnostics import Span
from mpcompile.frontend.editing import offsets

_BREAK = re.compile("\r\n|\n|\r")


class Places:
    """The lines of a text in the sense of the protocol, which also ends a line at a lone carriage return."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(m.end() for m in _BREAK.finditer(text))]

    def position(self, offset: int) -> Position:
        """Return the position of a character."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect_right(self._starts, offset) - 1
        return Position(line, len(self.text[self._starts[line] : offset].encode("utf-16-le")) // 2)

    def offset(self, position: Position) -> int:
        """Return the character at a position; behind the end of its line that end, behind the text its end."""
        if position.line >= len(self._starts):
            return len(self.text)
        start = self._starts[position.line]
        found = _BREAK.search(self.text, start)
        units = 0
        for i, char in enumerate(self.text[start : found.start() if found else len(self.text)]):
            if units >= position.character:
                return start + i
            units += 2 if ord(char) > 0xFFFF else 1
        return found.start() if found else len(self.text)

    def range(self, span: Span) -> Range:
        """Return the range of a span; of one without a place the start of the text."""
        start, end = offsets(self.text, span) if span.line else (0, 0)
        return Range(self.position(start), self.position(end))

    def range_of(self, start: int, end: int) -> Range:
        """Return the range of some characters."""
        return Range(self.position(start), self.position(end))


__all__ = ["Places"]
