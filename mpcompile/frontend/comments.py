"""Carrying comments through the formatter.

The AST has no comments. The printer says for each of its lines which place of the source it came from; a
comment on its own line goes before the line of the next thing in the source, one behind something goes
behind that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from mpcompile.diagnostics import Source
from mpcompile.frontend.locate import Fragment, Locator
from mpcompile.frontend.printer import Line

_Place = tuple[int, int]


def weave(lines: list[Line], source: Source | None) -> list[str]:
    """The printed lines with the comments of the source among them."""
    comments = _comments(source) if source is not None else []
    if not comments or source is None:
        return [line.text for line in lines]
    places = sorted(
        ((line.anchor.line, line.anchor.column), at)
        for at, line in enumerate(lines)
        if line.anchor is not None
    )
    starts = [place for place, _ in places]
    before: dict[int, list[str]] = {}
    behind: dict[int, list[str]] = {}
    for place, written, alone in comments:
        if alone:
            follower = bisect_left(starts, place)
            at = places[follower][1] if follower < len(places) else len(lines)
            before.setdefault(at, []).append(written)
        else:
            owner = bisect_right(starts, place) - 1
            behind.setdefault(places[owner][1] if owner >= 0 else 0, []).append(written)
    out: list[str] = []
    for at, line in enumerate(lines):
        indent = line.text[: len(line.text) - len(line.text.lstrip())]
        out += [indent + written for written in before.get(at, ())]
        tail = behind.get(at)
        if tail is None:
            out.append(line.text)
        else:
            out.append(f"{line.text}  {' '.join(tail)}")
    return out + before.get(len(lines), [])


def _comments(source: Source) -> list[tuple[_Place, str, bool]]:
    """Place, text and whether it has its line to itself, of every comment."""
    text = source.text
    locator = Locator(source)
    if source.path.lower().endswith((".yaml", ".yml")):
        found = _yaml_comments(locator)
    else:
        from mpcompile.frontend.tokens import tokenize

        found = tokenize(Fragment.of_file(source)).comments
    out: list[tuple[_Place, str, bool]] = []
    for start, end in found:
        line_start = text.rfind("\n", 0, start) + 1
        out.append((locator.position(start), text[start:end].rstrip(), not text[line_start:start].strip()))
    return out


def _yaml_comments(locator: Locator) -> list[tuple[int, int]]:
    """Comments of a YAML text: a `#` after white space that is not inside a scalar."""
    from mpcompile.frontend.yamltree import compose

    _, scalars = compose(locator, [])
    text, out, at = locator.source.text, [], 0
    spans = sorted(scalars)
    which = 0
    while (at := text.find("#", at)) >= 0:
        while which < len(spans) and spans[which][1] <= at:
            which += 1
        if which < len(spans) and spans[which][0] <= at and not _in_header(text, spans[which], at):
            at += 1
            continue
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if at == 0 or text[at - 1] in " \t\n":
            out.append((at, end))
        at = end
    return out


def _in_header(text: str, span: tuple[int, int], at: int) -> bool:
    """Whether `at` is on the first line of a block scalar, where `|-  # like this` is a comment."""
    return text[span[0]] in "|>" and "\n" not in text[span[0] : at]


__all__ = ["weave"]
