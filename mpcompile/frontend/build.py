"""Lark trees of statements to AST nodes; `expressions.py` has what stands in them.

Nodes are made with `model_construct`: the grammar has checked what pydantic would check again, and the
validators of the node classes are then never built at start-up. A test validates the result with pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lark import Token, Tree

from mpcompile.diagnostics import Span, error
from mpcompile.diagnostics.nearest import meant, one_edit
from mpcompile.frontend import ast
from mpcompile.frontend.expressions import Expressions, Range
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.trees import node_of, parts, token_of, tree_of

#: The types of variables.
TYPES = ("binary", "real", "integer", "category", "angle")
#: The examples of a batch have no name, so that nothing can mix them.
_BATCH = ("N", "batch")


class Labels(ast.Node):
    """`"clerk", "nurse"`: the names of the classes of a category."""

    names: tuple[str, ...]


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
        base, bounds, shape, maybe = parts(tree)
        base = token_of(base)
        span = self.span(base)
        if str(base) not in TYPES:
            from mpcompile.frontend.kinds import misplaced  # its tables are of every room

            if other := misplaced(str(base), "type"):
                raise error("MP108", other[0], span, help=other[1])
            known = "types are " + ", ".join(f"`{t}`" for t in TYPES)
            # no guess beyond one edit: the list is short
            close = [t for t in TYPES if one_edit(str(base), t)]
            raise error("MP108", f"unknown type `{base}`", span, **meant(str(base), close, span, known))
        low = high = classes = None
        labels: tuple[str, ...] = ()
        if bounds is not None:
            value = self.build(bounds)
            self._check_bounds(str(base), value, self.span(bounds))
            if isinstance(value, Range):
                low, high = value.low, value.high
            elif isinstance(value, Labels):
                labels = value.names
            else:
                classes = value
        elif str(base) == "category":
            raise error("MP108", "`category` needs its number of classes", span, help="write `category(10)`")
        return ast.TypeExpr.model_construct(
            span=self.span(tree),
            base=str(base),
            low=low,
            high=high,
            classes=classes,
            labels=labels,
            shape=self.axes(shape),
            optional=maybe is not None,
        )

    def _check_bounds(self, base: str, value: Any, span: Span) -> None:
        """Check the parenthesis of a type against its base. Raises `SpecError` (MP108)."""
        ranged = {"integer": True, "real": True, "category": False}.get(base)
        if ranged is None:
            raise error("MP108", f"`{base}` takes no parenthesis", span)
        if isinstance(value, Range) != ranged:
            raise error(
                "MP108",
                f"`{base}` needs " + ("a range" if ranged else "a number of classes"),
                span,
                help="write `integer(0..255)`, `real(0..1)`, `category(10)`",
            )
        if isinstance(value, ast.Text):
            raise error(
                "MP108", "a category has at least two classes", span, help='write `category("no", "yes")`'
            )

    def labels_(self, tree: Tree[Token]) -> Labels:
        """Build the names of classes. Raises `SpecError` (MP105) for a name given twice."""
        names: list[str] = []
        for item in parts(tree):
            token = token_of(item)
            name = self._string(token)
            if name in names:
                raise error("MP105", f"the class `{name}` is given twice", self.span(token))
            names.append(name)
        return Labels.model_construct(span=self.span(tree), names=tuple(names))

    def axes(self, shape: Any) -> tuple[ast.Axis, ...]:
        """Build the axes of a shape, none for None. Raises `SpecError` (MP105) for a name given twice."""
        axes: list[ast.Axis] = [] if shape is None else [self.build(a) for a in parts(shape) if a is not None]
        for at, axis in enumerate(axes):
            if axis.name is not None and any(axis.name == other.name for other in axes[:at]):
                raise error("MP105", f"the axis `{axis.name}` is given twice", axis.span)
        return tuple(axes)

    def axis_(self, tree: Tree[Token]) -> ast.Axis:
        """Build an axis. Raises `SpecError` (MP104) for the name of the batch."""
        name, size = parts(tree)
        if name is not None and str(name) in _BATCH:
            raise error("MP104", f"an axis cannot be called `{name}`", self.span(token_of(name)),
                        help="the examples of a batch have no name; choose another one")  # fmt: skip
        named = None if name is None else self.name(token_of(name))
        return ast.Axis.model_construct(span=self.span(tree), name=named, size=self.expr(size))

    def mask_(self, tree: Tree[Token]) -> Named:
        return Named.model_construct(span=self.span(tree), role="mask", let=self._let(tree, new=True))

    def net_(self, tree: Tree[Token]) -> Named:
        return Named.model_construct(span=self.span(tree), role="net", let=self._let(tree, new=True))

    def _let(self, tree: Tree[Token], new: bool = False) -> ast.Let:
        token, value = parts(tree)
        name = self.define(token) if new else self.name(token_of(token))
        return ast.Let.model_construct(span=self.span(tree), kind="let", name=name, value=self.expr(value))

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
            lets=tuple(
                self.build(item) if tree_of(item).data == "learned" else self._let(tree_of(item))
                for item in lets
            ),
            outputs=tuple(self.expr(item) for item in tree_of(outputs).children),
        )

    def names_(self, tree: Any) -> tuple[str, ...]:
        return tuple(self.name(token_of(n)) for n in tree.children)

    def observed_(self, tree: Tree[Token]) -> ast.Density:
        name, value, weight = parts(tree)
        return self._density(tree, "observed", self.name(token_of(name)), value, weight=weight)

    def latent_(self, tree: Tree[Token]) -> ast.Density:
        name, kind, value, prior = parts(tree)
        return self._density(tree, "latent", self.define(name), value, kind=kind, prior=prior)

    def missing_(self, tree: Tree[Token]) -> ast.Density:
        name, value = parts(tree)
        return self._density(tree, "missing", self.name(token_of(name)), value)

    def _density(
        self, tree: Tree[Token], role: str, name: str, value: Any, *, kind: Any = None, prior: Any = None,
        weight: Any = None,
    ) -> ast.Density:  # fmt: skip
        return ast.Density.model_construct(
            span=self.span(tree),
            kind="density",
            role=role,
            name=name,
            type=None if kind is None else self.build(kind),
            distribution=self.expr(value),
            prior=None if prior is None else self.expr(prior),
            weight=None if weight is None else self.expr(weight),
        )

    def learned_(self, tree: Tree[Token]) -> ast.LearnedWeight:
        name, rest = parts(tree)
        return self.learned(self.span(tree), self.name(token_of(name)), tree_of(rest))

    def learned(self, span: Span, name: str, initial: Tree[Token]) -> ast.LearnedWeight:
        """A learned weight from its name and the tree of `type = init`, which may have been written elsewhere."""
        kind, init = parts(initial)
        return ast.LearnedWeight.model_construct(
            span=span,
            kind="weight",
            name=name,
            type=self.build(kind),
            init=None if init is None else self.expr(init),
        )

    def term_(self, tree: Tree[Token]) -> ast.Term:
        value, weight = parts(tree)
        return ast.Term.model_construct(
            span=self.span(tree),
            kind="term",
            value=self.expr(value),
            weight=None if weight is None else self.expr(weight),
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
        axis, backward, *items = parts(tree)
        nodes = [self.build(item) for item in items if item is not None]
        return recurrence(self.span(tree), self.name(token_of(axis)), nodes, backward=backward is not None)

    def carry_(self, tree: Tree[Token]) -> ast.Carry:
        head, init = parts(tree)
        return self.carried(self.span(tree), tree_of(head), self.expr(init))

    def carried(self, span: Span, head: Tree[Token], init: Any) -> ast.Carry:
        """A carried value from the tree of `h[hidden]` or `k: type` and its first value."""
        name, kind = parts(head)
        typed = kind is not None and tree_of(kind).data == "type"
        return ast.Carry.model_construct(
            span=span,
            name=self.define(name),
            shape=() if typed else self.axes(kind),
            type=self.build(kind) if typed else None,
            init=init,
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


def recurrence(span: Span, axis: str, nodes: Iterable[Any], *, backward: bool = False) -> ast.Recurrence:
    """Build a recurrence from its lines, carries first."""
    items = list(nodes)
    return ast.Recurrence.model_construct(
        span=span,
        kind="recurrence",
        axis=axis,
        backward=backward,
        carries=tuple(n for n in items if isinstance(n, ast.Carry)),
        statements=tuple(n for n in items if not isinstance(n, ast.Carry)),
    )


__all__ = ["Builder", "Header", "Named", "Section", "recurrence"]
