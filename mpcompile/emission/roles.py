"""Names of intermediate values, after what they are: `logits`, `log_scale`, `scores`, `hidden`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from mpcompile.emission.names import unnumbered
from mpcompile.emission.parts import part_role, readers
from mpcompile.ir import DType, Graph, Input, Node, Parameter, Value
from mpcompile.ir.names import split

#: The role of what an operation gives, whatever it is applied to.
ROLES = {
    "softmax": "weights", "log_softmax": "log_p", "sum": "total", "log_sum_exp": "total", "exp": "scale",
    "arg_max": "index", "one_hot": "one_hot", "sigmoid": "gate", "mat_mul": "hidden", "conv": "features",
    "conv_transpose": "features", "relu": "hidden", "max_pool": "pooled", "avg_pool": "pooled", "concat": "joined",
    "cum_sum": "cumulative", "iota": "positions", "log_abs_det": "log_det", "max": "largest", "take_along": "picked",
    "sqrt": "root", "floor": "floor", "sin": "sine", "cos": "cosine", "inverse": "inverse", "abs": "distance",
    "log": "log", "tanh": "hidden", "erf": "erf", "softplus": "softplus", "scan": "state", "repeat": "h",
}  # fmt: skip
#: What kernels give.
KERNEL_ROLES = {
    "linear": "hidden", "convolution": "features", "layer_norm": "normed", "rms_norm": "normed", "attention": "heads",
    "class_log_prob": "log_p", "binary_log_prob": "log_p", "hard_sigmoid": "gate",
} | dict.fromkeys("gelu gelu_tanh silu mish elu selu relu6 hard_swish prelu glu".split(), "hidden")  # fmt: skip
#: A second name of what has no role of its own, where `h` is taken.
WEAK = {
    "add": "shifted", "sub": "difference", "mul": "product", "div": "ratio", "neg": "negated", "where": "chosen",
    "minimum": "bounded", "maximum": "bounded", "slice": "part", "pad": "padded",
}  # fmt: skip
#: A second name of a role, where the first is taken and the layer's as well.
ALSO = {
    "features": "responses",
    "hidden": "units",
    "joined": "combined",
    "embedded": "embedding",
    "total": "subtotal",
    "gates": "state_gates",
    "candidate": "state_candidate",
}
#: Names that say nothing, which none is made of.
PLAIN = frozenset("h hidden out part units total product state".split())
#: Behind the name of an argument that an operation rearranges.
ENDINGS = {
    "slice": "part", "slice_at": "t", "pad": "padded", "reshape": "shaped", "transpose": "moved", "where": "masked",
    "flip": "reversed",
}  # fmt: skip
#: Names that passes give to what loops carry and scan: they say nothing.
NUMBERED = re.compile(r"(carry|slice|captured)_\d+(_t)?")


def role(graph: Graph, value: Value, within: Collection[int], made: str | None = None) -> str | None:
    """Return what a value is for those who read it, of the nodes `within` one function, or else by how it is made.

    `made` is the role by the kernel that makes it. None where its operation tells nothing.
    """
    node = graph.node(value)
    if value.dtype is DType.FLOAT and (found := _read_as(graph, value, within)):
        return found
    if found := part_role(graph, value, within, layer_name(node, 0)):
        return found
    if made:
        return made
    if node.op.name == "cast" and value.dtype is DType.INT:
        source = graph.node(node.inputs[0]).op
        if isinstance(source, Input) and not NUMBERED.fullmatch(source.path):
            return f"whole_{source.path}"
        return None
    if node.op.name == "gather":
        return "embedded" if isinstance(graph.node(node.inputs[0]).op, Parameter) else "picked"
    if node.op.name == "add" and (drawn := _drawn(graph, node)):
        return drawn
    if node.op.name == "add" and (updated := _updated(graph, node)):
        return updated
    if node.op.name == "sum" and _read_as(graph, node.inputs[0], within) == "log_scale":
        return "log_det"
    found = origin(graph, value, within) or ROLES.get(node.op.name)
    if found is None and node.op.name in ("reshape", "transpose", "broadcast_to"):
        seen = node.inputs[0]
        if seen.node in within and [u.id for u in graph.users(seen.node)] == [node.id]:
            found = role(graph, seen, within)
            return None if found == "picked" else found  # else it goes on with the name of what it is of
    return found


def origin(graph: Graph, value: Value, within: Collection[int]) -> str | None:
    """Name what is made of one weight alone after it: `conv_0_weight`, `log_diagonal`."""
    found, todo, seen = set[str](), [value], set[int]()
    while todo:
        node = graph.node(todo.pop())
        if isinstance(node.op, Parameter):
            *_, layer, name = ("", *split(node.op.path))
            found.add(f"{layer}_{name}".replace(".", "_") if layer and name in ("weight", "bias") else name)
        elif isinstance(node.op, Input) or (node.inputs and node.id not in within) or len(found) > 1:
            return None
        elif node.id not in seen:
            seen.add(node.id)
            todo += node.inputs
    return found.pop() if len(found) == 1 and len(seen) > 0 else None


def _read_as(graph: Graph, value: Value, within: Collection[int], depth: int = 2) -> str | None:
    users = readers(graph, value, within)
    for user in users:
        match user.op.name:
            case "exp":
                return "log_scale"
            case "softmax":
                return "scores"
            case "log_softmax":
                return "logits"
            case "add" | "sub" if _scaled(graph, user, value):
                return "loc"
    negated = (u.outputs[0] for u in users if u.op.name == "neg") if depth else ()
    return next((found for v in negated if (found := _read_as(graph, v, within, depth - 1))), None)


def _scaled(graph: Graph, node: Node, value: Value) -> bool:
    """Whether a sum adds a product with an exponential, or a difference is multiplied with one: a location."""
    if node.op.name == "add":
        others = [graph.node(v) for v in node.inputs if v != value]
    else:
        others = [u for u in graph.users(node.id) if u.op.name == "mul"] if node.inputs[1] == value else []
    factors = [graph.node(v).op.name for n in others if n.op.name == "mul" for v in n.inputs]
    return "exp" in factors


def _drawn(graph: Graph, node: Node) -> str | None:
    """Name a draw after its noise: `z` for `loc + scale * noise_z`."""
    for product in (graph.node(v) for v in node.inputs):
        for v in product.inputs if product.op.name == "mul" else ():
            op = graph.node(v).op
            if isinstance(op, Input) and op.path.startswith("noise_"):
                return op.path.removeprefix("noise_")
    return None


def _updated(graph: Graph, node: Node) -> str | None:
    """Name the next value of a statistic after it: `mean` for `running_mean`."""
    for product in (graph.node(v) for v in node.inputs):
        for v in product.inputs if product.op.name == "mul" else ():
            op = graph.node(v).op
            if isinstance(op, Parameter) and (name := split(op.path)[-1]).startswith("running_"):
                return name.removeprefix("running_")
    return None


def layer_name(node: Node, depth: int) -> str | None:
    """Return the name of the layer that a node is of, without its number; None outside of layers."""
    if len(node.scope) <= depth:
        return None
    name = unnumbered(node.scope[-1].name).replace(".", "_")
    return name if name.isidentifier() else None


def rearranged(node: Node, texts: Collection[str], given: Collection[str]) -> list[str]:
    """Name a part of an argument, or what a mask leaves of it: `x_masked`, where operands are read as `texts`.

    A step of any variable has its name: `sine_t`.
    """
    ending = ENDINGS.get(node.op.name)
    named = [t for t in texts if t in given and not t[-1].isdigit()]
    if ending == "t":
        named = [t for t in texts if t.isidentifier() and t.rstrip("0123456789") not in PLAIN]
    return [f"{t}_{ending}" for t in named if ending][:1]


def halves(parts: Sequence[Value], hints: list[str]) -> list[str]:
    """Name two parts without a role by their order, where they are of one size."""
    same = len(parts) == 2 and parts[0].shape == parts[1].shape
    return ["first", "second"] if same and hints == ["part", "part"] else hints


def plural(name: str) -> str:
    """Return the name of many: `states`, `indices`."""
    if name.endswith("index"):
        return name.removesuffix("ex") + "ices"
    return name if name.endswith("s") else name + "s"


def carried(name: str) -> str:
    """Return the name of what a loop carries: that of the spec, or `state`."""
    if not NUMBERED.fullmatch(name):
        return name
    return {"carry_1": "second_state", "carry_2": "third_state"}.get(name, "state")
