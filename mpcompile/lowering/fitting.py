"""Sizes of images for which a network fits together: found by trying larger ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.frontend.unused import nodes

#: Sizes beyond the stated one that are tried; halving an image six times makes a period of 64.
TRIED = 64
#: What findings say that another size of an image may mend.
_SIGNS = ("sizes", "broadcast", "divisible", "cannot cut")

Numbers = Mapping[str, int | float]
Lower = Callable[[ast.Model, Numbers], object]


def with_sizes(
    faults: Iterable[Diagnostic], model: ast.Model, numbers: Numbers, lower: Lower
) -> list[Diagnostic]:
    """Add the smallest larger size of an image that fits to the help of findings about its size.

    `lower` builds the loss of a model with other numbers, and raises `SpecError` where it does not fit.
    """
    out = list(faults)
    about = [
        i for i, d in enumerate(out) if d.code in ("MP201", "MP214") and any(s in d.message for s in _SIGNS)
    ]
    if not about:
        return out
    advice = _advice(model, numbers, lower)
    for i in about[:1] if advice else []:
        out[i] = replace(out[i], help=f"{out[i].help}; or {advice}" if out[i].help else advice)
    return out


def _advice(model: ast.Model, numbers: Numbers, lower: Lower) -> str:
    """`images of 352 x 528 fit, the next size above 350 x 525`; nothing where none is found."""
    names, values = _parameters(model, numbers), _literals(model)
    if names and not values:
        (name, *more) = sorted(names)
        found = (
            None if more else _next(int(numbers[name]), lambda s: _fits(lower, model, {**numbers, name: s}))
        )
        return "" if found is None else f"set {name} = {found}, the next that fits"
    if names or not 1 <= len(values) <= 2:
        return ""
    # a network treats its axes alike: a size that fits in a square image fits in any
    best = {}
    for value in values:
        found = _next(value, lambda s: _fits(lower, _resized(model, dict.fromkeys(values, s)), numbers))
        if found is None:
            return ""
        best[value] = found
    if not _fits(lower, _resized(model, best), numbers):
        return ""
    wanted = next(_image(d) for d in model.declarations if _image(d))
    new, old = (" x ".join(str(f(e.value)) for e in wanted if isinstance(e, ast.Number))
                for f in (lambda v: best[int(v)], int))  # fmt: skip
    return f"images of {new}, the next size above {old} that fits"


def _image(d: ast.Declaration) -> tuple[ast.Expr, ...]:
    """Spatial axes of a variable [channels, height, width] or, for categories, [height, width]."""
    shape = tuple(axis.size for axis in d.type.shape)
    return shape[1:] if len(shape) == 3 else shape if len(shape) == 2 and d.type.base == "category" else ()


def _literals(model: ast.Model) -> list[int]:
    """Sizes of images that are written as numbers."""
    sizes = [e for d in model.declarations for e in _image(d)]
    return list(dict.fromkeys(int(e.value) for e in sizes if isinstance(e, ast.Number)))


def _parameters(model: ast.Model, numbers: Numbers) -> set[str]:
    """Parameters that sizes of images depend on."""
    sizes = [e for d in model.declarations for e in _image(d)]
    return {n.id for n in nodes(sizes) if isinstance(n, ast.Name) and n.id in numbers}


def _resized(model: ast.Model, sizes: Mapping[int, int]) -> ast.Model:
    """The model with other sizes of its images."""

    def size(e: ast.Expr, spatial: tuple[ast.Expr, ...]) -> ast.Expr:
        if isinstance(e, ast.Number) and any(e is s for s in spatial):
            return e.model_copy(update={"value": sizes[int(e.value)]})
        return e

    declarations = []
    for d in model.declarations:
        spatial = _image(d)
        shape = tuple(a.model_copy(update={"size": size(a.size, spatial)}) for a in d.type.shape)
        declarations.append(d.model_copy(update={"type": d.type.model_copy(update={"shape": shape})}))
    return model.model_copy(update={"declarations": tuple(declarations)})


def _fits(lower: Lower, model: ast.Model, numbers: Numbers) -> bool:
    try:
        for d in model.declarations:
            for e in (axis.size for axis in d.type.shape):
                if not isinstance(e, ast.Name):
                    evaluate_number(e, numbers)
        lower(model, numbers)
    except SpecError:
        return False
    return True


def _next(size: int, fits: Callable[[int], bool]) -> int | None:
    """The smallest size from this one on that fits: multiples of large powers of two bound where to look."""
    bound = next((s for k in (2, 4, 8, 16, 32, TRIED) if fits(s := -(-size // k) * k)), None)
    if bound is None:
        bound = size + TRIED // 2  # the period of four halvings, twice
    return next((s for s in range(size, bound) if fits(s)), bound if fits(bound) else None)


__all__ = ["with_sizes"]
