"""Names of the parts of a value: the gates of a cell, queries and keys and values, the classes below a draw."""

from __future__ import annotations

from collections.abc import Collection

from mpcompile.ir import Graph, Node, Value
from mpcompile.ops.traits import Elementwise, Movement

#: The parts of what a cell computes at once, in the order of its gates, and the part where the last ones begin.
CELLS = {
    "lstm": ("input_gate", "forget_gate", "candidate", "output_gate"),
    "gru": ("gates", "gates", "candidate"),
}


def part_role(graph: Graph, value: Value, within: Collection[int], layer: str | None) -> str | None:
    """Return what a slice of a value is, in a layer of this name; None where that tells nothing."""
    node = graph.node(value)
    if node.op.name not in ("slice", "reshape"):
        return None
    if node.op.name == "slice":
        found = _of_cell(graph, node, layer) or _of_draw(graph, node) or _gated(graph, value, within)
        if found:
            return found
    return _attended(graph, value, within)


def _whole(graph: Graph, node: Node) -> tuple[int, int, int] | None:
    """Return where a slice begins and ends, and the length of the whole; None where that is not known."""
    op = node.op.attributes()
    start, stop, whole = op["start"], op["stop"], node.shapes[0][op["axis"]]
    known = isinstance(start, int) and isinstance(stop, int) and isinstance(whole, int)
    return (start, stop, whole) if known else None


def _of_cell(graph: Graph, node: Node, layer: str | None) -> str | None:
    """Name a gate of a recurrent cell by its place."""
    gates, place = CELLS.get(layer or ""), _whole(graph, node)
    if gates is None or place is None:
        return None
    start, stop, whole = place
    if layer == "gru" and graph.node(node.inputs[0]).op.name == "sigmoid":
        return ("reset", "update")[2 * start // whole] if 2 * (stop - start) == whole else None
    width, rest = divmod(whole, len(gates))
    if rest or not width or start % width or stop % width:
        return None
    names = set(gates[start // width : stop // width])
    return names.pop() if len(names) == 1 else None


def _of_draw(graph: Graph, node: Node) -> str | None:
    """Name the sums below each class, and the sum of all, by which a class is drawn."""
    place = _whole(graph, node)
    if graph.node(node.inputs[0]).op.name != "cum_sum" or place is None:
        return None
    start, stop, whole = place
    return "total" if (start, stop) == (whole - 1, whole) else "cumulative" if start == 0 else None


def _gated(graph: Graph, value: Value, within: Collection[int]) -> str | None:
    """Name the halves of `tanh(signal) * sigmoid(gate)`, and the quarters of a cell of an LSTM, by what reads them."""
    node, users = graph.node(value), readers(graph, value, within)
    place = _whole(graph, node)
    if (
        place is None
        or place[0] == place[1]
        or len(users) != 1
        or users[0].op.name not in ("tanh", "sigmoid")
    ):
        return None
    products = readers(graph, users[0].outputs[0], within)
    others = [graph.node(v) for p in products for v in p.inputs if v.node != users[0].id]
    if len(others) != 1 or products[0].op.name != "mul":
        return None
    share, (kind, other) = place[2] // (place[1] - place[0]), (users[0].op.name, others[0])
    beside = other.op.name in ("tanh", "sigmoid") and graph.node(other.inputs[0]).inputs[:1] == node.inputs
    if share == 2 and beside and other.op.name != kind:
        return "signal" if kind == "tanh" else "gate"
    if share != 4 or (kind == "tanh" and not beside):
        return None
    if kind == "tanh":
        return "candidate"
    return "input_gate" if beside else "output_gate" if other.op.name == "tanh" else "forget_gate"


def _attended(graph: Graph, value: Value, within: Collection[int]) -> str | None:
    """Name queries, keys and values, which an attention multiplies with each other and with its weights."""
    for _ in range(5):
        users = readers(graph, value, within)
        if len(users) != 1:
            return None
        user = users[0]
        if user.op.name == "mat_mul":
            left, right = user.inputs
            if left.type.rank < 3 or right.type.rank < 3 or left == right:
                return None
            if value == right and _normalised(graph, left):
                return "values"
            return ("queries" if value == left else "keys") if _scores(graph, user, within) else None
        if not (isinstance(user.op, Movement) or user.op.name == "mul") or user.outputs[0].type.rank < 3:
            return None
        value = user.outputs[0]
    return None


def _normalised(graph: Graph, value: Value) -> bool:
    """Return whether a value is the weights of an attention."""
    node = graph.node(value)
    while isinstance(node.op, Movement):
        node = graph.node(node.inputs[0])
    if node.op.name == "div":  # masked rows are divided by what is not zero
        node = graph.node(node.inputs[0])
        return node.op.name == "exp"
    return node.op.name == "softmax"


def _scores(graph: Graph, product: Node, within: Collection[int]) -> bool:
    """Return whether a softmax, or the largest score that one begins with, reads a product."""
    node = product
    for _ in range(6):
        users = readers(graph, node.outputs[0], within)
        if any(u.op.name in ("softmax", "max") for u in users):
            return True
        if len(users) != 1 or not isinstance(users[0].op, Elementwise | Movement):
            return False
        node = users[0]
    return False


def readers(graph: Graph, value: Value, within: Collection[int]) -> list[Node]:
    """Return the nodes of one function that read a value."""
    return [u for u in graph.users(value.node) if u.id in within and value in u.inputs]


__all__ = ["part_role", "readers"]
