"""Loops and branches: a scan keeps its body where that can be, a branch is a choice between results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mpcompile import ops
from mpcompile.foreign.recording import Read, Unrecordable
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_jax.reader.sources import Around
from mpcompile_jax.reader.tape import Held, Tape, Unkept, kind

#: Steps of a `while` that are read.
STEPS = 10_000


class Reader(Protocol):
    """Reads jaxprs onto a tape, and counts their equations."""

    tape: Tape
    count: int

    def body(self, jaxpr: Any, inputs: Sequence[Held], around: Around) -> list[Held]:
        """Read a jaxpr, closed or without constants, for inputs."""
        ...


def _scan(reader: Reader, equation: Any, inputs: list[Held], here: Around) -> list[Held]:
    """A loop over rows: its body kept, or where that asks for numbers its steps one after another."""
    length = int(equation.params["length"])
    if length > 1:
        notes = _mark(reader)
        try:
            return _kept(reader, equation, inputs, here)
        except (Unkept, Unrecordable):
            _forget(reader, notes)
    return _unrolled(reader, equation, inputs, here)


def _mark(reader: Reader) -> tuple[Any, ...]:
    tape = reader.tape
    return len(tape.margins), len(tape.reads), len(tape.coarse), reader.count


def _forget(reader: Reader, mark: tuple[Any, ...]) -> None:
    tape = reader.tape
    margins, reads, coarse, reader.count = mark
    del tape.margins[margins:], tape.reads[reads:], tape.coarse[coarse:]


def _parts(equation: Any, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    consts = int(equation.params["num_consts"])
    carries = consts + int(equation.params["num_carry"])
    return list(values[:consts]), list(values[consts:carries]), list(values[carries:])


def _kept(reader: Reader, equation: Any, inputs: list[Held], here: Around) -> list[Held]:
    """The loop as one operation. Constants stay known in its body; carries and rows are what they are at a step."""
    tape, params = reader.tape, equation.params
    consts, carries, rows = _parts(equation, inputs)
    if any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in (*carries, *rows)):
        raise Unkept  # a key for each step
    outer, length = tape.builder, int(params["length"])
    loop = ops.LoopBuilder(outer, axis=0, reverse=bool(params["reverse"]), length=length, name="body")
    formals = []
    stepped = _stepped(equation, inputs)
    for i, x in enumerate(carries):
        carry = loop.carry(f"carry_{i}", tape.value(x))
        formals.append(Held(x.shape, x.dtype, value=carry, stepped=stepped[i]))
    for i, x in enumerate(rows):
        row = loop.scan(f"row_{i}", tape.value(x))
        formals.append(Held(x.shape[1:], x.dtype, value=row, stepped=x.settled or x.stepped))
    with tape.inside(loop.body), loop.body.within(outer.scope, outer.span):
        found = reader.body(params["jaxpr"], [*consts, *formals], here)
        values = [tape.value(x) for x in found]
    count = len(carries)
    last, stacks = loop.close(values[:count], {f"result_{i}": v for i, v in enumerate(values[count:])})
    return [
        Held(tuple(v.aval.shape), v.aval.dtype, value=value)
        for v, value in zip(equation.outvars, [*last, *stacks], strict=True)
    ]


def _stepped(equation: Any, inputs: list[Held]) -> list[bool]:
    """Return for each carry whether nothing unknown leads to it, as a counter."""
    jaxpr = equation.params["jaxpr"].jaxpr
    consts, carries, rows = _parts(equation, [x.settled or x.stepped for x in inputs])
    while True:
        sure = dict(zip(jaxpr.invars, [*consts, *carries, *rows], strict=True))
        for e in jaxpr.eqns:
            whole = all(sure.get(x, True) for x in e.invars if not hasattr(x, "val"))
            sure.update(dict.fromkeys(e.outvars, whole))
        after = [
            c and (hasattr(x, "val") or sure.get(x, True))
            for c, x in zip(carries, jaxpr.outvars, strict=False)
        ]
        if after == carries:
            return carries
        carries = after


def _unrolled(reader: Reader, equation: Any, inputs: list[Held], here: Around) -> list[Held]:
    """The steps of a loop one after another."""
    params = equation.params
    consts, carries, rows = _parts(equation, inputs)
    length = int(params["length"])
    stacks: list[list[Held]] = [[] for _ in equation.outvars[len(carries) :]]
    order = range(length - 1, -1, -1) if params["reverse"] else range(length)
    for step in order:
        found = reader.body(
            params["jaxpr"], [*consts, *carries, *(_row(reader, x, step) for x in rows)], here
        )
        carries = found[: len(carries)]
        for stack, x in zip(stacks, found[len(carries) :], strict=True):
            stack.insert(0 if params["reverse"] else len(stack), x)
    outs = equation.outvars[len(carries) :]
    return [*carries, *(_stacked(reader, s, v.aval) for s, v in zip(stacks, outs, strict=True))]


def _row(reader: Reader, x: Held, step: int) -> Held:
    if x.settled:
        return Held.of(x.known[step], x.drawn)
    b = reader.tape.builder
    part = build.slice_axis(b, reader.tape.value(x), 0, step, step + 1)
    return Held(x.shape[1:], x.dtype, value=build.reshape(b, part, x.shape[1:]), stepped=x.stepped)


def _stacked(reader: Reader, rows: list[Held], aval: Any) -> Held:
    if all(x.settled for x in rows):
        found = jnp.stack([x.known for x in rows]) if rows else jnp.zeros(aval.shape, aval.dtype)
        return Held.of(found, any(x.drawn for x in rows))
    tape = reader.tape
    wide = [build.reshape(tape.builder, tape.value(x), (1, *x.shape)) for x in rows]
    stepped = all(x.settled or x.stepped for x in rows)
    return Held(tuple(aval.shape), aval.dtype, value=build.concat(tape.builder, wide, 0), stepped=stepped)


def _cond(reader: Reader, equation: Any, inputs: list[Held], here: Around) -> list[Held]:
    """The branch that is taken; where an input decides that, a choice between the results of all branches."""
    which, rest = inputs[0], inputs[1:]
    branches = equation.params["branches"]
    if which.settled and not which.drawn:
        taken = int(np.clip(int(which.known), 0, len(branches) - 1))
        return reader.body(branches[taken], rest, here)
    results = [reader.body(branch, rest, here) for branch in branches]
    return [_chosen(reader, which, [r[i] for r in results]) for i in range(len(equation.outvars))]


def _chosen(reader: Reader, which: Held, cases: list[Held]) -> Held:
    tape, b = reader.tape, reader.tape.builder
    like = kind(cases[0].dtype)
    index = tape.value(which)
    index = index if index.dtype is DType.INT else build.cast(b, index, DType.INT)
    found: Value = tape.value(cases[0])
    for i, case in enumerate(cases[1:], 1):
        # the last branch is taken for all larger numbers too
        here = b.emit(ops.LessEqual() if i == len(cases) - 1 else ops.Equal(), b.constant(i), index)
        found = build.where(b, here, tape.value(case), found)
    found = found if found.dtype is like else build.cast(b, found, like)
    stepped = all(x.settled or x.stepped for x in (which, *cases))
    return Held(cases[0].shape, cases[0].dtype, value=found, stepped=stepped)


def _while(reader: Reader, equation: Any, inputs: list[Held], here: Around) -> list[Held]:
    """The steps that the loop has in this call; conditions that an input decides are noted."""
    params, tape = equation.params, reader.tape
    first = int(params["cond_nconsts"])
    second = first + int(params["body_nconsts"])
    tests, consts, carries = inputs[:first], inputs[first:second], list(inputs[second:])
    for _ in range(STEPS):
        (going,) = reader.body(params["cond_jaxpr"], [*tests, *carries], here)
        number = bool(tape.number(going))
        if not going.settled or going.drawn:
            tape.reads.append(Read(here.span, float(number)))
        if not number:
            return carries
        carries = reader.body(params["body_jaxpr"], [*consts, *carries], here)
    raise Unrecordable(f"a loop of more than {STEPS} steps", here.span)


RULES: dict[str, Callable[[Reader, Any, list[Held], Around], list[Held]]] = {
    "scan": _scan, "cond": _cond, "while": _while,
}  # fmt: skip
