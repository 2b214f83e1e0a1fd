"""Attention over sequences that state their lengths: a mask of truth values, where each example has a first step."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from specs_under_test import inputs, weights
from written import lowered

import mpcompile.kernels.masks as masks
from mpcompile.backend import DOUBLE, find_backend
from mpcompile.interpret import interpret
from mpcompile.ir import Graph, Module, Value
from mpcompile.passes.gradient import differentiate, gradient_name

TEXT = """
model m
input x: real[time, 2]
condition length: integer(1..time)
target y: real[1]
block back = residual(layer_norm -> attention(2, mask = causal))
block around = residual(layer_norm -> attention(2))
y ~ normal(x -> dense(4) -> back -> around -> back -> last -> dense(1), 1)
"""


def masked(m: Module) -> list[str]:
    """What attention is given as a mask in the code of a module, sorted."""
    text = find_backend("torch").emit(m)["model.py"]
    assert isinstance(text, str)
    calls = re.findall(r"scaled_dot_product_attention\(.*", text)
    return sorted(
        found.group(1) if (found := re.search(r"(attn_mask|is_causal)", c)) else "none" for c in calls
    )


def test_attention_of_sequences_with_lengths() -> None:
    """Values and gradients in float64 are those of the primitives, for the shortest sequence, too."""
    m = lowered(TEXT)
    assert masked(m) == ["attn_mask", "attn_mask"]  # a class for each mask
    w, x = weights(m, spread=0.5), inputs(m, "loss", 4, 6)
    x["length"] = np.array([1.0, 6, 3, 4])
    session = find_backend("torch").session(m, w, options=DOUBLE)
    outputs, slopes = session.gradients(x)
    trained = [p.name for p in m.parameters.values() if p.trainable]
    right = interpret(differentiate(m.programs["loss"], "loss", trained), w, x)
    np.testing.assert_allclose(outputs["loss"], right["loss"], rtol=1e-12)
    for name in trained:
        np.testing.assert_allclose(
            slopes[name], right[gradient_name(name)], rtol=1e-9, atol=1e-12, err_msg=name
        )


def test_a_length_that_may_be_none_is_no_mask() -> None:
    """Nobody is seen then, which is NaN by the primitives and zero in torch."""
    m = lowered(TEXT)
    length = replace(m.fields["length"], counts=None)
    assert masked(replace(m, fields={**m.fields, "length": length})) == []


def test_a_mask_counts_where_it_does_in_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function is written once for all its calls: one call with another mask, and it is spelled out."""
    m = lowered(TEXT)
    m = replace(m, programs={"predict": m.programs["predict"]})
    known, asked = masks.is_started, list[Value]()

    def but(which: int) -> list[str]:
        def is_started(graph: Graph, mask: Value, lengths: set[str]) -> bool:
            if not known(graph, mask, lengths):
                return False
            asked.append(mask)
            return len(asked) - 1 != which

        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(masks, "is_started", is_started)
            return masked(m)

    assert but(-1) == ["attn_mask", "attn_mask"]
    found = [but(which) for which in range(len(asked))]
    assert found.count(["attn_mask"]) == 3  # two calls of one class, one of the other
    assert found.count(["attn_mask", "attn_mask"]) == len(found) - 3
