"""The words of the text form, and a reader over them."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

#: What stands without quotes: names of programs, inputs, outputs, parameters and frames.
BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./][A-Za-z0-9_]+)*")
#: Words that are values, so that a length of such a name is quoted.
WORDS = frozenset({"true", "false", "none", "inf", "nan"})
#: Words of a scope, so that a layer of such a name is quoted.
SCOPE_WORDS = frozenset({"function", "role", "in", "at", "return", "scope"})
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*")
    |(?P<symbol>`(?:[^`\\\n]|\\.)*`)
    |(?P<value>%[A-Za-z0-9_.]+)
    |(?P<data>@[0-9a-f]{16})
    |(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:[./][A-Za-z0-9_]+)*)
    |(?P<mark>->|[-+*(){}\[\]:,=!/])
    |(?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)


class TextError(ValueError):
    """Text that is no graph; the message begins with the number of the line."""


class Token(NamedTuple):
    """A word of the text: its kind, its characters and its line."""

    kind: str
    text: str
    line: int


def quoted(name: str) -> str:
    """Format a name: bare, or in quotes where it would read as something else."""
    return name if BARE.fullmatch(name) else json.dumps(name)


class Reader:
    """Tokens of a text, one after the other. Every method raises `TextError` for what it did not expect."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def fault(self, expected: str) -> TextError:
        found = self.next.text or "the end"
        return TextError(f"line {self.next.line}: expected {expected}, found {found[:40]!r}")

    def sees(self, text: str) -> bool:
        """Whether a mark or a word comes next."""
        kind, found, _ = self.tokens[self.at]
        return found == text and kind in ("mark", "name")

    def skip(self, text: str) -> bool:
        """Read a mark or a word, if it comes next."""
        found = self.sees(text)
        self.at += found
        return found

    def expect(self, text: str) -> None:
        if not self.skip(text):
            raise self.fault(repr(text))

    def take(self, kind: str, expected: str = "") -> str:
        """Read a token of a kind."""
        if self.next.kind != kind:
            raise self.fault(expected or f"a {kind}")
        self.at += 1
        return self.tokens[self.at - 1].text

    def name(self, of: str = "a name") -> str:
        """Read a name, bare or in quotes."""
        if self.next.kind == "text":
            return self.text()
        return self.take("name", of)

    def text(self) -> str:
        """Read a text in quotes."""
        found: str = json.loads(self.take("text", "a text in quotes"))
        return found

    def integer(self) -> int:
        negative = self.skip("-")
        text = self.take("number")
        if not text.isdigit():
            self.at -= 1
            raise self.fault("a whole number")
        return -int(text) if negative else int(text)


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    line = 1
    for match in _TOKEN.finditer(text):
        kind, word = match.lastgroup, match[0]
        if kind == "space":
            line += word.count("\n")
        elif kind is None or kind == "bad":
            raise TextError(f"line {line}: cannot read {text[match.start() : match.start() + 20]!r}")
        else:
            found.append(Token(kind, word, line))
    return [*found, Token("end", "", line)]
