"""The `.mp` syntax: a file of statements."""

from __future__ import annotations

from lark import Tree

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import ast
from mpcompile.frontend.assemble import Assembly
from mpcompile.frontend.build import Builder
from mpcompile.frontend.locate import Fragment
from mpcompile.frontend.syntax import read
from mpcompile.frontend.trees import check_depth


def parse_mp(source: Source) -> ast.Model:
    """Parse a `.mp` text to a model. Raises `SpecError` with every independent error."""
    fragment = Fragment.of_file(source)
    assembly = Assembly(source.path)
    tree = read(fragment, "model", assembly.diagnostics)
    for child in tree.children if tree is not None else ():
        if not isinstance(child, Tree):
            continue  # the placeholder of an empty file
        builder = Builder(fragment)
        try:
            check_depth(child, fragment)
            assembly.add(builder.build(child))
        except SpecError as problem:
            assembly.diagnostics += problem.diagnostics
        assembly.define(builder.defined)
    model = assembly.model()
    if assembly.diagnostics or model is None:
        raise SpecError(sorted(assembly.diagnostics, key=lambda d: (d.span.line, d.span.column)))
    return model


__all__ = ["parse_mp"]
