"""The answer to one claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mpcompile.diagnostics import Diagnostic
from mpcompile.ir import Claim

#: Length at which sequences of symbolic length are analysed where no rule covers every length.
LENGTH = 8


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim.

    `status` is proved, refuted or unproven (no rule); `how` says by which analysis and for which sizes; `detail`
    holds numbers for reports.
    """

    claim: Claim
    status: str
    how: str
    diagnostics: tuple[Diagnostic, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


def sizes(env: Mapping[str, int]) -> str:
    """The sizes that a verdict holds for, as text: ` at time = 8`, or nothing where every size is fixed."""
    rest = [f"{k} = {v}" for k, v in env.items() if k != "N"]
    return f" at {', '.join(rest)}" if rest else ""
