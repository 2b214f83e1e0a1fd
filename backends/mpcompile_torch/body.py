"""The statements of one method in torch."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

from mpcompile.emission.text import ATOM, Expr, identifier
from mpcompile.emission.writer import Owner, State, Writer, count_uses, prefer_carries
from mpcompile.ir import DType, Node, Value
from mpcompile.outline import Block, Loop
from mpcompile_torch.rows import tensor
from mpcompile_torch.spelling import SPELLINGS

RESERVED = frozenset({
    "self", "torch", "math", "nn", "F", "Tensor", "Any", "range", "zip", "reversed", "enumerate", "list",
    "tuple", "dict", "int", "float", "bool", "super", "unpack", "Group", "max_pool_padded",
    "real", "checkerboard",    "base64", "load_file",
})  # fmt: skip


class TorchOwner(Owner, Protocol):
    """What a method may ask of its class."""

    def layer(self, node: Node, weight: str, bias: str | None) -> str | None:
        """The `nn` layer that stands for an operation with this weight and bias."""
        ...

    def any_parameter(self) -> str | None: ...


class TorchWriter(Writer):
    """Writes the body of one method."""

    rows = SPELLINGS
    reserved = RESERVED
    first_indent: ClassVar[int] = 2

    def __init__(
        self, owner: TorchOwner, block: Block, arguments: list[str], outputs: dict[Value, str]
    ) -> None:
        super().__init__(owner, block, arguments, outputs)
        self.class_: TorchOwner = owner

    def tensor(self, e: Expr, dtype: DType) -> Expr:
        return tensor(self, e, dtype)

    # --- what spellings ask (the Around protocol) ---

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

    def layer(self, op: Node, weight: Expr, bias: Expr | None, x: Expr) -> str | None:
        called = self.class_.layer(op, weight.text, bias.text if bias else None)
        return f"{called}({x.text})" if called else None

    # --- loops ---

    def loop(self, loop: Loop) -> None:
        node, outer = loop.node, self.state
        op: Any = node.op
        carries, scanned, body = op.carries, op.scanned, loop.body
        names = list(body.graph.inputs)
        inner = State(body.graph, count_uses(body), preferred=prefer_carries(body))
        for inside, outside in loop.captured:
            inner.env[inside] = self.named(outside).with_(refs=(), labels=())

        carry_names = [""] * carries
        first = [self.tensor(self.operand(v), v.dtype) for v in node.inputs[:carries]]
        # a variable that has the right name already comes last, when no other carry reads it any more
        for i in sorted(range(carries), key=lambda i: first[i].text == names[i]):
            e = first[i]
            self.release(e)
            chosen = e.text
            if self.live.get(chosen) != 0:
                chosen = self.fresh(identifier(names[i]))
                self.statement(f"{chosen} = {e.text}", e.labels)
            self.live[chosen] = math.inf
            carry_names[i] = chosen
            inner.env[body.inputs[i]] = Expr(chosen, refs=(chosen,))
        lists: dict[int, str] = {}
        for i, value in enumerate(node.outputs[carries:]):
            if outer.uses[value]:
                lists[i] = self.fresh(self.state.preferred.get(value, "y").rstrip("s") + "s")
                self.live[lists[i]] = math.inf
                self.statement(f"{lists[i]}: list[Tensor] = []", self.label(node))

        slices = [self.operand(v) for v in node.inputs[carries : carries + scanned]]
        loop_names = []
        for value, name in zip(body.inputs[carries : carries + scanned], names[carries:], strict=False):
            chosen = self.fresh(identifier(name if name.endswith("_t") else name + "_t"))
            self.live[chosen] = max(inner.uses[value], 0.5)  # taken at least until the next name is chosen
            loop_names.append(chosen)
            inner.env[value] = Expr(chosen, refs=(chosen,))
        step = ""
        if inner.uses[body.inputs[-1]]:
            step = self.fresh("step")
            self.live[step] = math.inf
            inner.env[body.inputs[-1]] = Expr(step, scalar=True)
        self.statement(self.loop_header(op, node, slices, loop_names, step), self.label(node))
        for name, value in zip(carry_names, body.inputs, strict=False):
            self.live[name] = inner.uses[value]
        inner.preferred |= dict(zip(body.outputs[:carries], carry_names, strict=True))

        self.state = inner
        self.indent += 1
        before = len(self.lines)
        self.write(body)
        for i, name in lists.items():
            value = body.outputs[carries + i]
            e = self.tensor(self.operand(value), value.dtype)
            self.statement(f"{name}.append({e.text})", e.labels)
            self.release(e)
        after = [self.tensor(self.operand(v), v.dtype) for v in body.outputs[:carries]]
        moves = [(n, e) for n, e in zip(carry_names, after, strict=True) if n != e.text]
        labels = tuple(la for _, e in moves for la in e.labels)
        if moves:
            left, right = ", ".join(n for n, _ in moves), ", ".join(e.text for _, e in moves)
            self.statement(f"{left} = {right}", labels)
        for e in after:
            self.release(e)
        if len(self.lines) == before:
            self.statement("pass")
        self.indent -= 1
        self.state = outer
        self.comment, self.said = "", set()

        for e in slices:
            self.release(e)
        for _, outside in loop.captured:
            self.release(self.operand(outside))
        for name, value in zip(carry_names, node.outputs, strict=False):
            self.bind(value, name)
        for i, name in lists.items():
            self.live[name] = 1
            value = node.outputs[carries + i]
            order = f"{name}[::-1]" if op.reverse else name
            stacked = Expr(f"torch.stack({order}, {op.axis})", refs=(name,), heavy=True)
            self.settle(value, stacked, outer.uses[value], outer.preferred.get(value, "h"))

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
