"""Sizes, types and attributes in text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from mpcompile.ir import DType, Shape, Symbolic, Type, symbol
from mpcompile.text.tokens import IDENTIFIER, WORDS, Reader

#: Brackets within brackets; an attribute of a primitive has two.
DEEPEST = 8


# --- writing ---


def size_text(size: int | Symbolic) -> str:
    """Format a size, `2 * time - 1`; a symbol that would read as another word stands in back quotes."""
    if isinstance(size, int):
        return str(size)
    parts = []
    for monomial, times in size.terms:
        factors = [_symbol_text(s) for s in monomial]
        number = [str(abs(times))] if abs(times) != 1 or not factors else []
        parts.append(("- " if times < 0 else "+ ") + " * ".join([*number, *factors]))
    text = " ".join(parts)
    return text.removeprefix("+ ") if text.startswith("+") else "-" + text.removeprefix("- ")


def _symbol_text(name: str) -> str:
    if IDENTIFIER.fullmatch(name) and name not in WORDS:
        return name
    return "`" + json.dumps(name)[1:-1].replace("`", "\\u0060") + "`"


def type_text(type_: Type) -> str:
    """Format a type, `float[N, 784]`."""
    return f"{type_.dtype.value}[{', '.join(map(size_text, type_.shape))}]"


def types_text(types: Sequence[Type]) -> str:
    """Format the type of the one result, or all types in brackets."""
    return type_text(types[0]) if len(types) == 1 else f"({', '.join(map(type_text, types))})"


def attribute_text(value: Any) -> str:
    """Format an attribute of a primitive. Raises `TypeError` for a kind of attribute that has no text."""
    match value:
        case DType():
            return f"!{value.value}"
        case bool():
            return "true" if value else "false"
        case None:
            return "none"
        case int() | Symbolic():
            return size_text(value)
        case float():
            return repr(value)
        case str():
            return json.dumps(value)
        case tuple():
            return f"[{', '.join(map(attribute_text, value))}]"
    raise TypeError(f"an attribute of kind {type(value).__name__} has no text")


# --- reading ---


def read_size(r: Reader) -> int | Symbolic:
    """Read a sum of products of numbers and symbols."""
    total: int | Symbolic = 0
    sign = -1 if r.skip("-") else 1
    while True:
        product: int | Symbolic = sign
        while True:
            product = product * (r.integer() if r.next.kind == "number" else symbol(_read_symbol(r)))
            if not r.skip("*"):
                break
        total = total + product
        if r.skip("+"):
            sign = 1
        elif r.skip("-"):
            sign = -1
        else:
            return total


def _read_symbol(r: Reader) -> str:
    if r.next.kind == "symbol":
        found: str = json.loads(f'"{r.take("symbol")[1:-1]}"')
        return found
    return r.take("name", "a size")


def read_type(r: Reader) -> Type:
    """Read a type."""
    kind = r.take("name", "a type")
    try:
        dtype = DType(kind)
    except ValueError:
        r.at -= 1
        raise r.fault("float, int or bool") from None
    r.expect("[")
    return Type(dtype, read_shape(r))


def read_shape(r: Reader) -> Shape:
    """Read sizes up to the closing bracket."""
    return tuple(listed(r, "]", read_size))


def read_types(r: Reader) -> tuple[Type, ...]:
    """Read one type, or several in brackets."""
    return tuple(listed(r, ")", read_type)) if r.skip("(") else (read_type(r),)


def listed(r: Reader, end: str, read: Callable[[Reader], Any]) -> list[Any]:
    """Read the items between commas, up to a closing bracket."""
    found: list[Any] = []
    while not r.skip(end):
        if found:
            r.expect(",")
        found.append(read(r))
    return found


def read_attribute(r: Reader, depth: int = 0) -> Any:
    """Read an attribute of a primitive."""
    if r.skip("!"):
        return DType(r.take("name", "a kind"))
    if r.next.kind == "text":
        return r.text()
    if r.skip("["):
        if depth == DEEPEST:
            raise r.fault("fewer brackets")
        return tuple(listed(r, "]", lambda inner: read_attribute(inner, depth + 1)))
    for word, value in (("true", True), ("false", False), ("none", None)):
        if r.skip(word):
            return value
    return read_number(r)


def read_number(r: Reader) -> int | float | Symbolic:
    """Read a size, or a float, which has a point, an exponent or a name."""
    start = r.at
    negative = r.skip("-")
    if r.next.text in ("inf", "nan") or (r.next.kind == "number" and not r.next.text.isdigit()):
        number = float(r.next.text)
        r.at += 1
        return -number if negative else number
    r.at = start
    return read_size(r)
