"""Orders of the elements: ranks by hand, and densities in them that are proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.ir import Module
from mpcompile.lowering import lower

IMAGE = "binary[channel: 2, height: 2, width: 3]"
UP = "degrees(seed = 0)"
MASKED = f"flatten -> dense(12, mask = {UP}) -> relu -> dense(12, mask = strict({UP})) -> reshape([2, 2, 3])"
#: Orders of an image of two channels, two rows and three columns, and the rank of each element.
ORDERS: dict[str, list[int]] = {
    "raster(height, width, channel)": [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11],
    "raster(channel, height, width)": list(range(12)),
    "raster(width, height, channel)": [0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11],
    "checkerboard": [0, 6, 1, 7, 2, 8, 9, 3, 10, 4, 11, 5],
    "[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]": list(range(12))[::-1],
    'file("order.npy")': [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0],
}


def model(order: str, folder: Path) -> Module:
    np.save(folder / "order.npy", np.roll(np.arange(12), 1))
    law = f"autoregressive(order = {order}) {{ {MASKED} }}"
    text = f"model m\ninput x: {IMAGE}\nx ~ {law}\ncheck {{ complete(x) }}\n"
    return lower(parse_text(text), Source(str(folder / "m.mp"), text))


@pytest.mark.parametrize("order", ORDERS)
def test_ranks_and_proofs(order: str, tmp_path: Path) -> None:
    module = model(order, tmp_path)
    (claim,) = [c for c in module.claims if c.kind == "autoregressive"]
    assert claim.ordering.ranks is not None and claim.ordering.ranks.tolist() == ORDERS[order]
    assert all(v.status.accepted for v in api.verdicts(module))


REFUSED = {
    "raster(height, width)": "MP205", "raster(height, width, depth)": "MP205", "[0, 1, 2]": "MP205", "[0, 0]": "MP205",
    "diagonal": "MP205", 'file("none.npy")': "MP204",
}  # fmt: skip


@pytest.mark.parametrize("order", REFUSED)
def test_refused(order: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        model(order, tmp_path)
    assert caught.value.diagnostics[0].code == REFUSED[order], caught.value.diagnostics
