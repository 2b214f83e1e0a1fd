"""Every place that is told lies in the text: of nodes, comments and refusals, in every style of YAML's scalars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
from pydantic import BaseModel

from mpcompile.diagnostics import Source, Span, SpecError
from mpcompile.frontend import Syntax, parse_text
from mpcompile.frontend.comments import comments_of
from mpcompile.frontend.formatting import formatted

SYNTAXES: tuple[Syntax, ...] = ("mp", "yaml")
STYLES: dict[str, Callable[[list[str]], str]] = {
    "plain": lambda rows: "\n  ".join(rows),
    '"': lambda rows: '"' + "\n  ".join(rows) + '"',
    '" escaped': lambda rows: '"' + " \\\n  ".join(rows).replace("b", "\\x62").replace("#", "\\u0023") + '"',
    '" one line': lambda rows: '"' + "\\n".join(rows) + '"',
    "'": lambda rows: "'" + "\n\n  ".join(rows) + "'",
    "|": lambda rows: "|\n    " + "\n    ".join(rows),
    "|+": lambda rows: "|+  # of the header\n    " + "\n    ".join(rows) + "\n\n",
    "|4-": lambda rows: "|2-\n    " + "\n      ".join(rows) + "\n",
    ">": lambda rows: ">\n    " + "\n    ".join(rows) + "\n",
    ">-": lambda rows: ">-\n    " + "\n\n      ".join(rows),
}
FRAMES = (
    "model: m\ninput:\n  x: {}\ndensity:\n  - x ~ bernoulli(logits = 0)\n",
    "model: m\ninput: {{x: {}}}",
    "model: m\ninput: {{x: binary}}\ndensity:\n- {}",
    "model: m\nnets:\n  f:\n  - relu\n  - {}\n",
    "model: m\ncheck: [{}\n  ]",
)
ROWS = (
    ["binary", "[784]"], ["binary # c", "[784]"], ["binary # c", "# d"], ["binary", "[7 84", "]"], ["bina@ry", "b"],
    ["x ~", "normal(loc = 0 # b", ", scale = 1)"], ["x", "~ normal(b ="], ["\u2028binary", "é\U0001f600", "b"],
    ["", "b", ""],
    ["dense(3) -> relu -> # b", "dense(2)"], ["autoregressive(x) # why", "or not"], ["# b", ""], ["b = (", "'", "1)"],
)  # fmt: skip


def places(node: object) -> Iterator[Span]:
    """The span of every node of a tree."""
    if isinstance(node, BaseModel):
        for name in type(node).model_fields:
            value = getattr(node, name)
            yield from (value,) if isinstance(value, Span) else places(value)
    elif isinstance(node, tuple | list):
        for item in node:
            yield from places(item)


def inside(span: Span, text: str) -> bool:
    lines = text.split("\n")
    return (
        1 <= span.line <= span.end_line <= len(lines)
        and 1 <= span.column <= len(lines[span.line - 1]) + 1
        and 1 <= span.end_column <= len(lines[span.end_line - 1]) + 1
        and (span.line, span.column) <= (span.end_line, span.end_column)
    )


@pytest.mark.parametrize("style", STYLES)
def test_every_place_lies_in_the_text(style: str) -> None:
    told = 0
    for at, (frame, rows) in enumerate(product(FRAMES, ROWS)):
        text = frame.format(STYLES[style](rows)).replace("\n", "\r\n" if at % 2 else "\n")
        source = Source("m.yaml", text)
        spans: list[Span] = []
        try:
            model = parse_text(text, "m.yaml", "yaml")
            spans += [*places(model), *(c.span(source) for c in comments_of(source))]
            for to in SYNTAXES:
                once = formatted(model, source, to)
                again = parse_text(once, f"m.{to}", to)
                assert again.same_as(model) and formatted(again, Source(f"m.{to}", once), to) == once
        except SpecError as problem:
            spans += [d.span for d in problem.diagnostics]
        told += len(spans)
        assert (style, text, [s for s in spans if not inside(s, text)]) == (style, text, [])
    assert told > len(FRAMES) * len(ROWS)


@pytest.mark.parametrize("style", ['"', '" escaped', ">"])
@pytest.mark.parametrize("to", SYNTAXES)
def test_a_comment_goes_on_where_yaml_folds_a_line(style: str, to: Syntax) -> None:
    text = FRAMES[3].format(STYLES[style](["dense(3) # one", "b"]))
    once = formatted(parse_text(text, "m.yaml", "yaml"), Source("m.yaml", text), to)
    assert [c.text for c in comments_of(Source(f"m.{to}", once))] == ["# one b"]
