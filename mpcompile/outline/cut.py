"""Cut one program into blocks that call each other, at the frames marked `function`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mpcompile.diagnostics import Span
from mpcompile.ir import Constant, DType, Frame, Graph, Input, Node, Parameter, Primitive, Stack, Value
from mpcompile.ir.graph import topological_order
from mpcompile.ir.names import split
from mpcompile.ops import Repeat
from mpcompile.outline.blocks import Block, Call, Item, Loop, Path
from mpcompile.outline.fingerprint import fingerprint
from mpcompile.outline.shared import Use, is_leaf, operations

#: A frame with fewer nodes than this is written where it stands.
SMALLEST_FUNCTION = 3
#: Names of what is made of positions alone.
POSITIONS = {"cos": "cosine", "sin": "sine"}
#: The path of a function, or the empty one of a program, and the role or the program's name.
Key = tuple[Path, str]


def cut_program(graph: Graph, uses: Sequence[Use], elements: bool = False) -> Block:
    """Return the whole of a program as a block; `uses` are the programs that it calls.

    With `elements` the bodies of regions have the weights of their first iteration as parameters.
    """
    nodes = [n for n in graph.nodes() if not is_leaf(n)]
    shared = {i: use for use in uses for i in use.nodes}
    items = _arrange(graph, nodes, (), elements, shared)
    return Block(graph, tuple(graph.inputs.values()), tuple(graph.outputs.values()), items)


def _arrange(
    graph: Graph, nodes: Sequence[Node], path: Path, elements: bool, shared: Mapping[int, Use] | None = None
) -> tuple[Item, ...]:
    """Items for nodes that stand in the function at `path`; topological, deterministic.

    `shared` tells which of the nodes are the operations of a program that is called.
    """
    uses = shared or {}
    banned: set[Key] = set()
    while True:
        runs = _runs(nodes, path, banned, uses)
        by_key: dict[Key, list[list[Node]]] = {}
        for key, run in runs:
            if key is not None:
                by_key.setdefault(key, []).append(run)
        bad = set()
        whole = set()
        for key, parts in by_key.items():
            if not key[0]:
                whole.add(key)
            elif min(sum(map(operations, part)) for part in parts) < SMALLEST_FUNCTION:
                bad.add(key)
            elif len(parts) > 1:
                blocks = [_block(graph, part, key[0], elements) for part in parts]
                if len({fingerprint(b, key[0]) for b in blocks}) > 1:
                    whole.add(key)
        for key in sorted(whole):
            if not _convex(graph, [n for part in by_key[key] for n in part]):
                bad.add(key)
        if bad:
            banned |= bad
            continue
        groups: list[tuple[Key | None, list[Node]]] = []
        placed: dict[Key, int] = {}
        for key, run in runs:
            if key in whole and key in placed:
                groups[placed[key]][1].extend(run)
                continue
            if key is not None:
                placed[key] = len(groups)
            groups.append((key, list(run)))
        ordered = _sorted(graph, groups) if whole else groups
        if ordered is None:
            banned |= whole
            continue
        return tuple(
            item for key, group in ordered for item in _items(graph, key, group, path, elements, uses)
        )


def _items(
    graph: Graph, key: Key | None, group: list[Node], path: Path, elements: bool, uses: Mapping[int, Use]
) -> list[Item]:
    if key is not None and not key[0]:
        use = uses[group[0].id]
        frame = Frame(use.program, "", Span.none(), function=True, role=use.program)
        return [Call(frame, (), Block(graph, use.inputs, use.outputs, ()))]
    if key is not None:
        frame = group[0].scope[len(key[0]) - 1]
        return [Call(frame, key[0], _block(graph, group, key[0], elements))]
    return [
        _loop(graph, n, path, elements) if isinstance(getattr(n.op, "body", None), Graph) else n
        for n in group
    ]


def _function(node: Node, path: Path, banned: set[Key], uses: Mapping[int, Use]) -> Key | None:
    """The program, or the outermost function inside the one at `path`, that a node belongs to."""
    if node.id in uses and ((), uses[node.id].program) not in banned:
        return (), uses[node.id].program
    names = tuple(f.name for f in node.scope)
    if names[: len(path)] != path:
        return None
    for depth in range(len(path), len(names)):
        if node.scope[depth].function:
            key = names[: depth + 1], node.scope[depth].role
            if key not in banned:
                return key
    return None


def _runs(
    nodes: Sequence[Node], path: Path, banned: set[Key], uses: Mapping[int, Use]
) -> list[tuple[Key | None, list[Node]]]:
    runs: list[tuple[Key | None, list[Node]]] = []
    for node in nodes:
        key = _function(node, path, banned, uses)
        if runs and runs[-1][0] == key:
            runs[-1][1].append(node)
        else:
            runs.append((key, [node]))
    return runs


def _block(graph: Graph, nodes: Sequence[Node], path: Path, elements: bool) -> Block:
    """The function made of some nodes: what it needs from outside, and what outside needs of it."""
    inside = {n.id for n in nodes}
    prefix = ".".join(path) + "."
    inputs: dict[Value, None] = {}
    for node in nodes:
        for v in node.inputs:
            op = graph.node(v).op
            own = isinstance(op, Constant) or (isinstance(op, Parameter) and op.path.startswith(prefix))
            if v.node not in inside and not own:
                inputs[v] = None
    wanted = set(graph.outputs.values())
    outputs = [
        v
        for node in nodes
        for v in node.outputs
        if v in wanted or any(v in user.inputs for user in graph.users(node.id) if user.id not in inside)
    ]
    return Block(graph, tuple(inputs), tuple(outputs), _arrange(graph, nodes, path, elements))


def _loop(graph: Graph, node: Node, path: Path, elements: bool) -> Loop:
    """Bring the leaves that a body captures inside it, and call what else it captures after what it is around it."""
    op: Any = node.op
    around = op.split(node.inputs).captured
    moved = with_leaves(graph, node, elements)
    inputs = tuple(moved.inputs.values())
    kept = tuple(
        (f, a)
        for f, a in zip(op.split(inputs[:-1]).captured, around, strict=True)
        if isinstance(moved.node(f).op, Input)
    )
    nodes = [n for n in moved.nodes() if not is_leaf(n)]
    if isinstance(op, Repeat):  # it stands in its scope, and so does what its iterations call
        path = tuple(f.name for f in node.scope)
    block = Block(moved, inputs, tuple(moved.outputs.values()), _arrange(moved, nodes, path, elements))
    return Loop(node, block, kept)


def with_leaves(graph: Graph, node: Node, elements: bool = False) -> Graph:
    """Return the body of a loop with the parameters and constants that it captures as leaves of its own.

    Other inputs that it captures are named after what they are around it. With `elements` the rows of stacks that a
    region reads are the weights of its first iteration.
    """
    op: Any = node.op
    body: Graph = op.body
    leaves: dict[int, Primitive] = {}
    rows = zip(op.formals.scanned.values(), op.split(node.inputs).scanned, strict=True)
    for formal, actual in rows if elements and isinstance(op, Repeat) else ():
        if isinstance(stack := graph.node(actual).op, Stack):
            leaves[formal.node] = Parameter(stack.paths[0], stack.each)
    around = op.split(node.inputs).captured
    for (name, formal), actual in zip(op.formals.captured.items(), around, strict=True):
        leaf = graph.node(actual).op
        if not isinstance(leaf, Parameter | Constant):
            leaf = Input(origin(graph, actual) or name, formal.type)
        leaves[formal.node] = leaf
    return body.rebuild(lambda b, n, _i: (b.emit(leaves[n.id]),) if n.id in leaves else None)


def origin(graph: Graph, value: Value) -> str | None:
    """Name the origin of a value if it is one thing (`conv_0_weight`, `noise_x`); else its layer, if it has one.

    What positions and masks take of a weight is of the weight, whose name comes with the path to its layer.
    """
    node = producer = graph.node(value)
    made = None
    while not is_leaf(node):
        made = made or POSITIONS.get(node.op.name)
        above = {v for v in node.inputs if not isinstance(graph.node(v).op, Constant)}
        if value.dtype is DType.FLOAT and len(above) > 1:
            above = {v for v in above if v.dtype is DType.FLOAT}
        if len(above) != 1:
            around = producer.scope[-1].name.replace(".", "_") if producer.scope else None
            return made or ("keep" if value.dtype is DType.BOOL else around)
        node = graph.node(above.pop())
    match node.op:
        case Parameter(path=path):
            *above_, layer, name = ("", *split(path))
            return ".".join([*filter(None, above_), f"{layer}_{name}".replace(".", "_").lstrip("_")])
        case Input(path=path):
            return path
    return None


def _convex(graph: Graph, nodes: Sequence[Node]) -> bool:
    """Return whether no path leaves the set and comes back."""
    inside = {n.id for n in nodes}
    last = max(inside)
    frontier = [u.id for n in nodes for u in graph.users(n.id) if u.id not in inside]
    seen = set(frontier)
    while frontier:
        i = frontier.pop()
        for user in graph.users(i):
            if user.id in inside:
                return False
            if user.id < last and user.id not in seen:
                seen.add(user.id)
                frontier.append(user.id)
    return True


def _sorted(
    graph: Graph, groups: list[tuple[Key | None, list[Node]]]
) -> list[tuple[Key | None, list[Node]]] | None:
    """Groups, callees of values before their users; None when two groups need each other."""
    split: list[tuple[Key | None, list[Node]]] = []
    for key, group in groups:
        split += [(key, group)] if key is not None else [(None, [n]) for n in group]
    home = {n.id: i for i, (_, group) in enumerate(split) for n in group}
    users: dict[int, set[int]] = {i: set() for i in range(len(split))}
    for i, (_, group) in enumerate(split):
        for source in {home[v.node] for n in group for v in n.inputs if v.node in home} - {i}:
            users[source].add(i)
    order = topological_order({i: sorted(found) for i, found in users.items()})
    return None if order is None else [split[i] for i in order]
