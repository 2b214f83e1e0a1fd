"""Sizes of axes: plain integers, or polynomials over named symbols such as the batch `N` and the length `time`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

Monomial = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Symbolic:
    """A polynomial with integer coefficients: sorted `(monomial, coefficient)` pairs, never constant."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: int | Symbolic) -> int | Symbolic:
        return _build([*self.terms, *_terms(other)])

    __radd__ = __add__

    def __neg__(self) -> int | Symbolic:
        return self * -1

    def __sub__(self, other: int | Symbolic) -> int | Symbolic:
        return self + other * -1

    def __rsub__(self, other: int | Symbolic) -> int | Symbolic:
        return other + self * -1

    def __mul__(self, other: int | Symbolic) -> int | Symbolic:
        return _build((tuple(sorted(a + b)), c * d) for a, c in self.terms for b, d in _terms(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: int | Symbolic) -> int | Symbolic:
        """Exact division only: a size that might not divide has no polynomial form."""
        if isinstance(other, int) and all(c % other == 0 for _, c in self.terms):
            return _build((m, c // other) for m, c in self.terms)
        if isinstance(other, Symbolic) and len(other.terms) == 1:
            (monomial, coefficient), quotient = other.terms[0], []
            for m, c in self.terms:
                rest = list(m)
                for symbol in monomial:
                    if symbol not in rest:
                        break
                    rest.remove(symbol)
                else:
                    if c % coefficient == 0:
                        quotient.append((tuple(rest), c // coefficient))
                        continue
                break
            else:
                return _build(quotient)
        raise ValueError(f"{self} is not known to be divisible by {other}")

    def __str__(self) -> str:
        parts = []
        for monomial, c in self.terms:
            name = " * ".join(monomial)
            parts.append(str(c) if not monomial else name if c == 1 else f"{c} * {name}")
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__


def _terms(size: int | Symbolic) -> Iterable[tuple[Monomial, int]]:
    return size.terms if isinstance(size, Symbolic) else [((), size)]


def _build(terms: Iterable[tuple[Monomial, int]]) -> int | Symbolic:
    total: dict[Monomial, int] = {}
    for monomial, c in terms:
        total[monomial] = total.get(monomial, 0) + c
    kept = sorted(((m, c) for m, c in total.items() if c), key=lambda t: (-len(t[0]), t[0]))
    if not kept:
        return 0
    return kept[0][1] if len(kept) == 1 and not kept[0][0] else Symbolic(tuple(kept))


def symbol(name: str) -> Symbolic:
    """Return the symbolic size of a name."""
    return Symbolic((((name,), 1),))


def symbols(size: int | Symbolic) -> set[str]:
    """Return the names that a size mentions."""
    return {s for m, _ in _terms(size) for s in m}


def multiple_of(size: int | Symbolic) -> tuple[str, int] | None:
    """Return `time` and 2 for `2 * time`; None for a number and for any other polynomial."""
    if isinstance(size, int) or len(size.terms) != 1:
        return None
    (monomial, times) = size.terms[0]
    return (monomial[0], times) if len(monomial) == 1 and times > 0 else None


def number(size: int | Symbolic) -> int:
    """Return a size that is declared to be a number. Raises `ValueError` for a symbolic one."""
    if not isinstance(size, int):
        raise ValueError(f"the symbolic size {size} was not bound")
    return size


def numbers(shape: Iterable[int | Symbolic]) -> tuple[int, ...]:
    """Return sizes that are declared to be numbers. Raises `ValueError` for a symbolic one."""
    return tuple(number(size) for size in shape)


def substitute(size: int | Symbolic, env: Mapping[str, int]) -> int:
    """Evaluate a size for numbers of its symbols. Raises `KeyError` for a symbol without a number."""
    if isinstance(size, int):
        return size
    return sum(c * prod(env[s] for s in m) for m, c in size.terms)


def product(shape: Iterable[int | Symbolic]) -> int | Symbolic:
    """Return the number of elements of a shape."""
    total: int | Symbolic = 1
    for size in shape:
        total = total * size
    return total


def broadcast_shapes(*shapes: tuple[int | Symbolic, ...]) -> tuple[int | Symbolic, ...]:
    """Apply numpy's broadcasting rule; a symbol matches itself and 1 alone.

    Raises `ValueError` for shapes without a common one.
    """
    if len(shapes) == 2 and shapes[0] == shapes[1]:  # the common case
        return shapes[0]
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    out: list[int | Symbolic] = []
    for sizes in zip(*padded, strict=True):
        distinct = {s for s in sizes if s != 1}
        if len(distinct) > 1:
            shown = " and ".join(str(list(s)) for s in shapes)
            raise ValueError(f"shapes {shown} do not broadcast")
        out.append(distinct.pop() if distinct else 1)
    return tuple(out)
