"""Values of a program that are Python integers: numbers of steps, and values looked up or counted from them.

A position that stayed a tensor would cost an operation of torch for each slice. So the number of the step, sums of
it, and elements of a table at it are Python numbers, functions take them as `int`, and a table is a list. A table is
a vector of integers that nothing reads but look-ups at such numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

from mpcompile.ir import Constant, DType, Graph, Node, Value
from mpcompile.outline import Block, Call, Loop, Outline
from mpcompile_torch.spelling import COUNTED

#: A function: the family of its class, and its number there.
Key = tuple[int, int]


def is_number(value: Value) -> bool:
    """Return whether a value is one integer."""
    return value.dtype is DType.INT and value.shape == ()


def is_vector(value: Value) -> bool:
    """Return whether a value is a vector of integers."""
    return value.dtype is DType.INT and value.type.rank == 1


def looks_up(node: Node) -> bool:
    """Return whether a node looks up one element of a vector of integers."""
    return node.op.name == "gather" and is_vector(node.inputs[0]) and is_number(node.inputs[1])


def _array(graph: Graph, value: Value) -> bool:
    return isinstance(graph.node(value).op, Constant)


class Positions:
    """Found once for all functions of a module: the greatest assignment that every call agrees with.

    numbers  function -> which of its inputs are Python integers
    lists    function -> which of its inputs are lists of them
    looped   loop -> values of its body that are lists, though what it captures for them may be a tensor
    """

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.numbers: dict[Key, set[int]] = {}
        self.lists: dict[Key, set[int]] = {}
        self.looped: dict[int, set[Value]] = {}
        blocks: list[tuple[Key, Block]] = []
        for family in outline.families:
            programs = family.first is outline.root
            for number, method in enumerate(family.first.methods):
                key, inputs = (id(family), number), method.block.inputs
                blocks.append((key, method.block))
                self.numbers[key] = set() if programs else _indices(map(is_number, inputs))
                self.lists[key] = set() if programs else _indices(map(is_vector, inputs))
        while True:
            before = self._size()
            for key, block in blocks:
                numbers = {block.inputs[i] for i in self.numbers[key]}
                lists = {block.inputs[i] for i in self.lists[key]}
                wrong = self._visit(block, numbers, lists)
                self.lists[key] = {i for i in self.lists[key] if block.inputs[i] not in wrong}
            if self._size() == before:
                break

    def _size(self) -> int:
        return sum(len(found) for kind in (self.numbers, self.lists, self.looped) for found in kind.values())

    def key(self, call: Call) -> Key:
        instance, _ = self.outline.target(call)
        return id(instance.family), self.outline.methods[id(call)][1]

    def kind(self, key: Key, number: int) -> str:
        """The type of an input of a function."""
        return (
            "int" if number in self.numbers[key] else "list[int]" if number in self.lists[key] else "Tensor"
        )

    def _visit(self, block: Block, numbers: set[Value], lists: set[Value]) -> set[Value]:
        """Return those of `lists` that are read as a tensor. Extends `numbers`, which starts as those of the inputs."""
        wrong = lists & set(block.outputs)
        for item in block.items:
            if isinstance(item, Call):
                key, values = self.key(item), item.block.inputs
                self.numbers[key] -= {i for i, v in enumerate(values) if v not in numbers}
                wrong |= {v for i, v in enumerate(values) if i not in self.lists[key]} & lists
            elif isinstance(item, Loop):
                wrong |= self._loop(item, numbers, lists)
            elif looks_up(item):
                table, at = item.inputs
                if at in numbers and (table in lists or _array(block.graph, table)):
                    numbers.add(item.outputs[0])
                else:
                    wrong |= {table} & lists
            else:
                wrong |= set(item.inputs) & lists
                if item.op.name in COUNTED and all(
                    v in numbers or (is_number(v) and _array(block.graph, v)) for v in item.inputs
                ):
                    numbers.add(item.outputs[0])
        return wrong

    def _loop(self, loop: Loop, numbers: Set[Value], lists: set[Value]) -> set[Value]:
        inside = self.looped.setdefault(id(loop), {v for v, _ in loop.captured if is_vector(v)})
        known = {v for v, outside in loop.captured if outside in numbers} | {loop.body.inputs[-1]}
        inside -= self._visit(loop.body, known, inside)
        op: Any = loop.node.op
        starts, scanned, _ = op.split(loop.node.inputs)
        read = {*starts, *scanned}
        return (read | {outside for v, outside in loop.captured if v not in inside}) & lists


def _indices(flags: Iterable[bool]) -> set[int]:
    return {i for i, flag in enumerate(flags) if flag}
