"""A large mask stays bits while a spec is checked: as doubles it takes eight times the memory, and its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.ir import Constant
from mpcompile.ir.leaves import WIDENED

SPEC = """model m(n = 1100)
input x: binary[n]
mask up = degrees(order = natural)
x ~ autoregressive { dense(n, mask = up) -> relu -> dense(n, mask = strict(up)) }
check {
  complete(x)
  parameters <= 3000000
}
"""


def test_no_claim_and_no_warning_widens_a_large_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.mp"
    path.write_text(SPEC)
    module = api.load(path)
    masks = {
        n.op.stored.size
        for graph in module.programs.values()
        for n in graph.nodes()
        if isinstance(n.op, Constant) and n.op.compact
    }
    assert max(masks) > WIDENED
    widen = Constant.array

    def array(self: Constant) -> object:
        assert not (self.compact and self.stored.size > WIDENED), "a mask of doubles"
        return widen.__get__(self)

    monkeypatch.setattr(Constant, "array", property(array))
    assert not api.check(module)
    assert {v.claim.kind for v in api.verdicts(module)} >= {
        "autoregressive",
        "complete",
        "independent",
        "parameters",
    }
