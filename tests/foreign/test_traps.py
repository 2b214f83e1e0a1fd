"""Traps: modules whose recording could say what does not run, and constructs that are answered or refused by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mpcompile.diagnostics.report import Report
from mpcompile.foreign import checked
from mpcompile_torch.reader import TorchModel

CLAIM = "autoregressive(x -> output, order = axis 1)"


def x(places: int = 5, width: int = 4) -> torch.Tensor:
    return torch.randn(1, places, width, generator=torch.Generator().manual_seed(1))


def report(module: nn.Module, given: torch.Tensor | None = None, **how: bool) -> Report:
    return checked(TorchModel(module.eval(), {"x": x() if given is None else given}), [CLAIM], **how)


def status(module: nn.Module, given: torch.Tensor | None = None) -> str:
    torch.manual_seed(0)
    found = report(module, given)
    assert found.specs[0].properties, [d.message for d in found.diagnostics]
    return found.specs[0].properties[0].status


class Of(nn.Module):
    """A module of a function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


# A second opinion ---------------------------------------------------------------------------------------


class Asks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():  # HERE
            return x.cumsum(1)
        return x.flip(1)


def test_the_exported_program_is_compared_with_what_runs() -> None:
    found = report(Asks(), second=True)
    codes = {d.code: d for d in found.diagnostics}
    assert set(codes) == {"MP701", "MP710"}
    line = codes["MP710"].span
    assert found.texts[line.path].text.splitlines()[line.line - 1].endswith("# HERE")
    same = report(Of(lambda x: x.cumsum(1)), second=True)
    assert same.holds and not same.diagnostics
    branch = report(Of(lambda x: x.cumsum(1) if x.min() < 0 else x.flip(1)), second=True)
    assert {d.code for d in branch.diagnostics} == {"MP704", "MP711"} and branch.holds
    function = TorchModel(nn.Linear(4, 4), {"x": x()}, lambda module, x: module(x).cumsum(1))
    assert not checked(function, [CLAIM], second=True).diagnostics
