"""A program with a symbol for its declared length is that program at that length, and so are the answers about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.analysis.claims import complete
from mpcompile.analysis.dependence import TooLarge
from mpcompile.analysis.lengthened import LENGTH, lengthened
from mpcompile.interpret import interpret
from mpcompile.ir import Claim, Module, Parameter

WORDS = (
    "input x: category(4)[time: 6]\n"
    "x ~ autoregressive(likelihood = categorical) {{ embedding(4) -> {} -> dense(4) }}\n"
)
STEPS = "input x: binary[time: 6, channel: 4]\nx ~ autoregressive {{ {} -> dense(4) }}\n"
TEXTS = {
    "attention": (WORDS.format("shift -> repeat i in 1..2 { attention(2, mask = causal) }"), "proved"),
    "one kernel": (WORDS.format("shift -> conv1d(4, 3)"), "refuted"),
    "dilations": (WORDS.format("shift -> conv1d(4, 2, dilation = 2) -> tanh"), "refuted"),
    "far shift": (WORDS.format("shift(2) -> attention(1, mask = causal)"), "refuted"),
    "a loop": (WORDS.format("shift -> gru(4)"), "proved"),
    "steps of several that read themselves": (
        STEPS.format("residual(shift(2) -> attention(1, mask = causal))"),
        "refuted",
    ),
    "steps of several": (STEPS.format("shift -> attention(2, mask = causal)"), "proved"),
}


def loaded(folder: Path, text: str) -> tuple[Module, Claim]:
    path = folder / "m.mp"
    path.write_text(f"model m\n{text}check {{ complete(x) }}\n")
    module = api.load(path)
    return module, next(c for c in module.claims if c.kind == "complete")


@pytest.mark.parametrize("name", TEXTS)
def test_at_the_declared_length_it_is_the_program(name: str, tmp_path: Path) -> None:
    module, claim = loaded(tmp_path, TEXTS[name][0])
    graph, rng = module.programs[claim.program], np.random.default_rng(0)
    longer = lengthened(graph, "x")
    assert longer is not None
    weights = {
        n.op.path: rng.normal(size=n.types[0].concrete({}))
        for n in graph.nodes()
        if isinstance(n.op, Parameter)
    }
    x = {"x": rng.integers(0, 2, graph.inputs["x"].type.concrete({"N": 3})) * 1}
    if graph.inputs["x"].type.dtype.value == "float":
        x = {"x": x["x"] * 1.0}
    declared = interpret(graph, weights, x, {"N": 3})
    found = interpret(longer, weights, x, {"N": 3, LENGTH: 6})
    for output, value in declared.items():
        np.testing.assert_array_equal(found[output], value)


@pytest.mark.parametrize("name", TEXTS)
def test_its_answer_is_that_in_numbers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, status = TEXTS[name]
    module, claim = loaded(tmp_path, text)
    known = complete.complete(module, claim)
    assert known.status == status and "length of a sequence" not in known.method

    def never(*_: object) -> None:
        raise TooLarge("too large")

    monkeypatch.setattr(complete, "afford", never)
    found = complete.complete(module, claim)
    assert found.status == status
    assert found.detail.get("missing") == known.detail.get("missing")
    assert [d.message for d in found.diagnostics] == [d.message for d in known.diagnostics]
    assert ("length of a sequence" in found.method) == (status == "proved")


def test_what_has_weights_for_pairs_of_places_is_none_of_any_length(tmp_path: Path) -> None:
    text = "input x: binary[6]\nx ~ autoregressive { dense(6, mask = strict(degrees(order = natural))) }\n"
    module, claim = loaded(tmp_path, text)
    assert lengthened(module.programs[claim.program], "x") is None
