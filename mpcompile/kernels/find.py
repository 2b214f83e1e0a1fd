"""The kernels of a function: the table of rules, and the one place that asks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from mpcompile.ir import Constant, Graph, Node, Primitive, Value
from mpcompile.kernels import activations, attention, losses, norms, parts, phases, products
from mpcompile.kernels.base import Kernel, Rule, Site

#: Every rule. Of two for one node the earlier is asked first, so a kernel that covers more stands above its part.
RULES: tuple[Rule, ...] = (
    *norms.RULES, *activations.RULES, *attention.RULES, *losses.RULES, *phases.RULES, *products.RULES,
    *parts.RULES,
)  # fmt: skip

#: Every kernel by name.
KERNELS: dict[str, type[Kernel]] = {rule.kernel.name: rule.kernel for rule in RULES}


def find_kernels(
    graph: Graph,
    nodes: Sequence[Node],
    uses: Counter[Value],
    accept: Callable[[Kernel], bool],
    fixed: Callable[[Constant], bool] = lambda constant: True,
    started: Collection[Value] = (),
    rules: Sequence[Rule] = RULES,
) -> dict[int, Kernel]:
    """Find the kernels among the nodes of a function, by the number of the node in whose place it is written.

    A kernel stands where the nodes between its operands and its result are of this function, and nobody else reads what
    they give. Kernels do not overlap; a later result is looked at first, so that the largest kernel wins.

    nodes    of the function, in order; a loop or a call is none of them
    uses     how often each value is read, by whom ever: nodes, calls, loops, the results of the function
    accept   whether a backend spells this kernel; what it leaves out stays as primitives
    fixed    whether an array constant is the same wherever the code of this function runs
    started  masks bool [N, time] that are true at the first step of each example, wherever it runs
    rules    the rows of the table that are asked
    """
    by_root: dict[type[Primitive], list[Rule]] = {}
    for rule in rules:
        for kind in rule.roots:
            by_root.setdefault(kind, []).append(rule)
    found: dict[int, Kernel] = {}
    within = {n.id for n in nodes}
    for node in reversed(nodes):
        if node.id not in within:
            continue
        site = Site(graph, node, within, fixed, started)
        made = (k for rule in by_root.get(type(node.op), ()) for k in rule.find(site))
        closed = (_closed(graph, k, uses) for k in made)
        kernel = next((k for k in closed if k is not None and accept(k)), None)
        if kernel is not None:
            found[kernel.place] = kernel
            within -= {kernel.place, *kernel.absorbed}
    return found


def _closed(graph: Graph, kernel: Kernel, uses: Counter[Value]) -> Kernel | None:
    """The kernel, where nothing else reads what is inside and none of its operands is made there; else None.

    A view of an operand (a transposed weight) costs nothing: where others read it, too, it is not absorbed.
    """
    covered, results = (*kernel.absorbed, kernel.place), kernel.results
    inside = Counter(v for i in covered for v in graph.node(i).inputs)
    operands = set(kernel.operands.values())
    shared = {i for i in covered for v in graph.node(i).outputs if v not in results and uses[v] != inside[v]}
    if kernel.place in shared or any(v.node in kernel.absorbed for v in operands):
        return None
    if any(not graph.node(i).view or graph.node(i).inputs[0] not in operands for i in shared):
        return None
    return replace(kernel, absorbed=kernel.absorbed - shared)


def read_by(node: Node, kernels: Mapping[int, Kernel], absorbed: Collection[int]) -> tuple[Value, ...]:
    """Return the values that a node is written with: none where a kernel absorbs it, the operands of a kernel."""
    if node.id in absorbed:
        return ()
    kernel = kernels.get(node.id)
    return node.inputs if kernel is None else tuple(kernel.operands.values())
