"""One function for each method of a family: what a block computes, from its part of the parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mpcompile.emission import constants as stored
from mpcompile.emission import names as spelled
from mpcompile.emission.constants import is_mask
from mpcompile.emission.functions import Written, same_text
from mpcompile.emission.names import free, identifier, unnumbered
from mpcompile.emission.scopes import Target
from mpcompile.emission.signature import (
    argument_names,
    definition,
    fixed_by,
    named_types,
    result_type,
    shared_types,
    type_docstring,
    type_lines,
)
from mpcompile.emission.text import WIDTH, basename, layout, prose, quoted
from mpcompile.ir import Constant, Module, Node, Stack, Value
from mpcompile.ir.leaves import around
from mpcompile.ir.names import element
from mpcompile.ir.names import split as split_name
from mpcompile.ops import Repeat
from mpcompile.outline import Block, Call, Family, Loop, Method, Outline, Path
from mpcompile_jax.body import RESERVED, JaxWriter, Layers
from mpcompile_jax.literals import array_text


def kind_of(constant: Constant) -> str:
    """Return the kind of a constant, as its name says it."""
    if constant.array.dtype.kind == "i":
        return "INDEX"
    return "MASK" if is_mask(constant.array) else "CONSTANT"


def numbered(names: Sequence[str]) -> tuple[str, str, str]:
    """Return the list of layers of which weights are, the rest of their names, and the text of the numbers.

    Raises `ValueError` for names that differ in anything else than the number of an element.
    """
    head, tail = around(names)
    middles = [name[len(head) : len(name) - len(tail)] for name in names]
    found = [int(n) for n in middles if n.isdigit() and n == str(int(n))]
    steps = {b - a for a, b in pairwise(found)}
    if len(found) != len(names) or len(steps) != 1 or head[-1:] != "." or tail[:1] != ".":
        raise ValueError(f"{names[0]}, {names[1]}, ... are not those of a list")
    return head[:-1], tail[1:], range_text(range(found[0], found[-1] + 1, *steps))


def range_text(numbers: range) -> str:
    """Write a range."""
    first, step, stop = numbers[0], numbers.step, numbers[-1] + numbers.step
    text = f"{first}, {stop}" if first or step > 1 else f"{stop}"
    return f"range({text}{f', {step}' if step > 1 else ''})"


@dataclass
class Constants:
    """Constants of the module: equal ones have one name, which is that of no variable.

    file  the arrays that do not stand in the text
    """

    variables: frozenset[str] = frozenset()
    names: dict[Constant, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    file: stored.Constants = field(default_factory=stored.Constants)

    def name(self, constant: Constant) -> str:
        if constant not in self.names:
            kind = kind_of(constant)
            while f"{kind}_{self.counts[kind]}" in self.variables:
                self.counts[kind] += 1
            self.names[constant] = f"{kind}_{self.counts[kind]}"
            self.counts[kind] += 1
        return self.names[constant]

    def texts(self) -> dict[str, str]:
        """Return the statement that defines each, by its name; first that of the file where there is one."""
        found = {
            name: f"{name} = {array_text(c.array, self.file, name.lower())}" for c, name in self.names.items()
        }
        table = {stored.TABLE: stored.LOAD} if self.file.arrays else {}
        return {name: "\n".join(layout(text, 0)) for name, text in {**table, **found}.items()}


@dataclass
class Signature:
    """The facts about a function that its callers need; `formals` are numbers of the family's formals that it takes."""

    name: str
    told: list[str]
    results: list[str]
    reads: bool
    formals: list[int]


class FunctionWriter:
    """Writes the functions of one family. It is the `Owner` of their bodies."""

    def __init__(
        self,
        module: Module,
        outline: Outline,
        family: Family,
        name: str,
        others: dict[int, FunctionWriter],
        constants: Constants,
        reserved: frozenset[str],
    ) -> None:
        self.module, self.outline, self.family, self.name, self.others = module, outline, family, name, others
        self.instance = family.first
        self.path: Path = self.instance.path
        self.constants, self.reserved = constants, reserved
        self.params = "params"
        self.signatures: list[Signature] = []
        self.written: list[Written[Signature]] = []
        self.reads = False
        #: Variables with the weights of one layer, by the path of the first of them, and those with the weights of all.
        self.elements: dict[Path, str] = {}
        self.lists: dict[str, str] = {}
        self.formals: list[str] = []
        self.used: set[int] = set()

    # --- what bodies ask (the Owner protocol) ---

    def parameter(self, path: str) -> str | None:
        parts = split_name(path)
        if parts[: len(self.path)] != self.path or path not in self.module.parameters:
            return None
        for first, variable in self.elements.items():
            if parts[: len(first)] == first:
                return f"{variable}[{quoted('.'.join(parts[len(first) :]))}]"
        self.reads = True
        return f"{self.params}[{quoted('.'.join(parts[len(self.path) :]))}]"

    def stack(self, stack: Stack) -> str | None:
        """Write the weights of a stack; None for those of another function."""
        prefix = "".join(f"{part}." for part in self.path)
        if not all(p.startswith(prefix) and p in self.module.parameters for p in stack.paths):
            return None
        path, rest, numbers = numbered([p[len(prefix) :] for p in stack.paths])
        return f"{self._list(path, numbers)}[{quoted(rest)}]"

    def layers(self, node: Node) -> list[Layers]:
        """Return the lists of layers that a region runs over, of which it reads weights."""
        op = node.op
        assert isinstance(op, Repeat)
        count, found = op.iterations([v.type for v in node.inputs]), list[Layers]()
        for name, step in op.frames:
            stem, start = element(name) or ("", 0)
            first = (*(f.name for f in node.scope), name)
            if any(p.startswith(f"{'.'.join(first)}.") for p in self.module.parameters):
                numbers = range(start, start + step * count, step)
                path = ".".join((*first[len(self.path) : -1], stem))
                found.append(Layers(first, stem, path, range_text(numbers)))
        return found

    def listed(self, layers: Layers) -> str:
        """Write the weights of all layers of a list, one a row."""
        return self._list(layers.path, layers.numbers)

    def _list(self, path: str, numbers: str) -> str:
        self.reads = True
        text = f"stacked({self.params}, {quoted(path)}, {numbers})"
        return self.lists.get(text, text)

    def constant(self, constant: Constant) -> str:
        return self._shared((), self.instance.slot(constant), constant)

    def fixed(self, constant: Constant) -> bool:
        return ((), self.instance.slot(constant)) not in self.family.formals

    def started(self, block: Block) -> Collection[Value]:
        return ()  # attention is spelled out

    def _shared(self, child: Path, number: int, constant: Constant) -> str:
        """A constant of the file, or the argument that stands for it where instances differ."""
        if (child, number) not in self.family.formals:
            return self.constants.name(constant)
        formal = self.family.formals.index((child, number))
        self.used.add(formal)
        return self.formals[formal]

    def _name_formals(self, writer: JaxWriter) -> list[str]:
        """Names for the constants in which instances of the family differ."""
        names: list[str] = []
        for number in range(len(self.family.formals)):
            name = writer.fresh(kind_of(self.family.actual(self.instance, number)).lower())
            writer.live[name] = math.inf
            names.append(name)
        return names

    def target(self, call: Call) -> Target:
        instance, method = self.outline.target(call)
        signature = self.others[id(instance.family)].signatures[instance.methods.index(method)]
        if not call.path:
            role = call.frame.role
            outputs = () if role in self.outline.parts else tuple(self.module.programs[role].outputs)
            keys = outputs if len(outputs) > 1 else ()
            return Target(signature.name, signature.told, signature.results, (self.params,), keys=keys)
        child = call.path[len(self.path) :]
        before: tuple[str, ...] = ()
        if signature.reads:
            before = (self._below(call.path),)
        after = tuple(self._shared(child, f, instance.family.actual(instance, f)) for f in signature.formals)
        return Target(signature.name, signature.told, signature.results, before, after)

    def _below(self, path: Path) -> str:
        """Write the parameters under a path."""
        for first, variable in self.elements.items():
            if path[: len(first)] == first:
                rest = ".".join(path[len(first) :])
                return f"below({variable}, {quoted(rest)})" if rest else variable
        self.reads = True
        return f"below({self.params}, {quoted('.'.join(path[len(self.path) :]))})"

    def any_parameter(self) -> str | None:
        prefix = ".".join((*self.path, ""))
        for name in self.module.parameters:
            if name.startswith(prefix):
                return self.parameter(name)
        return None

    # --- functions ---

    def write(self) -> list[str]:
        for method in self.instance.methods:
            self.function(method)
        return ["\n".join([*w.head, *self.docstring(w), *w.body]) + "\n" for w in self.written]

    def function_name(self, method: Method) -> str:
        if not self.path:
            base = program_name(method.role)
        else:
            base = self.name if method.role == "forward" else f"{self.name}_{identifier(method.role)}"
        taken = {s.name for w in self.others.values() for s in w.signatures}
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        return name

    def function(self, method: Method) -> None:
        """Write a function, or call one that has the same text.

        Raises `ValueError` for a program with a symbolic size that none of its inputs fixes.
        """
        written = self.written if self.path else []
        twin = same_text(written, method, lambda f: self._text(method, f.arguments, f.signature.name))
        if twin is not None:
            twin.blocks.append(method.block)
            self.signatures.append(twin.signature)
            return
        made = self._text(method, None, self.function_name(method))
        self.signatures.append(made.signature)
        self.written.append(made)

    def _text(self, method: Method, names: list[str] | None, name: str) -> Written[Signature]:
        """Write a function of this name, with these names of arguments where they are not chosen here."""
        block, root = method.block, not self.path
        program = self.module.programs[method.role] if root else None
        part = method.role in self.outline.parts
        if program is not None:
            arguments = spelled.arguments(program.inputs, self.reserved)
            named = {} if part else program.outputs
            preferred = {v: n for n, v in named.items() if n.isidentifier() and n not in self.reserved}
        else:
            arguments, preferred = names or argument_names(block, self.reserved), {}
        self.params = free("params", arguments)
        self.reads, self.used = root, set()
        self.elements, self.lists = {}, {}
        writer = JaxWriter(self, block, arguments, preferred)
        writer.live[self.params] = math.inf
        self.formals = self._name_formals(writer)
        writer.write(block)
        writer.finish(list(program.outputs) if program is not None and not part else None)

        bound, told = [], []
        for s in writer.used_symbols:
            place = fixed_by(s, arguments, block.inputs)
            if place is not None:
                bound.append(f"    {writer.symbol_names[s]} = {place}")
            elif root:
                raise ValueError(f"no input of program '{method.role}' fixes the size '{s}'")
            else:
                told.append(s)
        formals = sorted(self.used)
        results = [r.rstrip("0123456789_") or "h" for r in writer.result_names]
        signature = Signature(name, told, results, self.reads, formals)

        if len(block.outputs) == 1:
            result = "Array"
        else:
            plain = part or not root
            result = result_type("Array", len(block.outputs)) if plain else "dict[str, Array]"
        given = [
            *([f"{self.params}: Params"] if self.reads else []),
            *(f"{a}: Array" for a in arguments),
            *(f"{self.formals[f]}: np.ndarray" for f in formals),
            *(f"{writer.symbol_names[s]}: int" for s in told),
        ]
        head = definition(name, given, result, 0)
        return Written(
            signature, method.role, arguments, head, [*bound, *writer.hoisted, *writer.lines], [block]
        )

    def docstring(self, written: Written[Signature]) -> list[str]:
        """Write where the function comes from, and the types of arguments and results."""
        frame = self.instance.frame
        given, results = (
            shared_types(v) for v in zip(*((b.inputs, b.outputs) for b in written.blocks), strict=True)
        )
        pairs = list(zip(written.arguments, given, strict=True))
        if written.role in self.outline.parts:
            named = zip(written.signature.results, results, strict=True)
            return type_docstring(pairs, [f"{n} {t}" for n, t in named], 1)
        if frame is None:
            return type_docstring(pairs, named_types(self.module.programs[written.role].outputs), 1)
        label = prose(frame.label, 60) or frame.name
        place = f"  [{basename(frame.span.path)[:20]}:{frame.span.line}]" if frame.span.path else ""
        lines = (f"    {line}" for line in type_lines(pairs, results, WIDTH - 4))
        return [f'    """{label}{place}', "", *lines, '    """']


def program_name(role: str) -> str:
    """Return the name of the function of a program."""
    base = identifier(role)
    return f"{base}_program" if base in RESERVED else base


def called_programs(outline: Outline) -> frozenset[str]:
    """Return the functions of the programs that other programs call."""
    blocks = [m.block for f in outline.families for m in f.first.methods]
    found: set[str] = set()
    while blocks:
        for item in blocks.pop().items:
            if isinstance(item, Loop):
                blocks.append(item.body)
            elif isinstance(item, Call) and not item.path:
                found.add(program_name(item.frame.role))
    return frozenset(found)


def function_names(outline: Outline, module: Module) -> dict[int, str]:
    """Name the function of each family, after the frame where it was first met.

    Nothing else in the file has its name.
    """
    taken = {*RESERVED, *module.programs, *(n + "_program" for n in module.programs)}
    for graph in module.programs.values():
        taken |= {*graph.inputs, *graph.outputs, *(s.lower() for s in graph.symbols())}
    stems = {id(f): _stems(f) for f in outline.families if f.first.frame is not None}
    counts = [Counter(s[min(depth, len(s) - 1)] for s in stems.values()) for depth in range(3)]
    names: dict[int, str] = {}
    for key, candidates in stems.items():
        stem = next((c for c, n in zip(candidates, counts, strict=False) if n[c] == 1), candidates[0])
        name, number = free(stem), 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names[key] = name
    return names


def _stems(family: Family) -> list[str]:
    """`net`, `residual_net`, `residual_0_net`."""
    *lead, last = (free(part.lower().replace(".", "_")) for part in family.first.path)
    last = unnumbered(last)
    return [last, *([f"{unnumbered(lead[-1])}_{last}", f"{lead[-1]}_{last}"] if lead else [])]
