"""Claims against numbers: path lengths against powers of a Jacobian's pattern, padding against runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mpcompile.foreign import ForeignClaim, Unclear, answer, checked
from mpcompile.foreign.running import difference
from mpcompile_torch.reader import TorchModel


def ask(model: TorchModel, text: str):  # type: ignore[no-untyped-def]
    recording = model.record()
    assert difference(recording) < 1e-5
    return answer(recording, ForeignClaim.parse(text), model)


class Window(nn.Module):
    """Attention to the `width` last places, `layers` times, with skips."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.width, self.parts = width, nn.ModuleList(nn.Linear(4, 4) for _ in range(layers))

    def one(self, part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[1]
        near = torch.ones(n, n, dtype=torch.bool).tril().triu(1 - self.width)
        scores = (x @ x.mT).masked_fill(~near, float("-inf"))
        return x + part(scores.softmax(-1) @ x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = self.one(part, x)
        return x


@pytest.mark.parametrize(("width", "layers"), [(7, 1), (3, 1), (3, 2), (3, 4)])
def test_path_lengths_are_those_of_powers_of_one_layer(width: int, layers: int) -> None:
    """A pair is k steps apart where the pattern of one layer's Jacobian joins it in its k-th power and in none before."""
    torch.manual_seed(0)
    model, x = Window(width, layers), torch.randn(1, 7, 4)
    jacobian = torch.autograd.functional.jacobian(lambda v: model.one(model.parts[0], v), x)
    reads = (jacobian[0].abs().amax((1, 2, 4)) > 1e-9).numpy()  # type: ignore[union-attr]
    power, longest = np.eye(7, dtype=bool), 0
    for k in range(1, layers + 1):
        further = (power.astype(int) @ reads) > 0
        longest, power = (k if (further & ~power).any() else longest), further
    found = ask(TorchModel(model, {"x": x}), "path_length(x -> output, order = axis 1)")
    assert found.reason.startswith(f"{longest} mixing step")


def test_a_path_may_have_no_more_steps_than_are_allowed() -> None:
    torch.manual_seed(0)
    model = TorchModel(Window(3, 2), {"x": torch.randn(1, 7, 4)})
    assert str(ask(model, "path_length(x -> output, order = axis 1, most = 2)").status) == "proved"
    found = checked(model, ["path_length(x -> output, order = axis 1, most = 1)"])
    assert not found.holds and "more than 1" in found.diagnostics[0].message


class Pads(nn.Module):
    """Scores of padded places are removed, or not; `pool` gives one result for all places."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.embed, self.conv, self.way = nn.Embedding(23, 6), nn.Conv1d(6, 6, 3, padding=1), way

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        if self.way == "lengths":
            real = torch.arange(ids.shape[1]) < real[:, None]
        seen = real.bool()
        if self.way in ("conv", "masked conv"):
            x = x * seen[..., None] if self.way == "masked conv" else x
            return self.conv(x.mT).mT
        if self.way in ("pool", "mean", "lengths"):
            return (
                x.mean(1) if self.way == "mean" else (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
            )
        if self.way == "batch":
            return x + x.mean(0, keepdim=True)
        scores = x @ x.mT
        if self.way == "smallest":
            scores = scores + (1.0 - real[:, None].to(x.dtype)) * torch.finfo(torch.float32).min
        elif self.way != "forgotten":
            scores = scores.masked_fill(~seen[:, None], -5.0 if self.way == "small" else float("-inf"))
        return scores.softmax(-1) @ x


@pytest.mark.parametrize(
    "way",
    ["filled", "smallest", "small", "forgotten", "conv", "masked conv", "pool", "mean", "batch", "lengths"],
)
def test_padding_is_what_runs_show(way: str) -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    real = torch.tensor([3, 4]) if way == "lengths" else mask
    if way == "lengths":
        mask = (torch.arange(5) < real[:, None]).long()
    ids = torch.randint(0, 23, (2, 5))
    model = TorchModel(Pads(way).eval(), {"ids": ids, "real": real})
    plain = model.module(ids, real)
    moved = torch.zeros_like(plain)
    for row, place in (mask == 0).nonzero():
        for step in (1, 5, 11):
            other = ids.clone()
            other[row, place] = (other[row, place] + step) % 23
            moved = torch.maximum(moved, (model.module(other, real) - plain).abs())
    leaks = moved[mask == 1] if moved.ndim > 2 else moved
    found = ask(model, "padding(ids -> output, mask = real)")
    assert str(found.status) == ("refuted" if bool((leaks > 1e-6).any()) else "proved"), way
    assert ("differ by less" in found.reason) is (way == "smallest")
    if found.change is not None:
        assert found.change.real and found.path


def test_a_mask_may_say_what_is_padded() -> None:
    torch.manual_seed(0)
    ids, pad = torch.randint(0, 23, (2, 5)), torch.tensor([[True, True, False, False, False], [False] * 5])
    model = TorchModel(Pads("filled"), {"ids": ids, "pad": pad}, lambda m, ids, pad: m(ids, ~pad))
    assert str(ask(model, "padding(ids -> output, mask = not pad)").status) == "proved"
    assert str(ForeignClaim.parse("padding(ids -> y, mask = not pad)")) == "padding(ids -> y, mask = not pad)"


def test_padding_that_is_no_claim() -> None:
    ids = torch.randint(0, 23, (2, 5))
    model = TorchModel(Pads("filled"), {"ids": ids, "real": torch.ones(2, 5, dtype=torch.long)})
    with pytest.raises(Unclear, match="pads nothing in the recorded call"):
        ask(model, "padding(ids -> output, mask = real)")
    with pytest.raises(Unclear, match="no input is named 'mask'"):
        ask(model, "padding(ids -> output, mask = mask)")
    with pytest.raises(Unclear, match="real cannot be its own mask"):
        ask(model, "padding(real -> output, mask = real)")
    for text in ("padding(ids -> y)", "padding(ids -> y, order = axis 1)", "path_length(x -> y, most = all)"):
        with pytest.raises(ValueError, match=r"mask = NAME|most = N"):
            ForeignClaim.parse(text)


class Coupling(nn.Module):
    """The first half passes, and moves the second."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        a, b = input.chunk(2, -1)
        return torch.cat([a, b * torch.sigmoid(self.net(a)) + a], -1)


@pytest.mark.parametrize(
    ("module", "status", "words"),
    [(nn.Sigmoid(), "proved", "diagonal"), (Coupling(), "proved", "triangular"),
     (nn.Linear(4, 4), "undecided", "not shown to be triangular")],
    ids=["diagonal", "triangular", "dense"],
)  # fmt: skip
def test_the_structure_of_a_jacobian(module: nn.Module, status: str, words: str) -> None:
    model = TorchModel(module, {"input": torch.randn(1, 4)})
    (found,) = checked(model, ["jacobian(input -> output)"]).specs[0].properties
    assert found.status == status and found.method.startswith(words)


class Scaled(nn.Module):
    """Scales everything by a number that the code reads: the largest, or that of the first place of each example."""

    def __init__(self, most: bool) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        return x * (float(x.abs().max()) if self.most else float(real[0, 0]))


def test_a_number_that_the_code_reads_joins_examples_and_padded_places() -> None:
    x, real = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)), torch.ones(2, 5)
    real[:, 3:] = 0
    for most, word in ((True, "refuted"), (False, "proved")):
        model = TorchModel(Scaled(most), {"x": x, "real": real})
        for text in ("independent(batch -> output)", "padding(x -> output, mask = real)"):
            assert str(ask(model, text).status) == ("refuted" if text[0] == "i" else word)
