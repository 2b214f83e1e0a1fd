"""The formula of a layer, as text made from its primitives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mpcompile.ir import Array, Constant, Graph, Node, Parameter, Value

#: Longer formulas are cut: they are plumbing.
LONGEST = 30
#: A longer expression gets a name even if it is used once.
WIDEST = 60

#: Operator and how tightly it binds.
_INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2), "mat_mul": ("@", 2)}
_LETTER = {"weight": "W", "bias": "b"}
_ATOM = 4


def formula(graph: Graph, nodes: Sequence[Node]) -> list[str]:
    """Write the formula of some nodes as lines `t1 = ...`; the last line is the result.

    `x` (or `x1`, `x2`) is what comes in; `W` and `b` are weight and bias, other parameters have their names; `M` is
    a constant of zeros and ones, `c` any other array, `'` a transposed matrix. A value that is used twice, or is long,
    has a name. Attributes of primitives (axes, strides) are left out.
    """
    inside = {n.id for n in nodes}
    uses = Counter(v for n in nodes for v in n.inputs)
    outer = dict.fromkeys(
        v for n in nodes for v in n.inputs
        if v.node not in inside and not isinstance(graph.node(v).op, Parameter | Constant)
    )  # fmt: skip
    known: dict[Value, tuple[str, int]] = {
        v: ("x" if len(outer) == 1 else f"x{i}", _ATOM) for i, v in enumerate(outer, 1)
    }
    lines: list[str] = []

    def text(v: Value, tightness: int) -> str:
        if v in known:
            found, own = known[v]
        else:
            op = graph.node(v).op
            own = _ATOM
            if isinstance(op, Parameter):
                last = op.path.rpartition(".")[2]
                found = _LETTER.get(last, last)
            else:
                assert isinstance(op, Constant)
                found = _constant(op.array)
                own = _ATOM if not found.startswith("-") else 0
        return f"({found})" if own < tightness else found

    for number, node in enumerate(nodes):
        made = _apply(node, text)
        last = number == len(nodes) - 1
        for v in node.outputs:
            whole = made if len(node.outputs) == 1 else (f"{made[0]}[{v.index}]", _ATOM)
            leaves = last or not uses[v] or any(u.id not in inside for u in graph.users(node.id))
            if uses[v] == 1 and not leaves and len(whole[0]) <= WIDEST:
                known[v] = whole
            elif last and v.index == 0:
                lines.append(whole[0])
            else:
                name = f"t{len(lines) + 1}"
                lines.append(f"{name} = {whole[0]}")
                known[v] = (name, _ATOM)
    return lines if len(lines) <= LONGEST else [*lines[:LONGEST], f"... {len(lines) - LONGEST} more"]


def _apply(node: Node, text: object) -> tuple[str, int]:
    assert callable(text)
    name = node.op.name
    if name in _INFIX and len(node.inputs) == 2:
        sign, tightness = _INFIX[name]
        a, b = node.inputs
        return f"{text(a, tightness)} {sign} {text(b, tightness + 1)}", tightness
    if name == "transpose" and node.types[0].rank == 2:
        return f"{text(node.inputs[0], _ATOM)}'", _ATOM
    if name == "neg":
        return f"-{text(node.inputs[0], 3)}", 3
    return f"{name}({', '.join(text(v, 0) for v in node.inputs)})", _ATOM


def _constant(array: Array) -> str:
    if array.ndim == 0:
        return f"{array.item():.6g}" if array.dtype.kind == "f" else str(array.item())
    return "M" if bool(((array == 0) | (array == 1)).all()) else "c"
