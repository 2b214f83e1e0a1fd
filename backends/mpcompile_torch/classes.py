"""One `nn.Module` class for each family of functions; attributes spell the dotted names of the checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from mpcompile.diagnostics import error
from mpcompile.emission import names as spelled
from mpcompile.emission.constants import Constants
from mpcompile.emission.functions import Written, same_text
from mpcompile.emission.names import attribute, identifier, snake
from mpcompile.emission.scopes import Target
from mpcompile.emission.signature import (
    argument_names,
    definition,
    fixed_by,
    named_types,
    result_type,
    shared_types,
    type_docstring,
)
from mpcompile.emission.text import basename, layout, prose
from mpcompile.ir import Constant, Module, Node, ParameterSpec, Value
from mpcompile.ir.names import ATTRIBUTES, split
from mpcompile.outline import Block, Call, Family, Method, Outline, Path
from mpcompile_torch.body import RESERVED, TorchWriter
from mpcompile_torch.facts import Facts, Signature, Tree
from mpcompile_torch.layers import Layer, find_layers
from mpcompile_torch.lists import OWNER, Over, assignments, lists
from mpcompile_torch.literals import INDEX, array_text, initial_text, method_call

#: Names that a module of torch, and every object, already gives a meaning.
TAKEN = ATTRIBUTES | frozenset(
    "__annotations__ __call__ __dict__ __getattr__ __module__ __setstate__ __weakref__".split() + dir(object)
)
#: The program that `forward` stands for where none has that name: the first of these that a model has.
CALLED = ("conditionals", "predict", "reconstruct", "log_prob")


class ClassWriter:
    """Writes the class of one family. It is the `Owner` of the methods in it."""

    def __init__(
        self,
        module: Module,
        outline: Outline,
        facts: Facts,
        family: Family,
        name: str,
        others: dict[int, ClassWriter],
        file: Constants,
    ):
        self.module, self.outline, self.facts = module, outline, facts
        self.family, self.name, self.others, self.file = family, name, others, file
        self.instance = family.first
        self.path = self.instance.path
        self.layers: dict[Path, Layer] = {}
        #: Variables of the loop that is written, by the elements they stand for.
        self.elements: dict[str, str] = {}
        self.tree = Tree()
        for spec in self.instance.parameters:
            *lead, last = split(spec.name)[len(self.path) :]
            self.tree.group(lead).parameters[attribute(last)] = spec
        for child in self.instance.children:
            self.tree.group(child[:-1]).families[attribute(child[-1])] = child
        for part in (name.partition("[")[0] for name in self.tree.names):
            if part in TAKEN:
                spec = next(s for s in module.parameters.values() if part in s.name.split("."))
                raise error(
                    "MP104",
                    f"`{part}` already means something in a torch module",
                    spec.span,
                    help=f"call it `{part}_`",
                )
        self.buffers = self._name_buffers()
        self.tensors: set[int] = set()  # numbers of the constants that methods read as tensors
        self.lists: set[int] = set()  # and as lists of Python integers
        self.signatures: list[Signature] = []
        self.written: list[Written[Signature]] = []
        self.functions: list[str] = []  # of `sampling.py`
        self.me = "self"  # the name of the instance in the text of a method
        self.formals: dict[str, tuple[list[str], str]] = {}  # of methods by name, with the type of the result
        self.attributes: dict[str, None] = {}
        self.layers = find_layers(module, self.instance, self.tree_groups())

    def tree_groups(self) -> dict[Path, list[ParameterSpec]]:
        """Groups that hold nothing but parameters."""
        found: dict[Path, list[ParameterSpec]] = {}

        def visit(tree: Tree, path: Path) -> None:
            if path and tree.parameters and not tree.families and not tree.groups:
                found[path] = list(tree.parameters.values())
            for name, group in tree.groups.items():
                visit(group, (*path, name))

        visit(self.tree, ())
        return found

    def _name_buffers(self) -> list[str]:
        bases = []
        for c in self.instance.constants:
            kind = c.array.dtype.kind
            is_mask = kind == "b" or (kind == "f" and bool(((c.array == 0) | (c.array == 1)).all()))
            bases.append("mask" if is_mask else "index" if kind == "i" else "constant")
        counts, seen, names = Counter(bases), Counter[str](), []
        for base in bases:
            name = f"{base}_{seen[base]}" if counts[base] > 1 else base
            seen[base] += 1
            while name in self.tree.names or name in TAKEN:
                name += "_"
            names.append(name)
        return names

    # --- what bodies ask (the Owner protocol) ---

    def parameter(self, path: str) -> str | None:
        parts = split(path)
        if parts[: len(self.path)] != self.path or path not in self.module.parameters:
            return None
        return self._spelled(parts[len(self.path) :])

    def _spelled(self, path: Path) -> str:
        """Write how the class reaches what has a path in it; an element of a list in a loop over it is a variable."""
        text = ".".join([self.me, *map(attribute, path)])
        for element, variable in self.elements.items():
            if text == element or text.startswith(f"{element}."):
                return variable + text[len(element) :]
        return text

    def repeated(self, node: Node) -> list[Over]:
        return lists(node, len(self.path), self.module.parameters, self.me)

    def constant(self, constant: Constant) -> str:
        number = self.instance.slot(constant)
        self.tensors.add(number)
        return f"{self.me}.{self.buffers[number]}"

    def fixed(self, constant: Constant) -> bool:
        return ((), self.instance.slot(constant)) not in self.family.formals

    def started(self, block: Block) -> Collection[Value]:
        return self.facts.started.get(id(block), ())

    def listed(self, constant: Constant) -> str:
        number = self.instance.slot(constant)
        self.lists.add(number)
        return f"{self.me}.{self._list_name(number)}"

    def _list_name(self, number: int) -> str:
        return self.buffers[number].replace("index", "places")

    def target(self, call: Call) -> Target:
        instance, method = self.outline.target(call)
        signature = self.others[id(instance.family)].signatures[instance.methods.index(method)]
        text = self._spelled(call.path[len(self.path) :])
        if signature.apart:
            return Target(signature.name, signature.told, signature.results, before=(text,))
        if signature.name != "forward" or not call.path:
            text = f"{text}.{signature.name}"
        return Target(text, signature.told, signature.results, keys=self._keys(call))

    def _keys(self, call: Call) -> tuple[str, ...]:
        """Names of the results of a program that gives several."""
        role = call.frame.role
        plain = call.path or role in self.outline.parts
        outputs = () if plain else tuple(self.module.programs[role].outputs)
        return outputs if len(outputs) > 1 else ()

    def layer(self, weight: str, bias: str | None) -> str | None:
        own, _, last = weight.rpartition(".")
        whole = own
        for element, variable in self.elements.items():
            if own == variable or own.startswith(f"{variable}."):
                whole = element + own[len(variable) :]
        if last != "weight" or not whole.startswith(f"{self.me}."):
            return None
        layer = self.find_layer(tuple(whole.split(".")[1:]))
        if layer is None or (f"{own}.bias" if layer.bias else None) != bias:
            return None
        return own

    def typed(self, path: list[str], called: bool) -> bool:
        """Whether a checker knows the type of an attribute, or of what it gives when it is called."""
        name, *rest = path
        child = self.tree.families.get(name)
        if child is not None and rest:
            return self.others[id(self.instance.children[child].family)].typed(rest, called)
        if called and not rest:
            return any(s.name == name and not s.apart for s in self.signatures)
        if called:  # a method of a tensor
            return self.typed(path[:-1], False)
        parts = self.layers.get((name,))
        return name not in self.tree.groups or (parts is not None and (not rest or rest[0] != "bias"))

    def find_layer(self, path: Path) -> Layer | None:
        """Find the `nn` layer at a path of attributes, of this class or of those that it is made of."""
        for child, instance in self.instance.children.items():
            named = tuple(map(attribute, child))
            if path[: len(named)] == named:
                return self.others[id(instance.family)].find_layer(path[len(named) :])
        return self.layers.get(path)

    def any_parameter(self) -> str | None:
        for spec in self.instance.parameters:
            return self.parameter(spec.name)
        for i, c in enumerate(self.instance.constants):
            if c.array.dtype.kind == "f":
                return f"{self.me}.{self.buffers[i]}"
        for child, instance in self.instance.children.items():
            inner = self.others[id(instance.family)].any_parameter()
            if inner is not None:
                return ".".join([self.me, *map(attribute, child)]) + inner[len("self") :]
        return None

    # --- the class ---

    def write(self) -> list[str]:
        methods: list[str] = []
        for number, method in enumerate(self.instance.methods):
            self.method(number, method)
        for made in self.written:
            apart = made.signature.apart
            lines = [*made.head, *self._shapes(made, not self.path, 1 if apart else 2), *made.body]
            if apart:
                self.functions.append("\n".join(lines) + "\n")
            else:
                methods += ["", *lines]
        lines = [f"class {self.name}(nn.Module):", *self.docstring(), ""]
        annotated = [f"    {self.buffers[n]}: Tensor" for n in self.registered()]
        annotated += [f"    {n}: Tensor" for n, p in self.tree.parameters.items() if not p.trainable]
        if annotated:
            lines += [*annotated, ""]
        return [*lines, *self.initialiser(), *self._called(), *methods]

    def _called(self) -> list[str]:
        """Write the `forward` of a model without a program of this name: what `model(x)` gives, and wrappers call."""
        if self.path or "forward" in self.formals:
            return []
        name = next((p for p in CALLED if p in self.formals), None)
        if name is None:
            return []
        formals, result = self.formals[name]
        given = ", ".join(f.partition(":")[0] for f in formals[1:])
        call = f"return self.{name}({given})"
        head = definition("forward", formals, result, 1)
        return ["", *head, f'        """Call `{name}`."""', *layout(call, 2)]

    def registered(self) -> list[int]:
        """Constants that are buffers: those that a method reads as tensors."""
        return [n for n in range(len(self.buffers)) if n in self.tensors]

    def docstring(self) -> list[str]:
        frame = self.instance.frame
        if frame is None:
            where = basename(self.module.source.path)
            return [f'    """The model `{spelled.free(self.module.name)}`, as written in {where}."""']
        text = prose(frame.label, 60) or frame.name
        place = f"  [{basename(frame.span.path)[:20]}:{frame.span.line}]" if frame.span.path else ""
        return [f'    """{text}{place}"""' if not text.endswith('"') else f'    """{text} """']

    def initialiser(self) -> list[str]:
        formals = self.formal_names()
        signature = ", ".join(["self", *(f"{n}: Tensor" for n in formals.values())])
        lines = layout(f"def __init__({signature}) -> None:", 1)
        body: list[str] = []
        for name, spec in self.tree.parameters.items():
            body.append(self._parameter("self", name, spec))
        self._members("self", self.tree, (), body, formals)
        text = "\n".join(line for made in self.written for line in made.body)
        for name in (path[0] for path in self.layers if len(path) == 1):
            if f".{name}.bias." in text:  # which torch types as what may be None
                body = [line.replace(f"self.{name} =", f"self.{name}: Any =") for line in body]
        registered = set(self.registered())
        for number, constant in enumerate(self.instance.constants):
            given = formals.get(((), number))
            text = given if given else self._array(constant, self.buffers[number])
            if number in self.lists:
                listed = method_call(text.removesuffix(INDEX), "tolist")
                body.append(f"self.{self._list_name(number)}: list[int] = {listed}")
            if number in registered:
                body.append(f'self.register_buffer("{self.buffers[number]}", {text}, persistent=False)')
        for line in ["super().__init__()", *body]:
            lines += layout(line.lstrip(), 2 + (len(line) - len(line.lstrip())) // 4)
        return lines

    def formal_names(self) -> dict[tuple[Path, int], str]:
        names: dict[tuple[Path, int], str] = {}
        for child, number in self.family.formals:
            if child:
                family = self.instance.children[child].family
                inner = self.others[id(family)].formal_names()[family.formals[number]]
                name = f"{child[-1].replace('.', '_')}_{inner}"
            else:
                name = self.buffers[number]
            while name in names.values():
                name += "_"
            names[(child, number)] = name
        return names

    def _array(self, constant: Constant, name: str) -> str:
        return array_text(constant.array, self.file, f"{self.name}.{name}")

    def _parameter(self, owner: str, name: str, spec: ParameterSpec) -> str:
        if spec.trainable:
            return f"{owner}.{name} = nn.Parameter({initial_text(spec)})"
        return f'{owner}.register_buffer("{name}", {initial_text(spec)})'

    def _members(
        self,
        owner: str,
        tree: Tree,
        path: Path,
        body: list[str],
        formals: dict[tuple[Path, int], str],
    ) -> None:
        made: dict[str, tuple[str, list[str]]] = {}
        for name, child in tree.families.items():
            instance = self.instance.children[child]
            family = instance.family
            wanted = self.others[id(family)].formal_names().values()
            arguments = [
                formals.get((child, number))
                or self._array(family.actual(instance, number), f"{'.'.join(child)}.{formal}")
                for number, formal in enumerate(wanted)
            ]
            made[name] = f"{self.others[id(family)].name}({', '.join(arguments)})", []
        for name, group in tree.groups.items():
            layer = self.layers.get((*path, name))
            if layer is not None:
                made[name] = layer.text, []
                continue
            trained = [(n, p) for n, p in group.parameters.items() if p.trainable]
            members = ", ".join(f"{n}=nn.Parameter({initial_text(p)})" for n, p in trained)
            inside = [self._parameter(OWNER, n, p) for n, p in group.parameters.items() if not p.trainable]
            self._members(OWNER, group, (*path, name), inside, formals)
            made[name] = f"Group({members})", inside
        body += assignments(owner, made, {*RESERVED, *formals.values()})

    # --- methods ---

    def method_name(self, method: Method, apart: bool) -> str:
        base = identifier(method.role)
        if apart:
            base = base if not self.path else f"{snake(self.name)}_{base}"
            taken = {s.name for w in self.others.values() for s in w.signatures if s.apart}
            taken |= {*RESERVED, *self.module.programs} - {base if not self.path else ""}
        else:
            if (base in TAKEN and base != "forward") or base in self.tree.names or base in self.buffers:
                base += "_program"
            taken = {s.name for s in self.signatures}
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        return name

    def method(self, number: int, method: Method) -> None:
        """Write a method, or call one that has the same text.

        Raises `ValueError` for a program with a symbolic size that none of its inputs fixes.
        """
        apart = (id(self.family), number) in self.facts.apart

        def again(twin: Written[Signature]) -> Written[Signature]:
            name, formals = twin.signature.name, self.formals[twin.signature.name]
            made = self._text(number, method, twin.arguments, name, twin.signature.apart)
            self.formals[name] = formals  # equal where the texts are
            return made

        # what stands in model.py calls nothing of sampling.py
        written = [w for w in self.written if w.signature.apart <= apart] if self.path else []
        twin = same_text(written, method, again)
        if twin is not None:
            twin.blocks.append(method.block)
            self.signatures.append(twin.signature)
            return
        made = self._text(number, method, None, self.method_name(method, apart), apart)
        self.signatures.append(made.signature)
        self.written.append(made)

    def _text(
        self, number: int, method: Method, names: list[str] | None, name: str, apart: bool
    ) -> Written[Signature]:
        """Write a method of this name, with these names of arguments where they are not chosen here."""
        block, root, part = method.block, not self.path, method.role in self.outline.parts
        program = self.module.programs[method.role] if root else None
        key = (id(self.family), number)
        called = {s.name for w in self.others.values() for s in w.signatures if s.apart} if apart else set()
        reserved = RESERVED | called
        if program is not None:
            arguments = spelled.arguments(program.inputs, RESERVED)
            named = {} if part else program.outputs
            preferred = {v: n for n, v in named.items() if n.isidentifier() and n not in called}
        else:
            arguments, preferred = names or argument_names(block, reserved), {}
        positions, in_place = self.facts.positions, self.facts.in_place
        self.me = ("model" if root else "module") if apart else "self"
        writer = TorchWriter(self, block, arguments, preferred, key, positions, in_place, reserved)
        writer.indent = 1 if apart else 2
        writer.write(block)
        writer.finish(list(program.outputs) if program is not None and not part else None)
        bound, told = self._sizes(writer, arguments, method)
        results = [r.rstrip("0123456789_") or "h" for r in writer.result_names]

        if len(block.outputs) == 1:
            result = "Tensor"
        elif root and not part:
            result = "dict[str, Tensor]"
        else:
            result = result_type("Tensor", len(block.outputs))
        formals = [
            f"{self.me}: {self.name}" if apart else self.me,
            *(f"{a}: {positions.kind(key, i)}" for i, a in enumerate(arguments)),
            *(f"{writer.symbol_names[s]}: int" for s in told),
        ]
        self.formals[name] = formals, result
        indent = writer.indent - 1
        head = definition(name, formals, result, indent)
        if program is not None and in_place.written(block):
            head = ["    " * indent + "@torch.no_grad()", *head]
        self.me = "self"
        signature = Signature(name, apart, told, results)
        return Written(signature, method.role, arguments, head, [*bound, *writer.lines], [block])

    def _sizes(
        self, writer: TorchWriter, arguments: list[str], method: Method
    ) -> tuple[list[str], list[str]]:
        """Lines that read the symbols of a function off its arguments, and the symbols that it must be told."""
        bound, told = [], []
        for s in writer.used_symbols:
            place = fixed_by(s, arguments, method.block.inputs)
            if place is not None:
                bound.append(f"{'    ' * writer.indent}{writer.symbol_names[s]} = {place}")
            elif not self.path:
                raise ValueError(f"no input of program '{method.role}' fixes the size '{s}'")
            else:
                told.append(s)
        return bound, told

    def _shapes(self, written: Written[Signature], root: bool, indent: int) -> list[str]:
        """A docstring with the types of arguments and results."""
        given, made = (
            shared_types(v) for v in zip(*((b.inputs, b.outputs) for b in written.blocks), strict=True)
        )
        if written.role in self.outline.parts:
            made = [f"{n} {t}" for n, t in zip(written.signature.results, made, strict=True)]
        elif root:
            made = named_types(self.module.programs[written.role].outputs)
        return type_docstring(list(zip(written.arguments, given, strict=True)), made, indent)
