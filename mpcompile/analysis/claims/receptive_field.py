"""`receptive_field(x) >= n`: how far along an input what the model gives for one place can see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mpcompile.analysis.certain import IDENTITIES, cancels, certain, far, short
from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.paths import program_of
from mpcompile.analysis.probe import probe
from mpcompile.analysis.receptive import ReceptiveField, receptive_fields, unions
from mpcompile.analysis.rising import rises
from mpcompile.analysis.stencils import OffsetSets, axes_of, offset_sets, spatial_axes
from mpcompile.analysis.verdict import (
    FINITE,
    GENERIC,
    Held,
    Proof,
    Verdict,
    free_symbols,
    ran,
    scope_of,
    sizes_text,
)
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Bound, Claim, Graph, Module, NoRule, Symbolic
from mpcompile.ir.claims import HOLDS

#: The length at which sequences are tried.
LENGTH = 8


def receptive_field(module: Module, claim: Claim) -> Verdict:
    """Decide a bound on the span from the first to the last position that an output reads, along the widest axis.

    By offset sets for every size, where they are exact, or bound from above what the claim bounds from above. Where they
    are not, places that are certainly read at one size prove a bound from below, and refute one from above. Else by exact
    sets of inputs at the declared size.
    """
    graph, name = program_of(module, claim.subject), claim.subject
    op, bound = (claim.bound.op, claim.bound.number) if claim.bound else (None, math.nan)
    if graph is None:
        return Verdict.undecided(claim, f"no program reads {name}")
    shape = graph.inputs[name].type.shape
    fixed = not any(isinstance(s, Symbolic) for s in shape[1:])
    found = {k: f for k, f in receptive_fields(graph, name).items() if k in graph.outputs}
    known = [f for f in found.values() if isinstance(f, ReceptiveField)]
    along = spatial_axes(graph.inputs[name].type, axes_of(graph, name))
    precise = bool(along) and len(known) == len(found) and all(f.exact for f in known)
    detail, coarse = dict[str, object](), ""
    if op is not None and fixed and precise and not _fits(graph, name, known):
        sizes = [_size(f, shape, along) for f in known]
        precise = op in ("<=", "<") and HOLDS[op](max(sizes, default=0), bound)
    if precise or not fixed:
        missing = next((f for f in found.values() if isinstance(f, NoRule)), None)
        if missing is not None:
            raise missing
        size = max((_size(f, shape, along) for f in known), default=0)
        method, at = "offset sets", dict[str, int]()
        outcome: Proof | Held = Proof(
            scope_of(graph, covers="sizes" if fixed else "lengths"), method, (FINITE, GENERIC)
        )
        detail = {
            "aligned": all(f.aligned for f in known),
            "blind": max((f.blind for f in known), default=0.0),
        }
        coarse = "" if precise else f"it is known from above only, as at most {_shown(size)}"
        settled = (
            size < bound if op == "==" else op is not None and HOLDS[op](size, bound) == (op in ("<=", "<"))
        )
        if coarse and not settled and (op is None or rises(module, graph, name)):  # paths may not be there
            return Verdict.undecided(claim, coarse, detail=detail)
    else:
        at, method = environment_for(graph, LENGTH), "sets of inputs"
        size = max((_counted(graph, name, out, LENGTH) for out in graph.outputs), default=0)
        outcome = ran([graph], method, [at], (FINITE, GENERIC))
    detail = {"size": _shown(size), **detail}
    if op is None or HOLDS[op](size, bound):
        if op in (">=", ">", "=="):  # a lower bound of what is read
            by_offsets = precise or not fixed
            sure = (_certain if by_offsets else _surely_counted)(module, graph, claim, size)
            if isinstance(sure, Verdict):
                return Verdict.undecided(claim, coarse, detail=detail) if coarse else sure
            outcome = _with(outcome, *sure)
        return Verdict.of(claim, outcome, detail)
    if op in ("<=", "<") or (op == "==" and size > bound):  # that it is as large must be certain
        more = replace(claim, bound=Bound(">=" if op == "<" else ">", bound))
        sure = (_certain if precise or not fixed else _surely_counted)(module, graph, more, size)
        if isinstance(sure, Verdict):
            reason = coarse or f"its upper bound is {_shown(size)}, and what leads to its ends may cancel"
            return Verdict.undecided(claim, reason, detail=detail)
    return Verdict.refuted(claim, method, at, [_finding(claim, size)], detail)


def _finding(claim: Claim, size: float) -> Diagnostic:
    """Return the finding that the field has another size than claimed."""
    assert claim.bound is not None
    op, bound = claim.bound.op, claim.bound.number
    return Diagnostic(
        "MP303",
        f"the receptive field of {claim.subject} is {_shown(size)}, claimed {op} {bound}",
        claim.span,
        help="more layers, larger kernels or dilation widen it" if op in (">=", ">") else "",
    )


def _fits(graph: Graph, name: str, known: list[ReceptiveField]) -> bool:
    """Whether the declared sizes leave room for a place that reads all of its field, with as much again beside it.

    In a smaller input the ends may cut every place's field, and what the claim says is looked up at the declared sizes.
    """
    shape, axes = graph.inputs[name].shape, spatial_axes(graph.inputs[name].type, axes_of(graph, name))
    for found in known:
        for along in found.axes:
            declared = shape[axes[along.axis]]
            if along.size is None or not isinstance(declared, int) or declared < 2 * along.size:
                return False
    return True


def _with(outcome: Proof | Held, method: str, assumptions: tuple[str, ...]) -> Proof | Held:
    """The outcome with one more argument."""
    both = f"{outcome.method}; {method}"
    if isinstance(outcome, Held):
        return replace(outcome, method=both)
    return replace(outcome, method=both, assumptions=(FINITE, *assumptions))


def _certain(
    module: Module, graph: Graph, claim: Claim, size: float
) -> Verdict | tuple[str, tuple[str, ...]]:
    """Check that the first and the last place of the receptive field are read, each by one element of an output.

    Where the field has no bound, or is longer than the input, check that the elements in between are as far apart
    as claimed.
    """
    name = claim.subject
    if free_symbols(graph) and rises(
        module, graph, name
    ):  # an input of fixed size may be too small to show it
        return "nothing on the way is subtracted", (GENERIC,)
    sets, best = offset_sets(graph, name), -1.0
    need = int(min(size, claim.limit.number + (claim.limit.op == ">")))
    env, answer = (
        short(graph, name, max(need + _away(graph, sets), far(graph, name)) + _steps(graph, sets)),
        None,
    )
    for output, value in graph.outputs.items():
        for phase, s in unions(sets.of(value), len(sets.axes)).items() if sets.axes else ():
            at = probe(graph, name, value, sets, phase, s, env)
            if at is None or not at.places.size:
                continue
            for k in range(len(sets.axes)):
                line = at.places[:, k]
                ends = [at.places[line == line.min()], at.places[line == line.max()]]
                if line.max() - line.min() + 1 < need:
                    best = max(best, float(line.max() - line.min() + 1))
                    continue
                for apart in (ends, [at.places[line == p] for p in np.unique(line)]):
                    groups = [at.group(e) for e in apart]
                    wanted = np.ones((len(at.rows), len(groups)), bool)
                    found = certain(module, graph, name, env, wanted, None, (output,), at.rows, groups)
                    if found.bound.value.all(1).any():
                        return f"both ends are read{sizes_text([env])}", IDENTITIES
                    if len(groups) > 2 and _apart(found.bound.value, np.unique(line)) >= need:
                        return f"places as far apart are read{sizes_text([env])}", IDENTITIES
                answer = found
    if answer is not None:
        what = f"the receptive field of {name} is less than its offset sets say: what leads to one of its ends cancels"
        return cancels(claim, graph, answer, env, "MP303", what, answer.unseen.shape[1:])
    reason = f"an input of the declared size shows {int(max(best, 0))} places of it"
    return Verdict.undecided(claim, reason, checked=[env])


def _apart(seen: Array, places: Array) -> int:
    """The most places from the first to the last that any row of [rows, places] has."""
    first, last = np.where(seen, places, places.max() + 1).min(1), np.where(seen, places, -1).max(1)
    return int(np.where(seen.any(1), last - first + 1, 0).max(initial=0))


def _away(graph: Graph, sets: OffsetSets) -> int:
    """Return the largest distance from its own place at which an output begins or ends to read."""
    found = (s for v in graph.outputs.values() for s in unions(sets.of(v), len(sets.axes)).values())
    ends = (end for s in found for k in range(s.rank) for end in s.bounds(k))
    return max((abs(end) for end in ends if end is not None), default=0)


def _steps(graph: Graph, sets: OffsetSets) -> int:
    """The longest period of an output, in places of the source."""
    return max((a.step for v in graph.outputs.values() for a in sets.of(v).axes if a is not None), default=1)


def _size(field: ReceptiveField, shape: tuple[int | Symbolic, ...], axes: tuple[int, ...]) -> float:
    """Along the largest axis; an unbounded one is as long as the input is declared to be."""
    each = []
    for along in field.axes:
        declared = shape[axes[along.axis]]
        whole = declared if isinstance(declared, int) else math.inf
        each.append(whole if along.size is None else along.size)
    return max(each, default=0)


def _counted(graph: Graph, source: str, output: str, length: int) -> int:
    """The same from the exact sets of every output element."""
    return _farthest(graph, source, output, environment_for(graph, length))[0]


def _farthest(graph: Graph, source: str, output: str, env: Mapping[str, int]) -> tuple[int, int, list[Array]]:
    """`_most` of the exact sets of an output."""
    return _most(graph, source, support(graph, source, output, env).value, env)


def _most(graph: Graph, source: str, seen: Array, env: Mapping[str, int]) -> tuple[int, int, list[Array]]:
    """The most places from the first to the last that one row of [output elements, source elements] has along any axis.

    With the number of the row, and those of the source's elements at the first and at the last place.
    """
    type = graph.inputs[source].type
    shape = type.concrete(env)[1:]
    axes = [i - 1 for i in spatial_axes(type, axes_of(graph, source))] or list(range(type.rank - 1))
    cube, numbers = seen.reshape(len(seen), *shape), np.arange(seen.shape[1]).reshape(shape)
    best, element, ends = 0, 0, list[Array]()
    for axis in axes:
        line = np.asarray(cube.any(tuple(i + 1 for i in range(cube.ndim - 1) if i != axis)))
        reach = np.where(line.any(1), line.shape[1] - line.argmax(1) - line[:, ::-1].argmax(1), 0)
        if reach.size and reach.max() > best:
            best, element = int(reach.max()), int(reach.argmax())
            first = int(line[element].argmax())
            ends = [numbers.take(at, axis).reshape(-1) for at in (first, first + best - 1)]
    return best, element, ends


def _surely_counted(
    module: Module, graph: Graph, claim: Claim, size: float
) -> Verdict | tuple[str, tuple[str, ...]]:
    """Check that the ends of the farthest sets are certainly read, where offset sets do not say which they are."""
    name, env, answer = claim.subject, environment_for(graph, LENGTH), None
    need = min(size, claim.limit.number + (claim.limit.op == ">"))
    for output in graph.outputs:
        reach, element, ends = _farthest(graph, name, output, env)
        if reach < need or not ends:
            continue
        rows, wanted = np.array([element]), np.ones((1, 2), bool)
        found = certain(module, graph, name, env, wanted, None, (output,), rows, ends)
        if not found.unseen.any():
            return found.method, found.assumptions
        pairs = support(graph, name, output, env).value
        found = certain(module, graph, name, env, pairs, None, (output,))
        if _most(graph, name, found.bound.value & pairs, env)[0] >= need:
            return found.method, found.assumptions
        answer = found
    if answer is None:
        return Verdict.undecided(claim, "fewer places are certainly read than its sets of inputs say")
    what = (
        f"the receptive field of {name} is less than its sets of inputs say: what leads to its ends cancels"
    )
    return cancels(claim, graph, answer, env, "MP303", what, answer.unseen.shape[1:])


def _shown(size: float) -> str:
    return "unbounded" if math.isinf(size) else str(int(size))
