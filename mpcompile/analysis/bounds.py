"""Two types for what an analysis knows of a dependence, so that a claim cannot take one for the other.

An upper bound refutes that something is read, and proves that nothing else is. A lower bound proves that something is
read, and says nothing about what is not in it. Every analysis of dependence wraps its result in one of the two; a
function that concludes something takes the type that allows the conclusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AtMost(Generic[T]):
    """An upper bound: whatever is read is in `value`. What is not in it is certainly not read.

    For pairs of elements `value` is a bool array [output elements, source elements].
    """

    value: T


@dataclass(frozen=True, slots=True)
class AtLeast(Generic[T]):
    """A lower bound: everything in `value` is certainly read. What is not in it may be read as well."""

    value: T


__all__ = ["AtLeast", "AtMost"]
