"""Names of a spec: where each is defined, and every place that refers to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mpcompile.diagnostics import Source
from mpcompile.frontend import ast
from mpcompile.frontend.editing import offsets
from mpcompile.frontend.tokens import HEADS
from mpcompile.ranges import AnyName
from mpcompile.reference import KINDS, options

#: Kinds of names that an editor may change; those of variables are the names of data, and stay.
RENAMED = (
    "net",
    "block",
    "mask",
    "weight",
    "parameter",
    "value",
    "latent",
    "carry",
    "tap",
    "counter",
    "input of a block",
)


@dataclass(eq=False)
class Definition:
    """A name of a spec.

    kind    net, block, mask, weight, parameter, variable, latent, value, carry, tap, counter, input of a block
    node    where it is defined
    start   the character at which it is written there
    places  the characters at which it is written, the definition too
    """

    kind: str
    name: str
    node: ast.Node
    start: int
    places: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.name)


Env = dict[str, Definition]

#: A word, behind one that begins a statement: of `net net = ...` the second.
_WORD = re.compile(rf"(?:(?:{'|'.join(sorted(HEADS))})\s+)?(?<!\w)(\w+)")


class Names:
    """The definitions of a model in the order of the text, each with its places."""

    def __init__(self, model: ast.Model, source: Source) -> None:
        self.source = source
        self.definitions: list[Definition] = []
        _Walk(self, model)
        for found in self.definitions:
            found.places = sorted({p for p in (found.start, *found.places) if self._written(p, found.name)})
        self.definitions.sort(key=lambda d: d.start)

    def at(self, offset: int) -> Definition | None:
        """Return the definition of the name at a character, or right before it."""
        for d in self.definitions:
            if any(p <= offset <= p + len(d.name) for p in d.places):
                return d
        return None

    def shape(self) -> list[tuple[str, int]]:
        """Return kinds and numbers of places, in the order of the text: what a renaming must not change."""
        return [(d.kind, len(d.places)) for d in self.definitions]

    def _written(self, start: int, name: str) -> bool:
        return self.source.text[start : start + len(name)] == name


class _Walk:
    """One walk over a model. A local name hides a name of the model; a later tap hides an earlier one."""

    def __init__(self, names: Names, model: ast.Model) -> None:
        self.names, self.text = names, names.source.text
        env: Env = {}
        self.heads: dict[int, Env] = {}
        for p in model.params:
            self.define(env, "parameter", p.name, p)
        for d in model.declarations:
            self.define(env, "variable", d.name, d)
        for weight in model.weights:
            self.define(env, "weight", weight.name, weight)
        for kind, lets in (("mask", model.masks), ("net", model.nets)):
            for let in lets:
                self.define(env, kind, let.name, let)
        for block in model.blocks:
            self.define(env, "block", block.name, block)
        for s in model.density:
            self.stated(env, s)
        for block in model.blocks:
            inner = self.heads[id(block)] = {}
            for p in block.params:
                self.define(inner, "parameter", p.name, p)
        for tree in (*model.params, *model.declarations, *model.weights, *model.masks, *model.nets):
            self.visit(tree, env)
        for block in model.blocks:
            self.block(block, env)
        for tree in (*model.density, *model.checks):
            self.visit(tree, env)
        for let in (*model.objective, *model.train):
            self.visit(let.value, env)
            if let.name == "freeze":
                self.paths(let.value, env)

    def paths(self, value: ast.Expr, env: Env) -> None:
        """Note the nets and blocks at the head of quoted paths: `freeze: "encoder.dense_0"`."""
        for text in value.items if isinstance(value, ast.ListExpr) else (value,):
            if isinstance(text, ast.Text):
                self.refer(env, text.value.partition(".")[0], offsets(self.text, text.span)[0] + 1)

    def stated(self, env: Env, s: ast.Node) -> None:
        """Define the names of a statement: latents, values of the model, and the carries and values of a recurrence."""
        if isinstance(s, ast.Density) and s.role == "latent":
            self.define(env, "latent", s.name, s)
        elif isinstance(s, ast.Let | ast.Update) and s.name not in env:
            self.define(env, "value", s.name, s)
        elif isinstance(s, ast.Recurrence):
            for carry in s.carries:
                self.define(env, "carry", carry.name, carry)
            for inner in s.statements:
                self.stated(env, inner)

    def define(self, env: Env, kind: str, name: str, node: ast.Node, start: int | None = None) -> None:
        at = self.first(name, node) if start is None else start
        env[name] = made = Definition(kind, name, node, at)
        self.names.definitions.append(made)

    def first(self, name: str, node: ast.Node) -> int:
        """The character at which a statement writes its name: behind the words that begin it."""
        start, end = offsets(self.text, node.span)
        found = _WORD.finditer(self.text, start, end)
        return next((m.start(1) for m in found if m[1] == name), start)

    def refer(self, env: Env, name: str, start: int) -> None:
        if name in env:
            env[name].places.append(start)

    def block(self, block: ast.Block, env: Env) -> None:
        inner = env | self.heads[id(block)]
        for p in block.params:
            if p.default is not None:
                self.visit(p.default, env)
        if block.inputs:
            start, end = offsets(self.text, block.span)
            on = re.compile(r"\bon\b[\s:\[]*").search(self.text, start, end)
            at = on.end() if on else start
            for name in block.inputs:
                written = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)").search(self.text, at)
                at = written.start() if written else at
                self.define(inner, "input of a block", name, block, at)
        for let in block.lets:
            self.visit(let.value if isinstance(let, ast.Let) else let, inner)
            self.define(inner, "value" if isinstance(let, ast.Let) else "weight", let.name, let)
        for output in block.outputs:
            self.visit(output, inner)

    def visit(self, node: ast.Node, env: Env) -> None:
        """Note every reference below a node."""
        start = offsets(self.text, node.span)[0]
        if isinstance(node, ast.Name):
            self.refer(env, node.id, start)
        elif isinstance(node, ast.Part):
            self.refer(env, node.name, start)
        elif isinstance(node, ast.Call):
            self.call(node, env, start)
        elif isinstance(node, ast.Pipeline):
            self.pipeline(node, env)
        elif isinstance(node, ast.Repeat):
            self.repeat(node, env)
        elif isinstance(node, ast.Density | ast.Update | ast.WeightPrior | ast.Carry):
            self.refer(env, node.name, self.first(node.name, node))
            self.below(node, env)
        else:
            self.below(node, env)

    def below(self, node: ast.Node, env: Env) -> None:
        for child in children(node):
            self.visit(child, env)

    def call(self, call: ast.Call, env: Env, start: int) -> None:
        self.refer(env, call.callee, start)
        callee = env.get(call.callee)
        params = self.heads.get(id(callee.node), {}) if callee is not None and callee.kind == "block" else {}
        free = set() if callee is not None else words_of(call.callee)
        for argument in call.args:
            if argument.name in params:
                self.refer(params, argument.name or "", offsets(self.text, argument.span)[0])
            if argument.name in free and isinstance(argument.value, ast.Name | ast.ListExpr):
                continue  # names of axes, and words such as `same`
            self.visit(argument.value, env)
        for value in call.inputs or ():
            self.visit(value, env)
        if call.body is not None:
            self.visit(call.body, env)

    def pipeline(self, pipeline: ast.Pipeline, env: Env) -> None:
        inner = dict(env)
        for step in pipeline.steps:
            self.visit(step.layer, inner)
            if step.tap is not None:
                start, behind = offsets(self.text, step.layer.span)
                written = re.compile(rf"\s*\bas\s+({re.escape(step.tap)})(?!\w)")
                # in YAML the steps of a body stand behind the tap: `repeat i in 0..3 as x: [...]`
                found = written.match(self.text, behind) or written.search(self.text, start)
                if found:
                    self.define(inner, "tap", step.tap, step, found.start(1))

    def repeat(self, repeat: ast.Repeat, env: Env) -> None:
        self.visit(repeat.start, env)
        self.visit(repeat.stop, env)
        inner = dict(env)
        start, end = offsets(self.text, repeat.span)
        found = re.compile(rf"\brepeat\s+({re.escape(repeat.variable)})(?!\w)").search(self.text, start, end)
        if found:
            self.define(inner, "counter", repeat.variable, repeat, found.start(1))
        self.visit(repeat.body, inner)


def words_of(callee: str) -> set[str]:
    """Return the arguments of a name of the language that are words or names of axes, and refer to nothing."""
    found: set[str] = set()
    for kind in KINDS.values():
        if callee in kind.rows():
            for slot in options(kind, callee):
                if any(isinstance(rule, AnyName) for rule in slot.rules) or slot.choice is not None:
                    found.add(slot.name)
    return found


def children(node: ast.Node) -> Iterator[ast.Node]:
    """Yield the nodes right below a node, in their order."""
    for key in type(node).model_fields:
        value = getattr(node, key) if key != "span" else None
        items: Iterable[object] = value if isinstance(value, tuple) else (value,)
        yield from (item for item in items if isinstance(item, ast.Node))


__all__ = ["RENAMED", "Definition", "Names", "children"]
