"""The abstract syntax tree: one for both syntaxes, a source span on every node.

Equality ignores spans' meaning only through `Model.same_as`, which compares two trees without them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mpcompile.diagnostics import Span


class Node(BaseModel):
    """Base of every node.

    Validators are built on first use (`defer_build`): the parser makes nodes with `model_construct`, and
    building the validators of all classes would cost a third of the start-up time of `mpcompile check`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True)
    span: Span


# --- expressions -----------------------------------------------------------------------------------------


class Number(Node):
    """A number; `written` is how a spec writes it, which the printer keeps: `1e-3`, `10_000`."""

    kind: Literal["number"] = "number"
    value: int | float
    written: str = ""


class Text(Node):
    """A quoted string; only ever a file name or a literal string argument."""

    kind: Literal["text"] = "text"
    value: str


class Name(Node):
    """`n`: a reference to a name."""

    kind: Literal["name"] = "name"
    id: str


class Part(Node):
    """`words.weight`: a part of what a name stands for."""

    kind: Literal["part"] = "part"
    name: str
    member: str


class Unary(Node):
    """`-x`, `~m`: an operator before its operand."""

    kind: Literal["unary"] = "unary"
    op: Literal["-", "~"]
    operand: Expr


class Binary(Node):
    """Arithmetic on numbers and values; `& | @` on masks; comparisons only inside checks."""

    kind: Literal["binary"] = "binary"
    op: Literal["+", "-", "*", "/", "//", "%", "**", "&", "|", "@", "<", "<=", ">", ">=", "==", "is"]
    left: Expr
    right: Expr


class ListExpr(Node):
    """`[a, b, c]`: a literal vector, or nested, a literal matrix."""

    kind: Literal["list"] = "list"
    items: tuple[Expr, ...]


class Argument(Node):
    """An argument of a call, with its name where it is named."""

    name: str | None = None
    value: Expr


class Call(Node):
    """`callee(args)(inputs) { body }`; the second parenthesis and the body are optional.

    A layer, a distribution, a mask constructor, a block or a net. `args` configure it; `inputs`, when
    present, apply it to values (`phi(2 * code)(concat(x, h))`); `body` is a pipeline it takes as an argument.
    """

    kind: Literal["call"] = "call"
    callee: str
    args: tuple[Argument, ...] = ()
    inputs: tuple[Expr, ...] | None = None
    body: Pipeline | None = None


class Pipeline(Node):
    """`a -> b as t -> c`. A first step that names a value in scope is the pipeline's source.

    A pipeline of a single untapped step outside `{}` is never built: it is that step's expression itself.
    """

    kind: Literal["pipeline"] = "pipeline"
    steps: tuple[Step, ...]


class Step(Node):
    """One stage. A bare name stays a `Name`; lowering decides whether it is a value, a net or a layer."""

    layer: Expr | Repeat
    tap: str | None = None


class Repeat(Node):
    """`repeat i in start..stop { ... }`: i runs from start to stop, both included."""

    kind: Literal["repeat"] = "repeat"
    variable: str
    start: Expr
    stop: Expr
    body: Pipeline


Expr = Annotated[
    Number | Text | Name | Part | Unary | Binary | ListExpr | Call | Pipeline, Field(discriminator="kind")
]


# --- statements ------------------------------------------------------------------------------------------


class Axis(Node):
    """`channel: 3`, `time`: an axis of a type, its name where it is given, and its size."""

    name: str | None = None
    size: Expr


class TypeExpr(Node):
    """`binary[784]`, `real[time, 88]`, `integer(0..255)[channel: 3, height: 32, width: 32]`, `category(10)`, `real?`.

    `low..high` bounds integers and reals, without `high` from below alone; `classes` counts categories, and `labels`
    names them. An axis whose size is an undeclared name (`time`) has a symbolic length. A value of an `optional` type
    may be missing.
    """

    base: Literal["binary", "real", "integer", "category", "angle"]
    low: Expr | None = None
    high: Expr | None = None
    classes: Expr | None = None
    labels: tuple[str, ...] = ()
    shape: tuple[Axis, ...] = ()
    optional: bool = False


class Param(Node):
    """A number of the model or of a block, with its default (None: must be given)."""

    name: str
    default: Expr | None = None


class Declaration(Node):
    """`input x: binary[784]`, `target y: category(10)`, `condition c: category(10)`."""

    role: Literal["input", "target", "condition"]
    name: str
    type: TypeExpr


class Let(Node):
    """`name = expression`: masks, nets, training options, and values at the top and in a block."""

    kind: Literal["let"] = "let"
    name: str
    value: Expr


class LearnedWeight(Node):
    """`weight w: real[channel: 4] = normal(0.02)`: a learned tensor, at the top or in a block.

    `init` is how it starts; without one it has the default of its type.
    """

    kind: Literal["weight"] = "weight"
    name: str
    type: TypeExpr
    init: Expr | None = None


class Block(Node):
    """`block stage(ch, k = 3) = a -> b`, or, with several inputs and outputs,

    `block layer(ch) on v, h { v2 = ...; h2 = ...; yield v2, h2 }`.
    """

    name: str
    params: tuple[Param, ...] = ()
    inputs: tuple[str, ...] = ()
    lets: tuple[Annotated[Let | LearnedWeight, Field(discriminator="kind")], ...] = ()
    outputs: tuple[Expr, ...]


class Density(Node):
    """`x ~ dist(...) weight w`, `latent z: type ~ q(...) prior p(...)` or `missing y ~ q(...)`.

    Of a latent the distribution is its posterior, of a missing variable that of the values that are not there.
    """

    kind: Literal["density"] = "density"
    role: Literal["observed", "latent", "missing"] = "observed"
    name: str
    type: TypeExpr | None = None
    distribution: Expr
    prior: Expr | None = None
    weight: Expr | None = None


class Term(Node):
    """`minimise term weight w`: a term of the loss that is no density."""

    kind: Literal["term"] = "term"
    value: Expr
    weight: Expr | None = None


class WeightPrior(Node):
    """`prior weights ~ normal(0, 1)`: a prior on the model's weights, or on one net's (`prior encoder ~`)."""

    kind: Literal["weight_prior"] = "weight_prior"
    name: str
    distribution: Expr


class Carry(Node):
    """`carry h[hidden] = 0`, `carry k: category(8) = start`: state handed from one step to the next.

    A carried value has a shape, and is then real, or a type.
    """

    name: str
    shape: tuple[Axis, ...] = ()
    type: TypeExpr | None = None
    init: Expr


class Update(Node):
    """`h = gru(concat(x, z), h)` inside a recurrence: a carried value's next state, or a local value."""

    kind: Literal["update"] = "update"
    name: str
    value: Expr


class Recurrence(Node):
    """`recurrence over time { carry ...; statements }`; one that is `backward` starts at the last element."""

    kind: Literal["recurrence"] = "recurrence"
    axis: str
    backward: bool = False
    carries: tuple[Carry, ...]
    statements: tuple[Annotated[Density | Update, Field(discriminator="kind")], ...]


class Check(Node):
    """One claim. `because` is the reason of a suppression (`allow incomplete(x) because "..."`)."""

    claim: Expr
    allow: bool = False
    because: str | None = None


class Model(Node):
    """A whole spec."""

    name: str
    params: tuple[Param, ...] = ()
    declarations: tuple[Declaration, ...] = ()
    weights: tuple[LearnedWeight, ...] = ()
    masks: tuple[Let, ...] = ()
    nets: tuple[Let, ...] = ()
    blocks: tuple[Block, ...] = ()
    density: tuple[
        Annotated[Density | Term | Let | WeightPrior | Recurrence, Field(discriminator="kind")], ...
    ] = ()
    objective: tuple[Let, ...] = ()
    train: tuple[Let, ...] = ()
    checks: tuple[Check, ...] = ()

    def same_as(self, other: Model) -> bool:
        """Whether two trees say the same, wherever they were written."""
        return bool(without_spans(self) == without_spans(other))


def called(expr: Expr) -> Call | None:
    """Return an expression as a call: a bare name is a call without arguments. None for another expression."""
    if isinstance(expr, Name):
        return Call(span=expr.span, callee=expr.id)
    return expr if isinstance(expr, Call) else None


def without_spans(node: Any) -> Any:
    """Return the plain data of a tree, without spans and without the way in which numbers are written."""
    if isinstance(node, BaseModel):
        return {
            "node": type(node).__name__,
            **{
                k: without_spans(getattr(node, k))
                for k in type(node).model_fields
                if k not in ("span", "written")
            },
        }
    if isinstance(node, tuple):
        return [without_spans(item) for item in node]
    return node
