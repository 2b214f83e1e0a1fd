"""Arguments of a call: the arrays among them, by name, and the call with others in their place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mpcompile.diagnostics import Span, error

#: From arrays by name to the arguments of a call.
Planted = Callable[[Mapping[str, Any]], dict[str, Any]]


def arrays_of(arguments: Mapping[str, Any], kinds: type | tuple[type, ...]) -> tuple[dict[str, Any], Planted]:
    """Return the arrays of arguments by name, and a function that gives the arguments with other arrays in their place.

    Those in lists, tuples and dicts are named by the way to them: `xs_0`, `state_h`. Whatever else there is stays as it
    is. Raises `SpecError` (MP700) where two would share a name.
    """
    found: dict[str, Any] = {}
    for path, x in leaves(arguments):
        if isinstance(x, kinds):
            name = named(path)
            if name in found:
                raise error("MP700", f"two arrays of the call would be named '{name}'", Span.none())
            found[name] = x

    def planted(arrays: Mapping[str, Any]) -> dict[str, Any]:
        whole: dict[str, Any] = _planted(arguments, (), arrays)
        return whole

    return found, planted


def named(path: tuple[str, ...]) -> str:
    """Return the name of an array by the way to it: `xs_0`."""
    return path[0] if len(path) == 1 else re.sub(r"\W", "_", "_".join(path), flags=re.ASCII)


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give what lists, tuples and dicts hold, each with the way to it."""
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from leaves(part, (*path, str(key)))
    elif isinstance(tree, list | tuple):
        for i, part in enumerate(tree):
            yield from leaves(part, (*path, str(i)))
    else:
        yield path, tree


def _planted(tree: Any, path: tuple[str, ...], arrays: Mapping[str, Any]) -> Any:
    """The tree with arrays at their names; containers without any are themselves, whatever their class."""
    if not isinstance(tree, Mapping | list | tuple):
        return arrays.get(named(path), tree)
    items = list(tree.items()) if isinstance(tree, Mapping) else [(i, x) for i, x in enumerate(tree)]
    parts = {key: _planted(x, (*path, str(key)), arrays) for key, x in items}
    if path and all(parts[key] is x for key, x in items):
        return tree
    if not path:
        return parts
    kind: Any = type(tree)
    if isinstance(tree, Mapping):
        return kind(parts)
    return kind._make(parts.values()) if hasattr(kind, "_make") else kind(parts.values())


__all__ = ["Planted", "arrays_of", "leaves", "named"]
