"""A jaxpr, read equation by equation: constants fold, and what an input or a weight leads to becomes a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from mpcompile.diagnostics import Span, SpecError
from mpcompile.foreign.recording import Recording, Unrecordable
from mpcompile.ir import Builder, Frame, Graph, Value
from mpcompile.ops import build
from mpcompile_jax.reader import loops
from mpcompile_jax.reader.folding import bound, folded
from mpcompile_jax.reader.rules import CALLS, RULES
from mpcompile_jax.reader.sources import Around, modules, place
from mpcompile_jax.reader.tape import Call, Held, Tape, Unkept, array, is_weight, kind

#: Equations that may be read in all, with those of loops.
MOST = 50_000


class Reader:
    """Reads jaxprs onto a tape. `names` are those of closed-over arrays, by their ids."""

    def __init__(self, tape: Tape, names: Mapping[int, str]) -> None:
        self.tape, self.names, self.count = tape, names, 0
        self._weights: dict[int, Held] = {}

    def body(self, jaxpr: Any, inputs: Sequence[Held], around: Around) -> list[Held]:
        """Read a jaxpr, closed or without constants, for inputs."""
        consts: Sequence[Any] = ()
        if isinstance(jaxpr, ClosedJaxpr):
            jaxpr, consts = jaxpr.jaxpr, jaxpr.consts
        return self.run(jaxpr, [self._constant(c) for c in consts], inputs, around)

    def _constant(self, x: Any) -> Held:
        """A closed-over array: a weight, or what it is."""
        if not is_weight(x):
            return Held.of(x)
        if id(x) not in self._weights:
            name = self.names.get(id(x), f"closed_over_{len(self._weights)}")
            self._weights[id(x)] = self.tape.weight(name, x)
        return self._weights[id(x)]

    def run(self, jaxpr: Any, consts: Sequence[Held], inputs: Sequence[Held], around: Around) -> list[Held]:
        """Read the equations of a jaxpr and return its results."""
        env: dict[Any, Held] = dict(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, inputs, strict=True))

        def find(x: Any) -> Held:
            if not isinstance(x, Literal):
                return env[x]
            aval: Any = x.aval
            return Held.of(np.asarray(x.val, aval.dtype))

        for equation in jaxpr.eqns:
            self.count += 1
            if self.count > MOST:
                raise Unrecordable(f"more than {MOST} equations run", around.span)
            results = self._located(equation, [find(x) for x in equation.invars], around)
            env.update(zip(equation.outvars, results, strict=True))
        return [find(x) for x in jaxpr.outvars]

    def _located(self, equation: Any, inputs: list[Held], around: Around) -> list[Held]:
        span, name = place(equation, around.span), equation.primitive.name
        here = Around((*around.scope, *modules(equation)), span)
        with self.tape.builder.within((*here.scope, Frame(name, name, span)), span):
            try:
                return self._one(equation, inputs, here)
            except Unrecordable as reason:
                if reason.span.path:
                    raise
                raise Unrecordable(reason.what, span) from reason
            except SpecError as reason:  # operands that no primitive takes, or a result that is too large
                raise Unrecordable(f"{name}: {reason.diagnostics[0].message}", span) from reason

    def _one(self, equation: Any, inputs: list[Held], here: Around) -> list[Held]:
        name, params = equation.primitive.name, equation.params
        if not equation.outvars:  # prints
            return []
        if name in CALLS:
            return self.body(params[CALLS[name]], inputs, here)
        if all(x.settled for x in inputs):
            return folded(equation, inputs)
        if name in loops.RULES:
            return loops.RULES[name](self, equation, inputs, here)
        if name not in RULES:
            raise Unrecordable(f"no rule for the primitive {name}", here.span)
        outs = tuple(v.aval for v in equation.outvars)
        call = Call(self.tape, name, dict(params), tuple(inputs), outs, _rebound(equation))
        found = RULES[name](call)
        values = found if isinstance(found, tuple) else (found,)
        values = tuple(self._checked(v, o, here) for v, o in zip(values, outs, strict=True))
        self._masks(call, values)
        self.tape.eps = max([self.tape.eps, *(_coarse(o.dtype) for o in outs)])
        stepped = all(x.settled or x.stepped for x in inputs)
        return [
            Held(tuple(o.shape), o.dtype, value=v, stepped=stepped) for o, v in zip(outs, values, strict=True)
        ]

    def _checked(self, value: Value, out: Any, here: Around) -> Value:
        if value.shape != tuple(out.shape):
            raise Unrecordable(f"a result of shape {list(out.shape)} was read as {value.type}", here.span)
        return (
            value if value.dtype is kind(out.dtype) else build.cast(self.tape.builder, value, kind(out.dtype))
        )

    def _masks(self, call: Call, results: Sequence[Value]) -> None:
        """Note values that a mask which changes from step to step of a loop may be in."""
        tape = self.tape
        if not tape.kept:
            return
        given = [x.value for x in call.inputs if x.value is not None]
        mixes = call.name in _MASKING and any(x.stepped for x in call.inputs)
        if mixes or any(v in tape.masking for v in given):
            tape.masking.update(results)


#: Primitives that put a mask into scores.
_MASKING = frozenset(("select_n", "add", "sub", "max", "min", "mul"))


def _coarse(dtype: Any) -> float:
    """The precision of a type that is coarser than single."""
    if not jnp.issubdtype(dtype, jnp.floating):
        return 0.0
    eps = float(jnp.finfo(dtype).eps)  # type: ignore[no-untyped-call]  # it has no types
    return eps if eps > np.finfo(np.float32).eps else 0.0


def _rebound(equation: Any) -> Callable[..., Sequence[Any]]:
    return lambda *arrays, **params: bound(equation, arrays, **params)


def record(
    closed: ClosedJaxpr,
    name: str,
    weights: Mapping[str, Any],
    known: Sequence[Any],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    names: Mapping[int, str],
) -> Recording:
    """Read a jaxpr whose arguments are weights, known arrays and inputs, in this order.

    weights  arrays by name, which may be anything
    known    arrays that are what they are, such as keys and counts
    inputs   the arrays of the call by name
    outputs  what the function gave, by name, in the order of the jaxpr's results
    names    those of closed-over arrays, by their ids

    Constants of the jaxpr are weights or masks as `is_weight` tells. Raises `Unrecordable`.
    """
    graph = Graph(name)
    tape = Tape(Builder(graph))
    given = {k: tape.declare(k, x) for k, x in inputs.items()}
    arguments = [*(tape.weight(k, x) for k, x in weights.items()), *map(Held.of, known), *given.values()]
    reader = Reader(tape, names)
    try:
        results = reader.body(closed, arguments, Around())
    except Unkept as reason:
        raise Unrecordable("a number of a loop's body is asked for", Span.none()) from reason
    graph.outputs.update({k: tape.value(v) for k, v in zip(outputs, results, strict=True)})
    arrays = ({k: array(x) for k, x in part.items()} for part in (inputs, outputs))
    return tape.recording(*arrays)


__all__ = ["Reader", "record"]
