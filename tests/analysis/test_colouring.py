"""Sets of colours say of every output element which elements it reads, as sets of elements do."""

from __future__ import annotations

import numpy as np
import pytest
from claimed_specs import claimed

from mpcompile.analysis import Verdict, colouring, prove
from mpcompile.analysis.colouring import Colouring, sets_of
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.ir import Module
from mpcompile.lowering import lower

PICTURES = {
    "three by three": "conv(3, 3, pad = same, mask = causal2d(type = A))",
    "colours": "conv(6, 3, pad = same, mask = causal2d(type = A, channels = rgb)) -> relu "
    "-> conv(6, [1, 3], pad = same, mask = causal2d(type = B, channels = rgb))",
    "dilated": "conv(3, [1, 3], dilation = 2, pad = same, mask = causal2d(type = A)) -> tanh -> shift_down",
    "one column": "conv(3, [3, 1], pad = same, mask = causal2d(type = A)) -> conv(3, 1)",
    "no bounds": "row_lstm(3) -> conv(3, 3, pad = same, mask = causal2d(type = A))",
}


def lowered(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def picture(body: str, height: int = 7, width: int = 9) -> Module:
    return lowered(
        f"model m\ninput x: binary[3, {height}, {width}]\n"
        f"x ~ autoregressive(order = pixel) {{ {body} -> conv(3, 1) }}\ncheck {{ complete(x); no_blind_spot(x) }}\n"
    )


@pytest.mark.parametrize("name", PICTURES)
def test_sets_of_colours_are_sets_of_elements(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colouring, "FEW", 0)
    module, env = picture(PICTURES[name]), {"N": 1}
    graph, shape = module.programs["conditionals"], (3, 7, 9)
    by = colouring.colouring(graph, "x", env, None)
    assert by.exact == (name == "no bounds")
    exact = sets_of(graph, "x", env, None, Colouring(shape, {})).value.unpack()
    found, read = sets_of(graph, "x", env, None, by).value.unpack(), np.zeros_like(exact)
    elements = np.broadcast_to(by.elements(0, by.size), found.shape)
    rows, colours = np.nonzero(found)
    assert (elements[rows, colours] >= 0).all()
    read[rows, elements[rows, colours]] = True
    np.testing.assert_array_equal(read, exact)
    if not by.exact:
        assert by.count < by.size and by.groups is not None
        assert sorted(np.concatenate(by.groups)) == list(range(by.size))


def test_verdicts_by_colours_are_those_by_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = [picture(body) for body in PICTURES.values()]
    modules += [
        lowered(t)
        for t in (claimed(3, n) for n in range(40))
        if "autoregressive(order" in t and "row_lstm" not in t
    ]

    def answers() -> list[list[Verdict]]:
        return [[v for v in prove(m) if v.claim.kind in ("complete", "no_blind_spot")] for m in modules]

    by_elements = answers()
    monkeypatch.setattr(colouring, "FEW", 0)
    assert answers() == by_elements and sum(map(len, by_elements)) > 10
