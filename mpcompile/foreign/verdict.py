"""An answer to a claim about a recorded call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpcompile.analysis.dependence import Step
from mpcompile.analysis.verdict import Status
from mpcompile.foreign.claims import ForeignClaim
from mpcompile.foreign.recording import Margin, Recording
from mpcompile.foreign.running import Change
from mpcompile.ir import numbers


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a claim about a recorded call.

    reason   of an undecided claim; of another how it was decided
    place    of a refuted one: the place of the input that is read, and of the output that reads it
    change   how much the output changed there when the model ran with another input
    path     from the element of the input to that of the output
    culprit  the number of the step of the path at which an element first reads ahead
    """

    claim: ForeignClaim
    status: Status
    reason: str
    place: tuple[int, int] | None = None
    change: Change | None = None
    path: tuple[Step, ...] = ()
    culprit: int | None = None


class Unclear(ValueError):
    """A claim that does not fit the call: an input, an output or an axis that is not there."""


def how(method: str, recording: Recording) -> str:
    """Return how a claim was decided, and the sizes of the call."""
    return method + sizes(recording)


def sizes(recording: Recording) -> str:
    """Return the sizes of a call as an answer names them."""
    shown = ", ".join(f"{k} {list(numbers(v.shape))}" for k, v in recording.graph.inputs.items()
                      if k not in recording.noise)  # fmt: skip
    return f", at {shown}"


#: Of an `exp` in single precision: below it is 0.
EXP = 104


def margin_text(margins: Sequence[Margin]) -> str:
    """Return the assumption of finite masks, for the weakest of them."""
    weakest = max(margins, key=lambda m: m.number)
    if weakest.added:
        return f"while scores of a row differ by less than {abs(weakest.number) - EXP:.3g}"
    return f"while the largest score of a row is above {weakest.number + EXP:.3g}"
