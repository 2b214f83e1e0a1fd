"""Quoted strings of the language: decoding and encoding."""

from __future__ import annotations

import re

_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t", "r": "\r"}
_NAMED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def unquote(token: str) -> tuple[str, tuple[int, str] | None]:
    """Return the value of a quoted token, and its first bad escape: (position in the token, the escape)."""
    out: list[str] = []
    at, end = 1, len(token) - 1
    while at < end:
        char = token[at]
        if char != "\\":
            out.append(char)
            at += 1
            continue
        code = token[at + 1]
        if code in _ESCAPES:
            out.append(_ESCAPES[code])
            at += 2
        elif code == "u" and re.fullmatch("[0-9a-fA-F]{4}", token[at + 2 : at + 6]):
            value = int(token[at + 2 : at + 6], 16)
            if value == 0 or 0xD800 <= value < 0xE000:  # NUL and halves of surrogate pairs are no text
                return "", (at, token[at : at + 6])
            out.append(chr(value))
            at += 6
        else:
            return "", (at, token[at : at + 2])
    return "".join(out), None


def quote(text: str) -> str:
    """Format a double-quoted token with this value; anything that does not print is escaped."""
    return '"' + "".join(_quoted(char) for char in text) + '"'


def _quoted(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if char.isprintable() or ord(char) > 0xFFFF:
        return char
    return f"\\u{ord(char):04x}"


__all__ = ["quote", "unquote"]
