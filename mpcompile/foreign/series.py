"""A claim about a model at several lengths: answered at each of them, and where that can be shown for every one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mpcompile.analysis.verdict import Status
from mpcompile.foreign.answers import along, answer, completed
from mpcompile.foreign.claims import ForeignClaim
from mpcompile.foreign.lengths import Apart, Fitted, everywhere, fitted
from mpcompile.foreign.model import ForeignModel
from mpcompile.foreign.recording import Recording
from mpcompile.foreign.verdict import Answer, sizes

#: Lengths that are recorded where none are asked for: the last one is that at which the fit of the others is checked.
LENGTHS = (11, 13, 17, 29)
#: Recordings that a fit takes.
FIT = 3


@dataclass(frozen=True)
class Series:
    """Recordings of one model by the length of the call, in rising order; without a length where it is one call."""

    models: Mapping[int, ForeignModel]
    recordings: Mapping[int, Recording]

    @property
    def first(self) -> Recording:
        return next(iter(self.recordings.values()))

    @cached_property
    def together(self) -> Recording:
        """The first recording, with the masks of all and what all of them read."""
        margins = {m.span: m for r in self.recordings.values() for m in r.margins}
        widest = {span: max((m for r in self.recordings.values() for m in r.margins if m.span == span),
                            key=lambda m: (not m.rows, len(m.truths), m.number)) for span in margins}  # fmt: skip
        reads = {r.span: r for recording in self.recordings.values() for r in recording.reads}
        return replace(self.first, margins=tuple(widest.values()), reads=tuple(reads.values()))

    @cached_property
    def program(self) -> Fitted | Apart:
        """One program for every length, or why there is none."""
        if len(self.recordings) <= FIT:
            return Apart(f"a fit takes {FIT} lengths, and a check another one")
        try:
            return fitted(self.recordings, FIT)
        except Apart as reason:
            return reason


def decided(series: Series, claim: ForeignClaim) -> tuple[Answer, Recording, Apart | None]:
    """Decide a claim at every length of a series, and then for every one.

    Gives the answer, the recording that it is about, and why it is not about every length. An answer other than
    `proved` at one of the lengths is the answer. Raises `Unclear`.
    """
    found = None
    for length, recording in series.recordings.items():
        found = answer(recording, claim, series.models[length])
        if found.status is not Status.PROVED:
            at = f", at length {length}" if len(series.recordings) > 1 else ""
            return replace(found, reason=found.reason.removesuffix(sizes(recording)) + at), recording, None
    assert found is not None
    if len(series.recordings) == 1:
        return found, series.first, None
    whole = completed(series.first, claim)
    try:
        if isinstance(series.program, Apart):
            raise series.program
        out = along(series.first, whole)[1] if whole.order is not None else 0
        return replace(found, reason=str(everywhere(series.program, whole, out))), series.together, None
    except Apart as reason:
        at = ", ".join(map(str, series.recordings))
        method = found.reason.removesuffix(sizes(recording))
        return replace(found, reason=f"{method}, at lengths {at}"), series.together, reason


__all__ = ["LENGTHS", "Series", "decided"]
