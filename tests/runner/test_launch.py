"""What can be known of a training in several processes is said once, before they start."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.diagnostics import SpecError
from mpcompile.runner.options import Options
from mpcompile.runner.setup import require_launch

SPECS = Path(__file__).parents[2] / "specs"


@pytest.mark.parametrize(
    ("spec", "size", "options", "said"),
    [
        ("made.yaml", 3, {"shards": 2}, "MP534 3 processes cannot hold 2 shards"),
        ("made.yaml", 2, {"shards": 3}, "MP534 the number of shards is a power of two"),
        ("made.yaml", 64, {"shards": 128}, "MP534 a batch of 64 cannot be cut into 128 shards"),
        ("made.yaml", 2, {"data": "nothing.npz"}, "MP50"),
        ("unet.mp", 2, {"shards": 4}, "MP532 `batch_norm` takes statistics of its batch"),
    ],
)
def test_it_is_said_before_any_process_starts(
    spec: str, size: int, options: dict[str, object], said: str
) -> None:
    with pytest.raises(SpecError) as found:
        require_launch(api.load(SPECS / spec), Options(**options), None, size)  # type: ignore[arg-type]
    assert said in str(found.value)


def test_nothing_is_said_of_what_fits() -> None:
    require_launch(api.load(SPECS / "made.yaml"), Options(shards=4), None, 2)
