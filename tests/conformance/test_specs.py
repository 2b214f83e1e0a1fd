"""Laws that every spec obeys: its claims hold, densities are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import NAMES, inputs, module, path, small, weights

from mpcompile import api
from mpcompile.backend import find_backend
from mpcompile.interpret import interpret

FLOWS = [n for n in NAMES if "forward" in module(n).programs]


@pytest.mark.parametrize("name", FLOWS)
def test_log_det_is_that_of_the_true_jacobian(name: str) -> None:
    """`log_det` against slogdet of autograd's Jacobian, and inverse(forward(x)) = x, in float64."""
    torch = pytest.importorskip("torch")
    m = api.load(path(name), small(name) | {"size": "4"}) if name == "realnvp" else module(name)
    live = find_backend("torch").compile(m, weights(m)).double()
    x = {k: torch.tensor(v) for k, v in inputs(m, "forward", 1).items()}
    subject = next(k for k in x if k in m.fields)

    def latent(value: object) -> object:
        return live.forward(**(x | {subject: value}))["z"].reshape(-1)

    out = live.forward(**x)
    jacobian = torch.autograd.functional.jacobian(latent, x[subject])
    size = out["z"].numel()
    sign, log_det = torch.linalg.slogdet(jacobian.reshape(size, size))
    assert sign != 0
    np.testing.assert_allclose(out["log_det"].item(), log_det.item(), rtol=1e-7, atol=1e-7)
    given = {k: v for k, v in x.items() if k in m.programs["inverse"].inputs}
    back = live.inverse(z=out["z"], **given)
    np.testing.assert_allclose(back.detach().numpy(), x[subject].numpy(), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_specs_hold_what_they_claim(name: str) -> None:
    assert api.check(api.load(path(name))) == []


def test_teacher_forcing_agrees_with_the_sampler() -> None:
    """What the sampler drew from u at step i is what the conditionals, given the whole sample, draw from u."""
    m = module("made")
    w = weights(m)
    x = inputs(m, "sample", 8)
    drawn = interpret(m.programs["sample"], w, x)["x"]
    logits = interpret(m.programs["conditionals"], w, {"x": drawn})["logits"]
    np.testing.assert_array_equal(drawn, (x["noise_x"] < 1 / (1 + np.exp(-logits))).astype(float))
