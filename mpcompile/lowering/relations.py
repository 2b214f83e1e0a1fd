"""Masks between two axes, as a spec states them: names, literals, files, and `& | ~` of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpcompile.diagnostics import Expected
from mpcompile.frontend import ast
from mpcompile.layers.relations import RELATIONS, Combined, Relation, Written
from mpcompile.lowering.files import matrix_of, numbers_in
from mpcompile.lowering.names import unknown

if TYPE_CHECKING:
    from mpcompile.lowering.binding import Arguments


def relation(bound: Arguments, expr: ast.Expr) -> Relation:
    """Build the relation that an expression states. Raises `SpecError`."""
    scope = bound.scope
    match expr:
        case ast.Name() if expr.id in scope.masks:
            scope.budget.spend(expr.span)
            inner = bound.of(bound.call, scope.entering(expr.id, expr.span))
            return relation(inner, scope.masks[expr.id])
        case ast.Unary(op="~"):
            return Combined(operator="~", parts=(relation(bound, expr.operand),))
        case ast.Binary(op="&" | "|"):
            return Combined(operator=expr.op, parts=(relation(bound, expr.left), relation(bound, expr.right)))
        case ast.ListExpr():
            return Written(matrix=np.asarray(matrix_of(scope, expr), float))
        case ast.Call(callee="file"):
            return Written(matrix=numbers_in(scope, expr))
    call = ast.called(expr)
    if call is None:
        raise Expected("a mask between two axes", expr.span, help=f"known: {', '.join(RELATIONS)}, file(...)")
    if call.callee not in RELATIONS:
        raise unknown(
            "mask between two axes", call.callee, [*RELATIONS, "file"], expr.span, own=list(scope.masks)
        )
    made: Relation = bound.of(call).build(RELATIONS[call.callee])
    return made


__all__ = ["relation"]
