"""Decoders that were not written here: the sound one is proved, every faulty one refuted where its fault is written."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
import decoder

from mpcompile.diagnostics.render import RENDERERS
from mpcompile.foreign import ForeignClaim, Recording, Unrecordable, answer, checked
from mpcompile.foreign.answers import reading
from mpcompile.foreign.running import difference
from mpcompile.testing import assert_autoregressive, assert_claim
from mpcompile_torch.reader import TorchModel, record

CLAIM = "autoregressive(input_ids -> logits)"


def made(fault: str = "", length: int = 7, batch: int = 1) -> TorchModel:
    torch.manual_seed(0)
    return TorchModel(decoder.Decoder(fault).eval(), {"input_ids": decoder.ids(length, batch)})


def ask(model: TorchModel, text: str = CLAIM):  # type: ignore[no-untyped-def]
    recording = model.record()
    assert difference(recording) < 1e-5
    return answer(recording, ForeignClaim.parse(text), model)


def test_a_sound_decoder_is_proved_and_complete() -> None:
    for length in (1, 2, 7):
        assert str(ask(made(length=length), f"{CLAIM[:-1]}, order = axis 1)").status) == "proved"
    assert str(ask(made(), "complete(input_ids -> logits)").status) == "proved"
    assert "-6..0" in ask(made(), "receptive_field(input_ids -> logits)").reason
    assert str(ask(made(), f"{CLAIM[:-1]}, sees = before)").status) == "refuted"
    assert str(ask(made(batch=2), "independent(batch -> logits)").status) == "proved"


@pytest.mark.parametrize("fault", decoder.FAULTS)
def test_a_fault_is_refuted_confirmed_and_found(fault: str) -> None:
    found = ask(made(fault))
    assert str(found.status) == "refuted"
    assert found.change is not None and found.change.real
    read, reader = found.place
    assert read > reader
    lines = inspect.getsource(decoder).splitlines()
    wanted = 1 + next(i for i, line in enumerate(lines) if line.endswith("# " + decoder.FAULTS[fault]))
    culprit = found.path[found.culprit].node.span
    assert Path(culprit.path).name == "decoder.py"
    # the place of the mask is not on the path: what it lets through shows at the softmax
    near = abs(culprit.line - wanted)
    assert near <= (9 if fault == "off by one" else 3), (culprit.line, wanted)


@pytest.mark.parametrize("fault", ["", "off by one", "pooling", "wrong length"])
def test_sets_are_those_that_runs_show(fault: str) -> None:
    """No dependence is missed, and none is reported that no run has: each token is replaced by others."""
    from mpcompile.foreign.running import changes

    model = made(fault, length=5)
    recording = model.record()
    claim = ForeignClaim("autoregressive", "input_ids", "logits", 1)
    found = reading(recording, claim)
    seen = np.array([[c.real for c in changes(model, recording, "input_ids", (slice(None), t), "logits", 1)]
                     for t in range(5)]).T  # fmt: skip
    np.testing.assert_array_equal(found, seen)


# Traps ------------------------------------------------------------------------------------------------


class Padded(nn.Module):
    """A mask given as an input, added as the smallest number: a row with nothing else is uniform."""

    def __init__(self, number: float, fill: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(23, 8)
        self.number, self.fill = number, fill

    def forward(self, input_ids: torch.Tensor, attend: torch.Tensor) -> torch.Tensor:
        x = self.embed(input_ids)
        n = x.shape[1]
        seen = torch.ones(n, n, dtype=torch.bool).tril() & attend[:, None, :].bool()
        scores = x @ x.transpose(-2, -1)
        scores = scores.masked_fill(~seen, self.number) if self.fill else scores + (~seen) * self.number
        return scores.softmax(-1) @ x


def test_margins_of_finite_masks() -> None:
    torch.manual_seed(0)
    inputs = {"input_ids": decoder.ids(), "attend": torch.ones(1, 7, dtype=torch.long)}
    claim = "autoregressive(input_ids -> output, order = axis 1)"
    for number, holds in ((float("-inf"), True), (-1e30, True), (-1e4, False)):
        report = checked(TorchModel(Padded(number, True), inputs), [claim])
        assert [p.status for p in report.specs[0].properties] == ["proved"]
        assert report.holds is holds  # a mask of -1e4 is a warning
    assert "MP703" in RENDERERS["concise"](report, False)
    found = checked(TorchModel(Padded(-5.0, True), inputs), [claim])
    assert [p.status for p in found.specs[0].properties] == ["refuted"]


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1) if x[0, 0] < 9 else x.flip(1)


class Cancels(nn.Module):
    """Reads ahead on paths that cancel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.sum(1, keepdim=True)
        return x.cumsum(1) + total - total


class Sorts(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.sort(1).values - x.sort(1).values


class Strange(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(torch.eye(len(x)).to_sparse(), x)


class Exported(nn.Module):
    """Another program when it is compiled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1) if torch.compiler.is_compiling() else x.flip(1)


def test_traps_are_answered_as_such() -> None:
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    claim = "autoregressive(x -> output, order = axis 1)"
    branch = TorchModel(Branch(), {"x": x})
    assert len(branch.record().reads) == 1 and str(ask(branch, claim).status) == "proved"
    assert "MP704" in RENDERERS["concise"](checked(branch, [claim]), False)
    cancels = ask(TorchModel(Cancels(), {"x": x}), claim)
    assert (str(cancels.status), "no run" in cancels.reason or "cancels" in cancels.reason) == (
        "undecided",
        True,
    )
    sorts = ask(TorchModel(Sorts(), {"x": x}), claim)
    assert (str(sorts.status), "`sort` is known from above only" in sorts.reason) == ("undecided", True)
    assert str(ask(TorchModel(Exported(), {"x": x}), claim).status) == "refuted"
    with pytest.raises(Unrecordable, match=r"test_decoders.py:\d+.*no rule for the operation _sparse_addmm"):
        record(Strange(), {"x": x[0, :4].reshape(2, 2)})


class Solves(nn.Module):
    def __init__(self, upper: bool) -> None:
        super().__init__()
        self.upper = upper

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        matrix = 3 * torch.eye(x.shape[1]) + x @ x.mT
        return torch.linalg.solve_triangular(matrix, x, upper=self.upper)


class Marks(nn.Module):
    """The largest element of each row is taken out: read along features, not along the order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.scatter(-1, x.argmax(-1, keepdim=True), float("-inf")).softmax(-1)


def test_bounds_of_operations_without_a_primitive() -> None:
    x = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(2))
    claim = "autoregressive(x -> output, order = axis 1)"
    # x @ xT alone has every column; a lower triangle reads those up to its row
    lower, upper = (TorchModel(Solves(up), {"x": x}) for up in (False, True))
    assert str(ask(upper, claim).status) == "refuted"
    found = ask(lower, claim)
    assert str(found.status) == "undecided" and "linalg_solve_triangular" in found.reason
    assert str(ask(TorchModel(Marks(), {"x": x}), claim).status) == "proved"


class Draws(nn.Module):
    """What is drawn from a distribution that reads the input reads the input."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.flip(1)
        if self.kind == "bernoulli":
            return torch.bernoulli(y.sigmoid())
        if self.kind == "normal":
            return torch.normal(y)
        if self.kind == "multinomial":
            return torch.multinomial(y.exp(), 5, replacement=True).float()
        return torch.native_dropout(y, 0.5, True)[0]


@pytest.mark.parametrize("kind", ["bernoulli", "normal", "multinomial", "dropout"])
def test_draws_depend_on_what_they_are_drawn_from(kind: str) -> None:
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    recording = TorchModel(Draws(kind), {"x": x}).record()
    claim = ForeignClaim.parse("autoregressive(x -> output, order = axis 1)")
    assert str(answer(recording, claim).status) == "refuted"


class Second(nn.Module):
    """A result that no rule tells: statistics of the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.ops.aten.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[1]
        return x + mean[None, :, None]


def test_results_that_a_rule_does_not_tell_are_not_known() -> None:
    x = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(1))
    recording = TorchModel(Second(), {"x": x}).record()
    claim = ForeignClaim.parse("autoregressive(x -> output, order = axis 2)")
    assert difference(recording) < 1e-5 and str(answer(recording, claim).status) == "refuted"


class Floored(nn.Module):
    """max(scores + mask, -5) masks nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[1]
        mask = torch.full((n, n), -1e9).triu(1)
        return torch.clamp(x @ x.mT + mask, min=-5.0).softmax(-1) @ x


class Scaled(nn.Module):
    """A mask that is filled in before scores are scaled, by positive numbers or by others."""

    def __init__(self, scale: float, number: float = torch.finfo(torch.float32).min) -> None:
        super().__init__()
        self.number = number
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ahead = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (x @ x.mT).masked_fill(ahead, self.number)
        return (scores / self.scale if abs(self.scale) > 1 else scores * self.scale).softmax(-1) @ x


def test_masks_are_scaled_with_scores() -> None:
    x = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1))
    claim = "autoregressive(x -> output, order = axis 1)"
    for scale, number, status in ((8.0, -3e38, "proved"), (0.5, -3e38, "proved"), (-0.5, -3e38, "refuted"),
                                  (1e-9, -1e9, "refuted"), (0.0, -3e38, "refuted")):  # fmt: skip
        assert str(ask(TorchModel(Scaled(scale, number), {"x": x}), claim).status) == status, scale


def test_a_mask_behind_a_floor_is_none() -> None:
    x = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1))
    claim = "autoregressive(x -> output, order = axis 1)"
    assert str(ask(TorchModel(Floored(), {"x": x}), claim).status) == "refuted"


def test_rows_that_inputs_may_mask_whole_are_named() -> None:
    torch.manual_seed(0)
    inputs = {"input_ids": decoder.ids(), "attend": torch.ones(1, 7, dtype=torch.long)}
    claim = "autoregressive(input_ids -> output, order = axis 1)"
    found = checked(TorchModel(Padded(-1e30, True), inputs), [claim]).specs[0].properties[0]
    assert found.status == "proved" and "leave every row something" in found.how
    padded = {**inputs, "attend": torch.tensor([[0, 0, 1, 1, 1, 1, 1]])}
    model = TorchModel(Padded(-1e30, True), padded)
    model.inputs.pop("attend")  # known: then rows are found to be masked whole
    model.call = lambda m, input_ids: m(input_ids, padded["attend"])
    assert str(ask(model, claim).status) == "refuted"


def test_what_is_not_seen_to_be_read_is_not_complete() -> None:
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    claim = "complete(x -> output, order = axis 1)"
    found = ask(TorchModel(Cancels(), {"x": x}), claim)
    assert str(found.status) == "proved"  # the running sum is there beside what cancels

    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.cumsum(1) - x.cumsum(1)

    assert str(ask(TorchModel(Nothing(), {"x": x}), claim).status) == "undecided"


class Misread(TorchModel):
    """A reader's fault: it says of one model what another one is."""

    def record(self) -> Recording:
        found = super().record()
        return replace(found, outputs={k: v + 1 for k, v in found.outputs.items()})


def test_codes_of_what_has_no_answer() -> None:
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    claim = "autoregressive(x -> output, order = axis 1)"
    told = {
        "MP700": checked(TorchModel(Strange(), {"x": x.reshape(2, 2)}), [claim]),
        "MP702": checked(TorchModel(Cancels(), {"x": x}), [claim]),
        "MP705": checked(Misread(Branch(), {"x": x}), [claim]),
        "MP706": checked(TorchModel(Branch(), {"x": x}), ["autoregressive(y -> output)"]),
    }
    assert {"MP700", "MP702", "MP705", "MP706"} == set(told)
    for code, report in told.items():
        assert not report.holds and code in RENDERERS["concise"](report, False)


def test_a_module_is_as_it_was() -> None:
    torch.manual_seed(0)
    module = decoder.Decoder().eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    TorchModel(module, {"input_ids": decoder.ids()}).record()
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert set(record(module, {"input_ids": decoder.ids()}).parameters) <= set(before)


# The doors --------------------------------------------------------------------------------------------


def test_assertions() -> None:
    torch.manual_seed(0)
    assert_autoregressive(decoder.Decoder(), {"input_ids": decoder.ids()}, "logits")
    with pytest.raises(AssertionError, match=r"(?s)logits at 0 reads input_ids at 2.*decoder.py:\d+"):
        assert_autoregressive(decoder.Decoder("off by one"), {"input_ids": decoder.ids()})
    with pytest.raises(AssertionError, match="no output is named 'logit'"):
        assert_claim(decoder.Decoder(), {"input_ids": decoder.ids()}, "autoregressive(input_ids -> logit)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("autoregresive(x -> y)", "no claim is named 'autoregresive'"),
        ("autoregressive x", "is no claim"),
        ("autoregressive(x -> y, order = 1)", "is no option"),
        ("autoregressive(x -> y, sees = all)", "is no option"),
        ("independent(batch -> y, order = axis 1)", "is no option of independent"),
    ],
)
def test_claims_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ForeignClaim.parse(text)


def command(*arguments: str) -> tuple[int, str]:
    from mpcompile.cli.check import check

    app = typer.Typer()
    app.command("check")(check)
    app.command("other")(lambda: None)  # so that the name of a command is asked for
    found = CliRunner().invoke(app, list(arguments))
    return found.exit_code, found.output


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    options = ["--claim", CLAIM]
    assert command("check", "--import-code", "decoder:sound", *options)[0] == 0
    code, said = command("check", "--import-code", "decoder:leaking", *options, "--output-format", "concise")
    assert code == 1 and "MP701" in said
    paths = {line.split(":")[0] for line in said.splitlines() if ".py:" in line}
    assert paths == {"decoder.py"}, said  # from the current folder, as paths of specs are
    for wrong, why, wanted in (
        ("decoder:no", "cannot be imported", 2),
        ("nowhere:x", "cannot be imported", 2),
        ("x", "no factory", 2),
        ("inspect:signature", "the factory inspect:signature fails: TypeError", 1),
    ):
        code, said = command("check", "--import-code", wrong, *options)
        assert code == wanted and why in said
    assert command("check", "--import-code", "decoder:sound")[0] == 2
