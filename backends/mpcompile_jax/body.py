"""The statements of one function in JAX."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from mpcompile.emission.constants import TABLE
from mpcompile.emission.names import free
from mpcompile.emission.naming import ANY
from mpcompile.emission.roles import carried
from mpcompile.emission.scopes import Owner, State, prefer_carries
from mpcompile.emission.signature import MANY, definition, result_type
from mpcompile.emission.text import Expr, Label, layout, tuple_text
from mpcompile.emission.untyped import untyped
from mpcompile.emission.writer import Writer
from mpcompile.ir import Constant, DType, Node, Parameter, Stack, Value
from mpcompile.kernels import Kernel
from mpcompile.ops import Repeat
from mpcompile.outline import Block, Loop, Path
from mpcompile_jax import loops, parameters, windows
from mpcompile_jax.kernels import HELPERS, KERNELS, spells
from mpcompile_jax.literals import truth_values
from mpcompile_jax.rows import tensor
from mpcompile_jax.spelling import SPELLINGS
from mpcompile_jax.verify import ALLOWED

#: Names that mean something in an emitted file.
RESERVED = frozenset({
    *ALLOWED.names, *ALLOWED.known, *(n for names in ALLOWED.imported.values() for n in names),
    *windows.HELPERS, *loops.HELPERS, *parameters.HELPERS, *HELPERS,
    "Params", "load", TABLE, "_",
})  # fmt: skip


@dataclass(frozen=True)
class Layers:
    """A list of layers that a region runs over: the path of its first one, its name, where it is, and which they are."""

    first: Path
    stem: str
    path: str
    numbers: str


class JaxOwner(Owner, Protocol):
    """The file that a function is written into, as far as the function may ask about it."""

    reserved: frozenset[str]
    elements: dict[Path, str]
    lists: dict[str, str]

    def layers(self, node: Node) -> list[Layers]: ...

    def listed(self, layers: Layers) -> str: ...

    def any_parameter(self) -> str | None:
        """The text of some float parameter."""
        ...

    def stack(self, stack: Stack) -> str | None:
        """The text that reads own parameters, one a row."""
        ...


@dataclass(frozen=True)
class _Written:
    """A loop on its way to text.

    function     name of the function of one step
    start, read  first carries; what is scanned, its axis first
    slice_names  names of the scanned values in a step, the number of the step last where it is read
    layers       how many of those are the weights of a layer
    kept         numbers of the stacked results that somebody reads, with their names
    simple       a `fori_loop`: nothing is scanned or stacked
    grouped      the carries are one tuple
    """

    loop: Loop
    function: str
    start: list[Expr]
    read: list[str]
    carry_names: list[str]
    slice_names: list[str]
    layers: int
    kept: dict[int, str]
    simple: bool

    @property
    def op(self) -> Any:
        return self.loop.node.op

    @property
    def grouped(self) -> bool:
        return bool(self.op.carries > 1 or self.op.until_fixed_point)


class JaxWriter(Writer):
    """Writes the body of one function."""

    rows = SPELLINGS
    kernel_rows = KERNELS
    array: ClassVar[str] = "Array"

    def __init__(
        self, owner: JaxOwner, block: Block, arguments: list[str], outputs: dict[Value, str]
    ) -> None:
        self.reserved = owner.reserved
        self.surroundings: JaxOwner = owner
        self.hoisted: list[str] = []
        super().__init__(owner, block, arguments, outputs)

    def tensor(self, e: Expr, dtype: DType) -> Expr:
        return tensor(self, e, dtype)

    def spells(self, kernel: Kernel) -> bool:
        return spells(kernel)

    def is_untyped(self, text: str) -> bool:
        """The results of a loop of lax are `Any`."""

        def known(e: ast.expr) -> bool | None:
            match e:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="lax"), attr="fori_loop")):
                    return True
                case ast.Name(id=name):
                    return self.declared.get(name) == ANY
            return None

        return untyped(text, known)

    def constant(self, constant: Constant) -> Expr:
        """Floats take the precision of the computation; truth values and indices stand as they are."""
        name = self.owner.constant(constant)
        if constant.array.dtype.kind != "f":
            return Expr(name)
        mask = name if truth_values(constant.array) else ""
        return Expr(f"jnp.asarray({name}, {self.kind(DType.FLOAT)})", mask=mask)

    def operand(self, value: Value) -> Expr:
        """Return the expression of a value; of a stack, the weights of all iterations of a region, one a row."""
        op = self.state.graph.node(value).op
        if value in self.state.env or not isinstance(op, Stack):
            return super().operand(value)
        own = self.surroundings.stack(op)
        return Expr(own if own is not None else self.outside[op.path])

    def hint(self, node: Node, index: int) -> str:
        if isinstance(node.op, Parameter):
            name = node.op.path.split(".")[-1]
            return name if name.isascii() and name.isidentifier() and name[:1] != "_" else "weight"
        return super().hint(node, index)

    # --- what spellings ask (the RowContext protocol) ---

    def kind(self, dtype: DType) -> str:
        if dtype is not DType.FLOAT:
            return {DType.INT: "int", DType.BOOL: "bool"}[dtype]
        name = self.reference.get(DType.FLOAT) or self.surroundings.any_parameter()
        return f"{name}.dtype" if name else "float"

    # --- loops ---

    def loop(self, loop: Loop) -> None:
        node, outer = loop.node, self.state
        op: Any = node.op
        body, formals = loop.body, op.formals
        starts, scanned, _ = op.split(node.inputs)
        inside, step_value = op.split(body.inputs[:-1]), body.inputs[-1]
        inner = self.begin(body, prefer_carries(body))
        for local, outside in loop.captured:
            inner.env[local] = self.named(outside).with_(refs=(), labels=())
        kept = [i for i, y in enumerate(op.divide(node.outputs)[1]) if outer.uses[y]]
        counts = bool(inner.uses[step_value])
        simple = not kept and not scanned and not op.reverse
        over = self.surroundings.layers(node) if isinstance(op, Repeat) else []
        weights = {v for v in scanned if over and isinstance(outer.graph.node(v).op, Stack)}
        rows = [i for i, v in enumerate(scanned) if v not in weights]

        start = [self._carry(v) for v in starts]
        slices = [self.tensor(self.operand(scanned[i]), scanned[i].dtype) for i in rows]
        read = [*map(self._list, over), *(_leading(e, op.axis) for e in slices)]
        for e in (*start, *slices):
            self.release(e)
        labels = tuple(
            dict.fromkeys([*(la for e in (*start, *slices) for la in e.labels), *self.label(node)])
        )
        function = self.fresh("body")
        self.live[function] = math.inf
        carry_names = [
            self._take(v, carried(n), inner) for v, n in zip(inside.carries, formals.carries, strict=True)
        ]
        slice_names = [self._layer(layers) for layers in over]
        named = list(zip(inside.scanned, formals.scanned, scanned, strict=True))
        for number, (v, n, outside) in enumerate(named[i] for i in rows):
            slice_names.append(self._take(v, self.slice_name(n, outside, number), inner))
        if counts or simple:
            step = self._take(step_value, "step", inner)
            if not simple:
                slice_names.append(step)
                read.append(f"jnp.arange({self._length(op, node)})")
        elif not scanned:
            slice_names.append("_")
        for name, value in zip(carry_names, inside.carries, strict=True):
            self.live[name] = inner.uses[value]
        inner.preferred |= dict(zip(op.divide(body.outputs)[0], carry_names, strict=True))

        many = {i: self.many(loop, i, inner) for i in kept}
        written = _Written(loop, function, start, read, carry_names, slice_names, len(over), many, simple)
        self._function(written, inner, labels)
        for layers in over:
            del self.surroundings.elements[layers.first]
        for _, outside in loop.captured:
            self.release(self.operand(outside))
        self._call(written)

    def _function(self, w: _Written, inner: State, labels: tuple[Label, ...]) -> None:
        """Define the function of one step."""
        outer, op = self.state, w.op
        carries = op.carries
        carry, inputs = self.fresh("carry", "tuple"), self.fresh("inputs", "tuple")
        state = "tuple[Array, ...]" if op.until_fixed_point else _typed(carries)
        if w.simple:
            step = inner.env[w.loop.body.inputs[-1]].text
            head = [f"{step}: Array", f"{carry if w.grouped else w.carry_names[0]}: {state}"]
            self._open(w.function, head, state, labels)
        else:
            read_type = result_types([*["Params"] * w.layers, *["Array"] * (len(w.read) - w.layers)])
            made_type = _typed(len(w.kept)) if w.kept else "None"
            head = [
                f"{_argument(carry, w.carry_names)}: {state}",
                f"{_argument(inputs, w.slice_names)}: {read_type}",
            ]
            self._open(w.function, head, f"tuple[{state}, {made_type}]", labels)
        self.state = inner
        self.indent += 1
        self.declared = self.declared.new_child(dict.fromkeys([*w.carry_names, *w.slice_names], self.array))
        for group, given in ((w.carry_names, carry), (w.slice_names, inputs)):
            if len(group) > 1:
                self.statement(f"{', '.join(group)} = {given}")
            elif group is w.carry_names and w.grouped:
                self.statement(f"({group[0]},) = {given}")
        self.write(w.loop.body)
        following, ys = op.divide(w.loop.body.outputs)
        results = [self.tensor(self.operand(v), v.dtype) for v in (*following, *(ys[i] for i in w.kept))]
        said = tuple(la for e in results for la in e.labels)
        after = _group([e.text for e in op.divide(results)[0]], w.grouped)
        if w.simple:
            self.statement(f"return {after}", said)
        else:
            made = _group([e.text for e in op.divide(results)[1]])
            self.statement(f"return {after if carries != 1 else results[0].text}, {made}", said)
        for e in results:
            self.release(e)
        self.lines.append("")
        self.indent -= 1
        self.declared = self.declared.parents
        self.state = outer
        self.comment, self.said = "", set()

    def _call(self, w: _Written) -> None:
        """Run the function of one step over all steps."""
        node, op, outer = w.loop.node, w.op, self.state
        carries = op.carries
        first = _group([e.text for e in w.start], w.grouped)
        if w.simple:
            call = f"lax.fori_loop(0, {self._length(op, node)}, {w.function}, {first})"
            if op.until_fixed_point:
                numbers = tuple_text(map(str, op.read_carries()))
                call = f"settle({w.function}, {first}, {numbers}, {self._length(op, node)})"
                call += "" if carries > 1 else "[0]"
            if carries == 1:
                value, name = node.outputs[0], next(iter(op.formals.carries))
                hint = self.hint(node, 0) if value in outer.preferred else free(carried(name))
                self.settle(value, Expr(call, heavy=True), outer.uses[value], hint)
            else:
                self.statement(f"{self._targets(node, carries, w.kept)[0]} = {call}")
            return
        targets = self._targets(node, carries, w.kept)
        reverse = ", reverse=True" if op.reverse else ""
        length = f", length={self._length(op, node)}" if not w.read else ""
        if carries > MANY:
            start = self.fresh("start", "tuple")
            self.declared[start] = "tuple"
            self.statement(f"{start}: {_typed(carries)} = {first}")
            first = start
        step = f"jax.checkpoint({w.function}, prevent_cse=False)" if op.recompute else w.function
        call = f"lax.scan({step}, {first}, {_group(w.read)}{length}{reverse})"
        last = targets[0] if w.kept or "," not in targets[0] else f"({targets[0]})"
        self.statement(f"{last}, {targets[1]} = {call}")
        for i in w.kept:
            value = op.divide(node.outputs)[1][i]
            name = outer.env[value].text
            if op.axis:
                stacked = _moved(name, op.axis)
                self.live[name] = 1
                expr = Expr(stacked, refs=(name,))
                self.settle(value, expr, outer.uses[value], outer.preferred.get(value, name))

    def _open(self, name: str, arguments: list[str], result: str, labels: tuple[Label, ...]) -> None:
        """Begin a function, after an empty line where one stands above it."""
        if not (self.lines and (self.lines[-1].endswith(":") or not self.lines[-1])):
            self.lines.append("")
        self.say(labels)
        self.lines += definition(name, arguments, result, self.indent)

    def _carry(self, value: Value) -> Expr:
        """A first carry, of the width that the body gives the next one."""
        e = self.tensor(self.operand(value), value.dtype)
        if value.dtype is DType.INT and isinstance(self.state.graph.node(value).op, Constant):
            return e.with_(text=f"jnp.asarray({e.text}, int)")
        return e

    def _list(self, layers: Layers) -> str:
        """The weights of all layers of a list; those that a loop reads in every step are put together before it."""
        text = self.surroundings.listed(layers)
        if self.indent == self.first_indent or not text.startswith("stacked("):
            return text
        name, number = free(f"{layers.stem}s"), 1
        while name in self.reserved or any(
            re.search(rf"\b{name}\b", x) for x in (*self.lines, *self.hoisted)
        ):
            number += 1
            name = free(f"{layers.stem}s{number}")
        self.live[name] = math.inf
        self.surroundings.lists[text] = name
        self.hoisted += layout(f"{name} = {text}", self.first_indent)
        return name

    def _layer(self, layers: Layers) -> str:
        """A name for the weights of one layer."""
        name = self.fresh(free(f"{layers.stem}_params"))
        self.live[name] = math.inf
        self.surroundings.elements[layers.first] = name
        return name

    def _take(self, value: Value, name: str, inner: State) -> str:
        """A name for an argument of the body."""
        chosen = self.fresh(free(name))
        self.live[chosen] = max(inner.uses[value], 0.5)  # taken at least until the next name is chosen
        inner.env[value] = Expr(chosen, refs=(chosen,))
        return chosen

    def _length(self, op: Any, node: Node) -> str:
        return self.size(op.trip_count([v.type for v in node.inputs])).text

    def _targets(self, node: Node, carries: int, kept: dict[int, str]) -> tuple[str, str]:
        """Names for the last carries, and for what was stacked."""
        groups: list[list[str]] = [[], []]
        op: Any = node.op
        last, ys = op.divide(node.outputs)
        for value, formal in zip(last, op.formals.carries, strict=True):
            if self.state.uses[value]:
                name = self.fresh(self.state.preferred.get(value, free(carried(formal))))
                self.declared[name] = self.array if kept or op.scanned else ANY
                self.bind(value, name)
            groups[0].append(name if self.state.uses[value] else "_")
        for i in kept:
            name = self.fresh(kept[i])
            self.declared[name] = self.array
            self.bind(ys[i], name)
            groups[1].append(name)
        if not any(n != "_" for n in groups[0]):
            groups[0] = ["_"]
        first = groups[0][0] if len(groups[0]) == 1 else f"({', '.join(groups[0])})"
        if not kept:
            return (first if carries == 1 else ", ".join(groups[0])), "_"
        return first, groups[1][0] if len(kept) == 1 else f"({', '.join(groups[1])})"


def _leading(e: Expr, axis: int) -> str:
    """The text of a value with an axis brought to the front."""
    return e.text if axis == 0 else _moved(e.at(90), axis, back=False)


def _moved(text: str, axis: int, back: bool = True) -> str:
    if axis == 1:
        return f"{text}.swapaxes(0, 1)"
    return f"jnp.moveaxis({text}, {f'0, {axis}' if back else f'{axis}, 0'})"


def _group(texts: list[str], grouped: bool = False) -> str:
    return "None" if not texts else texts[0] if len(texts) == 1 and not grouped else tuple_text(texts)


def _typed(count: int) -> str:
    return result_type("Array", count) if count else "None"


def result_types(types: list[str]) -> str:
    """Write the type of what a step reads."""
    if len(set(types)) == 1:
        return result_type(types[0], len(types))
    return f"tuple[{', '.join(types)}]" if types else "None"


def _argument(group: str, names: list[str]) -> str:
    return names[0] if len(names) == 1 else group
