"""`complete(x)`: every dependence that the order allows is really there; of a flow, every latent reads every element.

Upper bounds refute: what is missing in them is read by nothing. Lower bounds prove: a difference that shows modulo a
prime, or a path on which nothing is subtracted. What is in the one and not in the other cancels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpcompile.analysis.certain import Certain, cancels, certain, far, sampled, short
from mpcompile.analysis.dependence import support
from mpcompile.analysis.onesided import two_sided
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.receptive import unions
from mpcompile.analysis.stencils import OffsetSets, aligned_with, offset_sets, places
from mpcompile.analysis.verdict import FINITE, Proof, Verdict, ran, scope_of, sizes_text
from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Array, Claim, Graph, Module, NoRule
from mpcompile.ir.offsets import Offsets

#: What a finding says of a pair: of an autoregressive variable, and of a flow.
_ORDERED = (
    "output {0} never sees {1}, which comes before it",
    "output {0} is constant in {1}: what leads there cancels",
)
_FLOWING = "latent z[{2}] never sees {1}", "latent z[{2}] is constant in {1}: what leads there cancels"


def complete(module: Module, claim: Claim) -> Verdict:
    """By sets of inputs where all sizes are declared, by offset sets for every length of a sequence."""
    graph = module.programs[claim.program]
    if "ranks" not in claim.arguments:
        return _flow(module, claim, graph)
    if claim.subject not in graph.inputs:
        return _unread(module, claim)
    if claim.arguments["ranks"] is None:
        return _sequence(module, claim, graph)
    env = short(graph, claim.subject, 2)
    answer = _run(module, claim, graph, env)
    if isinstance(answer, Verdict):
        return answer
    method = f"sets of inputs; {answer.method}"
    return Verdict.of(claim, ran([graph], method, [env], (FINITE, *answer.assumptions)), {"missing": 0})


def _unread(module: Module, claim: Claim) -> Verdict:
    """No output reads the variable at all."""
    name = claim.subject
    if module.fields[name].type.with_shape(module.fields[name].type.shape[1:]).size == 1:
        return Verdict.proved(
            claim, Proof(scope_of(covers="declared"), "one element, which nothing comes before")
        )
    finding = Diagnostic(
        "MP302", f"{name} is not complete: its distribution does not read it", claim.span, help=_HELP
    )
    return Verdict.refuted(claim, "no output reads it", {}, [finding])


# --- sets at numbers ---


def _allowed(graph: Graph, claim: Claim, env: Mapping[str, int]) -> Array:
    """Bool [elements, elements]: the second comes before the first."""
    flat = ranks_of(graph, claim, env).reshape(-1)
    return np.asarray(flat[:, None] > flat[None, :])


def _seen(graph: Graph, claim: Claim, env: Mapping[str, int]) -> Array:
    """The upper bound: bool [elements, elements], all outputs and the parameters of an element together."""
    seen: Array | None = None
    for name in graph.outputs:
        found = support(graph, claim.subject, name, env, over=claim.arguments["axis"]).value
        seen = found if seen is None else seen | found
    assert seen is not None
    return seen


def _run(
    module: Module, claim: Claim, graph: Graph, env: Mapping[str, int], some: bool = False
) -> Verdict | Certain:
    """Refuted or undecided at these sizes, or the lower bound that has all that is allowed.

    With `some` it is asked for as many elements as can be afforded.
    """
    allowed = _allowed(graph, claim, env)
    missing = allowed & ~_seen(graph, claim, env)
    shape = graph.inputs[claim.subject].type.concrete(env)[1:]
    if missing.any():
        return _incomplete(claim, env, missing, int(allowed.sum()), shape)
    wanted = sampled(graph, env, allowed) if some else allowed
    found = certain(module, graph, claim.subject, env, wanted, claim.arguments["axis"])
    if found.unseen.any():
        return cancels(
            claim, graph, found, env, "MP302", f"{claim.subject} is not complete: {_ORDERED[1]}", shape
        )
    return found


_HELP = 'widen the layers or kernels, add a vertical stack, or state `allow complete(...) because "..."`'


def _incomplete(
    claim: Claim,
    env: Mapping[str, int],
    missing: Array,
    allowed: int,
    shape: tuple[int, ...],
    what: str = _ORDERED[0],
) -> Verdict:
    """Refuted by an upper bound."""
    i, j = (int(k[0]) for k in np.nonzero(missing))
    out, inp = (list(map(int, np.unravel_index(e, shape))) for e in (i, j))
    count = int(missing.sum())
    text = what.format(f"{claim.subject}{out}", f"{claim.subject}{inp}", i)
    finding = Diagnostic(
        "MP302",
        f"{claim.subject} is not complete: {text}{sizes_text([env])}",
        claim.span,
        notes=(f"{count} of {allowed} allowed dependencies are missing ({count / max(1, allowed):.1%})",),
        help=_HELP,
    )
    return Verdict.refuted(claim, "sets of inputs", env, [finding], {"missing": count, "allowed": allowed})


# --- sequences ---


def _sequence(module: Module, claim: Claim, graph: Graph) -> Verdict:
    """Refuted at the shortest length that shows a gap or a cancellation; proved where borders cut no path."""
    sets = offset_sets(graph, claim.subject)
    reason, primitive, precise = "", "", True
    longest = far(graph, claim.subject)
    try:
        past, precise = _past(graph, sets, claim)
        if past is None:
            reason = "the outputs do not have the places of the sequence"
        elif (gap := _gap(past)) is not None:
            return _short(claim, graph, gap)
    except NoRule as missing:
        reason, primitive = str(missing), missing.primitive.name
    if not reason and not precise:
        reason = "the offsets that are read are known from above only"
    if not reason and (node := two_sided(graph, sets)) is not None:
        reason, primitive = (
            f"{node.op.name} reads ahead of its own place, so borders may cut paths",
            node.op.name,
        )
    checked = [short(graph, claim.subject, n) for n in (2, longest)]
    for env in checked:
        answer = _run(module, claim, graph, env, some=True)
        if isinstance(answer, Verdict):
            return answer
        last = answer
    if reason:
        return Verdict.undecided(claim, reason, primitive, checked)
    method = f"offset sets; {last.method}"
    if last.reached is not None:
        method = f"offset sets; no cancellation{sizes_text(checked)}"
    assumed = (FINITE, *last.assumptions)
    return Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"), method, assumed), {"missing": 0})


def _past(graph: Graph, sets: OffsetSets, claim: Claim) -> tuple[Offsets | None, bool]:
    """Offsets that the parameters read relative to their own place, and whether they are exact inside.

    None where the outputs are not laid out like the sequence. Raises `NoRule`.
    """
    seen, precise = Offsets((0,), np.zeros(1, bool)), True
    for value in graph.outputs.values():
        stencil = sets.of(value)
        if len(stencil.regions) > 1 or not aligned_with(stencil, places(sets.axes, claim.arguments["axis"])):
            return None, False
        precise &= stencil.exact
        for phase, s in unions(stencil, 1).items():
            seen = seen.union(s.shift(0, -phase[0]))
    return seen, precise


def _gap(seen: Offsets) -> int | None:
    """The latest earlier offset that is not read; None where all are."""
    low = min(-1, seen.origin[0] - 1)
    bits = seen.window([low], [-low])  # low .. -1; what is before it is like the first
    holes = np.flatnonzero(~bits)
    return None if not holes.size else low + int(holes[-1])


def _short(claim: Claim, graph: Graph, gap: int) -> Verdict:
    """Refuted at the shortest sequence in which the offset occurs, and confirmed there by sets of inputs."""
    env = short(graph, claim.subject, 1 - gap)
    shape = graph.inputs[claim.subject].type.concrete(env)[1:]
    allowed = _allowed(graph, claim, env)
    if allowed.size <= CONFIRMED:
        missing = allowed & ~_seen(graph, claim, env)
        if missing.any():
            return _incomplete(claim, env, missing, int(allowed.sum()), shape)
    else:
        missing = np.zeros_like(allowed)
        rest = int(np.prod(shape[1:]))
        missing[-rest:, :rest] = True
    return _incomplete(claim, env, missing, int(allowed.sum()), shape)


#: Pairs of elements up to which a gap between offsets is looked up in the sets of inputs as well.
CONFIRMED = 1 << 22


# --- flows ---


def _flow(module: Module, claim: Claim, graph: Graph) -> Verdict:
    """Every latent reads every element of the variable."""
    env = short(graph, claim.subject, 3)
    seen = support(graph, claim.subject, "z", env).value
    shape = graph.inputs[claim.subject].type.concrete(env)[1:]
    if not seen.all():
        return _incomplete(claim, env, ~seen, seen.size, shape, _FLOWING[0])
    found = certain(module, graph, claim.subject, env, np.ones_like(seen), None, ("z",))
    if found.unseen.any():
        return cancels(
            claim, graph, found, env, "MP302", f"{claim.subject} is not complete: {_FLOWING[1]}", shape
        )
    outcome = ran([graph], f"sets of inputs; {found.method}", [env], (FINITE, *found.assumptions))
    return Verdict.of(claim, outcome, {"missing": 0})
