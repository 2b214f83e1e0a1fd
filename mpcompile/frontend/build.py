"""Lark trees to AST nodes.

Nodes are made with `model_construct`: the grammar has checked what pydantic would check again, and the
validators of the node classes are then never built at start-up. A test validates the result with pydantic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from lark import Token, Tree

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.frontend import ast
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.strings import unquote

MAX_NAME = 64
MAX_TREE = 200
MAX_NUMBER = 40
_TYPES = ("binary", "real", "integer", "category")


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


class Range(ast.Node):
    low: ast.Expr
    high: ast.Expr


def check_depth(tree: Tree[Token], fragment: Fragment) -> None:
    """Refuse trees that recursion over them could not survive; counted without recursion."""
    level: list[Any] = [tree]
    for _ in range(MAX_TREE):
        level = [child for node in level for child in node.children if isinstance(child, Tree)]
        if not level:
            return
    raise error(
        "MP006",
        "this expression is nested too deeply",
        _span(level[0], fragment),
        help="give parts of it names with `mask`, `net` or `block`",
    )


def _span(node: Tree[Token] | Token, fragment: Fragment) -> Span:
    if isinstance(node, Token):
        return fragment.span(node.start_pos or 0, node.end_pos or 0)
    if node.meta.empty:
        return fragment.all()
    return fragment.span(node.meta.start_pos, node.meta.end_pos)


class Builder:
    """Builds nodes from the trees of one fragment."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment
        self.defined: list[tuple[str, Span]] = []  # names this text gives to the model, with their places

    def define(self, token: Any) -> str:
        """A checked identifier that the whole model will know."""
        name = self.name(_t(token))
        self.defined.append((name, self.span(_t(token))))
        return name

    def build(self, node: Any) -> Any:
        """The AST of a tree, or of a bare token where the grammar inlines a rule."""
        if isinstance(node, Token):
            return self.expr(node)
        method: Callable[[Tree[Token]], Any] = getattr(self, f"{node.data}_")
        return method(node)

    def span(self, node: Tree[Token] | Token) -> Span:
        return _span(node, self.fragment)

    # --- names -------------------------------------------------------------------------------------------

    def name(self, token: Token) -> str:
        """A checked identifier: it will become a name in generated code."""
        text = str(token)
        problem = name_problem(text)
        if problem:
            raise error("MP104", problem[0], self.span(token), help=problem[1])
        return text

    # --- statements --------------------------------------------------------------------------------------

    def header_(self, tree: Tree[Token]) -> Header:
        head = _tree(tree.children[0])
        name, params = self.signature_(head)
        self.defined += [(p.name, p.span) for p in params]
        return Header.model_construct(span=self.span(tree), name=name, params=params)

    def signature_(self, tree: Any) -> tuple[str, tuple[ast.Param, ...]]:
        name, *rest = _parts(tree)
        params = tuple(self.build(p) for p in rest if p is not None)
        for at, param in enumerate(params):
            if any(param.name == other.name for other in params[:at]):
                raise error("MP105", f"parameter `{param.name}` is given twice", param.span)
        return self.name(name), params

    def param_(self, tree: Tree[Token]) -> ast.Param:
        name, default = _parts(tree)
        value = None if default is None else self.expr(default)
        return ast.Param.model_construct(span=self.span(tree), name=self.name(_t(name)), default=value)

    def declaration_(self, tree: Tree[Token]) -> ast.Declaration:
        role, name, type_tree = _parts(tree)
        return ast.Declaration.model_construct(
            span=self.span(tree), role=str(role), name=self.define(name), type=self.build(type_tree)
        )

    def type_(self, tree: Tree[Token]) -> ast.TypeExpr:
        base, bounds, shape = _parts(tree)
        base = _t(base)
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
            wanted = {"integer": Range, "category": ast.Node}.get(str(base))
            if wanted is None:
                raise error("MP108", f"`{base}` takes no parenthesis", self.span(bounds))
            if isinstance(value, Range) != (wanted is Range):
                raise error(
                    "MP108",
                    f"`{base}` needs " + ("a range" if wanted is Range else "a number of classes"),
                    self.span(bounds),
                    help="write `integer(0..255)`, `category(10)`",
                )
        elif str(base) == "category":
            raise error("MP108", "`category` needs its number of classes", span, help="write `category(10)`")
        dims = () if shape is None else tuple(self.expr(d) for d in _parts(shape) if d is not None)
        return ast.TypeExpr.model_construct(
            span=self.span(tree), base=str(base), low=low, high=high, classes=classes, shape=dims
        )

    def range_(self, tree: Tree[Token]) -> Range:
        low, high = _parts(tree)
        return Range.model_construct(span=self.span(tree), low=self.expr(low), high=self.expr(high))

    def mask_(self, tree: Tree[Token]) -> Named:
        return Named.model_construct(span=self.span(tree), role="mask", let=self._let(tree, new=True))

    def net_(self, tree: Tree[Token]) -> Named:
        return Named.model_construct(span=self.span(tree), role="net", let=self._let(tree, new=True))

    def _let(self, tree: Tree[Token], new: bool = False) -> ast.Let:
        token, value = _parts(tree)
        name = self.define(token) if new else self.name(_t(token))
        return ast.Let.model_construct(span=self.span(tree), name=name, value=self.expr(value))

    def block_(self, tree: Tree[Token]) -> ast.Block:
        head, body = _parts(tree)
        name, params = self.signature_(head)
        self.define(_tree(head).children[0])
        return ast.Block.model_construct(
            span=self.span(tree), name=name, params=params, inputs=(), lets=(), outputs=(self.expr(body),)
        )

    def region_block_(self, tree: Tree[Token]) -> ast.Block:
        head, inputs, *lets, outputs = _parts(tree)
        name, params = self.signature_(head)
        self.define(_tree(head).children[0])
        return ast.Block.model_construct(
            span=self.span(tree),
            name=name,
            params=params,
            inputs=self.names_(inputs),
            lets=tuple(self._let(_tree(item)) for item in lets),
            outputs=tuple(self.expr(item) for item in _tree(outputs).children),
        )

    def names_(self, tree: Any) -> tuple[str, ...]:
        return tuple(self.name(_t(n)) for n in tree.children)

    def observed_(self, tree: Tree[Token]) -> ast.Density:
        name, value = _parts(tree)
        return ast.Density.model_construct(
            span=self.span(tree),
            kind="density",
            role="observed",
            name=self.name(_t(name)),
            distribution=self.expr(value),
            prior=None,
        )

    def latent_(self, tree: Tree[Token]) -> ast.Density:
        name, value, *prior = _parts(tree)
        return ast.Density.model_construct(
            span=self.span(tree),
            kind="density",
            role="latent",
            name=self.define(name),
            distribution=self.expr(value),
            prior=self.expr(prior[0]) if prior else None,
        )

    def weight_prior_(self, tree: Tree[Token]) -> ast.WeightPrior:
        name, value = _parts(tree)
        return ast.WeightPrior.model_construct(
            span=self.span(tree), kind="weight_prior", name=self.name(_t(name)), distribution=self.expr(value)
        )

    def recurrence_(self, tree: Tree[Token]) -> ast.Recurrence:
        axis, *items = _parts(tree)
        nodes = [self.build(item) for item in items if item is not None]
        return recurrence(self.span(tree), self.name(_t(axis)), nodes)

    def carry_(self, tree: Tree[Token]) -> ast.Carry:
        name, *shape, init = _parts(tree)
        dims = tuple(self.expr(d) for s in shape for d in _parts(_tree(s)) if d is not None)
        return ast.Carry.model_construct(
            span=self.span(tree), name=self.define(name), shape=dims, init=self.expr(init)
        )

    def let_(self, tree: Tree[Token]) -> ast.Update:
        name, value = _parts(tree)
        return ast.Update.model_construct(
            span=self.span(tree), kind="update", name=self.name(_t(name)), value=self.expr(value)
        )

    def objective_(self, tree: Tree[Token]) -> Section:
        return self._section("objective", tree, _tree(tree.children[0]))

    def train_(self, tree: Tree[Token]) -> Section:
        return self._section("train", tree, _tree(tree.children[0]))

    def checks_(self, tree: Tree[Token]) -> Section:
        return self._section("check", tree, tree)

    def _section(self, role: str, tree: Tree[Token], items: Tree[Token]) -> Section:
        # a separator rule leaves empty `_break` trees away, so what remains are the entries
        entries = tuple(self.build(item) for item in _parts(items) if item is not None)
        return Section.model_construct(span=self.span(tree), role=role, entries=entries)

    def option_(self, tree: Tree[Token]) -> ast.Let:
        return self._let(tree)

    def claim_(self, tree: Tree[Token]) -> ast.Check:
        allow, left, comparison, right, because = _parts(tree)
        claim = self.expr(left)
        if comparison is not None:
            operator = str(_tree(comparison).children[0])
            claim = ast.Binary.model_construct(
                span=claim.span.to(self.span(_node(right))),
                kind="binary",
                op=operator,
                left=claim,
                right=self.expr(right),
            )
        if because is not None and allow is None:
            raise error(
                "MP100",
                "`because` gives the reason of an `allow`",
                self.span(_t(because)),
                help="write `allow ... because ...`",
            )
        return ast.Check.model_construct(
            span=self.span(tree),
            claim=claim,
            allow=allow is not None,
            because=None if because is None else self._string(_t(because)),
        )

    # --- expressions -------------------------------------------------------------------------------------

    def expr(self, node: Any) -> Any:
        if isinstance(node, Token):
            return ast.Name.model_construct(span=self.span(node), kind="name", id=self.name(node))
        built = self.build(node)
        if isinstance(built, ast.Repeat):  # a repeat is a stage, not a value: alone it is a pipeline of one
            step = ast.Step.model_construct(span=built.span, layer=built, tap=None)
            return ast.Pipeline.model_construct(span=built.span, kind="pipeline", steps=(step,))
        if isinstance(built, ast.Step):
            return ast.Pipeline.model_construct(span=built.span, kind="pipeline", steps=(built,))
        return built

    def reference_(self, tree: Tree[Token]) -> ast.Name:
        token = _t(tree.children[0])
        return ast.Name.model_construct(span=self.span(token), kind="name", id=self.name(token))

    def number_(self, tree: Tree[Token]) -> ast.Number:
        token = _t(tree.children[0])
        value: int | float
        if len(token) > MAX_NUMBER:
            raise error("MP009", f"a number has at most {MAX_NUMBER} characters", self.span(token))
        value = int(token) if token.type == "INT" else float(token)
        if value == float("inf"):
            raise error("MP009", "this number is too large", self.span(token))
        return ast.Number.model_construct(
            span=self.span(token), kind="number", value=value, written=str(token)
        )

    def text_(self, tree: Tree[Token]) -> ast.Text:
        token = _t(tree.children[0])
        return ast.Text.model_construct(span=self.span(token), kind="text", value=self._string(token))

    def _string(self, token: Token) -> str:
        text, bad = unquote(str(token))
        if bad is not None:
            at = (token.start_pos or 0) + bad[0]
            raise error(
                "MP109",
                f"unknown escape `{bad[1]}` in a string",
                self.fragment.span(at, at + len(bad[1])),
                help="escapes are `\\\\`, `\\\"`, `\\'`, `\\n`, `\\t`, `\\r` and `\\u0041`",
            )
        return text

    def unary_(self, tree: Tree[Token]) -> ast.Unary:
        operator, operand = _parts(tree)
        return ast.Unary.model_construct(
            span=self.span(tree), kind="unary", op=str(operator), operand=self.expr(operand)
        )

    def binary_(self, tree: Tree[Token]) -> ast.Binary:
        left, operator, right = _parts(tree)
        return ast.Binary.model_construct(
            span=self.span(tree),
            kind="binary",
            op=str(operator),
            left=self.expr(left),
            right=self.expr(right),
        )

    def list_(self, tree: Tree[Token]) -> ast.ListExpr:
        items = tuple(self.expr(item) for item in _parts(tree) if item is not None)
        return ast.ListExpr.model_construct(span=self.span(tree), kind="list", items=items)

    def call_(self, tree: Tree[Token]) -> ast.Call | ast.Name:
        callee, arguments, inputs = _parts(tree)
        args = [self._argument(_tree(a)) for a in _parts(_tree(arguments)) if a is not None]
        given: set[str] = set()
        for arg in args:
            if arg.name is None and given:
                raise error(
                    "MP100",
                    "an argument without a name follows one with a name",
                    arg.span,
                    help="put it first, or name it",
                )
            if arg.name in given:
                raise error("MP105", f"argument `{arg.name}` is given twice", arg.span)
            given |= {arg.name} if arg.name else set()
        applied: tuple[Any, ...] | None = None
        if inputs is not None:
            applied = tuple(self.expr(i) for i in _parts(_tree(inputs)) if i is not None)
            if not applied:
                raise error(
                    "MP100", "the second parenthesis holds the inputs, and is empty", self.span(_node(inputs))
                )
        name = self.name(_t(callee))
        if not args and applied is None:  # `relu()` and `relu` are one thing
            return ast.Name.model_construct(span=self.span(tree), kind="name", id=name)
        return ast.Call.model_construct(
            span=self.span(tree), kind="call", callee=name, args=tuple(args), inputs=applied, body=None
        )

    def _argument(self, tree: Tree[Token]) -> ast.Argument:
        name, value = _parts(tree)
        return ast.Argument.model_construct(
            span=self.span(tree), name=None if name is None else self.name(_t(name)), value=self.expr(value)
        )

    # --- pipelines ---------------------------------------------------------------------------------------

    def pipeline_(self, tree: Tree[Token]) -> Any:
        steps = self.steps(tree)
        if len(steps) == 1 and steps[0].tap is None and not isinstance(steps[0].layer, ast.Repeat):
            return steps[0].layer
        return ast.Pipeline.model_construct(span=self.span(tree), kind="pipeline", steps=steps)

    def steps(self, tree: Tree[Token]) -> tuple[ast.Step, ...]:
        return tuple(self.step(child) for child in tree.children)

    def step(self, node: Any) -> ast.Step:
        if isinstance(node, Tree) and node.data == "tapped":
            return self.tapped_(node)
        layer = self.expr(node) if not isinstance(node, Tree) or node.data != "repeat" else self.repeat_(node)
        return ast.Step.model_construct(span=layer.span, layer=layer, tap=None)

    def tapped_(self, tree: Tree[Token]) -> ast.Step:
        node, tap = _parts(tree)
        layer = self.step(node).layer
        return ast.Step.model_construct(span=self.span(tree), layer=layer, tap=self.name(_t(tap)))

    def body_(self, tree: Tree[Token]) -> ast.Pipeline:
        steps = tuple(step for line in tree.children for step in self.steps(_tree(line)))
        return ast.Pipeline.model_construct(span=self.span(tree), kind="pipeline", steps=steps)

    def repeat_(self, tree: Tree[Token]) -> ast.Repeat:
        head, body = _parts(tree)
        return self.repeat(_tree(head), self.body_(_tree(body)), self.span(tree))

    def repeat(self, head: Tree[Token], body: ast.Pipeline, span: Span) -> ast.Repeat:
        """A repeat from its head (`repeat i in 0..3`) and a body that may have been written elsewhere."""
        variable, bounds = _parts(head)
        ends = self.range_(_tree(bounds))
        return ast.Repeat.model_construct(
            span=span,
            kind="repeat",
            variable=self.name(_t(variable)),
            start=ends.low,
            stop=ends.high,
            body=body,
        )

    def with_body_(self, tree: Tree[Token]) -> ast.Call:
        owner, body = _parts(tree)
        return attach_body(self.expr(owner), self.body_(_tree(body)), self.span(tree))


def attach_body(owner: Any, body: ast.Pipeline, span: Span) -> ast.Call:
    """`owner { body }`, where only a call or a name may own a body."""
    if isinstance(owner, ast.Name):
        return ast.Call.model_construct(
            span=span, kind="call", callee=owner.id, args=(), inputs=None, body=body
        )
    if isinstance(owner, ast.Call) and owner.body is None:
        return owner.model_copy(update={"body": body, "span": span})
    raise error("MP100", "only a call takes a body", body.span, help="write `name(...) { steps }`")


def recurrence(span: Span, axis: str, nodes: Iterable[Any]) -> ast.Recurrence:
    """A recurrence from its lines, carries first."""
    items = list(nodes)
    return ast.Recurrence.model_construct(
        span=span,
        kind="recurrence",
        axis=axis,
        carries=tuple(n for n in items if isinstance(n, ast.Carry)),
        statements=tuple(n for n in items if not isinstance(n, ast.Carry)),
    )


def name_problem(text: str) -> tuple[str, str] | None:
    """Why an identifier cannot be a name, and what to do."""
    if len(text) > MAX_NAME:
        return f"a name has at most {MAX_NAME} characters, this one has {len(text)}", "choose a shorter name"
    if text.startswith("__"):
        return "a name must not start with two underscores", f"call it `{text.lstrip('_') or 'x'}`"
    return None


def _parts(tree: Any) -> list[Any]:
    """Children of a tree; lark's types do not say that the placeholders among them are None."""
    return list(tree.children)


def _t(node: Any) -> Token:
    assert isinstance(node, Token)
    return node


def _tree(node: Any) -> Tree[Token]:
    assert isinstance(node, Tree)
    return node


def _node(node: Any) -> Tree[Token] | Token:
    assert isinstance(node, Tree | Token)
    return node


__all__ = ["Builder", "Header", "Named", "Section", "SpecError", "attach_body", "check_depth"]
