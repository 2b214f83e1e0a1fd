"""MP331: an element of a flow that every conditioned map passes on as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mpcompile.analysis.dependence import environment_for, support
from mpcompile.diagnostics import Diagnostic, Severity
from mpcompile.ir import Array, FlowStep, Graph, Module, NoRule, product

#: Elements that a finding names.
SHOWN = 4
#: Flows of more elements than this are not looked at.
MOST = 1 << 11
HELP = (
    "let masks take turns (`checkerboard(parity = i)`, i counted by `repeat`), or mix the elements between maps "
    "with `permute` or `conv1x1`"
)
#: The place of an element that has left the chain untouched, and of one that is transformed.
LEFT, MOVED = -1, -2


def untransformed(module: Module) -> Iterator[Diagnostic]:
    """Find couplings whose masks always pass the same elements on: no conditioner ever moves those.

    Exactly: each element is followed from map to map. Where a map has a conditioner it is passed on if some result equals
    it for all inputs, as a run modulo a prime shows; where it has none it is followed to the one result that reads it and
    nothing else. An element that is mixed with others, or moved by a conditioner once, is none.
    """
    for subject, steps in module.flow_steps.items():
        if not any(_conditioned(module, p.graph) for p in steps):
            continue
        try:
            found = passed_on(module, subject)
        except NoRule:
            continue  # nothing is guessed of a map that has no rule
        if found is not None and found.finding is not None:
            yield found.finding


@dataclass(frozen=True, slots=True)
class PassedOn:
    """The number of elements of a flow that are never transformed, and the finding of it where there are any."""

    count: int
    finding: Diagnostic | None


def passed_on(module: Module, subject: str) -> PassedOn | None:
    """Count the elements of a variable that no map of its flow transforms; None for a flow that is too large.

    Raises `NoRule`.
    """
    steps = module.flow_steps[subject]
    if _size(steps[0].graph) > MOST:
        return None
    passing = [p for p in steps if _conditioned(module, p.graph)]
    unmoved, seen = _passed(module, steps)
    if passing:
        unmoved = unmoved & seen
    if not unmoved.any():
        return PassedOn(0, None)
    first = (passing or steps)[0]
    return PassedOn(int(unmoved.sum()), _finding(subject, first, len(passing), unmoved))


def _conditioned(module: Module, graph: Graph) -> bool:
    """Whether a map reads more than the element that it transforms and noise."""
    noise = {name for inputs in module.noise.values() for name in inputs}
    read = {v.node for node in graph.nodes() for v in node.inputs}
    return any(v.node in read for name, v in graph.inputs.items() if name != "x" and name not in noise)


def _size(graph: Graph) -> int:
    size = product(graph.inputs["x"].type.shape[1:])
    assert isinstance(size, int)  # a flow has a fixed shape
    return size


def _passed(module: Module, steps: Sequence[FlowStep]) -> tuple[Array, Array]:
    """Bools over the elements of the variable, in its shape: none has moved it; a conditioned map has passed it on."""
    from mpcompile.analysis.field import as_it_is  # for flows alone

    shape = steps[0].graph.inputs["x"].type.concrete({"N": 1})[1:]
    place = np.arange(_size(steps[0].graph))
    seen = np.zeros(place.size, bool)
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        graph, here = step.graph, place >= 0
        if not here.any():
            break
        if _conditioned(module, graph):
            seen |= here
            onto = as_it_is(module, graph, environment_for(graph, 2))
        else:
            onto = _alone(graph)
        place[here] = np.where(onto < 0, MOVED, onto)[place[here]]
        if after is not None:  # what is factored out comes first in y, and stays as it is
            left = len(onto) - _size(after.graph)
            place = np.where(place >= left, place - left, np.where(place >= 0, LEFT, place))
    return (place != MOVED).reshape(shape), seen.reshape(shape)


def _alone(graph: Graph) -> Array:
    """Return, for each element, the one result that reads it and nothing else; negative where there is none."""
    reads = support(graph, "x", "y", environment_for(graph, 2)).value
    alone = reads & (reads.sum(1, keepdims=True) == 1) & (reads.sum(0, keepdims=True) == 1)
    return np.where(alone.any(0), alone.argmax(0), MOVED)


def _finding(subject: str, first: FlowStep, maps: int, passed: Array) -> Diagnostic:
    places = [f"{subject}{[int(i) for i in at]}" for at in np.argwhere(passed)[:SHOWN]]
    more = f" and {int(passed.sum()) - SHOWN} more" if passed.sum() > SHOWN else ""
    shown = f"{', '.join(places)}{more}"
    some = (
        "no map has a conditioner, and none mixes them with others"
        if not maps
        else "the only map that has a conditioner passes them on as they are"
        if maps == 1
        else f"all {maps} maps that have a conditioner pass them on as they are"
    )
    return Diagnostic(
        "MP331",
        f"{int(passed.sum())} of {passed.size} elements of {subject} are never transformed: {some}",
        first.span,
        Severity.WARNING,
        label=f"passes {shown}" if maps else f"reads {shown} alone",
        help=HELP,
    )
