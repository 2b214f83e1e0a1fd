"""The support of a weight: which elements of it a model has, and that the others are nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from specs_under_test import NAMES, inputs, module, weights

from mpcompile import api
from mpcompile.analysis.kept import supports
from mpcompile.analysis.verdict import Status
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.ops import unrolled
from mpcompile.runner.initial import fill, initial
from mpcompile.text import parse

LOWER = "[[1, 0, 0], [1, 1, 0], [1, 1, 1]]"
HEAD = "input x: real[3]\ntarget y: real[3]\n"


def spec(folder: Path, body: str) -> Module:
    path = folder / "m.mp"
    path.write_text(f"model m\n{body}\n", encoding="utf-8")
    return api.load(path)


def masked(m: Module) -> list[str]:
    return [p.name for p in m.parameters.values() if p.support is not None]


@pytest.mark.parametrize("name", [n for n in NAMES if masked(module(n))])
def test_dead_elements_start_at_zero_and_no_program_reads_them(name: str) -> None:
    m = module(name)
    start = initial(m, 3)
    for k in masked(m):
        p = m.parameters[k]
        live = p.support.stored if p.support else None
        want = fill(p.init, p.shape, 3, k)
        np.testing.assert_array_equal(start[k], np.where(live, want, 0))
    w = weights(m)
    other = {k: _changed(m, k, v) for k, v in w.items()}
    for program in [p for p in m.programs if p != "sample"]:
        given = inputs(m, program, 2)
        for a, b in zip(
            *(interpret(m.programs[program], v, given).values() for v in (w, other)), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def _changed(m: Module, name: str, value: Array) -> Array:
    """A weight with other numbers where it is dead."""
    support = m.parameters[name].support
    return value if support is None else np.where(support.stored, value, value + 7)


@pytest.mark.parametrize("name", [n for n in NAMES if masked(module(n))])
def test_regions_and_iterations_one_by_one_have_one_support(name: str) -> None:
    m = module(name)
    found = supports(unrolled(g) for g in m.regions.values())
    assert found == {p.name: p.support for p in m.parameters.values() if p.support is not None}


def live(m: Module) -> int:
    return sum(p.live for p in m.parameters.values() if p.support is not None)


TIED = """
program f(x: float[N, 2]) -> (y: float[N, 2]) {
  %w = parameter w : float[2, 2]
  %m = constant [[1.0, 0.0], [0.0, 0.0]] : float[2, 2]
  %k = constant [[0.0, 0.0], [1.0, 0.0]] : float[2, 2]
  %a = mul(%w, %m)
  %b = mul(%k, USED)
  %p = mat_mul(%x, %a)
  %q = mat_mul(%p, %b)
  return y = %q
}
"""


@pytest.mark.parametrize("used, want", [("%w", [[1, 0], [1, 0]]), ("%a", [[1, 0], [0, 0]])])
def test_of_two_masks_the_union(used: str, want: list[list[int]]) -> None:
    found = supports([parse(TIED.replace("USED", used))])["w"]
    np.testing.assert_array_equal(found.stored, np.asarray(want, bool))


def test_what_is_read_bare_has_no_support() -> None:
    assert not supports([parse(TIED.replace("USED", "%m").replace("%x, %a", "%x, %w"))])
    assert not supports(
        map(parse, (TIED.replace("USED", "%w"), TIED.replace("USED", "%m").replace("%x, %a", "%x, %w")))
    )


def test_a_region_has_the_support_of_its_iterations(tmp_path: Path) -> None:
    body = f"{HEAD}y ~ normal(x -> repeat i in 1..9 {{ dense(3, mask = {LOWER}) -> tanh }}, 1)"
    assert live(spec(tmp_path, body)) == 9 * 6


def test_a_mask_that_is_chosen_when_the_program_runs_is_no_support() -> None:
    assert masked(module("made_ensemble")) == []


def test_a_prior_is_about_live_elements(tmp_path: Path) -> None:
    """log p of the live weights: the loss without the prior, minus its log-density by hand."""
    body = f"{HEAD}y ~ normal(x -> dense(3, mask = {LOWER}, bias = false), 1)\n"
    with_prior, without = spec(tmp_path, f"{body}prior weights ~ normal(1, 2)"), spec(tmp_path, body)
    assert live(with_prior) == 6
    w, given = weights(with_prior), inputs(with_prior, "loss", 2)
    (kernel,) = (v[np.tril(np.ones((3, 3), bool))] for v in w.values())
    log_p = (-0.5 * ((kernel - 1) / 2) ** 2 - np.log(2) - 0.5 * np.log(2 * np.pi)).sum()
    losses = [interpret(m.programs["loss"], w, given)["loss"] for m in (with_prior, without)]
    assert losses[0] == pytest.approx(losses[1] - log_p / given["examples"])


def test_only_live_elements_are_counted(tmp_path: Path) -> None:
    """A fully visible belief network has n (n + 1) / 2 parameters, biases included."""
    body = "input x: binary[6]\nx ~ autoregressive { dense(6, mask = strict(degrees)) }\ncheck { parameters <= 21 }"
    (verdict,) = [v for v in api.verdicts(spec(tmp_path, body)) if v.claim.kind == "parameters"]
    assert verdict.status == Status.PROVED and verdict.detail == {"parameters": 21}
