"""The YAML syntax: keys and lists, whose strings are read by the grammar from its other start rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lark import Token, Tree

from mpcompile.diagnostics import Diagnostic, Source, Span, SpecError, error
from mpcompile.diagnostics.nearest import meant
from mpcompile.frontend import ast
from mpcompile.frontend.assemble import Assembly
from mpcompile.frontend.build import Builder, Header, Named, Section, recurrence
from mpcompile.frontend.expressions import attach_body, with_body
from mpcompile.frontend.locate import Locator
from mpcompile.frontend.syntax import read
from mpcompile.frontend.trees import check_depth, parts, token_of
from mpcompile.frontend.yamlscalar import fragment
from mpcompile.frontend.yamltree import Collection, Node, Scalar, compose

KEYS = (
    "model", "params", "input", "target", "condition", "weights", "masks", "nets", "blocks", "density", "recurrence",
    "objective", "train", "check",
)  # fmt: skip
BLOCK_KEYS = ("on", "let", "yield")
# the fields of a statement, the last of which holds the call that a list below the statement belongs to
_LAST_CALL = {
    "Density": ("weight", "prior", "distribution"), "WeightPrior": ("distribution",), "Update": ("value",),
    "Term": ("weight", "value"),
}  # fmt: skip
RECURRENCE_KEYS = ("over", "backward", "carry", "steps")


def parse_yaml(source: Source) -> ast.Model:
    """Parse a YAML text to a model. Raises `SpecError` with every independent error."""
    return _Reader(source).model()


class _Reader:
    def __init__(self, source: Source) -> None:
        self.locator = Locator(source)
        self.assembly = Assembly(source.path)
        self.spoiled: list[
            Collection
        ] = []  # `[ ]` and `{ }` that YAML cut apart: what follows there is noise

    def model(self) -> ast.Model:
        assembly = self.assembly
        root, _ = compose(self.locator, assembly.diagnostics)
        if isinstance(root, Collection) and root.keys is not None:
            for key, value in root.pairs():
                self.attempt(self.section, key, value)
        elif root is not None and not (isinstance(root, Scalar) and not root.value):
            assembly.diagnostics.append(
                Diagnostic(
                    "MP106", "a spec is a mapping of keys", self.span(root), help="start with `model: name`"
                )
            )
        model = assembly.model()
        if assembly.diagnostics or model is None:
            raise SpecError(sorted(assembly.diagnostics, key=lambda d: (d.span.line, d.span.column)))
        return model

    # --- helpers -----------------------------------------------------------------------------------------

    def attempt(self, action: Callable[..., Any], *given: Any) -> Any:
        """Run one independent part; keep its errors and go on."""
        try:
            return action(*given)
        except SpecError as problem:
            self.assembly.diagnostics += problem.diagnostics
            return None

    def span(self, node: Node) -> Span:
        """A node's place; of a list or mapping over several lines, its first line."""
        text = self.locator.source.text
        stop = text.find("\n", node.start)
        end = node.end if stop < 0 or isinstance(node, Scalar) else min(node.end, stop)
        return self.locator.span(node.start, max(end, min(node.start + 1, len(text))))

    def read(self, node: Scalar, rule: str) -> tuple[Builder, Tree[Token]]:
        """Parse a scalar from a start rule."""
        if node.flow is not None and node.flow in self.spoiled:
            raise SpecError([])
        part = fragment(self.locator, node.value, node.start, node.end, node.style)
        found: list[Diagnostic] = []
        if not node.value.strip():
            raise error("MP106", "a value is missing here", self.span(node))
        try:
            tree = read(part, rule, found, first_only=True)
        except SpecError as problem:
            tree, found = None, list(problem.diagnostics)
        if tree is None or found:
            raise SpecError(self._cut(found, node))
        check_depth(tree, part)
        return Builder(part), tree

    def _cut(self, found: list[Diagnostic], node: Scalar) -> list[Diagnostic]:
        """`[conv(8, 3)]` is two YAML values, `conv(8` and `3)`: say so, once."""
        if node.flow is None or node.style is not None or found[0].code != "MP101":
            return found
        self.spoiled.append(node.flow)
        first = found[0]
        help_ = "inside YAML's `[ ]` and `{ }` a comma ends a value: quote it, or write one item a line"
        return [
            Diagnostic(
                first.code, first.message, first.span, label=first.label, notes=first.notes, help=help_
            )
        ]

    def added(self, make: Callable[..., Any], *given: Any) -> None:
        self.assembly.add(make(*given))

    def entries(self, node: Node, what: str) -> Iterator[tuple[Scalar, Node]]:
        if isinstance(node, Scalar) and not node.value.strip():
            return iter(())  # `train:` with nothing under it
        if not isinstance(node, Collection) or node.keys is None:
            raise error(
                "MP106", f"{what} needs a mapping of names", self.span(node), help="write `name: value` lines"
            )
        return node.pairs()

    def items(self, node: Node) -> list[Node]:
        """Items of a list; one value alone is a list of one."""
        if isinstance(node, Scalar) and not node.value.strip():
            return []
        return node.items if isinstance(node, Collection) and node.keys is None else [node]

    def text(self, node: Node, what: str) -> Scalar:
        if not isinstance(node, Scalar):
            raise error("MP106", f"{what} needs a string", self.span(node))
        return node

    def known(self, key: Scalar, keys: tuple[str, ...], where: str) -> str:
        if key.value not in keys:
            known, span = "keys are " + ", ".join(f"`{k}`" for k in keys), self.span(key)
            hint = meant(key.value, keys, span, known)
            raise error("MP102", f"unknown key `{key.value[:60]}` in {where}", span, **hint)
        return key.value

    def name(self, key: Scalar, define: bool = True) -> str:
        """A key that is a plain name."""
        builder, tree = self.read(key, "signature")
        name, params = builder.signature_(tree)
        if params or key.value.strip() != name:
            raise error("MP104", "expected only a name", self.span(key))
        if define:
            self.assembly.define([(name, self.span(key))])
        return name

    # --- sections ----------------------------------------------------------------------------------------

    def section(self, key: Scalar, value: Node) -> None:
        match self.known(key, KEYS, "a spec"):
            case "model":
                name = self.name(self.text(value, "`model`"), define=False)
                params = self.assembly.header.params if self.assembly.header else ()
                span = self.span(key).to(self.span(value))
                self.assembly.header = Header.model_construct(span=span, name=name, params=params)
                self.assembly.named = True
            case "params":
                self.params(key, value)
            case "input" | "target" | "condition" as role:
                for name_key, item in self.entries(value, f"`{role}`"):
                    self.attempt(self.added, self.declaration, role, name_key, item)
            case "weights":
                for name_key, item in self.entries(value, "`weights`"):
                    self.attempt(self.added, self.learned, name_key, item)
            case "masks":
                self.lets(value, "mask", self.value)
            case "nets":
                self.lets(value, "net", self.pipeline)
            case "blocks":
                for name_key, item in self.entries(value, "`blocks`"):
                    self.attempt(self.added, self.block, name_key, item)
            case "density":
                for item in self.items(value):
                    self.attempt(self.added, self.density, item)
            case "recurrence":
                self.assembly.add(self.recurrence(key, value))
            case "objective" | "train" as role:
                options = self.options(role, value)
                self.assembly.add(Section.model_construct(span=self.span(key), role=role, entries=options))
            case "check":
                claims = [self.attempt(self.claim, item) for item in self.items(value)]
                entries = tuple(claim for claim in claims if claim is not None)
                self.assembly.add(Section.model_construct(span=self.span(key), role="check", entries=entries))

    def params(self, key: Scalar, value: Node) -> None:
        found: list[ast.Param] = []

        def one(name_key: Scalar, item: Node) -> None:
            default = None
            if not (isinstance(item, Scalar) and item.style is None and item.value in ("", "null", "~")):
                builder, tree = self.read(self.text(item, "a parameter"), "pipeline")
                default = builder.expr(tree)
            span = self.span(name_key).to(self.span(item)) if item.end > item.start else self.span(name_key)
            found.append(ast.Param.model_construct(span=span, name=self.name(name_key), default=default))

        for name_key, item in self.entries(value, "`params`"):
            self.attempt(one, name_key, item)
        head = self.assembly.header
        self.assembly.header = Header.model_construct(
            span=head.span if head else self.span(key), name=head.name if head else "", params=tuple(found)
        )

    def declaration(self, role: str, key: Scalar, value: Node) -> ast.Declaration:
        name = self.name(key)
        builder, tree = self.read(self.text(value, f"`{role}`"), "type")
        kind = builder.build(tree)
        span = self.span(key).to(kind.span)
        return ast.Declaration.model_construct(span=span, role=role, name=name, type=kind)

    def learned(self, key: Scalar, value: Node) -> ast.LearnedWeight:
        name = self.name(key, define=False)  # a weight of the model is defined where it is added
        builder, tree = self.read(self.text(value, "a weight"), "initial")
        return builder.learned(self.span(key).to(builder.span(tree)), name, tree)

    def lets(self, node: Node, role: str, parse: Callable[[Node], Any]) -> None:
        def one(key: Scalar, item: Node) -> None:
            name = self.name(key)
            let = self.let(key, name, parse(item))
            self.assembly.add(Named.model_construct(span=let.span, role=role, let=let))

        for key, item in self.entries(node, f"`{role}s`"):
            self.attempt(one, key, item)

    def let(self, key: Scalar, name: str, value: Any) -> ast.Let:
        span = self.span(key).to(value.span)
        return ast.Let.model_construct(span=span, kind="let", name=name, value=value)

    def options(self, role: str, node: Node) -> tuple[ast.Let, ...]:
        def one(key: Scalar, item: Node) -> ast.Let:
            return self.let(key, self.name(key, define=False), self.value(item))

        lets = [self.attempt(one, k, v) for k, v in self.entries(node, f"`{role}`")]
        return tuple(let for let in lets if let is not None)

    def claim(self, node: Node) -> ast.Check:
        builder, tree = self.read(self.text(node, "a claim"), "claim")
        claim: ast.Check = builder.build(tree)
        return claim

    # --- values and pipelines ----------------------------------------------------------------------------

    def value(self, node: Node) -> Any:
        """An expression: a list is a vector or matrix here, not a pipeline."""
        if isinstance(node, Scalar):
            builder, tree = self.read(node, "pipeline")
            return builder.expr(tree)
        if node.keys is not None:
            raise error("MP106", "expected a value, found a mapping", self.span(node))
        items = tuple(self.value(item) for item in node.items)
        return ast.ListExpr.model_construct(span=self.span(node), kind="list", items=items)

    def pipeline(self, node: Node) -> Any:
        """A string, or a list of stages."""
        if isinstance(node, Scalar):
            builder, tree = self.read(node, "pipeline")
            return builder.expr(tree)
        body = self.body(node)
        only = body.steps[0]
        if len(body.steps) == 1 and only.tap is None and not isinstance(only.layer, ast.Repeat):
            return only.layer
        return body

    def body(self, node: Node) -> ast.Pipeline:
        """A pipeline that stays one, however short."""
        steps: list[ast.Step] = []
        problems: list[Diagnostic] = []
        for item in self.items(node):
            try:
                steps += self.steps(item)
            except SpecError as problem:
                problems += problem.diagnostics
        if problems:
            raise SpecError(problems)
        if not steps:
            raise error("MP106", "a pipeline needs at least one stage", self.span(node))
        span = steps[0].span.to(steps[-1].span)
        return ast.Pipeline.model_construct(span=span, kind="pipeline", steps=tuple(steps))

    def steps(self, node: Node) -> tuple[ast.Step, ...]:
        if isinstance(node, Scalar):
            builder, tree = self.read(node, "pipeline")
            return builder.steps(tree)
        if node.keys is None:  # a list in a list is a pipeline of its own
            layer = self.pipeline(node)
            return (ast.Step.model_construct(span=layer.span, layer=layer, tap=None),)
        key, value = self.owner(node)
        builder, tree = self.read(key, "stage")
        body = self.body(value)
        head, tap = parts(tree)
        span = self.span(key).to(body.span)
        stage: Any
        if isinstance(head, Tree) and head.data == "repeat_head":
            stage = builder.repeat(head, body, span)
        else:
            stage = attach_body(builder.expr(head), body, span)
        return (
            ast.Step.model_construct(
                span=span, layer=stage, tap=None if tap is None else builder.name(token_of(tap))
            ),
        )

    def owner(self, node: Collection) -> tuple[Scalar, Node]:
        """The one key of a mapping that stands for `head { body }`."""
        pairs = list(node.pairs())
        if len(pairs) != 1:
            raise error(
                "MP106",
                f"expected one key that owns a list, found {len(pairs)}",
                self.span(node),
                help="start each stage with `- `",
            )
        return pairs[0]

    # --- blocks, densities, recurrences ------------------------------------------------------------------

    def block(self, key: Scalar, value: Node) -> ast.Block:
        builder, tree = self.read(key, "signature")
        name, params = builder.signature_(tree)
        self.assembly.define([(name, self.span(key))])
        inputs: tuple[str, ...] = ()
        lets: tuple[ast.Let | ast.LearnedWeight, ...] = ()
        if isinstance(value, Collection) and any(k.value in BLOCK_KEYS for k in value.keys or ()):
            parts = {self.known(k, BLOCK_KEYS, "a block"): v for k, v in value.pairs()}
            for missing in ("on", "yield"):
                if missing not in parts:
                    raise error("MP103", f"the block `{name}` has no `{missing}`", self.span(key))
            inputs = tuple(n for item in self.items(parts["on"]) for n in self.names(item))
            lets = tuple(self.local_lets(parts["let"])) if "let" in parts else ()
            outputs = tuple(self.pipeline(item) for item in self.items(parts["yield"]))
        else:
            outputs = (self.pipeline(value),)
        if not outputs or (isinstance(value, Collection) and not value.items):
            raise error("MP103", f"the block `{name}` yields nothing", self.span(key))
        return ast.Block.model_construct(
            span=self.span(key).to(outputs[-1].span),
            name=name,
            params=params,
            inputs=inputs,
            lets=lets,
            outputs=outputs,
        )

    def names(self, node: Node) -> tuple[str, ...]:
        builder, tree = self.read(self.text(node, "`on`"), "names")
        return builder.names_(tree)

    def local_lets(self, node: Node) -> Iterator[ast.Let | ast.LearnedWeight]:
        if isinstance(node, Collection) and node.keys is not None:
            for key, item in node.pairs():
                yield self.let(key, self.name(key, define=False), self.pipeline(item))
            return
        for item in self.items(node):
            made = self.statement(item, "statement")
            if isinstance(made, ast.LearnedWeight):
                yield made
            elif isinstance(made, ast.Update):
                yield ast.Let.model_construct(span=made.span, kind="let", name=made.name, value=made.value)
            else:
                raise error("MP114", "expected `name = value` here", made.span)

    def item(self, node: Node) -> Any:
        """A line of a recurrence, possibly with a body in the list below it."""
        return self.statement(node, "item")

    def statement(self, node: Node, rule: str) -> Any:
        if isinstance(node, Scalar):
            builder, tree = self.read(node, rule)
            built = builder.build(tree)
            self.assembly.define(builder.defined)
            return built
        if node.keys is None:
            raise error("MP106", "expected a statement, found a list", self.span(node))
        key, value = self.owner(node)
        if isinstance(value, Scalar) and key.value.split(" ")[0] in ("latent", "weight"):
            raise error("MP106", "YAML ends a key at `: `", self.span(key),
                        help="quote a statement with a type: 'latent k: category(8) ~ ...'")  # fmt: skip
        builder, tree = self.read(key, rule)
        built = builder.build(tree)
        self.assembly.define(builder.defined)
        body = self.body(value)
        fields = _LAST_CALL.get(type(built).__name__, ())
        # as in `.mp`, a body belongs to the call before it
        last = next((name for name in fields if getattr(built, name) is not None), None)
        if last is None:
            raise error("MP106", "only a statement with a call at its end owns a list", self.span(key))
        owner = with_body(getattr(built, last), body)
        return built.model_copy(update={last: owner, "span": built.span.to(body.span)})

    def density(self, node: Node) -> Any:
        if isinstance(node, Collection) and node.keys and node.keys[0].value == "recurrence":
            key, value = self.owner(node)
            return self.recurrence(key, value)
        built = self.statement(node, "statement")
        if not isinstance(built, ast.Density | ast.Term | ast.Update | ast.WeightPrior | ast.Recurrence):
            raise error(
                "MP114",
                "this statement does not belong into `density`",
                built.span,
                help="`density` holds `x ~ ...`, `latent z ~ ... prior ...`, `missing y ~ ...`, `minimise ...`, "
                "`h = ...` and `prior weights ~ ...`",
            )
        return built

    def recurrence(self, key: Scalar, value: Node) -> ast.Recurrence:
        parts = {
            self.known(k, RECURRENCE_KEYS, "a recurrence"): v for k, v in self.entries(value, "`recurrence`")
        }
        for missing in ("over", "steps"):
            if missing not in parts:
                raise error("MP103", f"the recurrence has no `{missing}`", self.span(key))
        axis = self.name(self.text(parts["over"], "`over`"), define=False)
        nodes: list[Any] = []
        for name_key, item in self.entries(parts["carry"], "`carry`") if "carry" in parts else ():
            nodes.append(self.attempt(self.carry, name_key, item))
        nodes += [self.attempt(self.item, item) for item in self.items(parts["steps"])]
        backward = "backward" in parts and self.truth(parts["backward"])
        return recurrence(self.span(key), axis, [n for n in nodes if n is not None], backward=backward)

    def truth(self, node: Node) -> bool:
        written = self.text(node, "`backward`").value
        if written not in ("true", "false"):
            raise error("MP106", "expected `true` or `false`", self.span(node))
        return written == "true"

    def carry(self, key: Scalar, value: Node) -> ast.Carry:
        builder, tree = self.read(key, "carried")
        init = self.value(value)
        carried = builder.carried(self.span(key).to(init.span), tree, init)
        self.assembly.define(builder.defined)
        return carried


__all__ = ["BLOCK_KEYS", "KEYS", "RECURRENCE_KEYS", "parse_yaml"]
