"""The names of the variables of one function: by what a value is, and free where it is written."""

from __future__ import annotations

from collections import ChainMap
from typing import Any, ClassVar

from mpcompile.emission.names import free
from mpcompile.emission.roles import (
    ALSO,
    KERNEL_ROLES,
    NUMBERED,
    PLAIN,
    WEAK,
    layer_name,
    plural,
    rearranged,
    role,
)
from mpcompile.emission.scopes import Owner, State, masked_as
from mpcompile.emission.text import Expr
from mpcompile.ir import DType, Node, Value
from mpcompile.kernels import Kernel
from mpcompile.outline import Loop

#: The type of a variable of which a checker knows nothing.
ANY, NUMBER = "Any", "int"


class Naming:
    """Chooses names of variables.

    live        how often the value of a variable will still be read
    declared    types of the variables of the function, innermost first: what a checker takes them for
    stated      variables whose type stands in the text
    given       names of the arguments
    rearranged  variables that keep their names for themselves
    reserved    names that no variable may have
    array       what a checker calls an array
    """

    array: ClassVar[str]
    reserved: frozenset[str] = frozenset()
    owner: Owner
    state: State
    live: dict[str, float]
    declared: ChainMap[str, str]
    stated: set[str]
    dtypes: dict[str, DType]
    given: frozenset[str]
    rearranged: set[str]
    kernels: dict[int, Kernel]

    def is_untyped(self, text: str) -> bool:
        """Whether a checker cannot tell the type of an expression, so that its variable states it."""
        raise NotImplementedError

    def operand(self, value: Value) -> Expr:
        """The expression that reads a value."""
        raise NotImplementedError

    def used(self, value: Value) -> bool:
        return self.state.uses[value] > 0

    def fresh(self, base: str, kind: str = "") -> str:
        """Choose a name that no live variable has, and no variable of another type than `kind`, or that of arrays."""
        base = free(f"_{base.lstrip('_')}" if base.startswith("__") else base, self.reserved)
        name, number = base, 1
        while not self._is_free(name) or self.declared.get(name, ANY) not in (kind or self.array, ANY):
            number += 1
            name = f"{base}{number}"
        return name

    def _is_free(self, name: str) -> bool:
        return self.live.get(name, 0) <= 0 and name not in self.reserved

    def declaration(self, name: str, text: str) -> str:
        """Write the left side of an assignment: with the type where this is the first one and `text` does not tell it.

        A checker takes a variable without a stated type for what it was last assigned.
        """
        unknown = self.is_untyped(text)
        if unknown and name not in self.declared.maps[0]:
            self.stated.add(name)
            self.declared[name] = self.array
            return f"{name}: {self.array}"
        self.declared[name] = ANY if unknown and name not in self.stated else self.array
        return name

    def release(self, expr: Expr) -> None:
        for r in expr.refs:
            self.live[r] -= 1

    def hint(self, node: Node, index: int) -> str:
        value = node.outputs[index]
        if value in self.state.preferred:
            return self.state.preferred[value]
        if value.dtype is DType.BOOL:
            return "keep"
        made = None
        if (kernel := self.kernels.get(node.id)) and (made := KERNEL_ROLES.get(kernel.name)):
            value = kernel.results[0]
        found = role(self.state.graph, value, self.state.within, made)
        return found or {DType.FLOAT: "h", DType.INT: "index"}[value.dtype]

    def choose(self, value: Value, expr: Expr, hint: str) -> str:
        """Choose a name for a value: that of its role, else that of its layer; a number only where both are taken.

        What has no role of its own goes on with the name of what it is made of, if nobody reads that any more.
        """
        kind, node = NUMBER if expr.scalar else self.array, self.state.graph.node(value)
        candidates = [hint]
        if hint == "h" and value not in self.state.preferred:
            read = dict.fromkeys(r for r in expr.refs if self.dtypes.get(r) is value.dtype)
            own = [r for r in read if self._is_free(r) and r not in self.rearranged]
            texts = [self.state.env[v].text for v in node.inputs if v in self.state.env]
            given = rearranged(node, texts, self.given)
            self.rearranged.update(given)
            candidates = [*given, *own, hint, WEAK.get(node.op.name, hint)]
        layer = layer_name(node, len(self.owner.path))
        candidates += [layer] if layer and value.dtype is DType.FLOAT and not expr.scalar else []
        candidates += [ALSO[hint]] if hint in ALSO else []
        for name in candidates:
            if self.fresh(name, kind) == name:
                return name
        return self.fresh(hint, kind)

    def result_of(self, value: Value, hint: str, call: str) -> str:
        """Choose a name for a result of a function, which is told from others of its name by the layer that gives it."""
        wanted = self.state.preferred.get(value, hint)
        also = [ALSO[wanted]] if wanted in ALSO else []
        longer = [f"{call}_{wanted}"] if call and wanted not in PLAIN and not wanted.startswith(call) else []
        return next((n for n in (wanted, *also, *longer) if self.fresh(n) == n), self.fresh(wanted))

    def slice_name(self, formal: str, outside: Value, number: int) -> str:
        """Name the step of what a loop scans: after the variable that it scans, where only a pass named it."""
        if not NUMBERED.fullmatch(formal):
            return formal if formal.endswith("_t") else f"{formal}_t"
        text = self.operand(outside).text.removesuffix("_masked")
        return (
            f"{text}_t" if text.isidentifier() and not text[-1].isdigit() else "x_t" if number < 1 else "y_t"
        )

    def many(self, loop: Loop, number: int, inner: State) -> str:
        """Name what a loop stacks: what is preferred outside, or the steps by what they are."""
        op: Any = loop.node.op
        value, y = op.divide(loop.node.outputs)[1][number], op.divide(loop.body.outputs)[1][number]
        if named := self.state.preferred.get(value) or masked_as(self.state, value):
            inner.preferred.setdefault(y, named)
            return named
        if y in inner.env:  # a carry, as it comes into the step
            return plural(inner.env[y].text.rstrip("0123456789_"))
        found = inner.preferred.get(y) or role(inner.graph, y, inner.within)
        return (
            plural(found) if found and y.dtype is DType.FLOAT else "indices" if y.dtype is DType.INT else "ys"
        )

    def bind(self, value: Value, name: str) -> None:
        """Bind a value to a variable from here on."""
        self.live[name] = self.state.uses[value]
        self.dtypes[name] = value.dtype
        self.state.env[value] = Expr(name, refs=(name,))
