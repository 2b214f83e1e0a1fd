"""Arrays as Python text: by the rule behind them where one is seen, in full when small, else from a file."""

from __future__ import annotations

import ast

import numpy as np

from mpcompile.emission.constants import (
    Constants,
    core,
    is_mask,
    line,
    narrowed,
    nested,
    permutation,
    staircase,
)
from mpcompile.emission.text import number, tuple_text
from mpcompile.ir import Array, ParameterSpec

#: Longer lists of elements lie in the file.
LISTED = 64
#: Makes an index of narrow numbers.
INDEX = ".to(torch.int64)"


def array_text(array: Array, file: Constants, hint: str) -> str:
    """Write an expression for a tensor of this value; floats come in the default dtype.

    A long array without a rule becomes one of `file`, called `hint`.
    """
    if array.size and (array == array.flat[0]).all():
        return _full(array)
    small = core(array)
    if small.shape == array.shape:
        return _dense(array, file, hint)
    shape = tuple_text(map(str, array.shape))
    inner = _dense(small, file, hint)
    # a buffer is contiguous: data-parallel training writes into it
    if len(inner) > 40:  # no line has room for the methods
        return f"torch.broadcast_to({inner}, {shape}).contiguous()"
    return f"{inner}.expand{shape}.contiguous()"


def _dense(array: Array, file: Constants, hint: str) -> str:
    """Write an array by its rule, as a list, or as one of the file."""
    kind = array.dtype.kind
    if array.ndim > 1 and max(array.shape) == array.size:
        inner, shape = _dense(array.reshape(-1), file, hint), tuple_text(map(str, array.shape))
        return f"{inner}.reshape{shape}" if len(inner) <= LISTED else f"torch.reshape({inner}, {shape})"
    rule = line(array, "torch") if array.ndim == 1 and array.size > 4 else None
    if rule is not None:
        return rule if kind == "i" else f"real({rule})" if kind == "f" else f"({rule}).to(torch.bool)"
    if array.ndim == 2 and array.size > 4 and is_mask(array):
        swapped = permutation(array, "torch")
        if swapped is not None and len(swapped) <= LISTED:
            return (
                swapped if kind == "f" else f"{swapped}.to({'torch.bool' if kind == 'b' else 'torch.int64'})"
            )
        rule = _mask(array != 0, file, hint)
        if rule is not None:
            return (
                f"real({rule})"
                if kind == "f"
                else f"({rule})"
                if kind == "b"
                else f"({rule}).to(torch.int64)"
            )
    listed = nested(array) if array.size <= LISTED else ""
    if listed and len(listed) <= LISTED:
        return f"torch.tensor({listed})"
    text = file.read(array, hint)
    if kind == "f":
        return f"real({text})"
    return f"{text}{INDEX}" if kind == "i" and narrowed(array).dtype != np.int64 else text


def _full(array: Array) -> str:
    value = array.flat[0].item()
    shape = tuple_text(map(str, array.shape))
    if array.dtype.kind == "f" and value in (0.0, 1.0) and not np.signbit(value):
        return f"torch.{'ones' if value else 'zeros'}{shape if array.ndim > 1 else f'({array.shape[0]})'}"
    return f"torch.full({shape}, {number(value)})"


def _mask(mask: Array, file: Constants, hint: str) -> str | None:
    """A rule for a matrix of bits: triangles, checkerboards, and any staircase `row level >= column`."""
    rows, columns = mask.shape
    r, c = np.arange(rows)[:, None], np.arange(columns)[None, :]
    for parity in (0, 1):
        if np.array_equal((r + c) % 2 == parity, mask):
            return f"checkerboard({rows}, {columns}, {parity})"
    ones = f"torch.ones({rows}, {columns}, dtype=torch.bool)"
    for name, edge in (("tril", c - r), ("triu", c - r)):
        if mask.any() and not mask.all():
            k = int(edge[mask].max() if name == "tril" else edge[mask].min())
            if np.array_equal(edge <= k if name == "tril" else edge >= k, mask):
                return f"{ones}.{name}({k})" if k else f"{ones}.{name}()"
    found = staircase(mask)
    if found is None:
        return None
    kept = any(_rule(v) is None for v in found)
    if kept and 8 * (rows + columns) > rows * columns:  # no shorter than the bits themselves
        return None
    named = zip(found, ("rows", "columns"), strict=True)
    left, right = (_rule(v) or file.read(v, f"{hint}.{axis}") for v, axis in named)
    return f"{left}[:, None] >= {right}"


def _rule(values: Array) -> str | None:
    """A vector of levels by its rule, or as a short list."""
    rule = line(values, "torch") if values.size > 1 else None
    if rule is not None:
        return rule if rule.endswith(")") else f"({rule})"
    listed = nested(values) if values.size <= LISTED else ""
    return f"torch.tensor({listed})" if listed and len(listed) <= LISTED else None


#: Functions that literals call, by name.
HELPERS = {
    "checkerboard": '''def checkerboard(rows: int, columns: int, parity: int) -> Tensor:
    """Mark where row plus column is odd (parity 1) or even (parity 0)."""
    return (torch.arange(rows)[:, None] + torch.arange(columns)) % 2 == parity
''',
    "uniform": '''def uniform(bound: float, *shape: int) -> Tensor:
    """Draw a tensor of this shape uniformly between -bound and bound."""
    return torch.empty(shape).uniform_(-bound, bound)
''',
    "real": '''def real(x: Tensor) -> Tensor:
    """Convert to the default precision."""
    return x.to(torch.get_default_dtype())
''',
}


def initial_text(spec: ParameterSpec) -> str:
    """Write the start of a fresh parameter, before weights are loaded."""
    kind, scale = spec.init.kind, float(spec.init.scale)
    sizes = ", ".join(map(str, spec.shape)) if spec.shape else "()"
    if kind == "ones":
        return f"torch.ones({sizes})"
    if kind == "constant":
        return f"torch.full({tuple_text(map(str, spec.shape))}, {number(scale)})"
    if kind == "normal":
        return f"{number(scale)} * torch.randn({sizes})" if scale != 1.0 else f"torch.randn({sizes})"
    if kind == "uniform":
        return f"uniform({number(scale)}{f', {sizes}' if spec.shape else ''})"
    if kind == "orthogonal":
        return f"nn.init.orthogonal_(torch.empty({sizes}))"
    return f"torch.zeros({sizes})"


def method_call(text: str, name: str) -> str:
    """Write a call of a method of an expression, in parentheses where an operator would bind looser than the call."""
    loose = isinstance(ast.parse(text, mode="eval").body, ast.BinOp | ast.Compare | ast.UnaryOp)
    return f"({text}).{name}()" if loose else f"{text}.{name}()"
