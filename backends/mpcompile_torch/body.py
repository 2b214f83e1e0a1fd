"""The statements of one method in torch."""

from __future__ import annotations

import ast
import math
from typing import Any, ClassVar, Protocol

from mpcompile.emission.constants import TABLE
from mpcompile.emission.names import defined, free
from mpcompile.emission.naming import ANY, NUMBER
from mpcompile.emission.roles import carried, plural
from mpcompile.emission.scopes import Owner, State, count_uses, prefer_carries
from mpcompile.emission.text import ATOM, Expr
from mpcompile.emission.untyped import chain, untyped
from mpcompile.emission.writer import Writer
from mpcompile.ir import Constant, DType, Node, Stack, Value
from mpcompile.kernels import Kernel, RecurrentLayer, find_recurrent_layers
from mpcompile.ops import Repeat
from mpcompile.outline import Block, Call, Loop
from mpcompile_torch import helpers, literals, recurrent
from mpcompile_torch.in_place import InPlace
from mpcompile_torch.kernels import KERNELS, spells
from mpcompile_torch.lists import Over
from mpcompile_torch.positions import Key, Positions, looks_up
from mpcompile_torch.recomputed import write_iteration
from mpcompile_torch.rows import tensor
from mpcompile_torch.spelling import SPELLINGS, stretch
from mpcompile_torch.verify import ALLOWED

#: Names that mean something in an emitted file: no argument and no variable has one of them.
RESERVED = (
    frozenset(
        {*ALLOWED.names, *ALLOWED.known, *(n for names in ALLOWED.imported.values() for n in names), "_"}
    )
    | defined([*literals.HELPERS.values(), *recurrent.HELPERS.values()])
    | defined([helpers.MAX_POOL, helpers.GROUP, helpers.ALL_SUM, helpers.PHASES])
    | {"load", TABLE, "model", "module"}
)


LIST = "list[Tensor]"


class TorchOwner(Owner, Protocol):
    """The class that a method is written into, as far as the method may ask about it."""

    def layer(self, weight: str, bias: str | None) -> str | None:
        """The `nn` layer that stands for an operation with this weight and bias."""
        ...

    def any_parameter(self) -> str | None: ...

    #: Variables of the loop that is written, by the elements of lists that they stand for.
    elements: dict[str, str]
    #: The name of the instance.
    me: str

    def typed(self, path: list[str], called: bool) -> bool:
        """Whether a checker knows the type of an attribute, or of what it gives when it is called."""
        ...

    def repeated(self, node: Node) -> list[Over]:
        """Return the lists of layers that a region is a loop over."""
        ...

    def listed(self, constant: Constant) -> str:
        """The text that reads a constant as a list of Python integers."""
        ...


class TorchWriter(Writer):
    """Writes the body of one method."""

    rows = SPELLINGS
    kernel_rows = KERNELS
    first_indent: ClassVar[int] = 2
    array: ClassVar[str] = "Tensor"

    def __init__(
        self,
        owner: TorchOwner,
        block: Block,
        arguments: list[str],
        outputs: dict[Value, str],
        key: Key,
        positions: Positions,
        in_place: InPlace,
        reserved: frozenset[str],
    ) -> None:
        self.reserved = reserved
        super().__init__(owner, block, arguments, outputs)
        self.class_: TorchOwner = owner
        self.positions, self.in_place = positions, in_place
        self.lists = {block.inputs[i] for i in positions.lists[key]}
        self.reference = {}
        for i, (name, v) in enumerate(zip(arguments, block.inputs, strict=True)):
            if i in positions.numbers[key]:
                self.state.env[v] = Expr(name, scalar=True)
            elif v not in self.lists:
                self.reference.setdefault(v.dtype, name)

    def tensor(self, e: Expr, dtype: DType) -> Expr:
        return tensor(self, e, dtype)

    def taken(self, block: Block) -> set[int]:
        """Nodes before the loops that are layers of recurrent networks."""
        self.layers = find_recurrent_layers(block, count_uses(block))
        return {i for layer in self.layers.values() for i in layer.absorbed}

    def spells(self, kernel: Kernel) -> bool:
        return spells(kernel)

    def is_untyped(self, text: str) -> bool:
        """Calls of modules are `Any`, and so is what stands in a group or a list."""

        def known(e: ast.expr) -> bool | None:
            if isinstance(e, ast.Call) and (called := chain(e.func)) and called[0] == self.class_.me:
                return not self.class_.typed(called[1:], True)
            path = chain(e)
            if not path:
                return None
            root, *rest = path
            if root == self.class_.me:
                return not self.class_.typed(rest, False)
            return root in self.class_.elements.values() or self.declared.get(root) == ANY

        return untyped(text, known)

    # --- numbers of steps, and what is written in place ---

    def argument(self, call: Call, number: int, e: Expr) -> Expr:
        key = self.positions.key(call)
        if number in self.positions.numbers[key]:
            return e
        if number in self.positions.lists[key]:
            return e if call.block.inputs[number] in self.lists else e.with_(text=f"{e.at(ATOM)}.tolist()")
        return super().argument(call, number, e)

    def assign(self, value: Value, expr: Expr, hint: str) -> None:
        super().assign(value, expr, hint)
        if expr.scalar:
            self.state.env[value] = self.state.env[value].with_(scalar=True)

    def node(self, node: Node) -> None:
        if looks_up(node) and self.operand(node.inputs[1]).scalar and self._look_up(node):
            return
        if node.id in self.in_place.updates and self._write(node):
            return
        super().node(node)

    def _look_up(self, node: Node) -> bool:
        """An element of a list; False where the table is a tensor."""
        (table, at), (value,) = node.inputs, node.outputs
        op = self.state.graph.node(table).op
        if table not in self.lists and not isinstance(op, Constant):
            return False
        place, uses = self.operand(at), self.state.uses[value]
        data = Expr(self.class_.listed(op)) if isinstance(op, Constant) else self.operand(table)
        refs, labels = (*data.refs, *place.refs), (*place.labels, *self.label(node))
        element = Expr(f"{data.text}[{place.text}]", scalar=True, refs=refs, labels=labels)
        if uses:  # a stretch names its start twice
            self.assign(value, element, "place")
        else:
            self.release(element)
        return True

    def _write(self, node: Node) -> bool:
        """Replace a stretch of a buffer; False where this has to give a new tensor."""
        data, update, start = (self.operand(v) for v in node.inputs)
        if not data.text.isidentifier() or not start.scalar:
            return False
        axis, (value,) = node.op.attributes()["axis"], node.outputs
        where = stretch(axis, node.types[0].rank, start, self.size(node.inputs[1].shape[axis]).text)
        labels = (*data.labels, *update.labels, *start.labels, *self.label(node))
        self.statement(f"{data.text}[{where}] = {update.text}", tuple(dict.fromkeys(labels)))
        for e in (data, update, start):
            self.release(e)
        self.bind(value, data.text)
        return True

    # --- what spellings ask (the RowContext protocol) ---

    def float_dtype(self) -> str:
        name = self.reference.get(DType.FLOAT) or self.class_.any_parameter()
        return f"{name}.dtype" if name else "torch.get_default_dtype()"

    def device(self) -> str:
        name = self.reference.get(DType.FLOAT) or next(iter(self.reference.values()), None)
        name = name or self.class_.any_parameter()
        return f"device={name}.device" if name else "device=None"

    def like(self, dtype: DType) -> str:
        kind = {DType.INT: "torch.int64", DType.BOOL: "torch.bool"}.get(dtype) or self.float_dtype()
        return f"dtype={kind}, {self.device()}"

    def layer(self, weight: Expr, bias: Expr | None, x: Expr) -> str | None:
        called = self.class_.layer(weight.text, bias.text if bias else None)
        return f"{called}({x.text})" if called else None

    # --- loops ---

    def loop(self, loop: Loop) -> None:
        """A `for` statement over the steps: carries are variables, stacked results lists."""
        node, outer = loop.node, self.state
        if outer.graph is self.block.graph and node.id in self.layers:
            self.recurrent(node, self.layers[node.id])
            return
        op: Any = node.op
        body = loop.body
        inside = op.split(body.inputs[:-1])
        inner = self.begin(body, prefer_carries(body))
        compared = op.read_carries() if op.until_fixed_point else []
        inner.uses.update(body.inputs[i] for i in compared)
        listed = self.captured(loop, inner)
        carry_names = self._first_carries(loop, inner)
        lists: dict[int, str] = {}
        rows = self.in_place.rows.get(id(loop), {})
        for i, value in enumerate(op.divide(node.outputs)[1]):
            if i in rows:
                inner.uses[op.divide(body.outputs)[1][i]] -= 1
            elif outer.uses[value]:
                lists[i] = self.fresh(plural(self.many(loop, i, inner)), LIST)
                self.live[lists[i]] = math.inf
                stated = lists[i] if lists[i] in self.declared else f"{lists[i]}: {LIST}"
                self.declared[lists[i]] = LIST
                self.statement(f"{stated} = []", self.label(node))
        region = isinstance(op, Repeat)
        scanned = op.split(node.inputs).scanned
        read = [i for i, v in enumerate(scanned) if not isinstance(outer.graph.node(v).op, Stack)]
        slices = [self.operand(scanned[i]) for i in read]
        names = self._slices(loop, inner, read)
        self._over_layers(loop, slices, names) if region else self._head(loop, inner, slices, names)
        for name, value in zip(carry_names, inside.carries, strict=True):
            self.live[name] = inner.uses[value]
        inner.preferred |= dict(zip(op.divide(body.outputs)[0], carry_names, strict=True))

        self.state = inner
        self.indent += 1
        self._step(loop, carry_names, lists, compared)
        self.indent -= 1
        self.state = outer
        self.class_.elements.clear()
        self.comment, self.said = "", set()

        buffers = {i: e.text for i, e in zip(read, slices, strict=True)}
        for e in slices:
            self.release(e)
        for i, place in rows.items():
            self.bind(op.divide(node.outputs)[1][i], buffers[place])
        for _, outside in loop.captured:
            self.release(self.operand(outside))
        self.live.update(dict.fromkeys(listed, 0))
        for name, value in zip(carry_names, node.outputs, strict=False):
            self.bind(value, name)
        for i, name in lists.items():
            self.live[name] = 1
            value = op.divide(node.outputs)[1][i]
            order = f"{name}[::-1]" if op.reverse else name
            stacked = Expr(f"torch.stack({order}, {op.axis})", refs=(name,), heavy=True)
            self.settle(value, stacked, outer.uses[value], outer.preferred.get(value, f"all_{name}"))

    def _first_carries(self, loop: Loop, inner: State) -> list[str]:
        """Assign the first carries; return the names of the variables that carry."""
        op: Any = loop.node.op
        starts, names = op.split(loop.node.inputs).carries, list(map(carried, op.formals.carries))
        inside = op.split(loop.body.inputs[:-1]).carries
        carry_names = [""] * len(names)
        first = [self.tensor(self.operand(v), v.dtype) for v in starts]
        if isinstance(op, Repeat):
            given = {e.text for v in self.block.inputs if (e := self.state.env.get(v))}
            names = [e.text if e.text.isidentifier() and e.text not in given else "h" for e in first]
        # a variable that has the right name already comes last, when no other carry reads it any more
        for i in sorted(range(len(names)), key=lambda i: first[i].text == names[i]):
            e = first[i]
            self.release(e)
            chosen = e.text
            if i in self.in_place.owned.get(id(loop), ()) and not self.is_new(starts[i]):
                e = e.with_(text=f"{e.at(ATOM)}.clone()")
                chosen = e.text
            if self.live.get(chosen) != 0:
                chosen = self.fresh(free(names[i]))
                self.statement(f"{self.declaration(chosen, e.text)} = {e.text}", e.labels)
            self.live[chosen] = math.inf
            carry_names[i] = chosen
            inner.env[inside[i]] = Expr(chosen, refs=(chosen,))
        return carry_names

    def _slices(self, loop: Loop, inner: State, read: list[int]) -> list[str]:
        """Names of what a step takes of scanned values, of which it reads some."""
        op: Any = loop.node.op
        names: list[str] = []
        inside, around = op.split(loop.body.inputs[:-1]).scanned, op.split(loop.node.inputs).scanned
        found = list(zip(inside, op.formals.scanned, around, strict=True))
        for number, (value, name, outside) in enumerate(found[i] for i in read):
            chosen = self.fresh(free(self.slice_name(name, outside, number)))
            self.live[chosen] = max(inner.uses[value], 0.5)  # taken at least until the next name is chosen
            names.append(chosen)
            self.declared[chosen] = self.array
            inner.env[value] = Expr(chosen, refs=(chosen,))
        return names

    def _head(self, loop: Loop, inner: State, slices: list[Expr], names: list[str]) -> None:
        """The line that begins with `for`, over the steps of what is scanned."""
        op: Any = loop.node.op
        step_value, step = loop.body.inputs[-1], ""
        if inner.uses[step_value]:
            step = self.fresh("step", NUMBER)
            self.declared[step] = NUMBER
            self.live[step] = math.inf
            inner.env[step_value] = Expr(step, scalar=True)
        self.statement(self.loop_header(op, loop.node, slices, names, step), self.label(loop.node))

    def _over_layers(self, loop: Loop, slices: list[Expr], parts: list[str]) -> None:
        """The line that begins with `for`, over the layers of a region, and their parts of what is scanned."""
        op: Any = loop.node.op
        found, names = self.class_.repeated(loop.node), list[str]()
        for over in found:
            names.append(self.fresh(free(over.stem), "module"))
            self.declared[names[-1]] = "module"
            self.live[names[-1]] = math.inf
        each = [*(over.taken for over in found), *(f"{e.at(ATOM)}.unbind(0)" for e in slices)]
        count = op.iterations([v.type for v in loop.node.inputs])
        source = (
            f"zip({', '.join(each)}, strict=True)"
            if len(each) > 1
            else each[0]
            if each
            else f"range({count})"
        )
        names += parts
        self.statement(f"for {', '.join(names) or '_'} in {source}:", self.label(loop.node))
        self.class_.elements |= {over.first: name for over, name in zip(found, names, strict=False)}

    def _step(self, loop: Loop, carry_names: list[str], lists: dict[int, str], compared: list[int]) -> None:
        """The body of the statement: one step, appended results, and the carries of the next one."""
        op: Any = loop.node.op
        if op.recompute:
            write_iteration(self, loop, carry_names, lists)
            return
        body, before = loop.body, len(self.lines)
        following, ys = op.divide(body.outputs)
        self.write(body)
        for i, name in lists.items():
            e = self.tensor(self.operand(ys[i]), ys[i].dtype)
            self.statement(f"{name}.append({e.text})", e.labels)
            self.release(e)
        settled = self.settled(body, [(body.inputs[i], body.outputs[i]) for i in compared])
        after = [self.tensor(self.operand(v), v.dtype) for v in following]
        moves = [(n, e) for n, e in zip(carry_names, after, strict=True) if n != e.text]
        labels = tuple(la for _, e in moves for la in e.labels)
        if moves:
            left, right = ", ".join(n for n, _ in moves), ", ".join(e.text for _, e in moves)
            self.statement(f"{left} = {right}", labels)
        for e in after:
            self.release(e)
        if settled:
            self.lines += ["    " * self.indent + f"if {settled}:", "    " * (self.indent + 1) + "break"]
        if len(self.lines) == before:
            self.statement("pass")

    def recurrent(self, node: Node, layer: RecurrentLayer) -> None:
        """A loop as a call of torch's kernel: `h, _, _ = fused_lstm(...)`."""
        args = [self.tensor(self.named(v), v.dtype) for v in layer.arguments]
        if layer.reverse:
            args[0] = args[0].with_(text=f"{args[0].at(ATOM)}.flip(1)")
        call = Expr(
            f"fused_{layer.kernel}({', '.join(e.text for e in args)})",
            refs=tuple(r for e in args for r in e.refs),
            labels=tuple(dict.fromkeys([*(la for e in args for la in e.labels), *self.label(node)])),
        )
        *last, ys = node.outputs
        hint = self.state.preferred.get(ys, "h")
        for name in args[1].refs if layer.before else ():
            self.live[name] += 1  # the first state is read once more, below
        self.unpack((ys, *last), call, [hint, *["state"] * len(last)])
        if layer.before:
            h, first = self.operand(ys), args[1]
            text = f"torch.cat([{first.at(ATOM)}[:, None], {h.text}[:, :-1]], 1)"
            self.live[h.text] = 1
            self.settle(ys, Expr(text, refs=(*h.refs, *first.refs), heavy=True), self.state.uses[ys], hint)
        elif layer.reverse or layer.present is not None:
            h, uses = self.operand(ys), self.state.uses[ys]
            refs, text = h.refs, f"{h.text}.flip(1)"
            if layer.present is not None:
                real = self.named(layer.present)
                refs, text = (*refs, *real.refs), f"torch.where({real.text}[..., None], {h.text}, 0.0)"
            self.live[h.text] = 1
            self.settle(ys, Expr(text, refs=refs, heavy=True), uses, hint)

    def settled(self, body: Block, compared: list[tuple[Value, Value]]) -> str:
        """A variable that says whether what a step reads was left as it was; nothing where all steps are run.

        A compiler and an exporter have no values to compare, and run all steps.
        """
        if not compared:
            return ""
        pairs = [(self.operand(old), self.named(new)) for old, new in compared]
        name = self.fresh("settled")
        self.statement(
            " and ".join(
                [
                    f"{name} = not torch.compiler.is_compiling()",
                    *(f"torch.equal({new.text}, {old.text})" for old, new in pairs),
                ]
            )
        )
        for old, _ in pairs:
            self.release(old)
        return name

    def captured(self, loop: Loop, inner: State) -> list[str]:
        """Names in the body for what it captures. Vectors that are read as lists are made such: gives their names."""
        listed = []
        for inside, outside in loop.captured:
            e = self.named(outside).with_(refs=(), labels=())
            if inside in self.positions.looped[id(loop)]:
                self.lists.add(inside)
                if outside not in self.lists:
                    name = self.fresh("places")
                    self.live[name] = math.inf
                    self.statement(f"{name} = {e.at(ATOM)}.tolist()")
                    listed.append(name)
                    e = Expr(name)
            inner.env[inside] = e
        return listed

    def is_new(self, value: Value) -> bool:
        """Whether a value is a tensor that is made where it is read, here."""
        node = self.state.graph.node(value)
        return node.op.name == "broadcast_to" and not node.inputs[0].shape and self.state.uses[value] == 1

    def loop_header(self, op: Any, node: Node, slices: list[Expr], names: list[str], step: str) -> str:
        unbound = [f"{e.at(ATOM)}.unbind({op.axis})" for e in slices]
        if not unbound:
            source = f"range({self.size(op.length).text})"
            return f"for {step or '_'} in {f'reversed({source})' if op.reverse else source}:"
        source = unbound[0] if len(unbound) == 1 else f"zip({', '.join(unbound)}, strict=True)"
        item = names[0] if len(names) == 1 else ", ".join(names)
        if step:
            item = f"{step}, {item if len(names) == 1 else f'({item})'}"
            source = f"enumerate({source})"
        if op.reverse:
            plain = len(unbound) == 1 and not step
            source = f"reversed({source})" if plain else f"reversed(list({source}))"
        return f"for {item} in {source}:"
