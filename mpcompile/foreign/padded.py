"""Padding: whether outputs at real places read what stands at padded ones.

What places are real is an input of the call, so the claim is about this input's value in the recorded call. It is put
into the graph as a constant, what it decides folds, and finite masks are looked for again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpcompile import ops
from mpcompile.analysis.dependence import interpret, witness
from mpcompile.analysis.verdict import Status
from mpcompile.foreign.claims import ForeignClaim
from mpcompile.foreign.intervals import Intervals
from mpcompile.foreign.masks import masked
from mpcompile.foreign.model import ForeignModel
from mpcompile.foreign.recording import Margin, Recording
from mpcompile.foreign.running import Change, moved
from mpcompile.foreign.verdict import Answer, Unclear, how, margin_text
from mpcompile.ir import Array, Builder, Constant, Graph, Input, Node, Value, availability, numbers
from mpcompile.ops import build


def padding(recording: Recording, claim: ForeignClaim, model: ForeignModel | None) -> Answer:
    """Decide whether the output at real places reads the source at padded ones, of any example.

    An output without the axis of places is real everywhere. Raises `Unclear`.
    """
    real = _real(recording, claim)
    graph, margins = fixed(recording.graph, claim.mask, recording.inputs[claim.mask])
    target = graph.outputs[claim.output]
    shape = numbers(graph.inputs[claim.source].shape)
    wide = (1,) * (len(shape) - real.ndim + 1)
    seed = np.broadcast_to((~real).reshape(*real.shape, *wide), (*shape, 1)).astype(np.int32)
    facts = interpret(graph, availability(), {claim.source: seed}, {})
    found = facts[target].full()[..., 0]
    kept = real if found.shape[: real.ndim] == real.shape else np.ones((), bool)
    bad = np.argwhere((found > 0) & kept.reshape(*kept.shape, *(1,) * (found.ndim - kept.ndim)))
    if not bad.size:
        method = f"availability, with {claim.mask} as in the call ({int((~real).sum())} padded places)"
        method = f"{method}; {margin_text(margins)}" if margins else method
        proved = Answer(claim, Status.PROVED, how(method, recording))
        if model is None or not recording.reads:
            return proved
        carried = replace(
            proved, status=Status.REFUTED, reason="runs: a number that the code read carries it"
        )
        seen = _confirmed(carried, recording, model, real, kept)
        return seen if seen.status is Status.REFUTED else proved
    path = tuple(witness(graph, facts, {}, target, tuple(int(i) for i in bad[0])))
    place = path[0].index[real.ndim - 1], int(bad[0][min(real.ndim, found.ndim) - 1])
    refuted = Answer(claim, Status.REFUTED, "availability", place, None, path, len(path) - 1)
    return refuted if model is None else _confirmed(refuted, recording, model, real, kept)


def _real(recording: Recording, claim: ForeignClaim) -> Array:
    """The places that are real: bool [batch, places]."""
    if claim.mask not in recording.inputs:
        raise Unclear(f"no input is named '{claim.mask}' ({', '.join(recording.inputs)})")
    if claim.mask == claim.source:
        raise Unclear(f"{claim.mask} cannot be its own mask: it is as in the call")
    mask, shape = recording.inputs[claim.mask], recording.inputs[claim.source].shape
    if mask.ndim == 1 and mask.dtype.kind in "iu" and mask.shape == shape[:1] and len(shape) > 1:
        real = np.arange(shape[1]) < mask[:, None]
    elif mask.ndim and mask.shape == shape[: mask.ndim]:
        real = (mask == 0) if claim.padded else (mask != 0)
    else:
        raise Unclear(
            f"{claim.mask} {list(mask.shape)} has no element for each place of {claim.source} {list(shape)}"
        )
    if real.all() or not real.any():
        raise Unclear(f"{claim.mask} pads {'nothing' if real.all() else 'everything'} in the recorded call")
    return real


def fixed(graph: Graph, name: str, array: Array) -> tuple[Graph, list[Margin]]:
    """Return the graph with an input as a constant, and the finite masks that are then found.

    What the input alone decides is folded.
    """
    margins: list[Margin] = []

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if isinstance(node.op, Input):
            return (b.constant(array),) if node.op.path == name else None
        if isinstance(node.op, ops.Softmax | ops.LogSoftmax):
            found = masked(Intervals(b), inputs[0], node.op.axis)
            if found.number is not None:
                margins.append(Margin(found.number, found.added, found.rows, b.span))
            if isinstance(node.op, ops.LogSoftmax) and found.value is not inputs[0]:
                # the logarithm itself is finite where a finite mask is
                total = b.emit(ops.LogSumExp((node.op.axis,), True), found.value)
                return (build.sub(b, inputs[0], total),)
            return (b.emit(node.op, found.value),)
        known = [b.graph.node(v).op for v in inputs]
        arrays = [op.array for op in known if isinstance(op, Constant)]
        if not arrays or len(arrays) < len(known) or len(node.outputs) > 1:
            return None
        return (b.constant(node.op.evaluate(*arrays)[0]),)

    made = graph.rebuild(rewrite)
    made.inputs.pop(name)
    return made, margins


def _confirmed(
    refuted: Answer, recording: Recording, model: ForeignModel, real: Array, kept: Array
) -> Answer:
    """A refutation that running the model bears out, at some padded place; else undecided."""
    claim = refuted.claim
    for place in np.argwhere(~real)[:_MOST]:
        found = moved(model, recording, claim.source, tuple(int(i) for i in place), claim.output)
        found = found * kept.reshape(*kept.shape, *(1,) * (found.ndim - kept.ndim))
        largest = np.unravel_index(int(found.argmax()), found.shape)
        if (change := Change(float(found[largest]))).real:
            at = int(largest[min(real.ndim, found.ndim) - 1])
            return replace(refuted, place=(int(place[-1]), at), change=change)
    why = "paths lead from padded places, but no run of the model changes"
    return replace(refuted, status=Status.UNDECIDED, reason=why)


#: Padded places that are changed to confirm a refutation.
_MOST = 16

__all__ = ["fixed", "padding"]
