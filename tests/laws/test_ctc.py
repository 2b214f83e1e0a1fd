"""A text by the frames of a longer sequence: against a sum over all alignments, and torch. Docs/laws.md, row 32."""

from __future__ import annotations

import re
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import torch
from written import lowered

from mpcompile import api
from mpcompile.backend import find_backend, installed
from mpcompile.diagnostics import SpecError
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module

SPEC = Path(__file__).parents[2] / "specs" / "ctc.mp"


def module(blank: int, classes: int) -> Module:
    return lowered(
        f"model m\ncondition sound: real[frames, 2]\ncondition heard: integer(1..frames)\n"
        f"target text: category({classes})[time]\ncondition length: integer(1..time)\n"
        f"text ~ ctc(logits = sound -> dense({classes + 1}), blank = {blank})\n"
    )


def collapsed(alignment: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """The text of an alignment: runs as one symbol, no blanks, classes numbered without the blank."""
    return tuple(s - (s > blank) for s, _ in groupby(alignment) if s != blank)


def padded(texts: list[tuple[int, ...]]) -> tuple[Array, Array]:
    """Texts of several lengths with zeros behind them, and their lengths."""
    length = np.array([len(t) for t in texts])
    rows = np.zeros((len(texts), length.max()), np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return rows, length.astype(float)


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_a_text_has_the_mass_of_all_its_alignments(blank: int) -> None:
    """Of two classes over four frames; with the alignment of blanks alone, all texts of all lengths have mass 1."""
    m, frames, classes = module(blank, 2), 4, 2
    rng = np.random.default_rng(blank)
    w = {k: rng.normal(size=p.shape) for k, p in m.parameters.items()}
    sound = rng.normal(size=(frames, 2))
    logits = sound @ w["text.dense_0.weight"].T + w["text.dense_0.bias"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    masses: dict[tuple[int, ...], float] = {}
    for alignment in product(range(classes + 1), repeat=frames):
        text = collapsed(alignment, blank)
        masses[text] = masses.get(text, 0.0) + float(np.prod(p[np.arange(frames), alignment]))
    silence = masses.pop(())
    texts = [t for n in range(1, frames + 1) for t in product(range(classes), repeat=n)]
    rows, length = padded(texts)
    given = {
        "sound": np.tile(sound, (len(texts), 1, 1)),
        "heard": np.full(len(texts), 4.0),
        "text": rows,
        "length": length,
    }
    found = np.exp(interpret(m.programs["log_prob"], w, given)["log_prob"])
    np.testing.assert_allclose(found, [masses.get(t, 0.0) for t in texts], rtol=1e-12)
    assert abs(found.sum() + silence - 1) < 1e-12
    for n in range(1, frames + 1):
        assert found[length == n].sum() < 1
    # the text of the best path, one-hot
    given = {"sound": given["sound"][:1], "heard": given["heard"][:1]}
    best = interpret(m.programs["predict"], w, given)["text"][0]
    text = collapsed(tuple(logits.argmax(1)), blank)
    assert tuple(best.argmax(1)[: len(text)]) == text and best.sum() == len(text)


@pytest.mark.parametrize("backend", installed())
def test_it_is_torchs_ctc_loss(backend: str) -> None:
    """Values and gradients in single precision, of texts with repeats and lengths of their own; also at equal logits."""
    m, (n, frames, time, classes) = module(1, 3), (6, 9, 4, 3)
    rng = np.random.default_rng(0)
    x = {
        "sound": rng.normal(size=(n, frames, 2)), "heard": rng.integers(7, frames + 1, n).astype(float),
        "text": rng.integers(0, classes, (n, time)), "length": rng.integers(1, time + 1, n).astype(float),
    }  # fmt: skip
    x["text"][0], x["heard"][0], x["length"][0] = 2, 7, 4  # as many frames as four equal symbols need
    session = find_backend(backend).session(m, {k: np.zeros(p.shape) for k, p in m.parameters.items()})
    for spread in (0.0, 2.0):
        w = {k: spread * rng.normal(size=p.shape) for k, p in m.parameters.items()}
        session.load_state(session.state() | {f"parameter/{k}": v.astype(np.float32) for k, v in w.items()})
        weight, bias = (torch.tensor(w[f"text.dense_0.{k}"], requires_grad=True) for k in ("weight", "bias"))
        symbols = (torch.tensor(x["sound"]) @ weight.T + bias).log_softmax(2).transpose(0, 1)
        lengths = (torch.tensor(x[k].astype(int)) for k in ("heard", "length"))
        each = torch.nn.functional.ctc_loss(
            symbols, torch.tensor(x["text"] + (x["text"] >= 1)), *lengths, blank=1, reduction="none"
        )
        each.mean().backward()
        found = session.run("log_prob", x)["log_prob"]
        np.testing.assert_allclose(found, -each.detach().numpy(), rtol=2e-6, atol=1e-5)
        _, gradients = session.gradients(x)
        for name, theirs in (("weight", weight), ("bias", bias)):
            np.testing.assert_allclose(gradients[f"text.dense_0.{name}"], theirs.grad, rtol=1e-4, atol=1e-5)
    x["heard"][0] = 6.0
    assert np.isneginf(session.run("log_prob", x)["log_prob"]).tolist() == [True, *[False] * (n - 1)]
    assert all(np.isfinite(g).all() for g in session.gradients(x)[1].values())


def test_the_spec_is_proven_for_every_length() -> None:
    verdicts = api.verdicts(api.load(SPEC))
    assert {v.claim.kind for v in verdicts} == {"independent", "padding"}
    assert all(v.status.accepted and "every length" in v.how for v in verdicts)


@pytest.mark.parametrize(
    ("declared", "stated", "message"),
    [
        ("category(3)[time, 2]", "ctc(logits = sound -> dense(4), blank = 3)", "MP209 `ctc` is a law of a text"),
        ("category(3)[time]", "ctc(logits = sound -> dense(3), blank = 3)", "MP207 `ctc` has logits [frames, channel"),
        ("category(3)[time]", "ctc(logits = sound -> dense(4), blank = 4)", "MP205 `blank` is 4"),
        ("category(3)[time]", "ctc(logits = sound -> dense(4))", "MP123 `ctc` needs `blank`"),
        ("real[time]", "ctc(logits = sound -> dense(4), blank = 3)", "MP209 ctc is a law of texts"),
    ],
)  # fmt: skip
def test_what_it_needs_is_said(declared: str, stated: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        lowered(f"model m\ncondition sound: real[frames, 2]\ntarget text: {declared}\ntext ~ {stated}\n")
    assert all(d.help for d in caught.value.diagnostics)
