"""The claims that can be proven: one file each, one row here.

A rule takes the module and the claim. It answers with a `Verdict` (`analysis/verdict.py` lists the ways to make one),
or raises `NoRule` or `TooLarge`, which leaves the claim undecided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from mpcompile.analysis.verdict import Verdict
from mpcompile.ir import Claim, Module

Rule = Callable[[Module, Claim], Verdict]


@dataclass(frozen=True)
class Kind:
    """A kind of claim, and how a spec states it.

    name        as it is written; also of the file in this folder, and of the function in it that answers
    laws        keywords of the laws that its variable may have; empty: any, or none
    lacks       what is said of a variable with another law: `x` has no ...
    ordered     whether it is about the order of an autoregressive variable
    about       what it is said of
    number      whether a number is compared with it
    structures  what may stand behind `is`
    matrix      whether it names a matrix of parents behind the variable
    promised    whether every model makes it (`always`), or one that states the lengths of its sequences (`lengths`), or
                several laws (`laws`); then no spec states it
    allowable   whether a spec may allow that it is refuted
    regions     whether a proof may be of a model of fewer layers (`analysis/few.py`): its rule asks only what settles
    axis        whether it names an axis behind the variable
    rule        the function, for a kind that has no file here
    """

    name: str
    laws: tuple[str, ...] = ()
    lacks: str = ""
    ordered: bool = False
    about: Literal["a variable", "the model"] = "a variable"
    number: Literal["never", "perhaps", "always"] = "never"
    structures: tuple[str, ...] = ()
    promised: Literal["", "always", "lengths", "laws"] = ""
    matrix: bool = False
    allowable: bool = False
    regions: bool = False
    axis: bool = False
    rule: Rule | None = None

    def answer(self, module: Module, claim: Claim) -> Verdict:
        """The verdict. The file is imported now: a spec makes few kinds of claims, and start-up is half of a check."""
        rule: Rule = self.rule or getattr(import_module(f"{__name__}.{self.name}"), self.name)
        return rule(module, claim)

    @property
    def usage(self) -> str:
        """The form in which a spec states the claim."""
        said = {"never": "", "perhaps": "", "always": " <= 8"}[self.number]
        named = f"{self.name}(x, node)" if self.axis else f"{self.name}(x)"
        if self.matrix:
            return f"{self.name}(x, m), where `mask m = ...` is a matrix of parents"
        return (named if self.about == "a variable" else self.name) + said


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("autoregressive", ("autoregressive",), "has no autoregressive density", ordered=True, regions=True),
        Kind("complete", ("autoregressive", "flow"), "has no autoregressive density or flow", ordered=True,
             allowable=True, regions=True),
        Kind("equivariant"),
        Kind("flops", about="the model", number="always"),
        Kind("follows", ("autoregressive", "flow"), "has no autoregressive density or flow", ordered=True, matrix=True),
        Kind("independent", about="the model", promised="always", regions=True),
        Kind("jacobian", ("flow",), "is not the variable of a flow", structures=("diagonal", "triangular", "dense")),
        Kind("joint", about="the model", promised="laws"),
        Kind("linear"),
        Kind("padding", about="the model", promised="lengths"),
        Kind("parameters", about="the model", number="perhaps", regions=True),
        Kind("path_length", number="always", regions=True),
        Kind("receptive_field", number="perhaps", regions=True),
        Kind("no_blind_spot", ordered=True, regions=True),
        Kind("symmetric", axis=True),
        Kind("transformed", ("flow",), "is not the variable of a flow"),
    )
}  # fmt: skip

__all__ = ["KINDS", "Kind", "Rule"]
