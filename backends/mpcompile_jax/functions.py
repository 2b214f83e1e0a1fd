"""One function for each method of a family: what a block computes, from its part of the parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mpcompile.emission.signature import argument_names, fixed_by, type_docstring
from mpcompile.emission.text import basename, identifier, layout, prose, quoted
from mpcompile.emission.writer import Target
from mpcompile.ir import Constant, Module
from mpcompile.outline import Call, Family, Method, Outline, Path
from mpcompile_jax.body import RESERVED, JaxWriter
from mpcompile_jax.literals import array_text


@dataclass
class Constants:
    """Constants of the file: equal ones have one name."""

    names: dict[Constant, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def name(self, constant: Constant) -> str:
        if constant not in self.names:
            kind = {"b": "MASK", "i": "INDEX"}.get(constant.array.dtype.kind, "CONSTANT")
            if kind == "CONSTANT" and bool(((constant.array == 0) | (constant.array == 1)).all()):
                kind = "MASK"
            self.names[constant] = f"{kind}_{self.counts[kind]}"
            self.counts[kind] += 1
        return self.names[constant]

    def lines(self) -> list[str]:
        return [line for c, name in self.names.items() for line in layout(f"{name} = {array_text(c.array)}", 0)]


@dataclass
class Signature:
    """What callers must know of a function; `formals` are numbers of the family's formals that it takes."""

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
        self.reads = False
        self.taken: dict[int, str] = {}

    # --- what bodies ask (the Owner protocol) ---

    def parameter(self, path: str) -> str | None:
        parts = tuple(path.split("."))
        if parts[: len(self.path)] != self.path or path not in self.module.parameters:
            return None
        self.reads = True
        return f"{self.params}[{quoted('.'.join(parts[len(self.path) :]))}]"

    def constant(self, constant: Constant) -> str:
        return self._shared((), self.instance.slot(constant), constant)

    def _shared(self, child: Path, number: int, constant: Constant) -> str:
        """A constant of the file, or the argument that stands for it where instances differ."""
        if (child, number) not in self.family.formals:
            return self.constants.name(constant)
        formal = self.family.formals.index((child, number))
        if formal not in self.taken:
            kind = {"b": "mask", "i": "index"}.get(constant.array.dtype.kind, "constant")
            if bool(((constant.array == 0) | (constant.array == 1)).all()):
                kind = "mask"
            name, count = kind, 1
            while name in self.taken.values():
                count += 1
                name = f"{kind}_{count}"
            self.taken[formal] = name
        return self.taken[formal]

    def target(self, call: Call) -> Target:
        instance, method = self.outline.target(call)
        signature = self.others[id(instance.family)].signatures[instance.methods.index(method)]
        child = call.path[len(self.path) :]
        before = ()
        if signature.reads:
            self.reads = True
            before = (f"below({self.params}, {quoted('.'.join(child))})",)
        after = tuple(
            self._shared(child, f, instance.family.actual(instance, f)) for f in signature.formals
        )
        return Target(signature.name, signature.told, signature.results, before, after)

    def any_parameter(self) -> str | None:
        prefix = ".".join((*self.path, ""))
        for name in self.module.parameters:
            if name.startswith(prefix):
                return self.parameter(name)
        return None

    # --- functions ---

    def write(self) -> list[list[str]]:
        return [self.function(method) for method in self.instance.methods]

    def function_name(self, method: Method) -> str:
        if not self.path:
            base = identifier(method.role)
            base = base + "_program" if base in RESERVED else base
        else:
            base = self.name if method.role == "forward" else f"{self.name}_{identifier(method.role)}"
        taken = {s.name for s in self.signatures}
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        return name

    def function(self, method: Method) -> list[str]:
        block, root = method.block, not self.path
        program = self.module.programs[method.role] if root else None
        if program is not None:
            arguments = [identifier(n) for n in program.inputs]
            preferred = {v: n for n, v in program.outputs.items() if n.isidentifier() and n not in self.reserved}
        else:
            arguments, preferred = argument_names(block, self.reserved), {}
        if clash := RESERVED & set(arguments):
            raise ValueError(f"{clash.pop()!r} already means something in an emitted file: rename it")
        self.params = "params" if "params" not in arguments else "params_"
        self.reads, self.taken = root, self._formals(method)
        writer = JaxWriter(self, block, arguments, preferred)
        writer.live |= {name: float("inf") for name in (self.params, *self.taken.values())}
        writer.write(block)
        writer.finish(list(program.outputs) if program is not None else None)

        bound, told = [], []
        for s in writer.used_symbols:
            place = fixed_by(s, block.inputs)
            if place is not None:
                bound.append(f"    {writer.symbol_names[s]} = {arguments[place[0]]}.shape[{place[1]}]")
            elif root:
                raise ValueError(f"no input of program '{method.role}' fixes the size '{s}'")
            else:
                told.append(s)
        name = self.function_name(method)
        formals = [f for f in sorted(self.taken) if f in self.used]
        results = [r.rstrip("0123456789_") or "h" for r in writer.result_names]
        self.signatures.append(Signature(name, told, results, self.reads, formals))

        if len(block.outputs) == 1:
            result = "Array"
        else:
            result = "dict[str, Array]" if root else f"tuple[{', '.join(['Array'] * len(block.outputs))}]"
        given = [
            *([f"{self.params}: Params"] if self.reads else []),
            *(f"{a}: Array" for a in arguments),
            *(f"{self.taken[f]}: np.ndarray" for f in formals),
            *(f"{writer.symbol_names[s]}: int" for s in told),
        ]
        head = layout(f"def {name}({', '.join(given)}) -> {result}:", 0)
        return [*head, *self.docstring(method, arguments), *bound, *writer.lines]
