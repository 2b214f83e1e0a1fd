"""A function of JAX and a call of it, as `mpcompile.foreign` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.foreign.arguments import arrays_of, named
from mpcompile.foreign.recording import Recording, Unrecordable
from mpcompile.ir import Array
from mpcompile_jax.reader.callee import Callee
from mpcompile_jax.reader.folding import equations
from mpcompile_jax.reader.record import record
from mpcompile_jax.reader.tape import array, is_weight

#: What JAX raises while it traces code that it cannot trace, or that is wrong.
_FAULTS = (
    TypeError,
    ValueError,
    NotImplementedError,
    jax.errors.JAXTypeError,
    jax.errors.JAXIndexError,
    jax.errors.JaxRuntimeError,
)

#: A program that runs a few times is not worth optimising.
FAST: Any = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class JaxModel:
    """A function, and the inputs of one call by name.

    Arrays are inputs, also those in lists, tuples and dicts (`xs_0`); other arguments are what they are.
    """

    def __init__(self, callee: Callee, inputs: Mapping[str, Any], name: str) -> None:
        self.callee, self.name = callee, name
        arrays, self._planted = arrays_of(inputs, (jax.Array, np.ndarray, np.generic))
        self._closed: Any = None
        self.keys = {k: x for k, x in arrays.items() if _is_key(x)}
        self.inputs = {k: jnp.asarray(x) for k, x in arrays.items() if k not in self.keys}
        self.keys |= self._old_keys()
        self.inputs = {k: x for k, x in self.inputs.items() if k not in self.keys}
        self._wide = True
        self._shown: list[str] = []
        self._jitted: dict[str, Any] = {}

    def record(self) -> Recording:
        """Record one call, as `ForeignModel` asks for it."""
        try:
            closed = self._traced()
            outputs = self.results(self.inputs)
        except _FAULTS as reason:
            what = str(reason).partition("\n")[0]
            raise Unrecordable(f"the call fails: {what}", _where(reason)) from reason
        part = self.callee
        return record(closed, self.name, part.weights, self._known(), self.inputs, outputs, part.names)

    def results(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the function as it is, in its own precision."""
        found = self._ran("single", self._flat, self._weights(0), self._known(), self._given(inputs))
        return dict(zip(self._shown, found, strict=True))

    def run(self, inputs: Mapping[str, Array], trial: int) -> dict[str, Array]:
        """Run the function in double precision where it can, with other weights at trials behind the first.

        Closed-over arrays are changed in its jaxpr, which has the precision that it was traced in.
        """
        closed, given = self._traced(), self._given(inputs)
        free = [is_weight(x) for x in closed.consts]
        if trial and any(free):
            consts, flat = (
                _others(closed.consts, trial, free),
                [*self._weights(trial), *self._known(), *given],
            )
            found = self._ran("jaxpr", lambda c, a: jax.core.eval_jaxpr(closed.jaxpr, c, *a), consts, flat)
        else:
            found = self._doubly(given, trial)
        return {k: array(x).astype(np.float64) for k, x in zip(self._shown, found, strict=True)}

    def _doubly(self, given: list[Any], trial: int) -> Sequence[Any]:
        known, weights = self._known(), self._weights(trial)
        if self._wide:
            with jax.enable_x64(True):
                try:
                    return self._ran("double", self._flat, _wide(weights), known, _wide(given))
                except _FAULTS:  # a loop whose carry is of another precision than its start
                    self._wide = False
        return self._ran("single", self._flat, weights, known, given)

    def _traced(self) -> Any:
        if self._closed is None:
            given = list(self.inputs.values())
            self._closed = jax.make_jaxpr(self._flat)(self._weights(0), self._known(), given)
        return self._closed

    def _old_keys(self) -> dict[str, Any]:
        """Return the inputs that are keys of the old kind: two numbers that something random is made of."""
        asked = {k: x for k, x in self.inputs.items() if x.dtype == np.uint32 and x.shape == (2,)}
        if not asked:
            return {}
        try:
            jaxpr = self._traced().jaxpr
        except _FAULTS:  # said when the call is recorded
            return {}
        finally:
            self._closed = None
        given = dict(zip(self.inputs, jaxpr.invars[len(jaxpr.invars) - len(self.inputs) :], strict=True))
        return {k: x for k, x in asked.items() if _drawn_from(jaxpr, given[k])}

    def _given(self, inputs: Mapping[str, Any]) -> list[Any]:
        return [jnp.asarray(inputs[k], x.dtype) for k, x in self.inputs.items()]

    def _ran(self, name: str, function: Callable[..., Any], *arguments: Any) -> Sequence[Any]:
        if name not in self._jitted:
            self._jitted[name] = jax.jit(function, compiler_options=FAST)
        found: Sequence[Any] = self._jitted[name](*arguments)
        return found

    def _known(self) -> list[Any]:
        return [*self.callee.known, *self.keys.values()]

    def _weights(self, trial: int) -> list[Any]:
        free = [
            name not in self.callee.statistics and (x.size <= 1 or is_weight(x))
            for name, x in self.callee.weights.items()
        ]
        weights = list(self.callee.weights.values())
        return _others(weights, trial, free) if trial else weights

    def _flat(self, weights: Sequence[Any], known: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """The call as a function of lists of arrays; keeps the names of its results."""
        count = len(self.callee.known)
        keys = dict(zip(self.keys, known[count:], strict=True))
        function = self.callee.apply(weights, known[:count])
        result = function(**self._planted({**dict(zip(self.inputs, inputs, strict=True)), **keys}))
        named = outputs_of(result)
        self._shown = list(named)
        return list(named.values())


def _is_key(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jax.dtypes.prng_key))


def _drawn_from(jaxpr: Any, variable: Any) -> bool:
    """Whether a random primitive takes a variable of a jaxpr, or something that it calls with it has one."""
    for equation in jaxpr.eqns:
        if not any(x is variable for x in equation.invars):
            continue
        within = [equation, *equations(equation)]
        if any(e.primitive.name in ("random_wrap", "threefry2x32") for e in within):
            return True
    return False


def _wide(arrays: Sequence[Any]) -> list[Any]:
    return [
        x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
        for x in map(jnp.asarray, arrays)
    ]


def _others(arrays: Sequence[Any], trial: int, free: Sequence[bool]) -> list[Any]:
    """Larger random numbers in the place of arrays that may be anything."""
    rng = np.random.default_rng(trial)
    return [
        jnp.asarray(0.3 * rng.standard_normal(x.shape), x.dtype) if f else x
        for x, f in zip(arrays, free, strict=True)
    ]


def _where(reason: BaseException) -> Span:
    """The innermost place of a fault that is no library's."""
    found, trace = Span.none(), reason.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if "site-packages" not in path and not path.startswith(_OWN):
            found = Span.of_code(path, trace.tb_lineno)
        trace = trace.tb_next
    return found


_OWN = __file__.rpartition("/")[0]


def outputs_of(result: Any) -> dict[str, Any]:
    """Return the arrays of a result by name: `output` for one, keys or fields, else `output_0`, ...; nested ones by `_`.

    Raises `SpecError` (MP700) where two would share a name.
    """
    if isinstance(result, jax.Array | np.ndarray):
        return {"output": result}
    found = {}
    for path, x in jax.tree_util.tree_flatten_with_path(result)[0]:
        if isinstance(x, jax.Array | np.ndarray):
            name = named(tuple(jax.tree_util.keystr((key,), simple=True) for key in path))
            name = f"output_{name}" if name[:1].isdigit() else name
            if name in found:
                raise error("MP700", f"two arrays of the result would be named '{name}'", Span.none())
            found[name] = x
    return found


__all__ = ["JaxModel", "outputs_of"]
