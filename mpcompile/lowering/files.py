"""Arrays of files that a spec names: masks and weights, in numpy's own format, beside the spec."""

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


__all__ = ["mask_in", "numbers_in"]
