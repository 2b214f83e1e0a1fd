"""A spec whose declarations state their axes in another order is the same model: programs and verdicts are equal.

`python tests/fuzz/axis_orders.py` compares as many random specs as one likes.
"""

from __future__ import annotations

import numpy as np
import pytest
from axis_orders import Draft, disagreements, drafted, orders

from mpcompile import ops
from mpcompile.layers.normalization import LayerNorm


@pytest.mark.parametrize("seed", range(40))
def test_the_order_of_declared_axes_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng([23, seed])
    draft = drafted(rng)
    turned = orders(draft, rng)
    assert not list(disagreements(draft, turned)), draft.text(turned)


def test_the_law_sees_a_layer_that_looks_at_a_position(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"token": "2", "channel": "2"}
    declared = [("input", "x", "real", axes), ("target", "y", "real", axes)]
    draft = Draft(declared, body=["y ~ normal(loc = x -> layer_norm -> dense(2), scale = 1)"])
    turned = {"x": [1, 0], "y": [1, 0]}
    assert not list(disagreements(draft, turned))
    monkeypatch.setattr(
        LayerNorm, "forward", lambda self, ctx, x: ctx.b.emit(ops.Softmax(x.type.rank - 1), x)
    )
    assert list(disagreements(draft, turned))
