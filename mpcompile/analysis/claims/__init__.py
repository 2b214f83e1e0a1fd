"""The claims that can be proven: one file each, one row here.

A rule takes the module and the claim. It answers with a `Verdict` (`analysis/verdict.py` lists the ways to make one),
or raises `NoRule` or `TooLarge`, which leaves the claim undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

from mpcompile.analysis.verdict import Verdict
from mpcompile.ir import Claim, Module

Rule = Callable[[Module, Claim], Verdict]


class _Rules(Mapping[str, Rule]):
    """Rules by the kind of claim: of each the function of its name in the file of its name.

    A file is imported when its rule is asked for, as a spec makes few kinds of claims and start-up is half of a check.
    """

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds

    def __getitem__(self, kind: str) -> Rule:
        if kind not in self.kinds:
            raise KeyError(kind)
        rule: Rule = getattr(import_module(f"{__name__}.{kind}"), kind)
        return rule

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)

    def __len__(self) -> int:
        return len(self.kinds)


RULES = _Rules(
    "autoregressive",
    "complete",
    "independent",
    "jacobian",
    "padding",
    "parameters",
    "path_length",
    "receptive_field",
    "no_blind_spot",
)

__all__ = ["RULES", "Rule"]
