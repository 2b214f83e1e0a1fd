"""The allow-list of emitted source. Checked on every emission, before anything runs it.

Everything is a list of what is allowed: kinds of syntax, imports, and names. Only attributes of the `open` names
are open, since they are the names of a model's parts; none of them may begin with two underscores.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef, ast.arguments,
    ast.arg, ast.Expr, ast.Assign, ast.AnnAssign, ast.Return, ast.If, ast.For, ast.Pass, ast.Call,
    ast.keyword, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Constant, ast.Tuple, ast.List,
    ast.Dict, ast.BinOp, ast.UnaryOp, ast.Compare, ast.expr_context, ast.operator, ast.unaryop,
    ast.cmpop, ast.ListComp, ast.comprehension,
)  # fmt: skip


class SourceRefused(Exception):
    """Emitted source that holds something it must not; a bug of the compiler, or an attack on it."""


@dataclass(frozen=True)
class Allowed:
    """The words that the source of one backend may use.

    imports    modules in `import a.b`
    imported   names in `from a import b`
    names      names that need no definition, and may not get one
    known      names that need no definition (types)
    members    attributes of any value
    modules    dotted attributes of modules
    open       names that may have any attribute
    nodes      kinds of syntax besides the common ones
    decorators what may stand above a function, word for word
    """

    imports: set[str]
    imported: Mapping[str, set[str]]
    names: set[str]
    known: set[str]
    members: set[str]
    modules: Mapping[str, set[str]]
    open: frozenset[str] = frozenset()
    nodes: tuple[type[ast.AST], ...] = ()
    decorators: frozenset[str] = frozenset()


def beside(allowed: Allowed, names: Collection[str]) -> Allowed:
    """Return what a file may use that imports some names from `model.py` beside it."""
    return replace(allowed, imported={**allowed.imported, "model": set(names)})


def verify_source(text: str, allowed: Allowed) -> None:
    """Raise `SourceRefused` unless the text is a plain module of tensor code."""
    if not text.isascii():
        raise SourceRefused("not ASCII")
    try:
        tree = ast.parse(text)
        # Nothing runs: the compiler finds what the grammar alone accepts, such as two arguments of one name.
        compile(tree, "model.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise SourceRefused(f"not Python: {fault}") from fault
    bound = set(allowed.names)
    chained: set[ast.AST] = set()
    for node in ast.walk(tree):
        bound |= _binds(node, allowed)
    elements = {n for node in ast.walk(tree) if isinstance(node, ast.For) for n in _elements(node, allowed)}
    for node in ast.walk(tree):
        refused = _fault(node, bound, chained, elements, allowed)
        if refused:
            raise SourceRefused(f"line {getattr(node, 'lineno', '?')}: {refused}")


def _binds(node: ast.AST, allowed: Allowed) -> set[str]:
    """Names that a node gives a meaning."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return {node.id}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.ImportFrom):
        return {a.name for a in node.names} & allowed.imported.get(node.module or "", set())
    return set()


def _elements(loop: ast.For, allowed: Allowed) -> set[ast.AST]:
    """Return the uses, in a loop over attributes of an open name, of a variable that stands for one of them."""
    found: set[ast.AST] = set()
    targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
    zipped = isinstance(loop.iter, ast.Call) and ast.unparse(loop.iter.func) == "zip"
    over = loop.iter.args if isinstance(loop.iter, ast.Call) and zipped else [loop.iter]
    if len(targets) != len(over):
        return found
    for target, each in zip(targets, over, strict=True):
        inner = each.value if isinstance(each, ast.Subscript) else each
        while isinstance(inner, ast.Attribute) or _element(inner):
            inner = inner.value
        if isinstance(target, ast.Name) and isinstance(inner, ast.Name) and inner.id in allowed.open:
            uses = (n for line in loop.body for n in ast.walk(line))
            found |= {n for n in uses if isinstance(n, ast.Name) and n.id == target.id}
    return found


def _fault(
    node: ast.AST, bound: set[str], chained: set[ast.AST], elements: set[ast.AST], allowed: Allowed
) -> str:
    """Return the fault of a node, or nothing."""
    if not isinstance(node, NODES + allowed.nodes):
        return type(node).__name__
    if isinstance(node, ast.Import) and not {a.name for a in node.names} <= allowed.imports:
        return f"import of {', '.join(a.name for a in node.names)}"
    if isinstance(node, ast.ImportFrom):
        names = allowed.imported.get(node.module or "", set())
        if node.level or not {a.name for a in node.names} <= names or any(a.asname for a in node.names):
            return f"import from {node.module}"
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        if not {ast.unparse(d) for d in node.decorator_list} <= allowed.decorators:
            return "a decorator"
        if node.name in allowed.names or _hidden(node.name):
            return f"definition of {node.name}"
    if isinstance(node, ast.Name):
        builtin = node.id in allowed.known
        if not builtin and (_hidden(node.id) or node.id not in bound):
            return f"use of {node.id}"
    if isinstance(node, ast.Attribute) and node not in chained:
        return _attribute(node, chained, elements, allowed)
    return ""


def _hidden(name: str) -> bool:
    return name.startswith("__") and name not in {"__init__", "__getattr__"}


def _element(node: ast.expr) -> TypeGuard[ast.Subscript]:
    """Return whether a node is a numbered element of an attribute: `self.layer[0]`."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Attribute)
        and isinstance(node.slice, ast.Constant)
    )


def _attribute(node: ast.Attribute, chained: set[ast.AST], elements: set[ast.AST], allowed: Allowed) -> str:
    """Judge a whole chain `a.b.c` at once, from its outermost attribute."""
    parts: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute) or _element(inner):
        if isinstance(inner, ast.Attribute):
            chained.add(inner)
            parts.insert(0, inner.attr)
        inner = inner.value
    dotted = ".".join(parts)
    root = inner.id if isinstance(inner, ast.Name) else ""
    if root in allowed.modules:
        return "" if dotted in allowed.modules[root] else f"use of {root}.{dotted}"
    if root in allowed.open or inner in elements:
        return f"use of {dotted}" if any(map(_hidden, parts)) else ""
    return "" if set(parts) <= allowed.members else f"use of {dotted}"
