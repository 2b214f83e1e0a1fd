"""Softmax, which JAX spells out: max, subtraction, exp, sum and division are put together again.

Finite masks count as minus infinity where an exp of scores behind their maximum makes them zero, so that is where they
are looked for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpcompile import ops
from mpcompile.foreign.masks import MASK
from mpcompile.ir import DType, Value
from mpcompile.ops import build
from mpcompile_jax.reader import _places, _pointwise, _reductions
from mpcompile_jax.reader.tape import Call, Peak, Rule

FLOAT = DType.FLOAT


def _largest(c: Call) -> Value:
    """The maximum over axes; a masked score is none."""
    axes = tuple(c["axes"])
    if c.kind is not FLOAT or len(axes) != 1:
        return _reductions.largest(c, 1)
    scores = c.value(0)
    found = c.b.emit(ops.Max(axes), c.tape.unmasked(scores, axes[0]))
    c.tape.peaks[found] = Peak(scores, axes[0], False)
    return found


def _sum(c: Call) -> Value:
    found = _reductions.total(c)
    e, axes = c.value(0, c.kind), tuple(c["axes"])
    if e in c.tape.weights and axes == (c.tape.weights[e][1],):
        c.tape.totals[found] = Peak(e, axes[0], False)
    return found


def _maximum(c: Call) -> Value:
    """max(-inf, largest) is still the largest score."""
    return _still(c, build.maximum(c.b, c.value(0, c.kind), c.value(1, c.kind)))


def _still(c: Call, found: Value) -> Value:
    """The largest score where it is still that or something larger: a mask behind it still gives weights of zero."""
    for i in range(len(c.inputs)):
        if (value := c.inputs[i].value) is not None and value in c.tape.peaks and value.shape == found.shape:
            c.tape.peaks[found] = c.tape.peaks[value]
    return found


def _widened(rule: Rule) -> Rule:
    """A peak without its axis gets it again: only as the axis that it had."""

    def widened(c: Call) -> Value | tuple[Value, ...]:
        found = rule(c)
        given = c.inputs[0].value
        for known in (c.tape.peaks, c.tape.totals):
            if (
                given is not None
                and isinstance(found, Value)
                and (peak := known.get(given)) is not None
                and _fits(c, peak)
            ):
                known[found] = replace(peak, kept=True)
        return found

    return widened


def _fits(c: Call, peak: Peak) -> bool:
    whole = peak.of.shape
    short = tuple(1 if a == peak.axis else s for a, s in enumerate(whole))
    others = tuple(a for a in range(len(whole)) if a != peak.axis)
    dims = c.params.get("broadcast_dimensions")
    if dims is not None and tuple(dims) != (tuple(range(len(whole))) if peak.kept else others):
        return False
    return c.shape in ((short,) if dims is None else (short, whole))


def _sub(c: Call) -> Value:
    x, y = c.value(0, c.kind), c.value(1, c.kind)
    found = build.sub(c.b, x, y)
    peak = c.tape.peaks.get(y)
    if peak is not None and peak.kept and peak.of == x:
        c.tape.shifted[found] = (x, peak.axis, y)
    return found


def _exp(c: Call) -> Value:
    b, x = c.b, c.value(0)
    if x not in c.tape.shifted:
        return b.emit(ops.Exp(), x)
    scores, axis, largest = c.tape.shifted[x]
    seen = c.tape.unmasked(scores, axis)
    found = b.emit(ops.Exp(), x if seen == scores else build.sub(b, seen, largest))
    c.tape.weights[found] = (seen, axis)
    return found


def _div(c: Call) -> Value | tuple[Value, ...]:
    e, z = (h.value for h in c.inputs)
    peak = c.tape.totals.get(z) if z is not None else None
    if peak is None or e is None or not peak.kept or peak.of != e:
        return _pointwise.RULES["div"](c)
    seen, axis = c.tape.weights[e]
    return c.b.emit(ops.Softmax(axis), seen)


def _choice(c: Call) -> Value | tuple[Value, ...]:
    """where(isfinite(largest), largest, 0) counts as the largest score."""
    found = _pointwise.RULES["select_n"](c)
    known = [c.array(i) for i in range(1, len(c.inputs)) if not c.unknown(i)]
    usual = len(known) == len(c.inputs) - 2 and all(np.isfinite(k).all() and (k > MASK).all() for k in known)
    return _still(c, found) if usual and isinstance(found, Value) else found


def _same(c: Call) -> Value:
    return _still(c, _pointwise.identity(c))


RULES: dict[str, Rule] = {
    "reduce_max": _largest, "reduce_sum": _sum, "max": _maximum, "sub": _sub, "exp": _exp, "div": _div,
    "select_n": _choice, "stop_gradient": _same,
    **{name: _widened(_places.RULES[name]) for name in ("broadcast_in_dim", "reshape", "expand_dims")},
}  # fmt: skip
