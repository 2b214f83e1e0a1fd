"""The answer to one claim, and the only ways to make one.

| status | meaning | `check` | `build` | certificate |
| --- | --- | --- | --- | --- |
| proved | an argument covers exactly `scope` | 0 | yes | yes |
| allowed | refuted, and the spec allows it with a reason | 0 | yes | yes, as allowed |
| refuted | a counterexample at the sizes `at`, with a witness | 1 | never | no |
| undecided | no argument, for `reason`; nothing spoke against it at `checked` | 1 | if `--allow-unproven` | no |
| held | "holds where tried": only runs at the sizes `checked` | 1 | if `--allow-unproven` | no |

How a rule in `claims/` answers:

* **A general argument** (offset sets, counting): `Verdict.proved(claim, Proof(scope_of(graph, covers="lengths"),
  "offset sets"))`. `covers` says what the argument covers: the "declared" sizes, all "lengths" (values of the symbols),
  or all "sizes" (of the spatial axes that have numbers as well). `scope_of` is the only maker of a `Scope`, and it
  refuses the declared sizes where a symbol other than the batch is free.
* **A run at numbers** that found nothing against the claim: `ran([graph], "availability of every element", [sizes])`.
  It gives a `Proof` where the program has no symbol but the batch, and a `Held` otherwise. `Verdict.of(claim, outcome)`
  takes either; a `Held` cannot become a proof.
* **A counterexample**: `Verdict.refuted(claim, method, at, findings)`. `at` are the sizes at which it was found by
  running the rule there.
* **No argument**: raise `NoRule` or `TooLarge`, or give `Verdict.undecided(claim, reason, primitive=..., checked=...)`,
  whose finding MP309 is written here.

Two types of bounds keep a claim from concluding what its analysis cannot show: see `analysis/bounds.py`.

`Verdict.how` is derived from these fields, never written by hand. `docs/proofs.md` says what each answer means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim, Graph, symbols

#: Numbers of symbolic sizes: `{"time": 17}`. The batch `N` may be in it; it is never shown.
Sizes = Mapping[str, int]

#: An assumption of most proofs: a structural zero times an infinite value is NaN in floating point.
FINITE = "values and weights are finite, so zero times anything is zero"
#: An assumption of every proof that something *is* read.
GENERIC = "weights in general position"


class Status(StrEnum):
    """The kinds of answers. `str(status)` is the word that reports, certificates and manifests use."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    HELD = "held"
    ALLOWED = "allowed"

    @property
    def accepted(self) -> bool:
        """Whether a check passes and a build goes on without a flag."""
        return self in (Status.PROVED, Status.ALLOWED)


# --- scopes ---


class Scope:
    """The sizes that a proof covers. Made by `scope_of` alone.

    text     "every length", "every size" or "the declared sizes"
    symbols  free symbols of the programs that it was computed from, without the batch
    """

    __slots__ = ("symbols", "text")

    def __init__(self, text: str, symbols: frozenset[str], key: object) -> None:
        if key is not _KEY:
            raise TypeError("a Scope is made by `scope_of`")
        self.text, self.symbols = text, symbols

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Scope({self.text!r}, {sorted(self.symbols)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and (self.text, self.symbols) == (other.text, other.symbols)

    def __hash__(self) -> int:
        return hash((self.text, self.symbols))


_KEY = object()


class Sampled(ValueError):
    """A claim of the declared sizes about a program in which symbols are free: a developer's mistake."""


def free_symbols(*graphs: Graph) -> frozenset[str]:
    """Return every symbol but the batch that a size in these programs mentions, wherever it stands."""
    found: set[str] = set()
    for graph in graphs:
        found.update(graph.symbols())
        for value in graph.inputs.values():
            for size in value.shape:
                found |= symbols(size)
    return frozenset(found - {"N"})


def scope_of(*graphs: Graph, covers: Literal["declared", "lengths", "sizes"]) -> Scope:
    """Return the scope of an argument about these programs.

    `covers` is what the argument is independent of: nothing ("declared"), the values of all symbols ("lengths"), or
    those and the declared numbers of spatial axes ("sizes"). Without symbols, every length is the declared sizes.
    Raises `Sampled` for the declared sizes of programs with free symbols.
    """
    free = free_symbols(*graphs)
    if covers == "sizes":
        return Scope("every size", free, _KEY)
    if covers == "lengths" and free:
        return Scope("every length", free, _KEY)
    if free:
        raise Sampled(f"{', '.join(sorted(free))} has no declared size")
    return Scope("the declared sizes", free, _KEY)


# --- outcomes ---


@dataclass(frozen=True, slots=True)
class Proof:
    """An argument: what it covers, its method in a few words, and what it takes for granted."""

    scope: Scope
    method: str
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Runs at sampled sizes that found nothing against a claim. Never a proof."""

    method: str
    checked: tuple[Sizes, ...]


def ran(
    graphs: Iterable[Graph], method: str, checked: Sequence[Sizes], assumptions: tuple[str, ...] = ()
) -> Proof | Held:
    """Judge runs that found nothing against a claim: they are a proof iff every size of the programs is declared."""
    graphs = list(graphs)
    if free_symbols(*graphs):
        return Held(method, tuple(dict(s) for s in checked))
    return Proof(scope_of(*graphs, covers="declared"), method, assumptions)


# --- verdicts ---


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim. Made by its class methods; any other combination of fields raises `ValueError`.

    method       the analysis, in a few words
    scope        of a proof (and of what is allowed, if it was decided for a scope)
    assumptions  of the argument
    at           sizes of a counterexample
    checked      sizes at which nothing spoke against the claim
    reason       why nothing is decided; `primitive` is the operation to blame, if one is
    members      of how many members of a mixture over orders this is the answer
    detail       numbers for reports
    """

    claim: Claim
    status: Status
    method: str
    scope: Scope | None = None
    assumptions: tuple[str, ...] = ()
    at: Sizes = field(default_factory=dict)
    checked: tuple[Sizes, ...] = ()
    reason: str = ""
    primitive: str = ""
    members: int = 1
    diagnostics: tuple[Diagnostic, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lacking = {
            Status.PROVED: not (isinstance(self.scope, Scope) and self.method),
            Status.REFUTED: not (self.diagnostics and self.method),
            Status.UNDECIDED: not (self.reason and self.diagnostics),
            Status.HELD: not (self.method and self.checked and self.diagnostics),
            Status.ALLOWED: not self.method,
        }[self.status]
        if lacking or (self.scope is not None and not self.status.accepted):
            raise ValueError(f"no verdict `{self.status}` can be made like this")

    @classmethod
    def proved(
        cls,
        claim: Claim,
        proof: Proof,
        detail: Mapping[str, Any] | None = None,
        warnings: tuple[Diagnostic, ...] = (),
    ) -> Verdict:
        """A proof; `warnings` are findings that do not touch it."""
        return cls(
            claim, Status.PROVED, proof.method, proof.scope, proof.assumptions, diagnostics=warnings,
            detail=detail or {},
        )  # fmt: skip

    @classmethod
    def of(cls, claim: Claim, outcome: Proof | Held, detail: Mapping[str, Any] | None = None) -> Verdict:
        """Proved or held, as the outcome is."""
        if isinstance(outcome, Proof):
            return cls.proved(claim, outcome, detail)
        where = f"{claim} holds{sizes_text(outcome.checked)} and is not proved for other sizes"
        finding = Diagnostic("MP309", where, claim.span, help=_GO_ON)
        return cls(
            claim, Status.HELD, outcome.method, checked=outcome.checked, diagnostics=(finding,), detail=detail or {}
        )  # fmt: skip

    @classmethod
    def refuted(
        cls,
        claim: Claim,
        method: str,
        at: Sizes,
        findings: Sequence[Diagnostic],
        detail: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """A counterexample at some sizes, with the findings that show it."""
        return cls(
            claim, Status.REFUTED, method, at=dict(at), diagnostics=tuple(findings), detail=detail or {}
        )

    @classmethod
    def undecided(
        cls,
        claim: Claim,
        reason: str,
        primitive: str = "",
        checked: Sequence[Sizes] = (),
        detail: Mapping[str, Any] | None = None,
        help: str = "",
    ) -> Verdict:
        """Return the verdict that a claim is undecided, with the reason."""
        tried = tuple(dict(s) for s in checked)
        notes = (f"nothing speaks against it{sizes_text(tried)}",) if sizes_text(tried) else ()
        finding = Diagnostic(
            "MP309", f"{claim} is undecided: {reason}", claim.span, notes=notes, help=help or _GO_ON
        )  # fmt: skip
        return cls(
            claim, Status.UNDECIDED, "", checked=tried, reason=reason, primitive=primitive,
            diagnostics=(finding,), detail=detail or {},
        )  # fmt: skip

    def allowed(self) -> Verdict:
        """The same answer where the spec allows that the claim is refuted."""
        return replace(self, status=Status.ALLOWED, diagnostics=())

    @property
    def how(self) -> str:
        """The analysis and the sizes behind the verdict, as text."""
        each = f"; each of {self.members} orders and masks" if self.members > 1 else ""
        if self.status is Status.PROVED:
            return f"{self.method}, for {self.scope}{each}"
        if self.status is Status.UNDECIDED:
            tried = sizes_text(self.checked)
            return self.reason + (f"; nothing speaks against it{tried}" if tried else "")
        if self.status is Status.HELD:
            return f"{self.method}, only tried{sizes_text(self.checked)}{each}"
        return f"{self.method}{sizes_text([self.at])}{each}"


_GO_ON = "`mpcompile build SPEC --allow-unproven` builds it all the same, and the manifest says so"


def sizes_text(many: Sequence[Sizes]) -> str:
    """Format sizes: ` at time = 1, 2, 3`, or ` at (time, frames) = (1, 2), (3, 4)`; nothing without symbols."""
    names = list(dict.fromkeys(k for sizes in many for k in sizes if k != "N"))
    if not names:
        return ""
    if len(names) == 1:
        return f" at {names[0]} = {', '.join(str(s[names[0]]) for s in many)}"
    if len(many) == 1:
        return " at " + ", ".join(f"{k} = {many[0][k]}" for k in names)
    tuples = ("(" + ", ".join(str(s[k]) for k in names) + ")" for s in many)
    return f" at ({', '.join(names)}) = {', '.join(tuples)}"


__all__ = [
    "FINITE",
    "GENERIC",
    "Held",
    "Proof",
    "Sampled",
    "Scope",
    "Sizes",
    "Status",
    "Verdict",
    "free_symbols",
    "ran",
    "scope_of",
    "sizes_text",
]
