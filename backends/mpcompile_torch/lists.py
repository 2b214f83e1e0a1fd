"""The statements that give an object its modules; elements of a list are made together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mpcompile.emission.names import free
from mpcompile.emission.text import WIDTH

#: Stands for the object in statements that are written before it is known how they reach it.
OWNER = "@"
#: How a module is made, and the statements that give it its own modules.
Made = tuple[str, list[str]]


def assignments(owner: str, made: Mapping[str, Made], taken: Collection[str]) -> list[str]:
    """Write how `owner` gets its modules, by the text of their attribute: `dense_0`, or `layer[0]` in a list.

    No variable has a name that is `taken`.
    """
    lists: dict[str, dict[int, Made]] = {}
    for name, module in made.items():
        stem, bracket, number = name.partition("[")
        if bracket:
            lists.setdefault(stem, {})[int(number[:-1])] = module
    lines: list[str] = []
    for name, (text, inside) in made.items():
        if "[" not in name:
            lines += [f"{owner}.{name} = {text}", *_of(f"{owner}.{name}", inside)]
    for stem, elements in lists.items():
        found = [elements.get(n, ("nn.Identity()", [])) for n in range(max(elements) + 1)]
        lines += _list(f"{owner}.{stem}", free(stem, taken), found)
    return lines


def _list(name: str, one: str, elements: Sequence[Made]) -> list[str]:
    """Write a list whose elements repeat with some period as one line, however many they are."""
    period = next(p for p in range(1, len(elements) + 1) if len(elements) % p == 0 and _repeats(elements, p))
    texts, times = [text for text, _ in elements[:period]], len(elements) // period
    annotated = f"{name}: Any" if name.startswith("self.") and name.count(".") == 1 else name
    short = f"{annotated} = nn.ModuleList({texts[0]} for _ in range({times}))"
    if times == 1:
        lines = [f"{annotated} = nn.ModuleList([{', '.join(texts)}])"]
    elif period == 1 and len(short) + 3 * 4 <= WIDTH:
        lines = [short]
    else:
        appended = [f"    {name}.append({text})" for text in texts]
        lines = [f"{annotated} = nn.ModuleList()", f"for _ in range({times}):", *appended]
    for n, (_, inside) in enumerate(elements[:period]):
        if times == 1 or not inside:
            lines += _of(f"{name}[{n}]", inside)
            continue
        which = name if period == 1 else f"{name}[{n}::{period}]"
        lines += [f"for {one} in {which}:", *(f"    {line}" for line in _of(one, inside))]
    return lines


def _repeats(elements: Sequence[Made], period: int) -> bool:
    return all(e == elements[n % period] for n, e in enumerate(elements))


def _of(owner: str, lines: Sequence[str]) -> list[str]:
    return [line.replace(OWNER, owner) for line in lines]


__all__ = ["OWNER", "assignments"]
