"""What `inspect` says of sampling: steps, work and memory, where elements depend on each other."""

from __future__ import annotations

import pytest
import specs_under_test as specs

from mpcompile.report.facts import describe
from mpcompile.report.terminal import show

#: spec -> elements one after the other, members, floats that its loops carry, and iterations that each element's block
#: may take; by hand.
SAMPLED = {
    "fvsbn": ("64", 1, 64, 64),  # x in one block
    "maf": ("6", 1, 3 * 2, 2),  # two variables, drawn by each of three bijectors
    "made_ensemble": ("6", 2, 6, 6),
    "char_lstm": (
        "time",
        1,
        2 * 8 + 2 * 10,
        1,
    ),  # embeddings of this character and the last, the LSTM's states
}


@pytest.mark.parametrize("name", SAMPLED)
def test_sampling(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    steps, members, floats, iterations = SAMPLED[name]
    facts = describe(specs.module(name)) | {"claims": []}
    ((variable, sampling),) = facts["sampling"].items()
    assert (sampling["steps"], sampling["members"], sampling["refused"]) == (steps, members, [])
    assert sampling["how"] and sampling["kept"] == 4 * floats
    assert (
        0.6 * iterations < sampling["work"] < 1.2 * iterations
    )  # in passes; a draw makes no log-probability
    show(facts)
    line = " ".join(capsys.readouterr().out.split()).split(f"sampling {variable}: ")[1]
    assert line.startswith("the first of 2 orders" if members > 1 else f"{steps} elements; ")


def test_axes_have_names_and_roles(capsys: pytest.CaptureFixture[str]) -> None:
    """Of every variable and typed latent, in the text as in the facts, which the page shows too."""
    facts = describe(specs.module("hmm")) | {"claims": []}
    found = {v["name"]: [(a["name"], a["role"]) for a in v["axes"]] for v in facts["variables"]}
    assert found == {"x": [("time", "ordered"), ("channel", "channel")], "length": []}
    facts = describe(specs.module("vq_vae")) | {"claims": []}
    assert [v["role"] for v in facts["variables"]] == ["input", "latent"]
    show(facts)
    text = " ".join(capsys.readouterr().out.split())
    assert "x input" in text and "channel: 1, height: 4 (space), width: 4 (space)" in text
