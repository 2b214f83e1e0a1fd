"""Keys of functions, equal for equal code."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from mpcompile.ir import Constant, Graph, Node, Parameter, Value
from mpcompile.outline.blocks import Block, Call, Loop, Path


def fingerprint(
    block: Block,
    path: Path,
    slot: Callable[[Constant], int] | None = None,
    method: Callable[[Call], Hashable] | None = None,
) -> Hashable:
    """Return a key, equal for blocks that differ only in the prefix of parameters and in values of array constants."""
    slots: dict[Constant, int] = {}
    number = slot or (lambda c: slots.setdefault(c, len(slots)))
    called = method or (lambda c: fingerprint(c.block, c.path))
    prefix = ".".join(path) + "." if path else ""

    def visit(block: Block, outer: dict[str, int]) -> Hashable:
        known: dict[Value, Hashable] = {}
        outside = dict(outer)
        for i, v in enumerate(block.inputs):
            known[v] = i
            op = block.graph.node(v).op
            if isinstance(op, Parameter):
                outside.setdefault(op.path, i)

        def ref(v: Value) -> Hashable:
            op = block.graph.node(v).op
            if isinstance(op, Constant):
                if op.stored.ndim:
                    return "constant", number(op), op.dtype, op.stored.shape
                return "scalar", op.key
            if isinstance(op, Parameter) and op.path.startswith(prefix):
                return "parameter", op.path[len(prefix) :]
            if isinstance(op, Parameter) and v not in known:
                return "outer", outside.get(op.path, op.path)
            return known[v]

        keys: list[Hashable] = []
        for item in block.items:
            results: tuple[Value, ...]
            if isinstance(item, Call):
                relative = item.path[len(path) :]
                results = item.block.outputs
                keys.append((relative, item.frame.role, called(item), tuple(map(ref, item.block.inputs))))
            else:
                node = item if isinstance(item, Node) else item.node
                results = node.outputs
                inner = visit(item.body, outside) if isinstance(item, Loop) else None
                attributes = {k: v for k, v in node.op.attributes().items() if not isinstance(v, Graph)}
                keys.append((node.op.name, repr(attributes), tuple(map(ref, node.inputs)), node.types, inner))
            known.update((v, (len(keys), i)) for i, v in enumerate(results))
        types = tuple(v.type for v in block.inputs)
        return types, tuple(keys), tuple(map(ref, block.outputs))

    return visit(block, {})
