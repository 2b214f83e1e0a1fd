"""No table of primitives outside of `mpcompile/ops` where a trait can be asked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from mpcompile.ops import PRIMITIVES

ROOT = Path(__file__).parents[2]
CLASSES = {c.__name__ for c in PRIMITIVES.values()}
#: As many primitives together stand for a property; two or three may be a pattern that is matched.
MANY = 4
#: File -> why it may list primitives: each row is about that one primitive, not about a property that some have.
LISTS = {
    "backends/mpcompile_jax/spelling.py": "how each is written",
    "backends/mpcompile_onnx/spelling.py": "how each is written",
    "backends/mpcompile_torch/spelling.py": "how each is written",
    "backends/mpcompile_torch/reader/_pointwise.py": "what each operation of the framework is",
    "backends/mpcompile_jax/reader/_normal.py": "what each operation of the framework is",
    "backends/mpcompile_jax/reader/_pointwise.py": "what each operation of the framework is",
    "backends/mpcompile_jax/reader/record.py": "operations of the framework that put a mask into scores",
    "backends/mpcompile_jax/windows.py": "helper functions, by the primitive that calls them",
    "mpcompile/emission/roles.py": "names of variables",
    "mpcompile/report/page/formula.py": "symbols of formulas",
    "mpcompile/report/page/drawing.py": "symbols of drawings",
    "mpcompile/analysis/padding/rules.py": "what moves ends or counts steps: the part of padding that no trait says",
    "mpcompile/analysis/sharding.py": "what sums and quotients make of sums over a batch, each its own way",
    "mpcompile/foreign/intervals.py": "interval arithmetic, a formula for each",
    "mpcompile/foreign/matching/uses.py": "operations that tell queries from keys, and gates from values",
    "mpcompile/passes/affine.py": "sums and products are rewritten, each its own way",
    "mpcompile/passes/rearrange.py": "selections along one axis are composed, each its own way",
    "mpcompile/frontend/arithmetic.py": "functions of numbers in a spec",
    "mpcompile/functions/reduce.py": "functions of a spec, each named like the primitive that it is made of",
}


def primitives(node: ast.AST) -> list[str]:
    """The primitives that a collection, a union or a string of words lists."""
    match node:
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            pass
        case ast.Dict(keys=keys):
            items = [k for k in keys if k is not None]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [*primitives(left), *named(left), *named(right)]
        case ast.Constant(value=str(text)):
            words = text.split()
            found = [w for w in words if w in PRIMITIVES]
            return found if 2 * len(found) > len(words) else []
        case _:
            return []
    found = [name for item in items for name in named(item)]
    return found if 2 * len(found) > len(items) else []


def named(node: ast.AST) -> list[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="ops"), attr=name) | ast.Name(id=name) if name in CLASSES:
            return [name]
        case ast.Constant(value=str(name)) if name in PRIMITIVES:
            return [name]
    return []


def listing() -> Iterator[tuple[str, int, list[str]]]:
    for folder in ("mpcompile", "backends"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not name.startswith("mpcompile/ops/"):
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if len(found := primitives(node)) >= MANY:
                        yield name, getattr(node, "lineno", 0), found


def test_properties_are_asked_of_primitives() -> None:
    found = list(listing())
    assert [f for f in found if f[0] not in LISTS] == [], "ask for a trait of mpcompile/ops/traits.py"
    assert {name for name, _, _ in found} == set(LISTS), "a file that no longer lists any"
