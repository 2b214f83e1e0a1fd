"""Spacing and indentation of a spec as its author broke it into lines: line breaks, order and literals stay.

A `.mp` text gets one spacing between tokens and two spaces for each brace; a continued line keeps its indentation, and
spaces that align declarations or comments stay. A YAML text keeps its layout; strings of one line get the spacing.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from lark import Token

from mpcompile.diagnostics import Source
from mpcompile.frontend.locate import Fragment, Locator
from mpcompile.frontend.tokens import HARD_KEYWORDS, KEYWORDS, scan

#: Written without spaces around them, before them, or behind them.
_TIGHT, _BEFORE, _BEHIND = {"..", "."}, {")", "]", ",", ":", ";", "?"}, {"(", "["}
_OPEN, _CLOSE = "([{", ")]}"


def laid_out(source: Source, syntax: str) -> str:
    """Lay out the text of a spec that parses."""
    return _yaml(source) if syntax == "yaml" else _mp(source)


def _mp(source: Source) -> str:
    tokens, comments = scan(Fragment.of_file(source))
    text, out, stack = source.text, list[str](), list[str]()
    at, which, headed, code = 0, 0, False, ""
    for line in text.split("\n"):
        end = at + len(line)
        row: list[Token] = []
        while which < len(tokens) and (tokens[which].start_pos or 0) < end:
            if tokens[which].value != "\n":
                row.append(tokens[which])
            which += 1
        while which < len(tokens) and tokens[which].start_pos == end:  # the line feed itself
            which += 1
        own = comments[bisect_left(comments, (at, 0)) :][:1]
        comment = next((text[a:b].rstrip() for a, b in own if a < end), "")
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        continued = any(b != "{" for b in stack) or (bool(row) and row[0].value == "->") or _goes_on(code)
        if not continued:
            closing = next((i for i, t in enumerate(row) if t.value != "}"), len(row))
            indent = "  " * max(0, len(stack) - closing)
        written = _row(row, text)
        if comment:
            gap = (
                text[row[-1].end_pos or 0 : at + line.index("#", (row[-1].end_pos or 0) - at)] if row else ""
            )
            written += (gap if len(gap) > 1 and not gap.strip(" ") else "  " if row else "") + comment
        if headed and not continued and written:  # an empty line behind `model m`
            out += [""] if out[-1] else []
            headed = False
        out.append((indent + written).rstrip() if written else "")
        code = out[-1] if out[-1] and not out[-1].lstrip().startswith("#") else code
        headed = headed or (bool(row) and not stack and row[0].value == "model")
        for token in row:
            if token.value in _OPEN and token.type != "STRING":
                stack.append(token.value)
            elif token.value in _CLOSE and stack and token.type != "STRING":
                stack.pop()
        at = end + 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip("\n") + "\n"


def _goes_on(code: str) -> bool:
    """Whether the last line of code ends so that the statement goes on."""
    return bool(re.search(r"(->|,|=|~|[-+*/%&|@])\s*(#.*)?$", code))


def _row(row: list[Token], text: str) -> str:
    out = ""
    for i, token in enumerate(row):
        if i == 0:
            out = token.value
            continue
        before, gap = row[i - 1], text[row[i - 1].end_pos or 0 : token.start_pos]
        aligned = (
            i == 1
            and before.value in ("input", "target", "condition", "weight")
            and len(gap) > 1
            and not gap.strip(" ")
        )
        out += (gap if aligned else _space(row, i)) + token.value
    return out


def _space(row: list[Token], i: int) -> str:
    """Return the text between two tokens of a line."""
    left, right = row[i - 1], row[i]
    if left.value in _TIGHT or right.value in _TIGHT or right.value in _BEFORE or left.value in _BEHIND:
        return ""
    if right.value in _BEHIND and _is_value(left):
        return ""
    if left.value in ("-", "~") and (i == 1 or not _is_value(row[i - 2])):
        return ""
    return " "


def _is_value(token: Token) -> bool:
    """Whether a token ends a value, so that a bracket behind it belongs to it and a sign behind it has two sides."""
    if token.type in ("INT", "FLOAT", "STRING") or token.value in (")", "]", "?"):
        return True
    word = token.type == "NAME" or token.value in KEYWORDS
    return word and token.value not in HARD_KEYWORDS


def _yaml(source: Source) -> str:
    from mpcompile.frontend.printyaml import scalar
    from mpcompile.frontend.yamltree import Scalar, compose, walk

    source = Source(source.path, source.text.replace("\r\n", "\n"))
    root, scalars = compose(Locator(source), [])
    text = source.text
    inside = {at for start, end in scalars for at in range(start, end)}
    text = "".join("\n" if c in "\r\x85\u2028\u2029" and i not in inside else c for i, c in enumerate(text))
    for node in sorted(walk(root), key=lambda n: n.start, reverse=True):
        if not isinstance(node, Scalar) or "\n" in node.value or node.style not in (None, "'", '"'):
            continue
        quotes = node.style is not None
        start, end = node.start + quotes, node.end - quotes
        if text[start:end] != node.value or re.search(r"[#\\]", node.value):
            continue
        tokens, _ = scan(Fragment(Locator(source), node.value))
        written = _row([t for t in tokens if t.value != "\n"], node.value)
        if quotes or scalar(written) == written:
            text = text[:start] + written + text[end:]
    return text if text.endswith("\n") else text + "\n"


__all__ = ["laid_out"]
