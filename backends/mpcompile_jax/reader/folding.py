"""Equations whose operands are known, in numpy where that is plain: JAX compiles a program for each of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from mpcompile.ir import Array
from mpcompile_jax.reader.rules import DRAWS
from mpcompile_jax.reader.tape import Held


def bound(equation: Any, inputs: Sequence[Any], **params: Any) -> Sequence[Any]:
    """Run one equation on numbers, with other parameters where they are given."""
    given = equation.primitive.get_bind_params({**equation.params, **params})
    functions, given = (
        given if isinstance(given, tuple) else ((), given)
    )  # older releases have functions beside
    found = equation.primitive.bind(*functions, *inputs, **given)
    return found if equation.primitive.multiple_results else [found]


def folded(equation: Any, inputs: Sequence[Held]) -> list[Held]:
    """Return the results of an equation whose operands are known, or drawn."""
    drawn = equation.primitive.name in DRAWS or any(x.drawn for x in inputs)
    drawn = drawn or any(e.primitive.name in DRAWS for e in equations(equation))
    numbers = [x.known for x in inputs]
    plain = _FOLDS.get(equation.primitive.name)
    if plain is None or any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in inputs):
        return [Held.of(x, drawn) for x in bound(equation, numbers)]
    aval = equation.outvars[0].aval
    found = np.asarray(plain(equation.params, aval, *map(np.asarray, numbers)), aval.dtype)
    return [Held.of(np.broadcast_to(found, aval.shape), drawn)]


def equations(equation: Any) -> list[Any]:
    """Return the equations within an equation, at any depth."""
    found = []
    for inner in jaxprs_in_params(equation.params):
        for e in inner.eqns:
            found += [e, *equations(e)]
    return found


def _broadcast(params: Any, aval: Any, x: Array) -> Array:
    wide = [1] * len(aval.shape)
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        wide[axis] = size
    return x.reshape(wide)


def _iota(params: Any, aval: Any) -> Array:
    wide = [-1 if a == params["dimension"] else 1 for a in range(len(aval.shape))]
    return np.arange(aval.shape[params["dimension"]]).reshape(wide)


def _each(function: Callable[..., Any]) -> Callable[..., Array]:
    def fold(_params: Any, _aval: Any, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            found: Array = function(*arrays)
        return found

    return fold


def _select(which: Array, *cases: Array) -> Array:
    return np.where(which, cases[1], cases[0]) if len(cases) == 2 else np.choose(which, cases, mode="clip")


def _shaped(_params: Any, aval: Any, x: Array) -> Array:
    return x.reshape(aval.shape)


_FOLDS: dict[str, Callable[..., Array]] = {
    "iota": _iota, "broadcast_in_dim": _broadcast, "reshape": _shaped, "squeeze": _shaped, "expand_dims": _shaped,
    "transpose": lambda params, _aval, x: x.transpose(params["permutation"]),
    **{name: _each(function) for name, function in dict[str, Callable[..., Any]]({
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "max": np.maximum, "min": np.minimum,
        "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
        "and": np.bitwise_and, "or": np.bitwise_or, "not": np.invert, "sqrt": np.sqrt, "select_n": _select,
        "convert_element_type": lambda x: x, "stop_gradient": lambda x: x, "copy": lambda x: x,
    }).items()},
}  # fmt: skip

__all__ = ["bound", "folded"]
