"""Carrying comments through the formatter.

The AST has no comments. The printer says for each of its lines which place of the source it came from; a
comment on its own line goes before the line of the next thing in the source, one behind something goes
behind that.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from mpcompile.diagnostics import Source, Span
from mpcompile.frontend.locate import Fragment, Locator
from mpcompile.frontend.printer import Line

#: What ends a line of YAML; a line of `.mp` ends at a line feed alone.
_BREAK = re.compile("[\r\n\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment: line and column of its `#` and of its end, its text, and whether it has its line to itself.

    Within a scalar of YAML the text is the decoded one: the comment may go over several lines of the file.
    """

    place: tuple[int, int]
    end: tuple[int, int]
    text: str
    alone: bool

    def span(self, source: Source) -> Span:
        return Span(source.path, *self.place, *self.end)


def weave(lines: list[Line], source: Source | None, syntax: str) -> list[str]:
    """Insert the comments of the source into the printed lines.

    A character that ends a line of YAML is a space in a comment there, so that its tail stays a comment.
    """
    comments = comments_of(source) if source is not None else []
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
    for comment in comments:
        written = _BREAK.sub(" ", comment.text) if syntax == "yaml" else comment.text
        if comment.alone:
            follower = bisect_left(starts, comment.place)
            at = places[follower][1] if follower < len(places) else len(lines)
            before.setdefault(at, []).append(written)
        else:
            owner = bisect_right(starts, comment.place) - 1
            behind.setdefault(places[owner][1] if owner >= 0 else 0, []).append(written)
    out: list[str] = []
    for at, line in enumerate(lines):
        indent = line.text[: len(line.text) - len(line.text.lstrip())]
        out += [indent + written for written in before.get(at, ())]
        tail = behind.get(at)
        if tail is None:
            out.append(line.text)
        else:
            out += [indent + written for written in tail[:-1]]  # two behind one line would read as one
            out.append(f"{line.text}  {tail[-1]}")
    return out + before.get(len(lines), [])


def comments_of(source: Source) -> list[Comment]:
    """Return every comment of a spec, in order; those inside the strings of a YAML text are among them."""
    text = source.text
    locator = Locator(source)
    yaml = source.path.lower().endswith((".yaml", ".yml"))
    if yaml:
        found = sorted(_yaml_comments(locator))
    else:
        from mpcompile.frontend.tokens import tokenize

        found = [(a, b, text[a:b]) for a, b in tokenize(Fragment.of_file(source)).comments]
    out: list[Comment] = []
    for start, end, written in found:
        line_start = text.rfind("\n", 0, start) + 1
        if yaml:
            line_start = max((m.end() for m in _BREAK.finditer(text, line_start, start)), default=line_start)
        alone = not text[line_start:start].strip()
        end = start + len(text[start:end].rstrip())
        out.append(Comment(locator.position(start), locator.position(end), written.rstrip(), alone))
    return out


def _yaml_comments(locator: Locator) -> list[tuple[int, int, str]]:
    """Comments of a YAML text: a `#` after white space outside of scalars, and those of the language inside."""
    from mpcompile.frontend.yamltree import compose

    root, scalars = compose(locator, [])
    text, out, at = locator.source.text, _inside(locator, root), 0
    spans = sorted(scalars)
    which = 0
    while (at := text.find("#", at)) >= 0:
        while which < len(spans) and spans[which][1] <= at:
            which += 1
        if which < len(spans) and spans[which][0] <= at and not _in_header(text, spans[which], at):
            at += 1
            continue
        stop = _BREAK.search(text, at)
        end = stop.start() if stop else len(text)
        if at == 0 or text[at - 1] in " \t\r\n\x85\u2028\u2029":
            out.append((at, end, text[at:end]))
        at = end
    return out


def _inside(locator: Locator, root: object) -> list[tuple[int, int, str]]:
    """Comments inside scalars: the language has its own, up to the end of a line of the decoded text, which is given."""
    from mpcompile.diagnostics import SpecError
    from mpcompile.frontend.tokens import tokenize
    from mpcompile.frontend.yamlscalar import fragment
    from mpcompile.frontend.yamltree import Collection, Scalar

    out: list[tuple[int, int, str]] = []
    todo, seen = [root], set[int]()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Collection):
            todo += [*(node.keys or []), *node.items]
        elif isinstance(node, Scalar) and "#" in node.value:
            part = fragment(locator, node.value, node.start, node.end, node.style)
            try:
                comments = tokenize(part, statements=False).comments
            except SpecError:
                continue
            for start, end in comments:
                out.append((*part.bounds(start, end), node.value[start:end]))
    return out


def _in_header(text: str, span: tuple[int, int], at: int) -> bool:
    """Whether `at` is on the first line of a block scalar, where `|-  # like this` is a comment."""
    return text[span[0]] in "|>" and "\n" not in text[span[0] : at]


__all__ = ["Comment", "comments_of", "weave"]
