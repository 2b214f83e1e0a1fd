"""`receptive_field(x) >= n`: how far along an input what the model gives for one place can see."""

from __future__ import annotations

import math

import numpy as np

from mpcompile.analysis.claims.path_length import HOLDS
from mpcompile.analysis.dependence import environment_for, support
from mpcompile.analysis.paths import program_of
from mpcompile.analysis.receptive import ReceptiveField, receptive_fields
from mpcompile.analysis.stencils import spatial_axes
from mpcompile.analysis.verdict import FINITE, GENERIC, Held, Proof, Verdict, ran, scope_of
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Graph, Module, NoRule, Symbolic

#: The length at which sequences are tried.
LENGTH = 8


def receptive_field(module: Module, claim: Claim) -> Verdict:
    """From the first to the last position that an output reads, along the axis where that is most.

    By offset sets for every size, where they are exact, or bound from above what the claim bounds from above; else by
    exact sets of inputs at the declared size.
    """
    graph, name = program_of(module, claim.subject), claim.subject
    op, bound = claim.arguments.get("op"), claim.arguments.get("bound", math.nan)
    if graph is None:
        return Verdict.undecided(claim, f"no program reads {name}")
    shape = graph.inputs[name].type.shape
    fixed = not any(isinstance(s, Symbolic) for s in shape[1:])
    found = {k: f for k, f in receptive_fields(graph, name).items() if k in graph.outputs}
    known = [f for f in found.values() if isinstance(f, ReceptiveField)]
    precise = (
        bool(spatial_axes(graph.inputs[name].type))
        and len(known) == len(found)
        and all(f.exact for f in known)
    )
    detail: dict[str, object] = {}
    if precise or not fixed:
        missing = next((f for f in found.values() if isinstance(f, NoRule)), None)
        if missing is not None:
            raise missing
        size = max((_size(f, shape, spatial_axes(graph.inputs[name].type)) for f in known), default=0)
        method, at = "offset sets", dict[str, int]()
        outcome: Proof | Held = Proof(
            scope_of(graph, covers="sizes" if fixed else "lengths"), method, (FINITE, GENERIC)
        )
        detail = {
            "aligned": all(f.aligned for f in known),
            "blind": max((f.blind for f in known), default=0.0),
        }
        if not precise and not (op in ("<=", "<") and HOLDS[op](size, bound)):
            reason = f"it is known from above only, as at most {_shown(size)}"
            return Verdict.undecided(claim, reason, detail=detail)
    else:
        at, method = environment_for(graph, LENGTH), "sets of inputs"
        size = max((_counted(graph, name, out, LENGTH) for out in graph.outputs), default=0)
        outcome = ran([graph], method, [at], (FINITE, GENERIC))
    detail = {"size": _shown(size), **detail}
    if op is None or HOLDS[op](size, bound):
        return Verdict.of(claim, outcome, detail)
    finding = Diagnostic(
        "MP303",
        f"the receptive field of {name} is {_shown(size)}, claimed {op} {bound}",
        claim.span,
        help="more layers, larger kernels or dilation widen it" if op in (">=", ">") else "",
    )
    return Verdict.refuted(claim, method, at, [finding], detail)


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
    env = environment_for(graph, length)
    type = graph.inputs[source].type
    axes = [i - 1 for i in spatial_axes(type)] or list(range(type.rank - 1))
    seen = support(graph, source, output, env).value
    cube = seen.reshape(len(seen), *type.concrete(env)[1:])
    largest = 0
    for axis in axes:
        line = np.asarray(cube.any(tuple(i + 1 for i in range(cube.ndim - 1) if i != axis)))
        reach = line.shape[1] - line.argmax(1) - line[:, ::-1].argmax(1)
        largest = max(largest, int(np.where(line.any(1), reach, 0).max(initial=0)))
    return largest


def _shown(size: float) -> str:
    return "unbounded" if math.isinf(size) else str(int(size))
