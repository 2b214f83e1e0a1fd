"""Shards of a batch in one process: gradients that accumulate are those of the batch."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from specs_under_test import inputs, optimised, weights

from mpcompile.backend import DOUBLE, SessionOptions, open_session
from mpcompile.diagnostics import SpecError
from mpcompile.group import Group
from mpcompile_torch import processes
from mpcompile_torch.processes import waiting


@pytest.mark.parametrize("name", ["vae", "glow", "made_ensemble", "lstm_stacked", "vq_vae"])
def test_gradients_of_shards_accumulate_to_those_of_the_batch(name: str) -> None:
    module = optimised(name)
    start, batch = weights(module), inputs(module, "loss", 8, 4)
    whole = open_session("torch", module, start, options=DOUBLE).gradients(batch)
    shards = open_session(
        "torch", module, start, options=SessionOptions(precision="float64", group=Group(shards=4))
    ).gradients(batch)
    largest = max(np.abs(g).max() for g in whole[1].values())
    for key, gradient in whole[1].items():
        np.testing.assert_allclose(shards[1][key], gradient, rtol=0, atol=1e-12 * largest)
    for key, value in shards[0].items():
        np.testing.assert_allclose(value, whole[0][key], rtol=1e-12)


def test_shards_accumulate_in_jax() -> None:
    module = optimised("mlp")
    start, batch = weights(module), inputs(module, "loss", 8, 4)
    whole = open_session("jax", module, start, options=DOUBLE).gradients(batch)
    shards = open_session(
        "jax", module, start, options=SessionOptions(precision="float64", group=Group(shards=4))
    ).gradients(batch)
    for key, gradient in whole[1].items():
        np.testing.assert_allclose(shards[1][key], gradient, rtol=0, atol=1e-14)
    assert shards[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-12)


@pytest.mark.parametrize(("name", "framework"), [("onnx", "onnxruntime")])
def test_a_framework_of_one_process_says_so(name: str, framework: str) -> None:
    module = optimised("mlp")
    for group, what in ((Group(0, 2, 2), "several processes"), (Group(shards=2), "shards of a batch")):
        with pytest.raises(SpecError, match=f"{framework} does not train in {what}") as refused:
            open_session(name, module, weights(module), options=SessionOptions(group=group))
        assert refused.value.diagnostics[0].code == "MP511"


def test_a_process_that_is_gone_is_a_finding() -> None:
    with pytest.raises(SpecError) as lost, waiting():
        raise RuntimeError("Connection closed by peer")
    (found,) = lost.value.diagnostics
    assert (found.code, found.notes) == ("MP531", ("Connection closed by peer",))


def test_a_process_that_waits_for_one_that_has_ended_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where gloo does not see the end: after two looks within one wait, and never while it waits for a living one."""
    ended = subprocess.Popen(["true"])
    ended.wait()

    class Left(Exception):
        pass

    def leave(status: int) -> None:
        raise Left(status)

    looks: list[float] = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) > 4:
            raise TimeoutError

    monkeypatch.setattr(processes.os, "_exit", leave)
    monkeypatch.setattr(processes.time, "sleep", look)
    for others, waits, outcome in (
        ([ended.pid], True, Left), ([os.getpid()], True, TimeoutError), ([ended.pid], False, TimeoutError),
    ):  # fmt: skip
        looks.clear()
        with pytest.raises(outcome):
            if waits:
                with waiting():
                    processes._watch(others)
            else:
                processes._watch(others)
    assert "MP531" in capsys.readouterr().err
