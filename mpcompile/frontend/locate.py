"""Map positions in a text to spans of the file it came from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from mpcompile.diagnostics import Source, Span


class Locator:
    """Turns character positions of a file into spans.

    A *line* ends at `\\n` only, as `Source.line` has it; YAML's other line breaks do not count.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._starts = [0]
        find = source.text.find
        at = find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = find("\n", at + 1)

    def position(self, index: int) -> tuple[int, int]:
        """1-based line and column of a character."""
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def span(self, start: int, end: int) -> Span:
        """The stretch from character `start` up to, not including, `end`."""
        line, column = self.position(start)
        end_line, end_column = self.position(max(start, end))
        return Span(self.source.path, line, column, end_line, end_column)


class Fragment:
    """A text to be parsed and where each of its characters stands in the file.

    For a `.mp` file the text is the file. For a YAML string it is the decoded scalar: `starts[i]` and
    `ends[i]` bound the i-th character in the file. `whole` is the scalar itself: the place of anything that
    has none.
    """

    def __init__(
        self,
        locator: Locator,
        text: str,
        offset: int = 0,
        starts: Sequence[int] | None = None,
        ends: Sequence[int] | None = None,
        whole: tuple[int, int] | None = None,
    ) -> None:
        self.locator = locator
        self.text = text
        self._offset = offset
        self._starts = starts
        self._ends = ends
        self._whole = whole

    @classmethod
    def of_file(cls, source: Source) -> Fragment:
        return cls(Locator(source), source.text)

    @classmethod
    def unmapped(cls, locator: Locator, text: str, whole: tuple[int, int]) -> Fragment:
        """A text whose characters cannot be found one by one: everything in it is at its start."""
        return cls(locator, text, starts=[whole[0]] * len(text), ends=[whole[0] + 1] * len(text), whole=whole)

    def span(self, start: int, end: int) -> Span:
        """The span in the file of `text[start:end]`; an empty stretch is an empty span."""
        if self._starts is None or self._ends is None:
            return self.locator.span(self._offset + start, self._offset + end)
        if not self._starts:
            low, high = self._whole or (0, 0)
            return self.locator.span(low, high)
        if start >= len(self._starts):
            return self.locator.span(self._ends[-1], self._ends[-1])
        first = self._starts[start]
        last = self._ends[min(end, len(self._ends)) - 1] if end > start else first
        return self.locator.span(first, last)

    def bounds(self, start: int, end: int) -> tuple[int, int]:
        """Return where `text[start:end]` stands in the file."""
        if self._starts is None or self._ends is None:
            return self._offset + start, self._offset + end
        return self._starts[start], self._ends[end - 1]

    def all(self) -> Span:
        if self._whole is not None:
            return self.locator.span(*self._whole)
        return self.span(0, len(self.text))
