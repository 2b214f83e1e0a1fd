"""Models as users of JAX have them: functions, callable trees of arrays, and the modules of flax."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile_jax.reader.tape import is_weight


@dataclass(frozen=True)
class Callee:
    """A function of arrays: `apply(weights, known)(**inputs)`.

    weights     arrays by name that may be anything
    statistics  names of weights that training measures, and no run changes
    known       arrays that are what they are
    names       closed-over arrays by their ids
    """

    apply: Callable[[Sequence[Any], Sequence[Any]], Callable[..., Any]]
    weights: Mapping[str, Any]
    statistics: frozenset[str]
    known: Sequence[Any]
    names: Mapping[int, str]


def callee(model: Any, call: Callable[..., Any] | None) -> Callee | None:
    """Return what a model calls; None for one that is no function, module or tree of JAX.

    Raises `SpecError` (MP700) for a module of linen that has no variables.
    """
    if (found := _linen(model, call)) is not None or (found := _nnx(model, call)) is not None:
        return found
    if isinstance(model, functools.partial):
        bound = model

        def again(parts: Any, **inputs: Any) -> Any:
            partial = functools.partial(bound.func, *parts[0], **parts[1])
            return call(partial, **inputs) if call else partial(**inputs)

        return _tree((bound.args, bound.keywords), again, _closed_over(bound.func))
    leaves = jax.tree_util.tree_leaves(model)
    if not (callable(model) or (call is not None and any(map(_is_array, leaves)))):
        return None
    return _tree(model, call or _called, _closed_over(model) if callable(model) else {})


def _called(model: Any, **inputs: Any) -> Any:
    return model(**inputs)


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray)


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def _tree(tree: Any, call: Callable[..., Any], names: Mapping[int, str]) -> Callee:
    """A call of a tree of arrays: floats may be anything, other arrays are what they are."""
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves = [leaf for _, leaf in paths]
    weights = {
        i: _name(path) or f"weight_{i}" for i, (path, x) in enumerate(paths) if _is_array(x) and _is_float(x)
    }
    known = [i for i, x in enumerate(leaves) if _is_array(x) and i not in weights]

    def apply(given: Sequence[Any], others: Sequence[Any]) -> Callable[..., Any]:
        whole = list(leaves)
        for i, x in (*zip(weights, given, strict=True), *zip(known, others, strict=True)):
            whole[i] = x
        made = jax.tree_util.tree_unflatten(structure, whole)
        return functools.partial(call, made)

    return Callee(
        apply, {n: leaves[i] for i, n in weights.items()}, frozenset(), [leaves[i] for i in known], names
    )


def _name(path: Sequence[Any]) -> str:
    """The names on the way to a leaf with dots between them."""
    name = jax.tree_util.keystr(tuple(path), simple=True, separator=".")
    return name.removesuffix(".value")


def _linen(model: Any, call: Callable[..., Any] | None) -> Callee | None:
    """A module of flax.linen that is bound to its variables, or beside them: (module, variables)."""
    linen = sys.modules.get("flax.linen")
    if linen is None:
        return None
    if isinstance(model, linen.Module):
        if model.scope is None:
            raise error("MP700", f"the module {type(model).__name__} has no variables", Span.none(),
                        help="give module.bind(variables)")  # fmt: skip
        model = model.unbind()
    if not (isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], linen.Module)):
        return None
    module, variables = model
    parts = {"": variables.get("params", {}), "batch_stats": variables.get("batch_stats", {})}
    rest = {k: v for k, v in variables.items() if k not in ("params", "batch_stats")}

    def joined(trees: Sequence[Any], others: Any) -> Any:
        given = {"params": trees[0], "batch_stats": trees[1], **others}
        return module.bind({k: v for k, v in given.items() if k in variables})

    return _parted(parts, rest, joined, call)


def _nnx(model: Any, call: Callable[..., Any] | None) -> Callee | None:
    """A module of flax.nnx."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(model, nnx.Module):
        return None
    graph, weights, statistics, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)

    def joined(trees: Sequence[Any], others: Any) -> Any:
        return nnx.merge(graph, *trees, others)

    return _parted({"": weights, "batch_stats": statistics}, rest, joined, call)


def _parted(
    parts: Mapping[str, Any],
    rest: Any,
    joined: Callable[[Sequence[Any], Any], Any],
    call: Callable[..., Any] | None,
) -> Callee:
    """A module of weights and statistics; other arrays of its are weights as closed-over ones are."""
    flat = [jax.tree_util.tree_flatten_with_path(tree) for tree in parts.values()]
    weights, statistics = {}, set()
    for prefix, (paths, _) in zip(parts, flat, strict=True):
        for path, x in paths:
            name = f"{prefix}.{_name(path)}" if prefix else _name(path)
            weights[name] = x
            if prefix:
                statistics.add(name)
    other, structure = jax.tree_util.tree_flatten_with_path(rest)
    free = [i for i, (_, x) in enumerate(other) if is_weight(x)]
    weights |= {f"other.{_name(other[i][0])}": other[i][1] for i in free}
    known = [i for i, (_, x) in enumerate(other) if _is_array(x) and i not in free]

    def apply(given: Sequence[Any], others: Sequence[Any]) -> Callable[..., Any]:
        left, trees = list(given), []
        for paths, shape in flat:
            trees.append(jax.tree_util.tree_unflatten(shape, left[: len(paths)]))
            left = left[len(paths) :]
        leaves = [x for _, x in other]
        for i, x in (*zip(free, left, strict=True), *zip(known, others, strict=True)):
            leaves[i] = x
        model = joined(trees, jax.tree_util.tree_unflatten(structure, leaves))
        return functools.partial(call or _called, model)

    return Callee(apply, weights, frozenset(statistics), [other[i][1] for i in known], {})


def _closed_over(function: Any) -> dict[int, str]:
    """The names of arrays that a function and those of its package that it calls find around them, by their ids."""
    package, waiting, seen = _package(function), [function], set()
    found: dict[int, str] = {}
    while waiting:
        try:
            around = inspect.getclosurevars(inspect.unwrap(waiting.pop()))
        except TypeError:  # a callable that is no function of Python
            continue
        for name, value in {**around.globals, **around.nonlocals}.items():
            if inspect.isfunction(value) and _package(value) == package and value not in seen:
                seen.add(value)
                waiting.append(value)
            elif not (inspect.isroutine(value) or inspect.ismodule(value) or inspect.isclass(value)):
                found = {**_arrays(name, value), **found}
    return found


def _package(function: Any) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]


def _arrays(name: str, tree: Any) -> dict[int, str]:
    try:
        paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    except ValueError:  # dicts whose keys have no order
        return {}
    return {id(x): f"{name}.{_name(path)}" if path else name for path, x in paths if _is_array(x)}


__all__ = ["Callee", "callee"]
