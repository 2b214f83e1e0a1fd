"""Programs cut into functions (outlining): a module's repeated blocks as families of instances with one code.

`outline` cuts every program of a module at the frames marked `function` and finds the functions that are the
same up to the prefix of their parameters and the values of their array constants. Twelve couplings become one
`Family` with twelve instances, each with one method per role (`forward`, `inverse`). A program that stands inside
another one is called there.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from mpcompile.ir import Module, Node, ParameterSpec
from mpcompile.ir.names import split
from mpcompile.ops.repeating import Places, Repeat
from mpcompile.outline.blocks import Block, Call, Family, Instance, Loop, Method, Outline, Path
from mpcompile.outline.cut import cut_program
from mpcompile.outline.fingerprint import fingerprint
from mpcompile.outline.shared import Use, find_uses


def outline(
    module: Module,
    alone: Collection[str] = (),
    elements: bool = False,
    others: bool = True,
    parts: frozenset[str] = frozenset(),
) -> Outline:
    """Cut the programs of a module into functions. Programs named in `alone` are called by no other.

    Programs named in `parts` are there to be called by others alone.

    With `elements` a region calls the functions of its first iteration; with `others` those of others are instances too.
    """
    graphs = {name: graph.live() for name, graph in module.programs.items()}
    uses = find_uses(graphs, alone)
    blocks = {name: cut_program(graphs[name], uses[name], elements) for name in _callees_first(uses)}
    calls: dict[Path, list[Call]] = {}
    first: dict[tuple[Path, int], Path] = {}
    for block in blocks.values():
        _collect(block, calls, () if elements and others else None, first)
    programs = calls.pop((), [])
    instances = {path: Instance(path, found[0].frame) for path, found in calls.items()}
    root = instances[()] = Instance((), None)
    for path, instance in instances.items():
        if path:
            owner = instances[_owner(path, instances, proper=True)]
            owner.children[path[len(owner.path) :]] = instance
    for spec in module.parameters.values():
        instances[_owner(split(spec.name), instances, proper=True)].parameters.append(spec)

    result = Outline([], root, {}, parts=parts)
    families: dict[Hashable, Family] = {}
    for path in sorted(instances, key=lambda p: -len(p)):
        instance = instances[path]
        named = [(c.frame.role, c.block, c) for c in calls.get(path, [])]
        if not path:
            named = [(name, block, None) for name, block in blocks.items()]  # type: ignore[misc]  # one list of both kinds
            result.methods |= {id(c): (root, list(blocks).index(c.frame.role)) for c in programs}
        for role, block, call in named:
            like = first.get((path, id(call)))
            if like is not None:
                for constant in instances[like].constants:
                    instance.slot(constant)
                key = instances[like].methods[result.methods[id(call)][1]].key
            else:
                key = fingerprint(block, path, instance.slot, lambda c: result.methods[id(c)][1])
            number = next((i for i, m in enumerate(instance.methods) if (m.role, m.key) == (role, key)), None)
            if number is None:
                number = len(instance.methods)
                instance.methods.append(Method(role, block, key))
            if like is None and call is not None:
                result.methods[id(call)] = (instance, number)
        family_key = _family_key(instance)
        family = families.get(family_key)
        if family is None:
            family = families[family_key] = Family(family_key, [])
        family.instances.append(instance)
        instance.family = family
    result.families = list(families.values())
    result.uniform = all(instances[p].family is instances[like].family for (p, _), like in first.items())
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
        return split(spec.name)[len(instance.path) :].__repr__(), spec.shape, spec.trainable, init

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


def _callees_first(uses: Mapping[str, Sequence[Use]]) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        for use in uses[name]:
            visit(use.program)
        order.setdefault(name)

    for name in uses:
        visit(name)
    return list(order)


def _collect(
    block: Block,
    calls: dict[Path, list[Call]],
    around: Sequence[Places] | None,
    first: dict[tuple[Path, int], Path],
) -> None:
    """Collect all calls by what they call, also the calls within callees.

    A call in a region is one of each iteration, whose `Places` are `around`; `first` has the path in the first one of
    what a call calls in another. None stands for regions that are not looked at.
    """
    for item in block.items:
        if isinstance(item, Call):
            calls.setdefault(item.path, []).append(item)
            for places in around or ():
                path = places.path(item.path)
                if path != item.path:
                    first[path, id(item)] = item.path
                    calls.setdefault(path, []).append(item)
            _collect(item.block, calls, around, first)
        elif isinstance(item, Loop):
            inside = around if around is None else iterations(item.node) or around
            _collect(item.body, calls, inside, first)


def iterations(node: Node) -> list[Places]:
    """Return the places of the iterations of a region behind the first one; none for other loops."""
    if not isinstance(node.op, Repeat):
        return []
    count = node.op.iterations([v.type for v in node.inputs])
    return [Places(node.scope, dict(node.op.frames), k) for k in range(1, count)]
