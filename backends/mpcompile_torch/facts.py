"""Facts about classes and methods that are written: analyses, signatures, texts, and the tree of a class's parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mpcompile.emission.names import attribute
from mpcompile.ir import ParameterSpec, Value
from mpcompile.outline import Key, Path
from mpcompile_torch.in_place import InPlace
from mpcompile_torch.positions import Positions


@dataclass(frozen=True)
class Facts:
    """The analyses of the functions of a module."""

    positions: Positions
    in_place: InPlace
    apart: frozenset[Key]
    started: Mapping[int, frozenset[Value]]


@dataclass
class Signature:
    """The facts about a method that its callers need; `apart` for a function of `sampling.py`."""

    name: str
    apart: bool
    told: list[str]
    results: list[str]


@dataclass
class Tree:
    """Parameters and modules of a class by the parts of their names."""

    parameters: dict[str, ParameterSpec] = field(default_factory=dict)
    families: dict[str, Path] = field(default_factory=dict)
    groups: dict[str, Tree] = field(default_factory=dict)

    def group(self, parts: Iterable[str]) -> Tree:
        tree = self
        for part in parts:
            tree = tree.groups.setdefault(attribute(part), Tree())
        return tree

    @property
    def names(self) -> list[str]:
        return [*self.parameters, *self.families, *self.groups]
