"""The results of outlining: statements in blocks, methods of instances, and families of instances with the same code."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from mpcompile.ir import Constant, Frame, Graph, Node, ParameterSpec, Value

Path = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """The use of a function: `block.inputs` are the arguments, `block.outputs` the results.

    With an empty path it is a program that is called, by the name `frame.role`; its items stand there alone.
    """

    frame: Frame
    path: Path
    block: Block


@dataclass(frozen=True, eq=False)
class Loop:
    """A node with a body (a scan). `captured` pairs values of the body with values around it.

    Parameters and constants that the body captures are leaves inside it.
    """

    node: Node
    body: Block
    captured: tuple[tuple[Value, Value], ...]


Item = Node | Call | Loop


@dataclass(frozen=True, eq=False)
class Block:
    """Statements over the values of one graph. Leaves are not items: they are found through `graph.node`."""

    graph: Graph
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    items: tuple[Item, ...]


@dataclass(eq=False)
class Method:
    """One function of an instance. Programs are the methods of the root, callees before callers."""

    role: str
    block: Block
    key: Hashable


@dataclass(eq=False)
class Instance:
    """The nodes of one frame: its methods over all programs, its own constants, its children."""

    path: Path
    frame: Frame | None
    methods: list[Method] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    parameters: list[ParameterSpec] = field(default_factory=list)
    children: dict[Path, Instance] = field(default_factory=dict)
    family: Family = field(init=False)

    def slot(self, constant: Constant) -> int:
        """The number of an array constant; equal constants have one number."""
        if constant not in self._slots:
            self._slots[constant] = len(self.constants)
            self.constants.append(constant)
        return self._slots[constant]

    def __post_init__(self) -> None:
        self._slots: dict[Constant, int] = {}


@dataclass(eq=False)
class Family:
    """Instances with the same code. The first one stands for all.

    `formals` are the array constants that differ between instances: the number of an own constant, or a child
    with the number of one of its formals.
    """

    key: Hashable
    instances: list[Instance]
    formals: list[tuple[Path, int]] = field(default_factory=list)

    @property
    def first(self) -> Instance:
        return self.instances[0]

    def actual(self, instance: Instance, formal: int) -> Constant:
        """The constant that an instance has for a formal."""
        child, number = self.formals[formal]
        if child:
            owner = instance.children[child]
            return owner.family.actual(owner, number)
        return instance.constants[number]


@dataclass(eq=False)
class Outline:
    """Families, callees before callers; the last one is the model itself.

    `uniform` says whether what a region calls has the same code in each of its iterations. `parts` are programs that no
    one asked for: other programs call them.
    """

    families: list[Family]
    root: Instance
    methods: dict[int, tuple[Instance, int]]
    uniform: bool = True
    parts: frozenset[str] = frozenset()

    def target(self, call: Call) -> tuple[Instance, Method]:
        """Return the instance and the method that a call calls."""
        instance, number = self.methods[id(call)]
        return instance, instance.methods[number]
