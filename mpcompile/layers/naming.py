"""Names of layers within a program: unique among their siblings, and the same in every program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mpcompile.ir import Scope
from mpcompile.ir.names import part, split


class _Given:
    """Names that were given in a scope, and in the scopes inside of it."""

    __slots__ = ("counts", "inner", "repeated")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()  # those of layers in repeats that stand in the scope
        self.inner: dict[str, _Given] = {}


class Naming:
    """The names that a program has given so far, and what they were in files of before.

    A layer is `dense_0`, `dense_1`, ... in the order of use within its scope. A layer of a repeat that stands in the
    scope is an element of a list, `dense.0`. Before there were lists both were counted together, with an underscore.
    """

    def __init__(self) -> None:
        self._root = _Given()
        self._repeat: Scope | None = None  # the scope of the innermost repeat around
        self._former: dict[str, str] = {}  # former endings of scopes, by their names

    def _at(self, scope: Scope) -> _Given:
        given = self._root
        for frame in scope:
            given = given.inner.setdefault(frame.name, _Given())
        return given

    def unique(self, name: str, scope: Scope) -> str:
        """Return the next name in a scope of a layer that the spec calls `name`."""
        given = self._at(scope)
        unique, former = numbered(name, given.counts, given.repeated, scope == self._repeat)
        self.formerly(scope, unique, f".{part(former)}")
        return unique

    def repeated(self, scope: Scope) -> Counter[str]:
        """Return the number of layers of each name in repeats of a scope; a region counts up those that it skips."""
        return self._at(scope).repeated

    @contextmanager
    def repeating(self, scope: Scope) -> Iterator[None]:
        """Inside of this, layers of the scope are elements of lists."""
        before, self._repeat = self._repeat, scope
        try:
            yield
        finally:
            self._repeat = before

    def afresh(self, scope: Scope, name: str) -> None:
        """Forget the names that were given inside of a scope of this name."""
        self._at(scope).inner.pop(name, None)

    def formerly(self, scope: Scope, name: str, ending: str) -> None:
        """State how the former name of a scope ended, from the mark that joined it to what it stands in."""
        if ending != f".{part(name)}":
            self._former[f"{_path(scope)}.{part(name)}" if scope else part(name)] = ending

    def former(self, path: str) -> str:
        """Return the former name of a scope or a weight."""
        if not self._former:
            return path
        out = at = ""
        for name in split(path):
            at = f"{at}.{name}" if at else name
            out += self._former.get(at, f".{name}")
        return out[1:]

    def alike(self, scope: Scope, later: Scope, by: int) -> None:
        """State that a scope of a later iteration was named like that of the first, with a number greater by `by`."""
        ending = self._former.get(_path(scope))
        if ending is None:
            return
        if scope[-1].name != later[-1].name:
            base, _, number = ending.rpartition("_")
            ending = f"{base}_{int(number) + by}"
        self._former[_path(later)] = ending


def numbered(name: str, counts: Counter[str], repeated: Counter[str], within: bool) -> tuple[str, str]:
    """Return the next name of a layer, an element of a list `within` a repeat, and the one that it had before.

    `counts` and `repeated` are how many there are of each name outside and inside of repeats; one of them goes up.
    """
    former = f"{name}_{counts[name] + repeated[name]}"
    of, mark = (repeated, ".") if within else (counts, "_")
    of[name] += 1
    return f"{name}{mark}{of[name] - 1}", former


def _path(scope: Scope) -> str:
    return ".".join(f.name for f in scope)


__all__ = ["Naming", "numbered"]
