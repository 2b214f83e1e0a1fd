"""Lark trees of expressions and pipelines to AST nodes; `build.py` has the statements around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lark import Token, Tree

from mpcompile.diagnostics import Span, error
from mpcompile.frontend import ast
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.strings import unquote
from mpcompile.frontend.trees import node_of, parts, span_of, token_of, tree_of

MAX_NAME = 64
MAX_NUMBER = 40


class Range(ast.Node):
    """`low..high`: a range of numbers; `low..` has no end."""

    low: ast.Expr
    high: ast.Expr | None


class Expressions:
    """Builds the nodes of expressions and pipelines from the trees of one fragment."""

    def __init__(self, fragment: Fragment) -> None:
        self.fragment = fragment

    def build(self, node: Any) -> Any:
        """The AST of a tree, or of a bare token where the grammar inlines a rule."""
        if isinstance(node, Token):
            return self.expr(node)
        method: Callable[[Tree[Token]], Any] = getattr(self, f"{node.data}_")
        return method(node)

    def span(self, node: Tree[Token] | Token) -> Span:
        return span_of(node, self.fragment)

    # --- names -------------------------------------------------------------------------------------------

    def name(self, token: Token) -> str:
        """Return a checked identifier, which will become a name in generated code. Raises `SpecError` (MP104)."""
        text = str(token)
        problem = name_problem(text)
        if problem:
            raise error("MP104", problem[0], self.span(token), help=problem[1])
        return text

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
        token = token_of(tree.children[0])
        return ast.Name.model_construct(span=self.span(token), kind="name", id=self.name(token))

    def part_(self, tree: Tree[Token]) -> ast.Part:
        owner, _, member = parts(tree)
        names = self.name(token_of(owner)), self.name(token_of(member))
        return ast.Part.model_construct(span=self.span(tree), kind="part", name=names[0], member=names[1])

    def number_(self, tree: Tree[Token]) -> ast.Number:
        """Build a number. Raises `SpecError` (MP009) for one that is too long or too large."""
        token = token_of(tree.children[0])
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
        token = token_of(tree.children[0])
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
        operator, operand = parts(tree)
        return ast.Unary.model_construct(
            span=self.span(tree), kind="unary", op=str(operator), operand=self.expr(operand)
        )

    def binary_(self, tree: Tree[Token]) -> ast.Binary:
        left, operator, right = parts(tree)
        return ast.Binary.model_construct(
            span=self.span(tree),
            kind="binary",
            op=str(operator),
            left=self.expr(left),
            right=self.expr(right),
        )

    def list_(self, tree: Tree[Token]) -> ast.ListExpr:
        items = tuple(self.expr(item) for item in parts(tree) if item is not None)
        return ast.ListExpr.model_construct(span=self.span(tree), kind="list", items=items)

    def call_(self, tree: Tree[Token]) -> ast.Call | ast.Name:
        """Build a call, or the name that it is. Raises `SpecError` for arguments out of order or given twice."""
        callee, arguments, inputs = parts(tree)
        args = [self._argument(tree_of(a)) for a in parts(tree_of(arguments)) if a is not None]
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
            applied = tuple(self.expr(i) for i in parts(tree_of(inputs)) if i is not None)
            if not applied:
                raise error(
                    "MP100",
                    "the second parenthesis holds the inputs, and is empty",
                    self.span(node_of(inputs)),
                )
        name = self.name(token_of(callee))
        if not args and applied is None:  # `relu()` and `relu` are one thing
            return ast.Name.model_construct(span=self.span(tree), kind="name", id=name)
        return ast.Call.model_construct(
            span=self.span(tree), kind="call", callee=name, args=tuple(args), inputs=applied, body=None
        )

    def _argument(self, tree: Tree[Token]) -> ast.Argument:
        name, value = parts(tree)
        return ast.Argument.model_construct(
            span=self.span(tree),
            name=None if name is None else self.name(token_of(name)),
            value=self.expr(value),
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
        node, tap = parts(tree)
        layer = self.step(node).layer
        return ast.Step.model_construct(span=self.span(tree), layer=layer, tap=self.name(token_of(tap)))

    def body_(self, tree: Tree[Token]) -> ast.Pipeline:
        steps = tuple(step for line in tree.children for step in self.steps(tree_of(line)))
        return ast.Pipeline.model_construct(span=self.span(tree), kind="pipeline", steps=steps)

    def repeat_(self, tree: Tree[Token]) -> ast.Repeat:
        head, body = parts(tree)
        return self.repeat(tree_of(head), self.body_(tree_of(body)), self.span(tree))

    def repeat(self, head: Tree[Token], body: ast.Pipeline, span: Span) -> ast.Repeat:
        """A repeat from its head (`repeat i in 0..3`) and a body that may have been written elsewhere."""
        variable, start, stop = parts(head)
        return ast.Repeat.model_construct(
            span=span,
            kind="repeat",
            variable=self.name(token_of(variable)),
            start=self.expr(start),
            stop=self.expr(stop),
            body=body,
        )

    def with_body_(self, tree: Tree[Token]) -> ast.Call:
        owner, body = parts(tree)
        return attach_body(self.expr(owner), self.body_(tree_of(body)), self.span(tree))

    def range_(self, tree: Tree[Token]) -> Range:
        low, high = parts(tree)
        end = None if high is None else self.expr(high)
        return Range.model_construct(span=self.span(tree), low=self.expr(low), high=end)


def attach_body(owner: Any, body: ast.Pipeline, span: Span) -> ast.Call:
    """Attach the body of `owner { body }`. Raises `SpecError` where the owner is no call or name, or has a body."""
    if isinstance(owner, ast.Name):
        return ast.Call.model_construct(
            span=span, kind="call", callee=owner.id, args=(), inputs=None, body=body
        )
    if isinstance(owner, ast.Call) and owner.body is None:
        return owner.model_copy(update={"body": body, "span": span})
    raise error("MP100", "only a call takes a body", body.span, help="write `name(...) { steps }`")


def with_body(owner: Any, body: ast.Pipeline) -> Any:
    """Attach a body to the last call of an expression. Raises `SpecError` where it ends in no call."""
    if isinstance(owner, ast.Pipeline):
        last = owner.steps[-1]
        step = last.model_copy(update={"layer": with_body(last.layer, body)})
        return owner.model_copy(update={"steps": (*owner.steps[:-1], step)})
    return attach_body(owner, body, owner.span.to(body.span))


def name_problem(text: str) -> tuple[str, str] | None:
    """Return why an identifier cannot be a name, and what to do; None for one that can."""
    if len(text) > MAX_NAME:
        return f"a name has at most {MAX_NAME} characters, this one has {len(text)}", "choose a shorter name"
    if text.startswith("__"):
        return "a name must not start with two underscores", f"call it `{text.lstrip('_') or 'x'}`"
    return None


__all__ = ["MAX_NUMBER", "Expressions", "Range", "attach_body", "name_problem", "with_body"]
