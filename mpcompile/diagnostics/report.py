"""The report of one run of `mpcompile check`, which renderers print: specs, their properties, and the findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mpcompile.diagnostics.core import Diagnostic, Severity, Source, Span


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sort findings by place, then code: the same findings always print the same."""
    return sorted(diagnostics, key=lambda d: (d.span, d.code, d.message))


def counts(diagnostic: Diagnostic) -> bool:
    """Return whether a finding fails a check: errors and warnings do, notes do not."""
    return diagnostic.severity is not Severity.NOTE


#: What each status is called in text.
STATUSES = {
    "proved": "proved",
    "refuted": "refuted",
    "undecided": "undecided",
    "held": "holds where tried",
    "allowed": "allowed",
}
#: The statuses that a check and a build accept.
ACCEPTED = ("proved", "allowed")


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a spec and its answer.

    `name` is as in the spec, e.g. `autoregressive(x)`; `status` is one of `STATUSES`; `how` says by which analysis and
    for which sizes. `scope`, `method` and `assumptions` are the parts of a proof, as text.
    """

    name: str
    status: str
    how: str
    span: Span
    diagnostics: tuple[Diagnostic, ...] = ()
    scope: str = ""
    method: str = ""
    assumptions: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether it is proved, or allowed by its spec."""
        return self.status in ACCEPTED

    @property
    def holds(self) -> bool:
        return self.accepted and not any(map(counts, self.diagnostics))

    @property
    def answer(self) -> str:
        """The answer on one line: `proved: offset sets, for every length`."""
        return f"{STATUSES[self.status]}: {self.how}"


@dataclass(frozen=True, slots=True)
class Checked:
    """One spec that was checked.

    `findings` are those of no property: why it cannot be read, for example. `crash` is the error of the compiler
    itself that stopped it, as one line.
    """

    path: str
    source: Source | None = None
    properties: tuple[Property, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    crash: str = ""

    @property
    def diagnostics(self) -> list[Diagnostic]:
        return in_order([*self.findings, *(d for p in self.properties for d in p.diagnostics)])

    @property
    def holds(self) -> bool:
        return (
            not self.crash and not any(map(counts, self.findings)) and all(p.holds for p in self.properties)
        )

    @property
    def proved(self) -> bool:
        """Whether every property holds and nothing is an error; warnings do not count here."""
        wrong = self.crash or any(d.severity is Severity.ERROR for d in self.findings)
        return not wrong and all(p.accepted for p in self.properties)


@dataclass(frozen=True, slots=True)
class Report:
    """Specs in the order in which they were given, and findings that belong to none of them."""

    specs: tuple[Checked, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    texts: Mapping[str, Source] = field(default_factory=dict)

    @classmethod
    def of(
        cls, diagnostics: Iterable[Diagnostic], sources: Mapping[str, Source] | Iterable[Source] = ()
    ) -> Report:
        """Findings alone, with the texts to show them in."""
        texts = sources if isinstance(sources, Mapping) else {source.path: source for source in sources}
        return cls(findings=tuple(diagnostics), texts=texts)

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """Every finding, ordered by place."""
        return in_order([*self.findings, *(d for spec in self.specs for d in spec.diagnostics)])

    def claim_of(self, diagnostic: Diagnostic) -> Property | None:
        """The property that a finding is about; None for what is wrong with a spec itself."""
        properties = (p for spec in self.specs for p in spec.properties)
        return next((p for p in properties if any(d is diagnostic for d in p.diagnostics)), None)

    @property
    def sources(self) -> dict[str, Source]:
        """The text of every file that is known, by its path as spans name it."""
        return {spec.source.path: spec.source for spec in self.specs if spec.source} | dict(self.texts)

    @property
    def holds(self) -> bool:
        return not any(map(counts, self.findings)) and all(spec.holds for spec in self.specs)


__all__ = ["ACCEPTED", "STATUSES", "Checked", "Property", "Report", "counts", "in_order"]
