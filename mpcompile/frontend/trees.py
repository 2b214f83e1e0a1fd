"""Trees of lark, as the builders of nodes read them."""

from __future__ import annotations

from typing import Any

from lark import Token, Tree

from mpcompile.diagnostics import Span, error
from mpcompile.frontend.locate import Fragment

MAX_TREE = 200


def check_depth(tree: Tree[Token], fragment: Fragment) -> None:
    """Refuse trees that recursion over them could not survive; counted without recursion.

    Raises `SpecError`.
    """
    level: list[Any] = [tree]
    for _ in range(MAX_TREE):
        level = [child for node in level for child in node.children if isinstance(child, Tree)]
        if not level:
            return
    raise error(
        "MP006",
        "this expression is nested too deeply",
        span_of(level[0], fragment),
        help="give parts of it names with `mask`, `net` or `block`",
    )


def span_of(node: Tree[Token] | Token, fragment: Fragment) -> Span:
    """Return where a tree or a token stands; the whole fragment for a tree without tokens."""
    if isinstance(node, Token):
        return fragment.span(node.start_pos or 0, node.end_pos or 0)
    if node.meta.empty:
        return fragment.all()
    return fragment.span(node.meta.start_pos, node.meta.end_pos)


def parts(tree: Any) -> list[Any]:
    """Return the children of a tree; lark's types do not say that the placeholders among them are None."""
    return list(tree.children)


def token_of(node: Any) -> Token:
    """Narrow a child of a tree to a token."""
    assert isinstance(node, Token)
    return node


def tree_of(node: Any) -> Tree[Token]:
    """Narrow a child of a tree to a tree."""
    assert isinstance(node, Tree)
    return node


def node_of(node: Any) -> Tree[Token] | Token:
    """Narrow a child of a tree to a tree or a token."""
    assert isinstance(node, Tree | Token)
    return node


__all__ = ["MAX_TREE", "check_depth", "node_of", "parts", "span_of", "token_of", "tree_of"]
