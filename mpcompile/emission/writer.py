"""The statements of one function of Python: which values get names, and which are nested into their user."""

from __future__ import annotations

import math
import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from mpcompile.emission.names import free
from mpcompile.emission.naming import ANY, NUMBER, Naming
from mpcompile.emission.roles import (
    WEAK,
    halves,
)
from mpcompile.emission.scopes import (
    Owner,
    State,
    Values,
    count_uses,
    found_symbols,
    prefer_carries,
)
from mpcompile.emission.text import ATOM, WIDTH, Expr, Label, comment, layout, literal, quoted, size
from mpcompile.ir import Constant, DType, Node, Parameter, Symbolic, Value, symbol, symbols
from mpcompile.kernels import Kernel, find_kernels, read_by
from mpcompile.ops.normalisation import Normalisation
from mpcompile.ops.pooling import Pool
from mpcompile.ops.traits import Product
from mpcompile.outline import Block, Call, Item, Loop

#: A nested expression grows to this many characters, and no further.
NESTED, LINE = 60, 76


class Writer(Naming):
    """Writes the body of one function. `lines` is the result; `used_symbols` tells which sizes it needs.

    A backend subclasses it: `rows` spells primitives, `kernel_rows` the kernels that the backend has, `reserved` are
    names that no variable may have.
    """

    rows: ClassVar[Mapping[str, Callable[..., Any]]]
    kernel_rows: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    first_indent: ClassVar[int] = 1

    def __init__(self, owner: Owner, block: Block, arguments: list[str], outputs: dict[Value, str]) -> None:
        self.owner = owner
        self.block = block
        self.lines: list[str] = []
        self.indent = self.first_indent
        self.live: dict[str, float] = {}
        #: Types of the variables of this function, innermost first: what a checker takes them for.
        self.declared: ChainMap[str, str] = ChainMap()
        #: Variables whose type stands in the text.
        self.stated: set[str] = set()
        self.dtypes: dict[str, DType] = {}
        self.given = frozenset(arguments)
        self.rearranged = set[str]()
        self.kernels: dict[int, Kernel] = {}
        self.absorbed = self.taken(block)
        self.state = self.begin(block, prefer_carries(block) | outputs)
        self.used_symbols: dict[str, None] = {}
        self.outside: dict[str, str] = {}
        self.comment = ""
        self.said: set[Label] = set()
        self.result_names: list[str] = []
        self.reference: dict[DType, str] = {}
        for name, v in zip(arguments, block.inputs, strict=True):
            self.live[name] = math.inf
            self.dtypes[name] = v.dtype
            self.state.env[v] = Expr(name)
            self.reference.setdefault(v.dtype, name)
            op = block.graph.node(v).op
            if isinstance(op, Parameter):
                self.outside[op.path] = name
        self.symbol_names = self._name_symbols(block)

    def _name_symbols(self, block: Block) -> dict[str, str]:
        names = {}
        for s in found_symbols(block):
            name = free(s.lower())
            names[s] = self.fresh(name if self._is_free(name) else name + "_size")
            self.live[names[s]] = math.inf
        return names

    def begin(self, block: Block, preferred: dict[Value, str]) -> State:
        """Find the kernels of a function or of the body of a loop, and count who reads its values then."""
        nodes = [i for i in block.items if isinstance(i, Node) and i.id not in self.absorbed]
        owner, uses = self.owner, count_uses(block)
        found = find_kernels(block.graph, nodes, uses, self.spells, owner.fixed, owner.started(block))
        absorbed = {i for kernel in found.values() for i in kernel.absorbed}
        uses = count_uses(block, found, absorbed)
        for node in reversed(nodes):  # what made a mask that a kernel has by its name, nobody reads
            given = found[node.id].results if node.id in found else node.outputs
            if node.id not in absorbed and not any(uses[v] for v in given):
                uses.subtract(read_by(node, found, absorbed))
                absorbed.add(node.id)
        self.kernels |= found
        self.absorbed |= absorbed
        called = {k.operands[field]: name for k in found.values() for field, name in k.called.items()}
        within = frozenset(
            i.node.id if isinstance(i, Loop) else i.id for i in block.items if not isinstance(i, Call)
        )
        return State(block.graph, uses, preferred=called | preferred, within=within)

    # --- what a backend says ---

    def taken(self, block: Block) -> set[int]:
        """Numbers of the nodes of a function that a backend writes in its own way, as part of something else."""
        return set()

    def spells(self, kernel: Kernel) -> bool:
        """Whether the backend writes a kernel as one operation; else it is written as its primitives."""
        raise NotImplementedError

    def tensor(self, e: Expr, dtype: DType) -> Expr:
        """The expression as a tensor, also where it is a Python number."""
        raise NotImplementedError

    def argument(self, call: Call, number: int, e: Expr) -> Expr:
        """An argument of a call."""
        return self.tensor(e, call.block.inputs[number].dtype)

    def loop(self, loop: Loop) -> None:
        """Write a scan."""
        raise NotImplementedError

    def constant(self, constant: Constant) -> Expr:
        """An array constant."""
        return Expr(self.owner.constant(constant))

    # --- what spellings ask ---

    def size(self, value: int | Symbolic) -> Expr:
        for s in sorted(symbols(value)):
            self.used_symbols.setdefault(s)
        return size(value, self.symbol_names)

    # --- operands and statements ---

    def operand(self, value: Value) -> Expr:
        if value in self.state.env:
            return self.state.env[value]
        op = self.state.graph.node(value).op
        if isinstance(op, Constant):
            return literal(op.stored.item()) if op.stored.ndim == 0 else self.constant(op)
        if isinstance(op, Parameter):
            own = self.owner.parameter(op.path)
            return Expr(own if own is not None else self.outside[op.path])
        raise KeyError(f"value {value} of node '{self.state.graph.node(value).op.name}' is not known here")

    def say(self, labels: tuple[Label, ...]) -> None:
        """The comment that tells where the next lines come from."""
        if labels and not set(labels) <= self.said:
            text = comment(labels, WIDTH - 4 * self.indent)
            if text != self.comment:
                self.lines.append("    " * self.indent + text)
                self.comment = text
            self.said = set(labels)

    def statement(self, text: str, labels: tuple[Label, ...] = ()) -> None:
        self.say(labels)
        self.lines += layout(text, self.indent)

    def assign(self, value: Value, expr: Expr, hint: str) -> None:
        self.release(expr)
        name = self.choose(value, expr, hint)
        if expr.scalar:
            self.declared[name] = NUMBER
        if name != expr.text:
            left = name if expr.scalar else self.declaration(name, expr.text)
            self.statement(f"{left} = {expr.text}", expr.labels)
        self.bind(value, name)

    def named(self, value: Value) -> Expr:
        """The operand as something that may be written anywhere below."""
        expr = self.operand(value)
        if not expr.simple or (expr.scalar and expr.precedence != ATOM):
            self.assign(value, expr, self.hint(self.state.graph.node(value), value.index))
            expr = self.state.env[value]
        return expr

    def label(self, node: Node) -> tuple[Label, ...]:
        if len(node.scope) <= len(self.owner.path):
            return ()
        frame = node.scope[-1]
        return ((frame.label, frame.span.path, frame.span.line),)

    # --- items ---

    def write(self, block: Block) -> None:
        for item in block.items:
            self.item(item)

    def item(self, item: Item) -> None:
        if isinstance(item, Call):
            self.call(item)
        elif isinstance(item, Loop):
            self.loop(item)
        else:
            self.node(item)

    def node(self, node: Node) -> None:
        if node.id in self.absorbed:
            return
        kernel = self.kernels.get(node.id)
        if kernel is None:
            row = self.rows[node.op.name]
            self.spell(node, node.inputs, node.outputs, lambda args: row(self, node, args))
            return
        names, row = list(kernel.operands), self.kernel_rows[kernel.name]
        operands = tuple(kernel.operands.values())
        self.spell(
            node,
            operands,
            kernel.results,
            lambda args: row(self, kernel, dict(zip(names, args, strict=True))),
        )

    def spell(self, node: Node, inputs: Values, results: Values, row: Callable[[list[Expr]], Any]) -> None:
        """Write what a row makes of operands in the place of a node."""
        for v in inputs:
            if self._heavy(node) and self.operand(v).heavy:
                self.named(v)
        while True:
            args = [self.operand(v) for v in inputs]
            made = row(args)
            first = made[0] if isinstance(made, list) else made
            nested = [v for v, e in zip(inputs, args, strict=True) if not e.simple and len(e.text) > 12]
            if len(first.text) <= LINE or not nested:
                break
            self.named(max(nested, key=lambda v: len(self.operand(v).text)))
        labels: dict[Label, None] = {}
        for e in args:
            labels.update(dict.fromkeys(e.labels))
        labels.update(dict.fromkeys(self.label(node)))
        refs = tuple(r for e in args for r in e.refs)
        if isinstance(made, list) and len(made) == 1:
            makers = [self.state.graph.node(v) for v in results]
            pairs = [(n, self.hint(n, v.index)) for n, v in zip(makers, results, strict=True)]
            hints = halves(results, [WEAK.get(n.op.name, h) if h == "h" else h for n, h in pairs])
            self.unpack(results, first.with_(refs=refs, labels=tuple(labels)), hints)
            self.rearranged |= {self.state.env[v].text for v in results if self.used(v)}
            return
        value, uses = results[0], self.state.uses[results[0]]
        expr = first.with_(refs=refs, labels=tuple(labels), heavy=first.heavy or any(e.heavy for e in args))
        self.settle(value, expr, uses, self.hint(node, 0))

    def _heavy(self, node: Node) -> bool:
        """Whether a node, or the kernel that it is, holds a product or the like: its operands hold none then."""
        kernel = self.kernels.get(node.id)
        covered = (node.id, *(kernel.absorbed if kernel else ()))
        return any(isinstance(self.state.graph.node(i).op, Product | Normalisation | Pool) for i in covered)

    def settle(self, value: Value, expr: Expr, uses: int, hint: str) -> None:
        """Name a value, nest it, or drop it. Ones are nested at any length: where they are counted, no text is left."""
        if uses == 0:
            self.release(expr)
        elif expr.simple:
            for r in expr.refs:
                self.live[r] += uses - 1
            self.state.env[value] = expr
        elif uses == 1 and (expr.fill == "1.0" or len(expr.text) <= self._room(value)):
            self.state.env[value] = expr
        else:
            self.assign(value, expr, hint)

    def _room(self, value: Value) -> int:
        """Return the length of text up to which a value is nested where it is read."""
        return LINE if self.block.outputs == (value,) else NESTED

    def unpack(self, values: Values, expr: Expr, hints: list[str], prefix: str = "") -> None:
        """`a, b = f(x)`, with `_` for what nobody reads; `prefix` tells results from others of their names."""
        self.release(expr)
        names, kind = [], ANY if self.is_untyped(expr.text) else self.array
        for v, hint in zip(values, hints, strict=True):
            if self.state.uses[v]:
                name = self.result_of(v, hint, prefix)
                self.declared[name] = self.array if name in self.stated else kind
                self.bind(v, name)
                names.append(name)
            else:
                names.append("_")
        self.statement(f"{', '.join(names)} = {expr.text}", expr.labels)

    def call(self, call: Call) -> None:
        target = self.owner.target(call)
        args = []
        for i, v in enumerate(call.block.inputs):
            e = self.operand(v)
            if e.heavy or len(e.text) > 30:
                e = self.named(v)
            args.append(self.argument(call, i, e))
        told = [self.size(symbol(s)).text for s in target.told]
        texts = [*target.before, *(e.text for e in args), *target.after, *told]
        frame = call.frame
        label = ((frame.label, frame.span.path, frame.span.line),) if frame.label else ()
        labels = tuple(dict.fromkeys([*(la for e in args for la in e.labels), *label]))
        refs = tuple(r for e in args for r in e.refs)
        expr = Expr(f"{target.text}({', '.join(texts)})", heavy=True, refs=refs, labels=labels)
        results, layer = call.block.outputs, "_".join(call.path[-1:]).replace(".", "_")
        if target.keys:
            self.release(expr)
            name = self.fresh("out", "dict")
            self.declared[name] = "dict"
            self.live[name] = sum(self.state.uses[v] for v in results)
            self.statement(f"{name} = {expr.text}", expr.labels)
            for v, key in zip(results, target.keys, strict=True):
                self.state.env[v] = Expr(f"{name}[{quoted(key)}]", refs=(name,))
        elif len(results) == 1:
            uses = self.state.uses[results[0]]
            self.release(expr)  # the name of an argument that nobody reads behind the call is free
            hint = self.result_of(results[0], target.results[0], layer)
            for name in expr.refs:
                self.live[name] += 1
            self.settle(results[0], expr, uses, hint)
        else:
            self.unpack(results, expr, target.results, layer)
            self.rearranged |= (
                set() if call.path else {self.state.env[v].text for v in results if self.used(v)}
            )

    # --- the end ---

    def result_name(self, value: Value, expr: Expr) -> str:
        """Suggest a name for a result to its caller."""
        if expr.refs and expr.text.isidentifier():
            return expr.text
        if self.state.graph.node(value).op.bodies() and len(set(expr.refs)) == 1:  # what a loop stacks
            return expr.refs[0]
        return self.hint(self.state.graph.node(value), value.index)

    def finish(self, names: list[str] | None) -> None:
        """The return statement, and which sizes the text reads in the end: some are gone in a mean."""
        self._return(names)
        words = set(re.findall(r"\w+", "\n".join(self.lines)))
        self.used_symbols = {s: None for s in self.used_symbols if self.symbol_names[s] in words}

    def _return(self, names: list[str] | None) -> None:
        """A tensor, a dict when the outputs have `names`, else a tuple."""
        outputs = self.block.outputs
        if len(outputs) == 1:
            e = self.tensor(self.operand(outputs[0]), outputs[0].dtype)
            self.result_names = [self.result_name(outputs[0], e)]
            if self.is_untyped(e.text):
                self.live.update(dict.fromkeys({*self.declared} - self.stated, math.inf))
                hint = self.result_names[0]
                self.assign(outputs[0], e, hint if self.fresh(hint) == hint and hint != "h" else "out")
                e = self.operand(outputs[0])
            self.statement(f"return {e.text}", e.labels)
            return
        exprs = []
        for v in outputs:
            if len(self.operand(v).text) > 40:
                self.named(v)
            exprs.append(self.tensor(self.operand(v), v.dtype))
        self.result_names = [self.result_name(v, e) for v, e in zip(outputs, exprs, strict=True)]
        labels = tuple(dict.fromkeys(la for e in exprs for la in e.labels))
        if names is None:
            self.statement(f"return {', '.join(e.text for e in exprs)}", labels)
        else:
            pairs = ", ".join(f"{quoted(n)}: {e.text}" for n, e in zip(names, exprs, strict=True))
            self.statement(f"return {{{pairs}}}", labels)
