"""A file of a flow is little more than its weights: masks and unit matrices are stored in bytes."""

from __future__ import annotations

import flows_under_test as flows
import numpy as np
import onnx
import pytest

from mpcompile.backend import find_backend
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.initial import initial

CHAINS = {
    "masked": "autoregressive(hidden = [256, 256]) -> permute(reverse)",
    "splines": "autoregressive(hidden = [128], law = spline(bins = 8, bound = 4))",
    "inverse": "inverse(autoregressive(hidden = [256]))",
    "couplings": "coupling(mask = checkerboard, net = dense(256) -> relu -> dense(256) -> relu) -> conv1x1(form = plain)",
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_file_is_at_most_half_larger_than_its_weights(name: str) -> None:
    """Forward, inverse, log_prob and sample, each for a batch of any size."""
    m = flows.flow("real[32]", CHAINS[name])
    fast = optimise(m).module
    files = find_backend("onnx").emit(fast, initial(m), inline=True)
    for program in ("forward", "inverse", "log_prob", "sample"):
        graph = fast.programs[program]
        weights = sum(4 * int(np.prod(m.parameters[k].shape)) for k in graph.parameters())
        assert len(files[f"{program}.onnx"]) <= 1.5 * weights + 60_000, program
        model = onnx.load_from_string(files[f"{program}.onnx"])
        assert {i.type.tensor_type.shape.dim[0].dim_param for i in model.graph.input} == {"N"}
