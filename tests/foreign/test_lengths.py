"""Every length: what is fitted at three lengths is what runs at a fourth, and no change at some length is overseen."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import decoder

from mpcompile.foreign import ForeignClaim, Sized, checked
from mpcompile.foreign.answers import along, completed, reading
from mpcompile.foreign.lengths import Apart, everywhere, fitted
from mpcompile.foreign.lengths.constants import Alike, Anything, Line, Mask, classify
from mpcompile.foreign.lengths.sizes import LENGTH, polynomial
from mpcompile.ir import DType, Type
from mpcompile.testing import assert_autoregressive
from mpcompile_torch.reader import TorchModel

CLAIM = "autoregressive(input_ids -> logits, order = axis 1)"
EVERY = "every length at which the model runs these operations: fitted at 11, 13, 17, checked at 29"


def asked(module: nn.Module, *claims: str, batch: int = 1):  # type: ignore[no-untyped-def]
    sized = Sized("model", lambda n: TorchModel(module, {"input_ids": decoder.ids(n, batch)}))
    (spec,) = checked(sized, claims or (CLAIM,)).specs
    return spec


def program(module: nn.Module, lengths: tuple[int, ...] = (7, 8, 10, 12)):  # type: ignore[no-untyped-def]
    found = {n: TorchModel(module, {"input_ids": decoder.ids(n)}).record() for n in lengths}
    return fitted(found), found


def test_a_decoder_is_proved_for_every_length() -> None:
    torch.manual_seed(0)
    claims = (
        CLAIM,
        "receptive_field(input_ids -> logits)",
        "independent(batch -> logits)",
        f"{CLAIM[:-1]}, sees = before)",
    )
    spec = asked(decoder.Decoder(layers=1).eval(), *claims, batch=2)
    assert [p.status for p in spec.properties] == ["proved", "proved", "proved", "refuted"]
    # linear layers merge examples and places, so that sets of examples are shown at the lengths alone
    assert [EVERY in p.how for p in spec.properties] == [True, True, False, False]
    assert "offsets within ..0" in spec.properties[1].how
    assert "at length 11" in spec.properties[3].how
    module = decoder.Decoder(layers=1).eval()
    assert_autoregressive(module, lambda n: {"input_ids": decoder.ids(n)}, output="logits")
    with pytest.raises(AssertionError, match="MP701"):
        assert_autoregressive(
            module, lambda n: {"input_ids": decoder.ids(n)}, output="logits", sees="before", lengths=(7, 9)
        )


@pytest.mark.parametrize("change", ["window", "chunks", "routed"])
def test_sets_of_every_length_bound_those_of_another(change: str) -> None:
    """At a length that is neither fitted nor checked, each pair that is read lies within the offsets."""
    module = decoder.Lengthy(change).eval()
    whole, found = program(module)
    claim = ForeignClaim.parse("receptive_field(input_ids -> logits, order = axis 1)")
    claim = completed(found[7], claim)
    said = str(everywhere(whole, claim, along(found[7], claim)[1]))
    assert ("-3..0" if change == "window" else "..0") in said
    pairs = np.argwhere(reading(TorchModel(module, {"input_ids": decoder.ids(19)}).record(), claim))
    assert (pairs[:, 1] <= pairs[:, 0]).all() and (pairs[:, 0] - pairs[:, 1]).max() == (
        18 if change == "routed" else 3
    )
    assert everywhere(whole, completed(found[7], ForeignClaim.parse(CLAIM)), 1).method == "offset sets"


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ("no mask from 16", "refuted", "at length 17"),
        ("no mask at 29", "refuted", "at length 29"),
        ("window from 20", "proved", "at lengths 11, 13, 17, 29"),
        ("scaled from 20", "proved", "at lengths 11, 13, 17, 29"),
        ("prefix", "refuted", "at length 11"),
    ],
)
def test_a_change_at_some_length_is_no_proof_for_every_one(change: str, status: str, says: str) -> None:
    spec = asked(decoder.Lengthy(change).eval())
    (found,) = spec.properties
    assert (found.status, EVERY in found.how) == (status, False) and says in found.how
    notes = [d for d in spec.findings if d.code == "MP707"]
    assert len(notes) == (status == "proved")
    if change == "scaled from 20":
        lines = inspect.getsource(decoder).splitlines()
        assert lines[notes[0].span.line - 1].endswith("# SCALED") and "`mul`" in notes[0].message


def test_constants_are_what_they_are_at_every_length() -> None:
    """Each class holds at the lengths it was made of, and tells an array of its kind at another from one that is not."""
    lengths = (5, 7, 8)

    def known(make, dtype: DType, *shape):  # type: ignore[no-untyped-def]
        found = classify([make(n) for n in lengths], lengths, Type(dtype, shape))
        assert found.agrees(make(12)) and found.type.shape == shape
        return found

    assert isinstance(known(lambda n: np.full((2, n), 3.5), DType.FLOAT, 2, LENGTH), Alike)
    rows = known(lambda n: np.repeat(np.arange(2)[:, None], n, 1), DType.INT, 2, LENGTH)
    assert isinstance(rows, Alike) and not rows.agrees(np.ones((2, 12), int))
    line = known(lambda n: np.arange(n)[None] * 2 + 1, DType.INT, 1, LENGTH)
    assert isinstance(line, Line) and not line.agrees(np.arange(12)[None])
    assert isinstance(known(lambda n: np.arange(n)[::-1].copy(), DType.INT, LENGTH), Anything)
    assert isinstance(known(lambda n: np.arange(n) ** 2, DType.INT, LENGTH), Anything)
    assert isinstance(known(lambda n: np.sin(np.arange(n)), DType.FLOAT, LENGTH), Anything)
    mask = known(lambda n: ~np.tri(n, dtype=bool), DType.BOOL, LENGTH, LENGTH)
    assert isinstance(mask, Mask) and not mask.agrees(~np.tri(12, k=1, dtype=bool))
    assert mask.op.values == (False, True) and mask.op.first == 0
    alibi = known(
        lambda n: np.where(np.tri(n) > 0, np.arange(n) * -0.5, -np.inf)[None], DType.FLOAT, 1, LENGTH, LENGTH
    )
    assert isinstance(alibi, Mask) and alibi.op.values == (None, -np.inf)
    blocks = known(lambda n: np.arange(n)[:, None] // 3 == np.arange(n) // 3, DType.BOOL, LENGTH, LENGTH)
    assert isinstance(blocks, Mask) and blocks.op.values == (False, None, None, True, None, None, False)
    assert isinstance(
        known(lambda n: np.random.default_rng(0).random((n, n)) < 0.5, DType.BOOL, LENGTH, LENGTH), Anything
    )
    np.testing.assert_array_equal(mask.op.bind({"length": 6}).evaluate()[0] != 0, ~np.tri(6, dtype=bool))
    with pytest.raises(ValueError, match="not every element"):
        blocks.op.bind({"length": 6}).evaluate()


def test_sizes_are_polynomials() -> None:
    lengths = (11, 13, 17, 20)
    for made in (lambda n: 4, lambda n: 3 * n - 2, lambda n: n * n + n):
        found = polynomial([made(n) for n in lengths], lengths)
        assert found is not None and found == made(LENGTH)
    assert polynomial([-(-n // 4) for n in lengths], lengths) is None
    assert polynomial([n // 2 for n in lengths], lengths) is None
    assert polynomial([2**n for n in lengths], lengths) is None


class Steps(nn.Module):
    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = input_ids.double()
        for t in range(input_ids.shape[1]):
            x = x + 0.5 * t
        return x


class Sums(nn.Module):
    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return input_ids.double().cumsum(1).tanh()


class Swaps(nn.Module):
    """The same operations at every length; what they give has other names from 12 on."""

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = input_ids.double()
        found = (x.cumsum(1), x.cumsum(1).tanh())
        one, other = found if input_ids.shape[1] < 12 else found[::-1]
        return {"one": one, "other": other}


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(Apart, match="outputs are others"):
        program(Swaps())
    with pytest.raises(Apart, match="operations run at lengths"):
        program(Steps())
    spec = asked(Steps(), "autoregressive(input_ids -> output, order = axis 1)")
    assert [p.status for p in spec.properties] == ["proved"] and "MP707" in [d.code for d in spec.findings]
    (found,) = asked(Sums(), "independent(batch -> output)", batch=2).properties
    assert found.status == "proved" and EVERY in found.how
    spec = asked(Steps(), "complete(input_ids -> output, order = axis 1, sees = own)")
    assert [p.status for p in spec.properties] == ["refuted"]


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_decoders import command

    monkeypatch.chdir(Path(__file__).parent)
    options = ["--claim", CLAIM, "--output-format", "concise"]
    assert command("check", "--import-code", "decoder:at_length", *options)[0] == 0
    code, said = command("check", "--import-code", "decoder:at_length", *options, "--lengths", "5,6,7,9")
    assert code == 0 and "MP707" not in said
    code, said = command("check", "--import-code", "decoder:leaking_from_16", *options)
    assert code == 1 and "MP701" in said
    code, said = command(
        "check", "--import-code", "decoder:leaking_from_16", *options, "--lengths", "5,6,7,9"
    )
    assert code == 0
    assert command("check", "--import-code", "decoder:at_length", *options, "--lengths", "a,b")[0] == 2
    assert command("check", "--import-code", "decoder:sound", *options, "--lengths", "5,6,7,9")[0] == 2
