"""Pieces of Python text: expressions with precedence, checked names, comments, the layout of lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from textwrap import wrap

from mpcompile.ir import Module, Symbolic

WIDTH = 100
#: Characters of the place that a comment tells.
PLACE = 32

ATOM, UNARY, PRODUCT, SUM, BITAND, BITOR, COMPARE, LOWEST = 90, 80, 70, 60, 50, 40, 30, 0

Label = tuple[str, str, int]  # how the user wrote a layer, its file, its line


@dataclass(frozen=True)
class Expr:
    """An expression in the making.

    scalar  a Python number, not a tensor
    heavy   holds a product, convolution or call: two of these are not nested into one line
    refs    local names that it reads, with repetition
    labels  the layers it comes from
    mask    truth values by which a float may be multiplied as they are, where `text` makes floats of them
    fill    the number that all elements are, of a new array
    count   the size that this number is
    mean    how this sum reads as a mean, and the number of terms to divide by for it
    """

    text: str
    precedence: int = ATOM
    scalar: bool = False
    heavy: bool = False
    refs: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    mask: str = ""
    fill: str = ""
    count: int | Symbolic | None = None
    mean: tuple[str, int | Symbolic] | None = None

    def at(self, precedence: int) -> str:
        """The text, in brackets where something that binds as tightly as `precedence` is needed."""
        return self.text if self.precedence >= precedence else f"({self.text})"

    @property
    def simple(self) -> bool:
        """May be written twice."""
        return self.scalar or re.fullmatch(r"[A-Za-z0-9_.]+", self.text) is not None

    def with_(self, **changes: object) -> Expr:
        return replace(self, **changes)  # type: ignore[arg-type]  # fields are checked where they are used


def prose(text: str, limit: int = 70) -> str:
    """Convert text of a spec for a comment or docstring: one line of printable ASCII, no quotes, no backslashes."""
    plain = re.sub(r"[^ -~]+", " ", text).replace("\\", "/").replace('"', "'")
    plain = re.sub(r"\s+", " ", plain).strip()
    return plain if len(plain) <= limit else plain[: limit - 3].rstrip() + "..."


def basename(path: str) -> str:
    """Return the last part of a path, for a comment or docstring."""
    return prose(re.split(r"[/\\]", path)[-1])


def remark(module: Module) -> list[str]:
    """Return the paragraph of a file's head that says what is to be known of a module; nothing where there is none."""
    text = prose(module.remark, 4 * WIDTH)
    return ["", *wrap(text, WIDTH - 4)] if text else []


def comment(labels: Iterable[Label], width: int) -> str:
    """Write the comment `# dense(hidden) -> relu  [made.yaml:11]`, in `width` characters."""
    places: dict[str, list[int]] = {}
    words: dict[str, None] = {}
    for text, path, line in labels:
        words[prose(text)] = None
        if path:
            lines = places.setdefault(basename(path), [])
            if line not in lines:
                lines.append(line)
    numbers = {p: ", ".join(map(str, sorted(lines))) for p, lines in places.items()}
    where = "; ".join(f"{p}:{n}" for p, n in numbers.items())
    if len(where) > PLACE:  # a long name of a file: its lines alone
        where = prose("; ".join(f"line {n}" for n in numbers.values()), PLACE)
    where = f"  [{where}]" if where else ""
    return "# " + prose(" -> ".join(words), min(60, width - 2 - len(where))) + where


def size(value: int | Symbolic, names: dict[str, str]) -> Expr:
    """Write a size as an expression; `names` gives the local variable of each symbol."""
    if isinstance(value, int):
        return Expr(str(value), scalar=True)
    text = ""
    for monomial, coefficient in value.terms:
        factors = [names[s] for s in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, str(abs(coefficient)))
        sign = ("-" if coefficient < 0 else "") if not text else (" - " if coefficient < 0 else " + ")
        text += sign + " * ".join(factors)
    single = len(value.terms) == 1
    precedence = ATOM if re.fullmatch(r"\w+", text) else PRODUCT if single else SUM
    return Expr(text, precedence, scalar=True)


def tuple_text(parts: Iterable[str]) -> str:
    """Write a tuple of expressions."""
    listed = list(parts)
    return f"({listed[0]},)" if len(listed) == 1 else f"({', '.join(listed)})"


def slice_text(start: str, stop: str) -> str:
    """Write a slice, with spaces around its colon where an end is computed."""
    return f"{start} : {stop}".lstrip() if " " in start + stop else f"{start}:{stop}"


def number(value: float | int | bool) -> str:
    """Write a Python literal of exactly this value."""
    if isinstance(value, float) and not math.isfinite(value):
        return "math.nan" if math.isnan(value) else "math.inf" if value > 0 else "-math.inf"
    return repr(value).replace("e+", "e")


def literal(value: float | int | bool) -> Expr:
    """Write a literal as an expression, with the precedence of its sign."""
    negative = not isinstance(value, bool) and (value < 0 or (value == 0 and math.copysign(1, value) < 0))
    return Expr(number(value), UNARY if negative else ATOM, scalar=True)


def quoted(text: str) -> str:
    """Write a string literal in double quotes where that needs no escapes."""
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if plain else ascii(text)


#: How a comparison reads from its other side.
FLIPPED = {"<": ">", "<=": ">=", "==": "=="}


def comparison(symbol: str, left: Expr, right: Expr) -> Expr:
    """Write a comparison, with a number or a constant by its name (`INDEX_0`) on its right side."""
    if left.scalar or (left.text.isupper() and not right.scalar):
        left, symbol, right = right, FLIPPED[symbol], left
    return Expr(f"{left.at(COMPARE + 1)} {symbol} {right.at(COMPARE + 1)}", COMPARE)


def addition(left: Expr, right: Expr) -> Expr:
    """Write a sum; what is added below zero is subtracted."""
    if right.scalar and right.precedence == UNARY and not left.scalar:
        return Expr(f"{left.at(SUM)} - {right.text.removeprefix('-')}", SUM)
    return Expr(f"{left.at(SUM)} + {right.at(SUM + 1)}", SUM)


# --- layout ---


def layout(line: str, indent: int, width: int = WIDTH) -> list[str]:
    """Break a statement into lines, at its last bracket as formatters do."""
    lead = "    " * indent
    if len(lead) + len(line) <= width:
        return [lead + line]
    if line.startswith("return ") and (parts := _tuple(line.removeprefix("return "), indent, width)):
        return [f"{lead}return {parts[0].lstrip()}", *parts[1:]]
    targets, equals, value = line.partition(" = ")
    split = _last_bracket(line)
    if equals and len(_commas(targets)) > 1:
        left, parts = _tuple(targets, indent, width), _tuple(value, indent, width)
        short = len(f"{lead}{targets} = (") <= width
        if parts and short:
            return [f"{lead}{targets} = (", *parts[1:]]
        right = layout(f"_ = {value}", indent, width)  # as wide as `) = ...`
        if parts and (len(right) > 1 or len(right[0]) > width):
            return [*left[:-1], f"{lead}) = (", *parts[1:]]
        if parts or len(lead + (split[0] if split else line)) > width:
            return [*left[:-1], right[0].replace("_", ")", 1), *right[1:]]
    if split and len(lead + split[0]) > width and (earlier := _last_bracket(split[0][:-1])):
        split = earlier[0], earlier[1], earlier[2] + line[len(split[0]) - 1 :]
    if _operators(value) and len(lead) + 4 + len(value) <= width and not line.endswith(","):
        return [f"{lead}{targets} = (", f"{lead}    {value}", f"{lead})"]
    if split is None:
        cut = line[: width - len(lead) - 1].rfind(".")
        if line.startswith('"') and cut > 0:  # the long key of a dict, in two pieces
            return [f'{lead}{line[:cut]}"', *layout(f'"{line[cut:]}', indent, width)]
        return [lead + line]
    at = next((i for i, _, depth in _scan(line) if depth == 0 and line.startswith(" >= ", i)), 0)
    if line.endswith(",") and at:  # an argument: it is broken at its operator first
        return [lead + line[:at], lead + line[at + 1 :]]
    head, body, tail = split
    parts = _commas(body)
    one = "    " * (indent + 1) + body.strip().rstrip(",")
    listed = len(parts) > 1 and not re.search(r"[\w\])][(\[]$", head)  # not the arguments of a call
    if len(one) <= width and head[-1] != "{" and not listed and not body.rstrip().endswith(","):
        return [lead + head, one, lead + tail]
    lines = [lead + head]
    group = len(parts) == 1 and re.search(r"(^|[^\w\])])\($", head) and not body.rstrip().endswith(",")
    for part in parts:  # a comma would make a tuple of what is only grouped
        lines += layout(part if group else part + ",", indent + 1, width)
    return [*lines, lead + tail]


def _operators(text: str) -> bool:
    """Whether text is kept whole: operators of the lowest precedence, an empty call last, or a chain of calls."""
    outside = [(i, c) for i, c, depth in _scan(text) if depth == 0 and text[i - 1 : i + 2] == f" {c} "]
    for kind in ("|", "&", "+-", "*/@"):
        count = sum(c in kind for _, c in outside)
        if count:
            return count > 1 or text.endswith("()")
    found = list(_scan(text))
    links = sum(c == "." and text[i - 1] in ")]" for i, c, depth in found if depth == 0 and i)
    return links > 1 and not any(c == " " and depth == 0 for _, c, depth in found)


def _tuple(text: str, indent: int, width: int) -> list[str]:
    """Break a tuple without brackets into lines within brackets, one for each element; nothing where it is none."""
    parts = _commas(text)
    lead = "    " * indent
    inner = [line for part in parts for line in layout(part + ",", indent + 1, width)]
    return [f"{lead}(", *inner, f"{lead})"] if len(parts) > 1 else []


def _scan(text: str) -> Iterable[tuple[int, str, int]]:
    """Characters outside strings, with the depth of brackets before them."""
    depth, quote, escaped = 0, "", False
    for i, c in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == quote:
                quote = ""
            continue
        if c in "\"'":
            quote = c
            continue
        if c in ")]}":
            depth -= 1
        yield i, c, depth
        if c in "([{":
            depth += 1


def _last_bracket(line: str) -> tuple[str, str, str] | None:
    opened = closed = None
    start: int | None = None
    for i, c, depth in _scan(line):
        if depth == 0 and c in "([{":
            start = i
        elif depth == 0 and c in ")]}" and start is not None and i > start + 1:
            opened, closed = start, i
    if opened is None or closed is None:
        return None
    return line[: opened + 1], line[opened + 1 : closed], line[closed:]


def _commas(body: str) -> list[str]:
    cuts = [i for i, c, depth in _scan(body) if c == "," and depth == 0]
    parts = [body[a + 1 : b].strip() for a, b in zip([-1, *cuts], [*cuts, len(body)], strict=True)]
    return [p for p in parts if p]
