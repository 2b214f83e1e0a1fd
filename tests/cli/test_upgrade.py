"""`mpcompile fmt --upgrade`: names of axes for specs of 0.1, only where one reading is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import Cli
from specs_under_test import ROOT

from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import Syntax, parse_text
from mpcompile.lowering import upgrade

NAMED, FOLDED = "reshape(time = 8, channel = 8)", "reshape([8, 8])"
ATTENTION = """model attention_notes(words = 5, width = 4, length = 24)
input text: category(words)[time: length]
text ~ autoregressive(likelihood = categorical) {
  embedding(width) -> shift -> residual(attention(1, mask = before, project = false)) -> dense(words)
}
"""
#: Two readings, which differ in what `dense` acts on.
UNDECIDED = """model m
input  x: real[3, 3]   # steps of what?
target y: category(3)
y ~ categorical(logits = x -> dense(4) -> flatten -> dense(3))
"""


def upgraded(text: str, syntax: Syntax = "mp") -> list[str]:
    path = f"spec.{syntax}"
    return upgrade.upgraded(parse_text(text, path, syntax), Source(path, text), syntax)


def shipped(path: str) -> str:
    return (ROOT / path).read_text()


@pytest.mark.parametrize(
    ("today", "new", "old"),
    [
        (shipped("specs/elman.mp"), NAMED, FOLDED),
        (shipped("specs/seq2seq.mp"), "[time: 6]", "[6]"),
        (ATTENTION, "[time: length]", "[length]"),
        (
            shipped("benchmarks/wavenet_digits.mp").replace("layers = 8, cycles = 2", "layers = 2, cycles = 1"),
            "-> embedding(2 * w)\n", "-> embedding(2 * w) -> reshape([1, 2 * w])\n",
        ),
    ],
    ids=["elman", "seq2seq", "attention_notes", "wavenet_digits"],
)  # fmt: skip
def test_a_spec_of_before_becomes_that_of_today(today: str, new: str, old: str) -> None:
    before = today.replace(new, old)
    assert before != today
    assert upgraded(before) == [today]


def test_strings_of_yaml_get_the_quotes_that_they_need() -> None:
    text = """# kept
model: m
input:
  x: real[3, w]   # steps
  z: "category(5)[6]"
params: {w: 2}
target: {y: category(3)}
nets:
  g:
    - embedding(2) -> lstm(4)
    - last
density:
  - y ~ categorical(logits = (x -> lstm(4) -> last) + g(z) -> reshape([2, 2]) -> gru(2) -> last -> dense(3))
"""
    expected = text.replace("real[3, w]", "'real[time: 3, channel: w]'").replace("[6]", "[time: 6]")
    assert upgraded(text, "yaml") == [expected.replace("([2, 2])", "(time = 2, channel = 2)")]


def test_readings_that_mean_the_same_are_one() -> None:
    text = UNDECIDED.replace("dense(4) -> flatten", "flatten")
    assert upgraded(text) == [text.replace("[3, 3]", "[time: 3, channel: 3]")]


def test_what_compiles_is_left_and_what_compiles_under_no_reading_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fine = UNDECIDED.replace("[3, 3]", "[channel:3,place:3]")
    assert upgraded(fine) == [fine]
    for text in (
        UNDECIDED.replace("dense(4)", "conv(4, 3) -> gru(3)"),
        UNDECIDED.replace("3, 3", "3, 3, 1, 1, 1"),
    ):
        with pytest.raises(SpecError, match="MP212"):
            upgraded(text)
    monkeypatch.setattr(upgrade, "TRIED", 1)
    with pytest.raises(SpecError, match="MP212"):
        upgraded(UNDECIDED.replace("dense(4)", "gru(4)"))


def test_on_the_command_line(tmp_path: Path, cli: Cli) -> None:
    spec = tmp_path / "m.mp"

    def run(text: str, *options: str) -> tuple[int, str, str]:
        spec.write_text(text)
        done = cli("fmt", "--upgrade", *options, spec)
        return done.code, spec.read_text(), done.said

    code, text, said = run(UNDECIDED)
    assert (code, text) == (1, UNDECIDED)
    assert "2: input  x: real[time: 3, channel: 3]" in said and "real[channel: 3, place: 3]" in said
    old = UNDECIDED.replace("dense(4)", "gru(4)")
    assert run(old, "--check")[:2] == (1, old)
    code, text, said = run(old)
    assert (code, text) == (0, old.replace("[3, 3]", "[time: 3, channel: 3]")) and "upgraded" in said
    assert run(text, "--check")[:2] == (0, text)
    assert run(old, "--to", "yaml")[0] == 2
