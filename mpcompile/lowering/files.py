"""Arrays of a spec: written out, or of files beside it in numpy's own format, of masks and weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpcompile.diagnostics import SpecError, error
from mpcompile.frontend import ast
from mpcompile.ir import Array
from mpcompile.layers.masks import Literal

if TYPE_CHECKING:
    from mpcompile.lowering.scope import Scope

#: A file of more bytes than this is refused before it is read.
MAX_BYTES = 1 << 26


def numbers_in(scope: Scope, call: ast.Call) -> Array:
    """Return the array of `file("a.npy")`, float64, read beside the spec.

    Raises `SpecError`: MP123 for a call without one quoted name, MP204 for a file that is no array of finite numbers.
    """
    only = call.args[0].value if len(call.args) == 1 else None
    if not isinstance(only, ast.Text):
        raise error("MP123", "`file` needs the name of a file in quotes", call.span, help='file("table.npy")')
    path = Path(scope.source.path).parent / only.value
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error("MP112", f"{only.value} has more than {MAX_BYTES >> 20} MiB", only.span)
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except SpecError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as problem:
        raise error("MP204", f"{only.value} cannot be read as an array of numpy (.npy)", only.span,
                    help="numpy.save(path, array) writes one, beside the spec") from problem  # fmt: skip
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise error("MP204", f"{only.value} holds no finite numbers, but {array.dtype}", only.span)
    return np.asarray(array, np.float64)


def mask_in(scope: Scope, call: ast.Call) -> Literal:
    """Return the mask of a file: a vector or a matrix of 0 and 1. Raises `SpecError` (MP204) for another array."""
    array = numbers_in(scope, call)
    if array.ndim not in (1, 2) or not array.size or not np.isin(array, (0, 1)).all():
        said = "a mask is a vector or a matrix of 0 and 1, and this file holds something else"
        raise error("MP204", f"{said}, of the shape {list(array.shape)}", call.span)
    return Literal.of(array)


def matrix_of(scope: Scope, expr: ast.ListExpr) -> tuple[float, ...] | tuple[tuple[float, ...], ...]:
    """Return a mask written out: numbers, or rows of equally many. Raises `SpecError` (MP113) for other lists."""
    lists = [r for r in expr.items if isinstance(r, ast.ListExpr)]
    if not lists:
        return tuple(scope.number(e) for e in expr.items)
    for item in expr.items:
        if not isinstance(item, ast.ListExpr) or len(item.items) != len(lists[0].items):
            raise error("MP113", "rows of a mask are lists of equally many numbers", item.span)
    return tuple(tuple(scope.number(e) for e in row.items) for row in lists)


__all__ = ["mask_in", "matrix_of", "numbers_in"]
