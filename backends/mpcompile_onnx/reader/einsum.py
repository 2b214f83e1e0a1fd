"""`Einsum` of ONNX as products of matrices: two operands at a time."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mpcompile import ops
from mpcompile.ir import DType, Value, numbers
from mpcompile.ops import build
from mpcompile_onnx.reader.tape import Call


def einsum(c: Call) -> Value | tuple[Value, ...]:
    """Emit sums of products of elements named by letters; a letter twice in one operand is bounded from above alone."""
    terms, result = _letters(str(c.attributes["equation"]), [c.array(i).ndim for i in range(len(c.inputs))])
    if any(len(set(t)) < len(t) for t in (*terms, result)):
        return c.observe(None)
    left, value = terms[0], c.value(0, DType.FLOAT)
    for i in range(1, len(terms)):
        later = {x for t in terms[i + 1 :] for x in t} | set(result)
        value, left = _product(c, (left, value), (terms[i], c.value(i, DType.FLOAT)), later)
    value, left = _summed(c, value, left, set(result))
    value = build.transpose(c.b, value, *(left.index(x) for x in result))
    return build.cast(c.b, value, c.kind) if c.kind is not value.dtype else value


def _letters(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The axes of the operands and of the result, one letter each; those of an ellipsis are counted from the end."""
    equation = equation.replace(" ", "")
    given, arrow, out = equation.partition("->")
    terms = given.split(",")
    most = max(
        (r - len(t.replace("...", "")) for t, r in zip(terms, ranks, strict=True) if "..." in t), default=0
    )
    free = [chr(0x3B1 + i) for i in range(most)]
    full = [
        t.replace("...", "".join(free[most - (r - len(t.replace("...", ""))) :])) if "..." in t else t
        for t, r in zip(terms, ranks, strict=True)
    ]
    if not arrow:
        letters = "".join(terms).replace(".", "")
        return full, "".join(free) + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    return full, out.replace("...", "".join(free))


def _summed(c: Call, x: Value, letters: str, kept: set[str]) -> tuple[Value, str]:
    """Sum over the axes whose letter nothing else needs."""
    gone = [i for i, a in enumerate(letters) if a not in kept]
    return (build.sum_axes(c.b, x, gone) if gone else x), "".join(a for a in letters if a in kept)


def _product(c: Call, one: tuple[str, Value], other: tuple[str, Value], later: set[str]) -> tuple[Value, str]:
    """Emit the product of two operands, summed over the letters that nothing later needs."""
    (left, x), (right, y) = one, other
    x, left = _summed(c, x, left, later | set(right))
    y, right = _summed(c, y, right, later | set(left))
    sizes = dict(zip(left + right, (*numbers(x.shape), *numbers(y.shape)), strict=True))
    sizes |= {a: s for a, s in zip(left, numbers(x.shape), strict=True) if s > 1}  # a length of one is spread
    batch = [a for a in left if a in right and a in later]
    inner = [a for a in left if a in right and a not in later]
    rows, columns = [a for a in left if a not in right], [a for a in right if a not in left]

    def matrix(v: Value, letters: str, order: Sequence[Sequence[str]]) -> Value:
        flat = [a for group in order for a in group]
        v = build.transpose(c.b, v, *(letters.index(a) for a in flat))
        wide = tuple(sizes[a] for a in flat)
        v = v if v.shape == wide else c.b.emit(ops.BroadcastTo(wide), v)
        return build.reshape(c.b, v, tuple(prod(sizes[a] for a in group) for group in order))

    z = c.b.emit(
        ops.MatMul(), matrix(x, left, (batch, rows, inner)), matrix(y, right, (batch, inner, columns))
    )
    letters = "".join([*batch, *rows, *columns])
    return build.reshape(c.b, z, tuple(sizes[a] for a in letters)), letters


__all__ = ["einsum"]
