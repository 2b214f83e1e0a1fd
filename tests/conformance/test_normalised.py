"""The probabilities of all states of a discrete model sum to one: shipped specs, made small, and random ones.

`python tests/fuzz/normalised.py` sums every spec at all its lengths and 300 random ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from enumerated import MOST, SPECS, drawn, load, total

from mpcompile import api
from mpcompile.interpret import interpret
from mpcompile.runner.examples import example_inputs, example_weights

#: Specs whose loops make the numpy interpreter slow; the full run has them at all their lengths.
SLOW = {"bilstm", "char_lstm", "pixel_transformer", "transformer", "unet", "pixel_rnn", "gated_pixelcnn"}
#: Laws of a text with its length: not the texts of one length sum to one, but those of all (tests/laws/test_ctc.py).
OF_ALL_LENGTHS = {"ctc"}
#: Counts without a bound, whose states cannot be listed (tests/laws/test_columns.py).
UNBOUNDED = {"deepar"}
#: How far from one a sum in float64 may be.
CLOSE = 1e-9


@pytest.mark.parametrize("name", [n for n in SPECS if n not in SLOW])
def test_the_states_of_a_spec_sum_to_one(name: str, tmp_path: Path) -> None:
    small = SPECS[name]
    module = load(tmp_path, name, small)
    for length in small.lengths[:2]:
        assert abs(total(module, small.variables, length) - 1) < CLOSE


@pytest.mark.parametrize("seed", range(8))
def test_the_states_of_a_random_model_sum_to_one(seed: int, tmp_path: Path) -> None:
    text, variables, lengths = drawn(np.random.default_rng([17, seed]))
    path = tmp_path / "m.mp"
    path.write_text(f"model m\n{text}", encoding="utf-8")
    module = api.load(path)
    assert all(v.status == "proved" for v in api.verdicts(module)), text
    for length in lengths[:2]:
        assert abs(total(module, variables, length) - 1) < CLOSE, text


def test_every_discrete_density_is_listed() -> None:
    """A spec with a `log_prob` of discrete variables alone is in the table, or has a noise input that dequantises it."""
    from specs_under_test import NAMES, module

    for name in NAMES:
        m = module(name)
        if "log_prob" not in m.programs:
            continue
        modelled = {c.subject for c in m.claims} | {n for n, f in m.fields.items() if f.role == "target"}
        bases = {m.fields[n].base for n in modelled if n in m.fields}
        noisy = any(k.startswith("noise") for k in m.programs["log_prob"].inputs)
        discrete = bool(bases) and "real" not in bases and not noisy
        assert (name in SPECS or name in OF_ALL_LENGTHS | UNBOUNDED) == discrete, name


def test_the_law_sees_a_leak(tmp_path: Path) -> None:
    """A density that reads its own element sums to something else: the sums are no identity of the code."""
    path = tmp_path / "m.mp"
    path.write_text(
        "model m\ninput x: binary[6]\nx ~ autoregressive(order = natural) { dense(6) -> tanh -> dense(6) }\n",
        encoding="utf-8",
    )
    assert abs(total(api.load(path), ("x",), 1) - 1) > 1e-3
    assert MOST >= 2**14


@pytest.mark.parametrize("low", [-3, -1, 1, 4])
def test_classes_of_whole_numbers_start_where_they_are_declared(low: int, tmp_path: Path) -> None:
    """A categorical law of integer(low..low + 2): its states sum to one, and every draw is one of them."""
    path = tmp_path / "m.mp"
    path.write_text(
        f"model m\ninput x: integer({low}..{low + 2})[4]\nmask up = degrees(order = natural)\n"
        "x ~ autoregressive(order = natural, likelihood = categorical) {"
        " dense(15, mask = up) -> gelu -> dense(12, mask = strict(up)) }\n",
        encoding="utf-8",
    )
    module = api.load(path)
    assert abs(total(module, ("x",), 1) - 1) < CLOSE
    given = example_inputs(module, "sample", 200)
    (drawn_,) = interpret(module.programs["sample"], example_weights(module, spread=1.0), given).values()
    assert set(np.unique(drawn_)) == {low, low + 1, low + 2}
