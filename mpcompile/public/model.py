"""Models: read from a spec, and proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mpcompile import api
from mpcompile.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from mpcompile.ir import Module

Status = Literal["proved", "refuted", "undecided", "held", "allowed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one claim of a model.

    claim        as the spec writes it: `autoregressive(x)`
    status       `proved`, `refuted`, `undecided`, `held` (holds where tried) or `allowed` (refuted, with a reason)
    how          one line: by which argument, for which sizes
    scope        the sizes that a proof covers: `every length`; empty where nothing is proved
    method       the argument alone
    assumptions  of the argument
    findings     the diagnostics of a claim that does not hold
    """

    claim: str
    status: Status
    how: str
    scope: str = ""
    method: str = ""
    assumptions: tuple[str, ...] = ()
    findings: tuple[Diagnostic, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether it is proved, or allowed by the spec."""
        return self.status in ("proved", "allowed")

    def _repr_html_(self) -> str:
        """Return a fragment of HTML without scripts: the answer as a row, and the findings below it."""
        from mpcompile.diagnostics.render import render
        from mpcompile.report.notebook import answer

        return answer(self.claim, self.status, self.how, render(self.findings))


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A spec that was read: `load` makes it. In a notebook it shows its graph and its verdicts.

    module     the lowered model. Its class is no part of the public interface
    overrides  the parameters of the spec that `load` changed
    """

    module: Module
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Model {self.name} of {self.path}>"

    @property
    def name(self) -> str:
        """The name of the model in its spec."""
        return self.module.name

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return Path(self.module.source.path)

    @property
    def text(self) -> str:
        """The text of the spec."""
        return self.module.source.text

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter by its dotted name, in order of first use."""
        return {p.name: tuple(p.shape) for p in self.module.parameters.values()}

    @property
    def variables(self) -> dict[str, tuple[int | str, ...]]:
        """The shape of one example of every variable; a length that the data give is the name of it."""
        fields = self.module.fields.values()
        return {f.name: tuple(s if isinstance(s, int) else str(s) for s in f.type.shape[1:]) for f in fields}

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of the programs: `loss`, `log_prob`, `sample`, ..."""
        return tuple(self.module.regions)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The answer to every claim of the spec, and to every claim that its densities imply."""
        found = zip(api.property_names(self.module), api.verdicts(self.module), strict=True)
        return tuple(
            Verdict(name, v.status.value, v.how, str(v.scope or ""), v.method, v.assumptions, v.diagnostics)
            for name, v in found
        )

    def _repr_html_(self) -> str:
        """Return a fragment of HTML without scripts: the layers as a drawing, and the verdicts as a table."""
        from mpcompile.report.notebook import fragment

        return fragment(self.module, [(v.claim, v.status, v.how) for v in self.verdicts])


def load(path: Path | str, overrides: Mapping[str, int | float | str] | None = None) -> Model:
    """Read and lower a spec, a file of `.mp` or `.yaml`. `overrides` set parameters of its `params`.

    Raises `SpecError` with all findings.
    """
    given = {k: str(v) for k, v in (overrides or {}).items()}
    return Model(api.load(path, given), given)


def check(model: Model | Path | str) -> list[Diagnostic]:
    """Return every finding about a model or a spec: first what is refuted or not proven, then warnings.

    For a path that includes why the spec cannot be read: nothing is raised for the text of a spec.
    """
    if isinstance(model, Model):
        proved = dict.fromkeys(d for v in model.verdicts for d in v.findings)  # of claims that repeat, once
        return [*proved, *api.warnings(model.module)]
    try:
        return check(load(model))
    except SpecError as problem:
        return list(problem.diagnostics)


__all__ = ["Model", "Status", "Verdict", "check", "load"]
