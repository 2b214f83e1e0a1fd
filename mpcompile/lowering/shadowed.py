"""Names that a spec declares and the language has too (MP333): one of the two meanings is lost without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mpcompile.diagnostics import Diagnostic, Severity, Span
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import CONSTANTS
from mpcompile.frontend.arithmetic import FUNCTIONS as NUMERIC
from mpcompile.frontend.kinds import KINDS
from mpcompile.frontend.unused import nodes
from mpcompile.lowering import holes

#: What an expression of values may name. A value, a number, a net and a block stand in the same places.
EXPRESSION = ("layers", "functions")
#: The kinds of names of the language beside which each kind of declared name stands.
BESIDE: Mapping[str, Sequence[str]] = {
    "mask": ("masks", "relations"),
    "net": (*EXPRESSION, "losses", "distributions", "bijectors"),
    "block": (*EXPRESSION, "losses", "distributions", "bijectors"),
}


def shadowed_names(model: ast.Model) -> Iterator[Diagnostic]:
    """Find declared names that expressions read and that the language has in the same places, each once.

    A net or block has a name of no layer, function, term of a loss, law or bijector; a value or number has a name of no
    layer, function or constant; a mask has a name of no mask of the language. Names of axes, classes, the model and its
    settings stand in places of their own.
    """
    tables = {kind: _taken(kind) for kind in (*BESIDE, "value")}
    seen = set[str]()
    for kind, name, span in sorted(declared(model), key=lambda d: d[2]):
        taken = tables[kind if kind in BESIDE else "value"].get(name)
        if taken is not None and name not in seen:
            seen.add(name)
            yield Diagnostic(
                "MP333",
                f"{kind} `{name}` has the name of {taken} of the language",
                span,
                Severity.WARNING,
                help=f"give it another name, such as `my_{name}`",
            )


def _taken(kind: str) -> dict[str, str]:
    """The names beside which one kind of declared name stands, each with what the language has of that name."""
    found: dict[str, str] = {}
    for title in BESIDE.get(kind, EXPRESSION):
        found |= {name: KINDS[title].noun for name in KINDS[title].rows() if name not in found}
    if kind == "mask":
        return found
    found = dict.fromkeys(NUMERIC, "a function of numbers") | dict.fromkeys(CONSTANTS, "a constant") | found
    return found | dict.fromkeys(holes.FUNCTIONS, "a function of missing values")


def declared(model: ast.Model) -> Iterator[tuple[str, str, Span]]:
    """Yield kind, name and place of every name that a spec declares and its expressions may read."""
    yield from (("mask", m.name, m.span) for m in model.masks)
    yield from (("net", n.name, n.span) for n in model.nets)
    for declaration in model.declarations:
        yield declaration.role, declaration.name, declaration.span
    yield from (("value", s.name, s.span) for s in model.density if isinstance(s, ast.Let))
    for node in nodes([model]):
        match node:
            case ast.Block():
                yield "block", node.name, node.span
                yield from (("input", name, node.span) for name in node.inputs)
                yield from (("value", let.name, let.span) for let in node.lets if isinstance(let, ast.Let))
            case ast.Param():
                yield "parameter", node.name, node.span
            case ast.LearnedWeight():
                yield "weight", node.name, node.span
            case ast.Density(role="latent"):
                yield "latent", node.name, node.span
            case ast.Carry():
                yield "carried value", node.name, node.span
            case ast.Update():
                yield "value", node.name, node.span
            case ast.Step(tap=str()):
                yield "tap", str(node.tap), node.span
            case ast.Repeat():
                yield "counter", node.variable, node.span


__all__ = ["declared", "shadowed_names"]
