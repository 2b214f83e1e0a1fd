"""Functions as text, and how one that would be written again is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mpcompile.outline import Block, Method

S = TypeVar("S")


@dataclass
class Written(Generic[S]):
    """A function as text, with the backend's signature of it.

    `blocks` are the functions that it is the code of, whose values differ in their first axes.
    """

    signature: S
    role: str
    arguments: list[str]
    head: list[str]
    body: list[str]
    blocks: list[Block]


def same_text(
    written: Iterable[Written[S]], method: Method, again: Callable[[Written[S]], Written[S]]
) -> Written[S] | None:
    """Return the function among those written that has the text of a method, or None.

    `again` writes the method under the name of a function, and with the names of its arguments.
    """
    for twin in written:
        if twin.role == method.role and len(twin.arguments) == len(method.block.inputs):
            made = again(twin)
            if (made.head, made.body) == (twin.head, twin.body):
                return twin
    return None
