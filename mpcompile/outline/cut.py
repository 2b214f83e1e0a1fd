"""Programs cut into functions.

`outline` cuts every program of a module at the frames marked `function` and finds the functions that are the
same up to the prefix of their parameters and the values of their array constants. Twelve couplings become one
`Family` with twelve instances, each with one method per role (`forward`, `inverse`). A program that stands inside
another one is called there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpcompile.diagnostics import Span
from mpcompile.ir import (
    Constant,
    Frame,
    Graph,
    Input,
    Module,
    Node,
    Parameter,
    ParameterSpec,
    Primitive,
    Value,
)
from mpcompile.outline.shared import Use, find_uses, is_leaf

Path = tuple[str, ...]

#: A frame with fewer nodes than this is written where it stands.
SMALLEST_FUNCTION = 3


@dataclass(frozen=True, eq=False)
class Call:
    """The use of a function: `block.inputs` are the arguments, `block.outputs` the results.

    With an empty path it is a program that is called, by the name `frame.role`; its items stand there alone.
    """

    frame: Frame
    path: Path
    block: Block


@dataclass(frozen=True, eq=False)
class Loop:
    """A node with a body (a scan). `captured` pairs values of the body with values around it.

    Parameters and constants that the body captures are leaves inside it.
    """

    node: Node
    body: Block
    captured: tuple[tuple[Value, Value], ...]


Item = Node | Call | Loop


@dataclass(frozen=True, eq=False)
class Block:
    """Statements over the values of one graph. Leaves are not items: they are found through `graph.node`."""

    graph: Graph
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    items: tuple[Item, ...]


@dataclass(eq=False)
class Method:
    """One function of an instance. Programs are the methods of the root, callees before callers."""

    role: str
    block: Block
    key: Hashable


@dataclass(eq=False)
class Instance:
    """Everything done in one frame: its methods over all programs, its own constants, its children."""

    path: Path
    frame: Frame | None
    methods: list[Method] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    parameters: list[ParameterSpec] = field(default_factory=list)
    children: dict[Path, Instance] = field(default_factory=dict)
    family: Family = field(init=False)

    def slot(self, constant: Constant) -> int:
        """The number of an array constant; equal constants have one number."""
        if constant not in self._slots:
            self._slots[constant] = len(self.constants)
            self.constants.append(constant)
        return self._slots[constant]

    def __post_init__(self) -> None:
        self._slots: dict[Constant, int] = {}


@dataclass(eq=False)
class Family:
    """Instances with the same code. The first one stands for all.

    `formals` are the array constants that differ between instances: the number of an own constant, or a child
    with the number of one of its formals.
    """

    key: Hashable
    instances: list[Instance]
    formals: list[tuple[Path, int]] = field(default_factory=list)

    @property
    def first(self) -> Instance:
        return self.instances[0]

    def actual(self, instance: Instance, formal: int) -> Constant:
        """The constant that an instance has for a formal."""
        child, number = self.formals[formal]
        if child:
            owner = instance.children[child]
            return owner.family.actual(owner, number)
        return instance.constants[number]


@dataclass(eq=False)
class Outline:
    """Families, callees before callers; the last one is the model itself."""

    families: list[Family]
    root: Instance
    methods: dict[int, tuple[Instance, int]]

    def target(self, call: Call) -> tuple[Instance, Method]:
        """What a call calls."""
        instance, number = self.methods[id(call)]
        return instance, instance.methods[number]


def outline(module: Module, alone: Collection[str] = ()) -> Outline:
    """Cut the programs of a module into functions. Programs named in `alone` are called by no other."""
    graphs = {name: graph.live() for name, graph in module.programs.items()}
    uses = find_uses(graphs, alone)
    blocks = {name: _program(graphs[name], uses[name]) for name in _callees_first(uses)}
    calls: dict[Path, list[Call]] = {}
    for block in blocks.values():
        _collect(block, calls)
    programs = calls.pop((), [])
    instances = {path: Instance(path, found[0].frame) for path, found in calls.items()}
    root = instances[()] = Instance((), None)
    for path, instance in instances.items():
        if path:
            owner = instances[_owner(path, instances, proper=True)]
            owner.children[path[len(owner.path) :]] = instance
    for spec in module.parameters.values():
        parts = tuple(spec.name.split("."))
        instances[_owner(parts, instances, proper=True)].parameters.append(spec)

    result = Outline([], root, {})
    families: dict[Hashable, Family] = {}
    for path in sorted(instances, key=lambda p: -len(p)):
        instance = instances[path]
        named = [(c.frame.role, c.block, c) for c in calls.get(path, [])]
        if not path:
            named = [(name, block, None) for name, block in blocks.items()]  # type: ignore[misc]  # one list of both kinds
            result.methods |= {id(c): (root, list(blocks).index(c.frame.role)) for c in programs}
        for role, block, call in named:
            key = fingerprint(block, path, instance.slot, lambda c: result.methods[id(c)][1])
            number = next((i for i, m in enumerate(instance.methods) if (m.role, m.key) == (role, key)), None)
            if number is None:
                number = len(instance.methods)
                instance.methods.append(Method(role, block, key))
            if call is not None:
                result.methods[id(call)] = (instance, number)
        family_key = _family_key(instance)
        family = families.get(family_key)
        if family is None:
            family = families[family_key] = Family(family_key, [])
        family.instances.append(instance)
        instance.family = family
    result.families = list(families.values())
    for family in result.families:
        _find_formals(family)
    return result


def _owner(path: Path, instances: Iterable[Path], proper: bool) -> Path:
    """The longest instance path that a path lies under."""
    longest = len(path) - 1 if proper else len(path)
    return next(path[:n] for n in range(longest, -1, -1) if path[:n] in instances or n == 0)


def _family_key(instance: Instance) -> Hashable:
    def relative(spec: ParameterSpec) -> Hashable:
        init = (spec.init.kind, spec.init.scale)
        return spec.name.split(".")[len(instance.path) :].__repr__(), spec.shape, spec.trainable, init

    return (
        tuple((m.role, m.key) for m in instance.methods),
        tuple(relative(p) for p in instance.parameters),
        tuple((path, id(child.family)) for path, child in instance.children.items()),
        tuple((c.dtype, c.stored.shape) for c in instance.constants),
    )


def _find_formals(family: Family) -> None:
    """Callees come first, so that the formals of children are known."""
    first, rest = family.instances[0], family.instances[1:]
    for number, constant in enumerate(first.constants):
        if any(i.constants[number] != constant for i in rest):
            family.formals.append(((), number))
    for path, child in first.children.items():
        for number in range(len(child.family.formals)):
            value = child.family.actual(child, number)
            if any(child.family.actual(i.children[path], number) != value for i in rest):
                family.formals.append((path, number))


# --- cutting one program ---


def _callees_first(uses: Mapping[str, Sequence[Use]]) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        for use in uses[name]:
            visit(use.program)
        order.setdefault(name)

    for name in uses:
        visit(name)
    return list(order)


def _program(graph: Graph, uses: Sequence[Use]) -> Block:
    nodes = [n for n in graph.nodes() if not is_leaf(n)]
    shared = {i: use for use in uses for i in use.nodes}
    items = _arrange(graph, nodes, (), shared)
    return Block(graph, tuple(graph.inputs.values()), tuple(graph.outputs.values()), items)


def _collect(block: Block, calls: dict[Path, list[Call]]) -> None:
    """All calls by what they call, those in what is called included."""
    for item in block.items:
        if isinstance(item, Call):
            calls.setdefault(item.path, []).append(item)
            _collect(item.block, calls)
        elif isinstance(item, Loop):
            _collect(item.body, calls)


Key = tuple[Path, str]


def _arrange(
    graph: Graph, nodes: Sequence[Node], path: Path, shared: Mapping[int, Use] | None = None
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
            elif min(map(len, parts)) < SMALLEST_FUNCTION:
                bad.add(key)
            elif len(parts) > 1:
                blocks = [_block(graph, part, key[0]) for part in parts]
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
        return tuple(item for key, group in ordered for item in _items(graph, key, group, path, uses))


def _items(
    graph: Graph, key: Key | None, group: list[Node], path: Path, uses: Mapping[int, Use]
) -> list[Item]:
    if key is not None and not key[0]:
        use = uses[group[0].id]
        frame = Frame(use.program, "", Span.none(), function=True, role=use.program)
        return [Call(frame, (), Block(graph, use.inputs, use.outputs, ()))]
    if key is not None:
        frame = group[0].scope[len(key[0]) - 1]
        return [Call(frame, key[0], _block(graph, group, key[0]))]
    return [_loop(graph, n, path) if isinstance(getattr(n.op, "body", None), Graph) else n for n in group]


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


def _block(graph: Graph, nodes: Sequence[Node], path: Path) -> Block:
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
    return Block(graph, tuple(inputs), tuple(outputs), _arrange(graph, nodes, path))


def _loop(graph: Graph, node: Node, path: Path) -> Loop:
    """Bring the leaves that a body captures inside it, and call what else it captures after what it is around it."""
    op: Any = node.op
    body: Graph = op.body
    leaves: dict[int, Primitive] = {}
    around = op.split(node.inputs).captured
    for (name, formal), actual in zip(op.formals.captured.items(), around, strict=True):
        leaf = graph.node(actual).op
        if not isinstance(leaf, Parameter | Constant):
            leaf = Input(_origin(graph, actual) or name, formal.type)
        leaves[formal.node] = leaf
    moved = body.rebuild(lambda b, n, _i: (b.emit(leaves[n.id]),) if n.id in leaves else None)
    inputs = tuple(moved.inputs.values())
    kept = tuple(
        (f, a)
        for f, a in zip(op.split(inputs[:-1]).captured, around, strict=True)
        if isinstance(moved.node(f).op, Input)
    )
    nodes = [n for n in moved.nodes() if not is_leaf(n)]
    block = Block(moved, inputs, tuple(moved.outputs.values()), _arrange(moved, nodes, path))
    return Loop(node, block, kept)


def _origin(graph: Graph, value: Value) -> str | None:
    """What a value is made of, if that is one thing (`conv_0_weight`, `noise_x`); else its layer, if it has one."""
    node = made = graph.node(value)
    while not is_leaf(node):
        above = {v for v in node.inputs if not isinstance(graph.node(v).op, Constant)}
        if len(above) != 1:
            return made.scope[-1].name if made.scope else None
        node = graph.node(above.pop())
    match node.op:
        case Parameter(path=path):
            return "_".join(path.split(".")[-2:])
        case Input(path=path):
            return path
    return None


def _convex(graph: Graph, nodes: Sequence[Node]) -> bool:
    """No path leaves the set and comes back."""
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
    needs = [
        {home[v.node] for n in group for v in n.inputs if v.node in home} - {i}
        for i, (_, group) in enumerate(split)
    ]
    done: list[int] = []
    placed: set[int] = set()
    while len(done) < len(split):
        ready = next((i for i in range(len(split)) if i not in placed and needs[i] <= placed), None)
        if ready is None:
            return None
        placed.add(ready)
        done.append(ready)
    return [split[i] for i in done]


# --- when two functions are the same ---


def fingerprint(
    block: Block,
    path: Path,
    slot: Callable[[Constant], int] | None = None,
    method: Callable[[Call], Hashable] | None = None,
) -> Hashable:
    """Equal for blocks that differ only in the prefix of parameters and in the values of array constants."""
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
            made: tuple[Value, ...]
            if isinstance(item, Call):
                relative = item.path[len(path) :]
                made = item.block.outputs
                keys.append((relative, item.frame.role, called(item), tuple(map(ref, item.block.inputs))))
            else:
                node = item if isinstance(item, Node) else item.node
                made = node.outputs
                inner = visit(item.body, outside) if isinstance(item, Loop) else None
                attributes = {k: v for k, v in node.op.attributes().items() if not isinstance(v, Graph)}
                keys.append((node.op.name, repr(attributes), tuple(map(ref, node.inputs)), node.types, inner))
            known.update((v, (len(keys), i)) for i, v in enumerate(made))
        types = tuple(v.type for v in block.inputs)
        return types, tuple(keys), tuple(map(ref, block.outputs))

    return visit(block, {})
