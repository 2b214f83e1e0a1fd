"""Matrix products and convolutions, with the transpositions and the bias around them taken into one `Gemm` or `Conv`.

onnxruntime does this for some of them by itself, but not where a bias follows or where the result is turned round: a
dense layer would move all of its weights once on the way forward, and its gradient once on the way back.
"""

from __future__ import annotations

from onnx import NodeProto, helper

from mpcompile.ir import Builder, Graph, Node, Value
from mpcompile.ops.matrix import eliminate
from mpcompile_onnx.writer import Writer


def inverse(w: Writer, node: Node, args: list[str]) -> str:
    """Spell an inverse by elimination: the standard has no inverse."""
    return _eliminated(w, node, args[0], 0)


def log_abs_det(w: Writer, node: Node, args: list[str]) -> str:
    """Spell log |det W| by elimination.

    `Det` leaves the range of a float where its logarithm does not, and onnxruntime has it in single precision
    only.
    """
    return _eliminated(w, node, args[0], 1)


def _eliminated(w: Writer, node: Node, matrix: str, result: int) -> str:
    graph = Graph("eliminate")
    b = Builder(graph, node.scope, node.span)
    value = b.input("matrix", node.inputs[0].type)
    found = eliminate(b, value)[result]
    graph.outputs["found"] = found
    env = {value: matrix}
    before = w.prefix, w.place
    w.write(graph, env, {})
    w.prefix, w.place = before
    return env[found]


def mat_mul(w: Writer, node: Node, args: list[str]) -> str:
    """Spell a matrix product as `MatMul`, or of two matrices as `Gemm`.

    A stack of matrices times the transpose of one is a `Gemm` of all their rows, so that the weights of a layer are read
    as they are stored. That is what tools look for which replace weights, such as quantisers.
    """
    x, y = node.inputs
    (a, turn_a), (b, turn_b) = (_unturned(w, name) for name in args)
    if x.type.rank > 2 and y.type.rank == 2 and turn_b and isinstance(x.shape[-1], int) and x.shape[-1]:
        rows = w.op("Reshape", args[0], w.ints(-1, x.shape[-1]))
        return w.reshape(_gemm(w, [rows, b], False, True), None, node.types[0].shape)
    if x.type.rank != 2 or y.type.rank != 2:
        return w.op("MatMul", *args)
    return _gemm(w, [a, b], turn_a, turn_b)


def transpose(w: Writer, node: Node, args: list[str]) -> str:
    """Spell a transposition.

    Two in a row are one; that of a product is the product of the transposed, in the other order.
    """
    permutation = list(node.op.attributes()["permutation"])
    before = w.producer(args[0])
    if before is not None and before.op_type == "Transpose":
        inner = list(helper.get_node_attr_value(before, "perm"))
        return w.transpose(before.input[0], *(inner[p] for p in permutation))
    product = _only_product(w, node.inputs[0], args[0])
    if product is not None and product.op_type == "Gemm" and permutation == [1, 0]:
        a, b = product.input
        return _gemm(w, [b, a], not _turned(product, "transB"), not _turned(product, "transA"))
    return w.transpose(args[0], *permutation)


def add(w: Writer, node: Node, args: list[str]) -> str:
    """Spell a sum; one of a product or a convolution with its bias becomes part of that."""
    for i in (0, 1):
        value, other = node.inputs[i], node.inputs[1 - i]
        product = _only_product(w, value, args[i])
        if product is None or value.shape != node.types[0].shape:
            continue
        if product.op_type == "Gemm" and (value.type.rank == 2 or other.type.rank < 2):
            inputs = [*product.input, args[1 - i]]
            summed = _gemm(w, inputs, _turned(product, "transA"), _turned(product, "transB"))
            return summed if value.type.rank == 2 else w.reshape(summed, None, value.shape)
        if product.op_type == "Gemm":
            continue
        bias = _channel_bias(w, other, args[1 - i], value.type.rank - 2)
        if bias is not None:
            stated = {a.name: helper.get_attribute_value(a) for a in product.attribute}
            return w.op("Conv", *product.input, bias, **stated)
    return w.op("Add", *args)


def _channel_bias(w: Writer, value: Value, name: str, spatial: int) -> str | None:
    """The vector behind [channels, 1, ...] with as many ones as there are spatial axes."""
    graph, producer = w.graphs[-1], w.producer(name)
    if value in graph and graph.node(value).op.name == "broadcast_to":
        value = graph.node(value).inputs[0]
    if value not in graph or graph.node(value).op.name != "reshape" or value.shape[1:] != (1,) * spatial:
        return None
    (vector,) = graph.node(value).inputs
    reshaped = producer is not None and producer.op_type == "Reshape"
    return (
        producer.input[0] if producer is not None and reshaped and vector.shape == value.shape[:1] else None
    )


def _gemm(w: Writer, inputs: list[str], turn_a: bool, turn_b: bool) -> str:
    turned = {name: 1 for name, turn in (("transA", turn_a), ("transB", turn_b)) if turn}
    return w.op("Gemm", *inputs, **turned)


def _turned(product: NodeProto, which: str) -> bool:
    return any(a.name == which for a in product.attribute)


def _unturned(w: Writer, x: str) -> tuple[str, bool]:
    """A matrix and whether it is to be transposed."""
    producer = w.producer(x)
    turned = producer is not None and producer.op_type == "Transpose"
    return (producer.input[0], True) if producer is not None and turned else (x, False)


def _only_product(w: Writer, value: Value, name: str) -> NodeProto | None:
    """The product of two matrices, or convolution, that made a value, where nothing else reads that.

    That of a stack of matrices has its rows.
    """
    graph = w.graphs[-1]
    kind = graph.node(value).op.name if value in graph else ""
    if kind not in ("mat_mul", "conv") or value in graph.outputs.values():
        return None
    producer = w.producer(name)
    if kind == "mat_mul" and producer is not None and producer.op_type == "Reshape":
        producer = w.producer(producer.input[0])
    if producer is None or producer.op_type not in ("Gemm", "Conv") or len(graph.users(value.node)) > 1:
        return None
    return producer
