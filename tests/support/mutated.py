"""Wrong variants of a spec that is right: other types of its variables, and other arguments of one call."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wrong_values import BAD

#: Types of every kind, rank and role, and some that are none.
TYPES = (
    "real", "real[1]", "real[7]", "real[time, channel: 3]", "real[node: 5, time]", "real[height: 4, width: 4]",
    "real[3, 4, 4]",
    "real[2, 4, 4, 4]", "real[3]?", "real(0..)[3]", "real(0..1)", "angle[2]", "binary[4]", "binary", "category(3)",
    "category(3)[time]", "category(3)[channel: 4]", "integer(0..7)[3]", "integer(0..)", "integer(1..time)",
    "real[class: 3]", "real[channel: 0]",
)  # fmt: skip
#: Expressions of other kinds, ranks and names than an argument has.
VALUES = ("x", "x -> relu", "nowhere", "over", "[height, width]", "[x, x]", "relu(x)", "x -> sum(over = channel)",
          "causal", "normal(0, 1)", "{}", "time = 4", "y")  # fmt: skip


def retyped(text: str) -> Iterator[str]:
    """The spec with each variable of each type, and as a weight, which has no examples."""
    for found in re.finditer(r"(?m)^(?:input|target|condition) \w+: (.*)$", text):
        for type_ in TYPES:
            yield text[: found.start(1)] + type_ + text[found.end(1) :]
        if found.group(1).startswith("real["):
            word = found.group(0).split(" ")[0]
            yield text[: found.start()] + "weight" + found.group(0).removeprefix(word) + text[found.end() :]


def recalled(text: str, name: str) -> Iterator[str]:
    """The spec with other arguments of the first call of a name: each replaced, left out or doubled, and one too many."""
    found = re.search(
        rf"\b{name}\b(?! *[:=])",
        text[text.index("~") :] if name in text.split("~")[0] and "~" in text else text,
    )
    if found is None:
        return
    start = found.end() + (len(text) - len(found.string))
    stated, end = arguments(text, start)
    for i, each in enumerate(stated):
        key = each.split("=")[0] + "= " if re.match(r" *\w+ =", each) else ""
        for other in (*BAD, *VALUES):
            yield text[:start] + written([*stated[:i], f"{key}{other}", *stated[i + 1 :]]) + text[end:]
        yield text[:start] + written([*stated[:i], *stated[i + 1 :]]) + text[end:]
        yield text[:start] + written([*stated, each]) + text[end:]
    for more in ("x", "3", "over = nowhere", "nonsense = 1", "mask = causal", "net = relu"):
        yield text[:start] + written([*stated, more]) + text[end:]


def written(stated: list[str]) -> str:
    return f"({', '.join(stated)})" if stated else ""


def arguments(text: str, start: int) -> tuple[list[str], int]:
    """The arguments in the brackets at a place, and where they end."""
    if text[start : start + 1] != "(":
        return [], start
    depth, parts, begin = 0, [], start + 1
    for at in range(start, len(text)):
        depth += (text[at] in "([{") - (text[at] in ")]}")
        if depth == 0 or (depth == 1 and text[at] == ","):
            parts.append(text[begin:at].strip())
            begin = at + 1
        if depth == 0:
            return parts, at + 1
    raise AssertionError("brackets that do not close")
