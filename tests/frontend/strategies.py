"""Random models: every form of the AST, as the grammar can write it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mpcompile.diagnostics import Span
from mpcompile.frontend import ast

NO = Span.none()
NAMES = st.sampled_from(
    [
        "a",
        "b1",
        "relu",
        "dense",
        "x_hat",
        "mask",
        "prior",
        "on",
        "train",
        "input",
        "over",
        "net",
        "weight",
        "missing",
        "backward",
    ]
)
NUMBERS = st.one_of(
    st.integers(0, 10**12),
    st.floats(0, 1e30, allow_nan=False).filter(lambda v: v == v),
    st.sampled_from([1e-5, 0.5]),
)


def number() -> Any:
    return NUMBERS.map(lambda v: ast.Number(span=NO, value=v))


def name() -> Any:
    return NAMES.map(lambda n: ast.Name(span=NO, id=n))


def part() -> Any:
    return st.builds(ast.Part, span=st.just(NO), name=NAMES, member=NAMES)


def text() -> Any:
    # no spec may hold control characters, halves of pairs or NUL, escaped or not
    chars = st.characters(
        exclude_categories=["Cs", "Cc"], include_characters="\n\t", exclude_characters="\ufffe\uffff"
    )
    return st.text(chars, max_size=8).map(lambda v: ast.Text(span=NO, value=v))


def expressions() -> Any:
    """Any expression, pipelines included."""
    return st.recursive(st.one_of(number(), name(), text(), part()), _grow, max_leaves=8)


def _grow(inner: Any) -> Any:
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "&", "|", "@"])
    return st.one_of(
        st.builds(ast.Unary, span=st.just(NO), op=st.sampled_from(["-", "~"]), operand=inner),
        st.builds(ast.Binary, span=st.just(NO), op=operators, left=inner, right=inner),
        st.lists(inner, max_size=3).map(lambda v: ast.ListExpr(span=NO, items=tuple(v))),
        calls(inner),
        pipelines(inner),
    )


def arguments(inner: Any) -> Any:
    positional = st.lists(inner.map(lambda v: ast.Argument(span=NO, value=v)), max_size=2)
    named = st.dictionaries(NAMES, inner, max_size=2).map(
        lambda d: [ast.Argument(span=NO, name=k, value=v) for k, v in d.items()]
    )
    return st.tuples(positional, named).map(lambda pair: (*pair[0], *pair[1]))


def calls(inner: Any) -> Any:
    def build(callee: str, args: Any, inputs: Any, body: Any) -> ast.Expr:
        if not args and inputs is None and body is None:
            return ast.Name(span=NO, id=callee)  # `relu()` is `relu`
        return ast.Call(span=NO, callee=callee, args=args, inputs=inputs, body=body)

    inputs = st.none() | st.lists(inner, min_size=1, max_size=2).map(tuple)
    return st.builds(build, NAMES, arguments(inner), inputs, st.none() | bodies(inner))


def steps(inner: Any) -> Any:
    plain = st.builds(ast.Step, span=st.just(NO), layer=inner, tap=st.none() | NAMES)
    body = st.lists(plain, min_size=1, max_size=2).map(lambda v: ast.Pipeline(span=NO, steps=tuple(v)))
    repeat = st.builds(
        ast.Repeat,
        span=st.just(NO),
        variable=NAMES,
        start=number(),
        stop=st.one_of(number(), name()),
        body=body,
    )
    return st.one_of(plain, st.builds(ast.Step, span=st.just(NO), layer=repeat, tap=st.none() | NAMES))


def bodies(inner: Any) -> Any:
    return st.lists(steps(inner), min_size=1, max_size=3).map(lambda v: ast.Pipeline(span=NO, steps=tuple(v)))


def pipelines(inner: Any) -> Any:
    def build(items: list[ast.Step]) -> Any:
        only = items[0]
        if len(items) == 1 and only.tap is None and not isinstance(only.layer, ast.Repeat):
            return only.layer
        return ast.Pipeline(span=NO, steps=tuple(items))

    return st.lists(steps(inner), min_size=1, max_size=3).map(build)


@st.composite
def models(draw: Any) -> ast.Model:
    expr = expressions()
    size = st.one_of(number(), name())
    fresh = iter(f"v{i}" for i in range(1000))

    def some(limit: int = 2) -> range:
        return range(draw(st.integers(0, limit)))

    def params() -> tuple[ast.Param, ...]:
        return tuple(ast.Param(span=NO, name=next(fresh), default=draw(st.none() | expr)) for _ in some())

    def type_() -> ast.TypeExpr:
        base = draw(st.sampled_from(["binary", "real", "integer", "category", "angle"]))
        ranged = base in ("integer", "real") and draw(st.booleans())
        low, high = (draw(size), draw(st.none() | size)) if ranged else (None, None)
        labels = draw(st.sampled_from([(), ("a", 'b "c"')])) if base == "category" else ()
        classes = draw(size) if base == "category" and not labels else None
        return ast.TypeExpr(
            span=NO, base=base, low=low, high=high, classes=classes, labels=labels, shape=axes(3),
            optional=draw(st.booleans()),
        )  # fmt: skip

    def axes(limit: int = 2) -> tuple[ast.Axis, ...]:
        names = draw(st.lists(NAMES, max_size=limit, unique=True))  # an axis is given once (MP105)
        return tuple(ast.Axis(span=NO, name=draw(st.sampled_from([n, None])), size=draw(size)) for n in names)

    def learned() -> ast.LearnedWeight:
        return ast.LearnedWeight(span=NO, name=next(fresh), type=type_(), init=draw(st.none() | expr))

    def lets() -> tuple[ast.Let, ...]:
        return tuple(ast.Let(span=NO, name=next(fresh), value=draw(expr)) for _ in some())

    def local() -> ast.Let | ast.LearnedWeight:
        return learned() if draw(st.booleans()) else ast.Let(span=NO, name=next(fresh), value=draw(expr))

    def block() -> ast.Block:
        if draw(st.booleans()):
            return ast.Block(span=NO, name=next(fresh), params=params(), outputs=(draw(expr),))
        inputs = tuple(next(fresh) for _ in range(draw(st.integers(1, 2))))
        outputs = tuple(draw(expr) for _ in range(draw(st.integers(1, 2))))
        values = tuple(local() for _ in some())
        return ast.Block(
            span=NO, name=next(fresh), params=params(), inputs=inputs, lets=values, outputs=outputs
        )

    stated = set[str]()

    def density() -> ast.Density:
        role = draw(st.sampled_from(["observed", "latent", "missing"]))
        if role == "observed":
            name = draw(NAMES)
            name = next(fresh) if name in stated else name  # a variable has one law (MP105)
            stated.add(name)
            return ast.Density(span=NO, name=name, distribution=draw(expr), weight=draw(st.none() | expr))
        if role == "missing":
            return ast.Density(span=NO, role=role, name=draw(NAMES), distribution=draw(expr))
        prior, kind = draw(expr) if draw(st.booleans()) else None, type_() if draw(st.booleans()) else None
        return ast.Density(
            span=NO, role=role, name=next(fresh), type=kind, distribution=draw(expr), prior=prior
        )

    def recurrence() -> ast.Recurrence:
        def carry() -> ast.Carry:
            if draw(st.booleans()):
                return ast.Carry(span=NO, name=next(fresh), type=type_(), init=draw(expr))
            return ast.Carry(span=NO, name=next(fresh), shape=axes(), init=draw(expr))

        carries = tuple(carry() for _ in some())
        statements = [
            density() if draw(st.booleans()) else ast.Update(span=NO, name=draw(NAMES), value=draw(expr))
            for _ in some()
        ]
        once = {s.name: s for s in statements}  # a step gives a name once (MP105)
        return ast.Recurrence(
            span=NO,
            axis=draw(NAMES),
            backward=draw(st.booleans()),
            carries=carries,
            statements=tuple(once.values()),
        )

    def claim() -> ast.Check:
        value = draw(expr)
        if draw(st.booleans()):
            operator = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "is"]))
            value = ast.Binary(span=NO, op=operator, left=value, right=draw(expr))
        allow = draw(st.booleans())
        because = draw(st.none() | st.text("ab \"'", max_size=4)) if allow else None
        return ast.Check(span=NO, claim=value, allow=allow, because=because)

    statements: list[Any] = []
    for _ in some(3):
        kind = draw(st.sampled_from(["density", "prior", "recurrence", "term", "let"]))
        if kind == "density":
            statements.append(density())
        elif kind == "prior":
            statements.append(ast.WeightPrior(span=NO, name=draw(NAMES), distribution=draw(expr)))
        elif kind == "term":
            statements.append(ast.Term(span=NO, value=draw(expr), weight=draw(st.none() | expr)))
        elif kind == "let":
            statements.append(ast.Let(span=NO, name=next(fresh), value=draw(expr)))
        else:
            statements.append(recurrence())
    roles = sorted(draw(st.lists(st.sampled_from([0, 1, 2]), max_size=3)))
    role_names: list[Any] = ["input", "target", "condition"]
    return ast.Model(
        span=NO,
        name=draw(NAMES),
        params=params(),
        declarations=tuple(
            ast.Declaration(span=NO, role=role_names[r], name=next(fresh), type=type_()) for r in roles
        ),
        weights=tuple(learned() for _ in some()),
        masks=lets(),
        nets=lets(),
        blocks=tuple(block() for _ in some()),
        density=tuple(statements),
        objective=lets(),
        train=lets(),
        checks=tuple(claim() for _ in some()),
    )
