"""Lark trees of statements to AST nodes; `expressions.py` has what stands in them.

Nodes are made with `model_construct`: the grammar has checked what pydantic would check again, and the
validators of the node classes are then never built at start-up. A test validates the result with pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from lark import Token, Tree

from mpcompile.diagnostics import Span, error
from mpcompile.frontend import ast
from mpcompile.frontend.expressions import Expressions, Range
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.trees import node_of, parts, token_of, tree_of

_TYPES = ("binary", "real", "integer", "category", "angle")


class Header(ast.Node):
    """`model name(p = 1)`: not part of the tree, only of its making."""

    name: str
    params: tuple[ast.Param, ...]


class Section(ast.Node):
    """`objective { }`, `train { }`, `check { }` before they are merged into the model."""

    role: str
    entries: tuple[ast.Node, ...]


class Named(ast.Node):
    """`mask a = ...` or `net a = ...`: which of the two is not in the tree."""

    role: str
    let: ast.Let


class Builder(Expressions):
    """Builds nodes from the trees of one fragment."""

    def __init__(self, fragment: Fragment) -> None:
        super().__init__(fragment)
        self.defined: list[tuple[str, Span]] = []  # names this text gives to the model, with their places

    def define(self, token: Any) -> str:
        """A checked identifier that the whole model will know."""
        name = self.name(token_of(token))
        self.defined.append((name, self.span(token_of(token))))
        return name

    # --- statements --------------------------------------------------------------------------------------

    def header_(self, tree: Tree[Token]) -> Header:
        head = tree_of(tree.children[0])
        name, params = self.signature_(head)
        self.defined += [(p.name, p.span) for p in params]
        return Header.model_construct(span=self.span(tree), name=name, params=params)

    def signature_(self, tree: Any) -> tuple[str, tuple[ast.Param, ...]]:
        """Build a name and its parameters. Raises `SpecError` (MP105) for a parameter given twice."""
        name, *rest = parts(tree)
        params = tuple(self.build(p) for p in rest if p is not None)
        for at, param in enumerate(params):
            if any(param.name == other.name for other in params[:at]):
                raise error("MP105", f"parameter `{param.name}` is given twice", param.span)
        return self.name(name), params

    def param_(self, tree: Tree[Token]) -> ast.Param:
        name, default = parts(tree)
        value = None if default is None else self.expr(default)
        return ast.Param.model_construct(span=self.span(tree), name=self.name(token_of(name)), default=value)

    def declaration_(self, tree: Tree[Token]) -> ast.Declaration:
        role, name, type_tree = parts(tree)
        return ast.Declaration.model_construct(
            span=self.span(tree), role=str(role), name=self.define(name), type=self.build(type_tree)
        )

    def type_(self, tree: Tree[Token]) -> ast.TypeExpr:
        """Build a type. Raises `SpecError` (MP108) for an unknown type, and for a parenthesis that it does not take."""
        base, bounds, shape = parts(tree)
        base = token_of(base)
        span = self.span(base)
        if str(base) not in _TYPES:
            near = get_close_matches(str(base), _TYPES, 1)
            help_ = (
                f"did you mean `{near[0]}`?" if near else "types are " + ", ".join(f"`{t}`" for t in _TYPES)
            )
            raise error("MP108", f"unknown type `{base}`", span, help=help_)
        low = high = classes = None
        if bounds is not None:
            value = self.build(bounds)
            if isinstance(value, Range):
                low, high = value.low, value.high
            else:
                classes = value
            wanted = {"integer": Range, "real": Range, "category": ast.Node}.get(str(base))
            if wanted is None:
                raise error("MP108", f"`{base}` takes no parenthesis", self.span(bounds))
            if isinstance(value, Range) != (wanted is Range):
                raise error(
                    "MP108",
                    f"`{base}` needs " + ("a range" if wanted is Range else "a number of classes"),
                    self.span(bounds),
                    help="write `integer(0..255)`, `real(0..1)`, `category(10)`",
                )
        elif str(base) == "category":
            raise error("MP108", "`category` needs its number of classes", span, help="write `category(10)`")
        dims = () if shape is None else tuple(self.expr(d) for d in parts(shape) if d is not None)
        return ast.TypeExpr.model_construct(
            span=self.span(tree), base=str(base), low=low, high=high, classes=classes, shape=dims
        )

    def mask_(self, tree: Tree[Token]) -> Named:
        return Named.model_construct(span=self.span(tree), role="mask", let=self._let(tree, new=True))

    def net_(self, tree: Tree[Token]) -> Named:
        return Named.model_construct(span=self.span(tree), role="net", let=self._let(tree, new=True))

    def _let(self, tree: Tree[Token], new: bool = False) -> ast.Let:
        token, value = parts(tree)
        name = self.define(token) if new else self.name(token_of(token))
        return ast.Let.model_construct(span=self.span(tree), name=name, value=self.expr(value))

    def block_(self, tree: Tree[Token]) -> ast.Block:
        head, body = parts(tree)
        name, params = self.signature_(head)
        self.define(tree_of(head).children[0])
        return ast.Block.model_construct(
            span=self.span(tree), name=name, params=params, inputs=(), lets=(), outputs=(self.expr(body),)
        )

    def region_block_(self, tree: Tree[Token]) -> ast.Block:
        head, inputs, *lets, outputs = parts(tree)
        name, params = self.signature_(head)
        self.define(tree_of(head).children[0])
        return ast.Block.model_construct(
            span=self.span(tree),
            name=name,
            params=params,
            inputs=self.names_(inputs),
            lets=tuple(self._let(tree_of(item)) for item in lets),
            outputs=tuple(self.expr(item) for item in tree_of(outputs).children),
        )

    def names_(self, tree: Any) -> tuple[str, ...]:
        return tuple(self.name(token_of(n)) for n in tree.children)

    def observed_(self, tree: Tree[Token]) -> ast.Density:
        name, value = parts(tree)
        return ast.Density.model_construct(
            span=self.span(tree),
            kind="density",
            role="observed",
            name=self.name(token_of(name)),
            distribution=self.expr(value),
            prior=None,
        )

    def latent_(self, tree: Tree[Token]) -> ast.Density:
        name, value, *prior = parts(tree)
        return ast.Density.model_construct(
            span=self.span(tree),
            kind="density",
            role="latent",
            name=self.define(name),
            distribution=self.expr(value),
            prior=self.expr(prior[0]) if prior else None,
        )

    def weight_prior_(self, tree: Tree[Token]) -> ast.WeightPrior:
        name, value = parts(tree)
        return ast.WeightPrior.model_construct(
            span=self.span(tree),
            kind="weight_prior",
            name=self.name(token_of(name)),
            distribution=self.expr(value),
        )

    def recurrence_(self, tree: Tree[Token]) -> ast.Recurrence:
        axis, *items = parts(tree)
        nodes = [self.build(item) for item in items if item is not None]
        return recurrence(self.span(tree), self.name(token_of(axis)), nodes)

    def carry_(self, tree: Tree[Token]) -> ast.Carry:
        name, *shape, init = parts(tree)
        dims = tuple(self.expr(d) for s in shape for d in parts(tree_of(s)) if d is not None)
        return ast.Carry.model_construct(
            span=self.span(tree), name=self.define(name), shape=dims, init=self.expr(init)
        )

    def let_(self, tree: Tree[Token]) -> ast.Update:
        name, value = parts(tree)
        return ast.Update.model_construct(
            span=self.span(tree), kind="update", name=self.name(token_of(name)), value=self.expr(value)
        )

    def objective_(self, tree: Tree[Token]) -> Section:
        return self._section("objective", tree, tree_of(tree.children[0]))

    def train_(self, tree: Tree[Token]) -> Section:
        return self._section("train", tree, tree_of(tree.children[0]))

    def checks_(self, tree: Tree[Token]) -> Section:
        return self._section("check", tree, tree)

    def _section(self, role: str, tree: Tree[Token], items: Tree[Token]) -> Section:
        # a separator rule leaves empty `_break` trees away, so what remains are the entries
        entries = tuple(self.build(item) for item in parts(items) if item is not None)
        return Section.model_construct(span=self.span(tree), role=role, entries=entries)

    def option_(self, tree: Tree[Token]) -> ast.Let:
        return self._let(tree)

    def claim_(self, tree: Tree[Token]) -> ast.Check:
        """Build a line of the `check` section. Raises `SpecError` (MP100) for `because` without `allow`."""
        allow, left, comparison, right, because = parts(tree)
        claim = self.expr(left)
        if comparison is not None:
            operator = str(tree_of(comparison).children[0])
            claim = ast.Binary.model_construct(
                span=claim.span.to(self.span(node_of(right))),
                kind="binary",
                op=operator,
                left=claim,
                right=self.expr(right),
            )
        if because is not None and allow is None:
            raise error(
                "MP100",
                "`because` gives the reason of an `allow`",
                self.span(token_of(because)),
                help="write `allow ... because ...`",
            )
        return ast.Check.model_construct(
            span=self.span(tree),
            claim=claim,
            allow=allow is not None,
            because=None if because is None else self._string(token_of(because)),
        )


def recurrence(span: Span, axis: str, nodes: Iterable[Any]) -> ast.Recurrence:
    """Build a recurrence from its lines, carries first."""
    items = list(nodes)
    return ast.Recurrence.model_construct(
        span=span,
        kind="recurrence",
        axis=axis,
        carries=tuple(n for n in items if isinstance(n, ast.Carry)),
        statements=tuple(n for n in items if not isinstance(n, ast.Carry)),
    )


__all__ = ["Builder", "Header", "Named", "Section", "recurrence"]
