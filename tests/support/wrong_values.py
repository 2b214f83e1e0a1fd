"""Values that nearly no argument takes, and what may come of a model that has one."""

from __future__ import annotations

import re
from typing import Any

from mpcompile import api
from mpcompile.backend import find_backend
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise

#: Values, each of them wrong for nearly every argument.
BAD = (
    "-1", "0", "1", "nan", "10**40", "10**17", "2.5", "1e-320", "true", '"text"', "word", "x",
    "[]", "[0]", "[1, -1, 1, 1, 1]", "[[1, 2], [3]]", f"[{', '.join(['1'] * 80)}]", "x -> relu", "relu", "1 / 0", "~x",
)  # fmt: skip
#: What no message of ours says, and Python's do.
FOREIGN = re.compile(
    r"\bobject\b|NoneType|unpack|positional|__|<class|Traceback|invalid literal|not subscriptable|takes \d+ argument|"
    r"inhomogeneous|numpy|tuple|\bdict\b|out of range|has no attribute|unhashable|\(expected",
)


def outcome(text: str, emit: bool = True) -> str:
    """`accepted`, or the code of the refusal; whatever else happens is a failure."""
    try:
        module = lower(*parsed(text))
        api.verdicts(module)
        api.warnings(module)
        if emit:
            find_backend("torch").emit(optimise(module).module)
    except SpecError as problem:
        lines = text.split("\n")
        for d in problem.diagnostics:
            assert 1 <= d.span.line <= d.span.end_line <= len(lines), (d, text)
            assert d.span.column >= 1 and 1 < d.span.end_column <= len(lines[d.span.end_line - 1]) + 1, (
                d,
                text,
            )
            assert d.span.column < d.span.end_column or d.span.line < d.span.end_line, (d, text)
            for words in (d.message, d.help):
                assert not FOREIGN.search(re.sub(r"`[^`]*`", "", words)), (words, text)
                assert len(words) < 1500 and words == words.rstrip("."), (words, text)
        return problem.diagnostics[0].code
    return "accepted"


def parsed(text: str) -> Any:
    return parse_text(text, "m.mp", "mp"), Source("m.mp", text)
