"""Groups of parameters that are used just as a layer of `torch.nn` uses its own, and are written as that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mpcompile.emission.text import tuple_text
from mpcompile.ir import Graph, Module, Node, Parameter, ParameterSpec, Stack, Value
from mpcompile.kernels import RULES, LayerNorm, RmsNorm, find_kernels
from mpcompile.outline import Instance, Path, with_leaves
from mpcompile_torch.products import symmetric
from mpcompile_torch.rows import ints


@dataclass(frozen=True)
class Layer:
    """The constructor of a layer, and whether it adds a bias."""

    text: str
    bias: bool


Uses = dict[str, set[tuple[object, ...]]]


def weight_uses(module: Module) -> Uses:
    """Return how each parameter is read, over all programs; bodies of loops included."""
    uses: Uses = {}
    for graph in module.programs.values():
        _visit(graph.live(), uses)
    return uses


def read_alike(module: Module) -> bool:
    """Return whether programs read each weight of a region as those of its other iterations, so that one text fits."""
    uses, stacks = _uses(module), list[Stack]()
    for graph in module.programs.values():
        stacks += [n.op for n in graph.nodes() if isinstance(n.op, Stack)]
    return all(uses.get(path) == uses.get(stack.paths[0]) for stack in stacks for path in stack.paths)


def _visit(graph: Graph, uses: Uses) -> None:
    leaves = [n for n in graph.nodes() if not isinstance(n.op, Stack)]
    names = {n.outputs[0]: n.op.path for n in leaves if isinstance(n.op, Parameter)}
    norms = _norms(graph)
    for node in graph.nodes():
        if node.op.bodies():
            found: Uses = {}
            _visit(with_leaves(graph, node, elements=True), found)
            stacks = [graph.node(v).op for v in node.inputs]
            for first, *others in (op.paths for op in stacks if isinstance(op, Stack)):
                found |= {path: found.get(first, set()) for path in others}
            for path, kinds in found.items():
                uses.setdefault(path, set()).update(kinds)
            continue
        for position, value in enumerate(node.inputs):
            if value in names:
                kinds = norms.get(value) or _kinds(graph, node, position, value)
                uses.setdefault(names[value], set()).update(kinds)
    for value in graph.outputs.values():
        if value in names:
            uses.setdefault(names[value], set()).add(("other",))


def _norms(graph: Graph) -> dict[Value, set[tuple[object, ...]]]:
    """Weights of normalisations of a graph that nothing else of it reads."""
    nodes = [n for n in graph.nodes() if not n.op.bodies()]
    reads = Counter(v for n in graph.nodes() for v in n.inputs) + Counter(graph.outputs.values())
    found: dict[Value, set[tuple[object, ...]]] = {}
    many: Counter[Value] = Counter()
    rules = [rule for rule in RULES if issubclass(rule.kernel, LayerNorm | RmsNorm)]
    for kernel in find_kernels(graph, nodes, reads, lambda kernel: True, rules=rules).values():
        assert isinstance(kernel, LayerNorm | RmsNorm)
        if kernel.weight is not None:
            many[kernel.weight] += 1
            biased = isinstance(kernel, LayerNorm) and kernel.bias is not None
            found.setdefault(kernel.weight, set()).add((kernel.name, kernel.shape, kernel.eps, biased))
    return {v: kinds for v, kinds in found.items() if many[v] == reads[v]}


def _kinds(graph: Graph, node: Node, position: int, value: Value) -> set[tuple[object, ...]]:
    op = node.op.attributes()
    if node.op.name == "transpose" and op["permutation"] == (1, 0):
        made = node.outputs[0]
        if made in graph.outputs.values():
            return {("other",)}
        return {
            ("linear",)
            if u.op.name == "mat_mul" and u.inputs[1] == made and u.inputs[0] != made
            else ("other",)
            for u in graph.users(node.id)
        }
    if node.op.name == "conv" and position == 1 and symmetric(op["padding"]):
        low = tuple(lo for lo, _ in op["padding"])
        return {("conv", op["stride"], low, op["dilation"], op["groups"])}
    if node.op.name == "gather" and position == 0 and op["axis"] == 0:
        return {("embedding",)}
    return {("other",)}


_CACHE: dict[int, tuple[Module, Uses]] = {}


def find_layers(
    module: Module, instance: Instance, groups: dict[Path, list[ParameterSpec]]
) -> dict[Path, Layer]:
    """Find the layers among the parameter groups of an instance."""
    uses = _uses(module)
    found = {}
    for path, specs in groups.items():
        parts = {s.name.split(".")[-1]: s for s in specs}
        weight, bias = parts.get("weight"), parts.get("bias")
        if weight is None or set(parts) - {"weight", "bias"} or not all(s.trainable for s in specs):
            continue
        text = _constructor(weight, bias, uses.get(weight.name, set()))
        if text is not None:
            found[path] = Layer(text, bias is not None)
    return found


def _constructor(
    weight: ParameterSpec, bias: ParameterSpec | None, uses: set[tuple[object, ...]]
) -> str | None:
    if len(uses) != 1:
        return None
    kind, *rest = next(iter(uses))
    if kind in ("layer_norm", "rms_norm"):
        return _norm(weight, bias, *next(iter(uses)))
    if not weight.shape or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    out, *inner = weight.shape
    flag = "" if bias is not None else ", bias=False"
    if kind == "linear" and len(inner) == 1:
        return f"nn.Linear({inner[0]}, {out}{flag})"
    if kind == "embedding" and len(inner) == 1 and bias is None:
        return f"nn.Embedding({out}, {inner[0]})"
    if kind == "conv":
        stride, padding, dilation, groups = rest
        assert isinstance(groups, int)
        options = [
            ("stride", stride, 1),
            ("padding", padding, 0),
            ("dilation", dilation, 1),
            ("groups", groups, 1),
        ]
        shown = ""
        for name, value, default in options:
            text = str(value) if isinstance(value, int) else ints(value)  # type: ignore[arg-type]  # a tuple
            shown += f", {name}={text}" if text != str(default) else ""
        channels, kernel = inner[0] * groups, ints(tuple(inner[1:]))
        return f"nn.Conv{len(inner) - 1}d({channels}, {out}, {kernel}{shown}{flag})"
    return None


def _norm(weight: ParameterSpec, bias: ParameterSpec | None, kind: object, *options: object) -> str | None:
    """A normalisation over the axes of its weight; its uses tell eps, and whether it has a bias."""
    _, eps, biased = options
    if biased != (bias is not None) or (bias is not None and bias.shape != weight.shape):
        return None
    sizes = str(weight.shape[0]) if len(weight.shape) == 1 else tuple_text(map(str, weight.shape))
    if kind == "rms_norm":
        return f"nn.RMSNorm({sizes}, eps={eps!r})"
    more = "" if eps == 1e-5 else f", eps={eps!r}"
    return f"nn.LayerNorm({sizes}{more}{'' if biased else ', bias=False'})"


def _uses(module: Module) -> Uses:
    cached = _CACHE.get(id(module))
    if cached is None or cached[0] is not module:
        _CACHE.clear()
        cached = _CACHE[id(module)] = module, weight_uses(module)
    return cached[1]
