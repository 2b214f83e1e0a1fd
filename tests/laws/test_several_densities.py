"""Several densities in one model: each has programs of its own, in which its claims are proven."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.runner.verify import _laws as laws_of

HEAD = "model m\ninput a: {a}\ninput b: {b}\nmask up = degrees(order = natural)\n"
MASKED = "autoregressive { dense(8, mask = up) -> relu -> dense(4, mask = strict(up)) }"
OPEN = "autoregressive { dense(8) -> relu -> dense(4) }"
FLOW = "flow(base = normal) { coupling(mask = checkerboard, net = dense(4)) }"


def answers(tmp_path: Path, a: str, b: str, kind: str = "binary[4]", check: str = "") -> dict[str, str]:
    path = tmp_path / "m.mp"
    path.write_text(HEAD.format(a=kind, b=kind) + f"a ~ {a}\nb ~ {b}\n{check}")
    return {p.name: p.status for p in api.examine(path).properties if "(a)" in p.name or "(b)" in p.name}


@pytest.mark.parametrize("other", [MASKED, OPEN])
def test_each_autoregressive_density_is_proven_on_its_own(tmp_path: Path, other: str) -> None:
    expected = "proved" if other == MASKED else "refuted"
    assert answers(tmp_path, OPEN, other) == {"autoregressive(a)": "refuted", "autoregressive(b)": expected}
    assert answers(tmp_path, other, OPEN) == {"autoregressive(a)": expected, "autoregressive(b)": "refuted"}
    found = answers(tmp_path, other, MASKED, check="check { complete(a); complete(b) }\n")
    assert found["autoregressive(a)"] == expected and found["complete(b)"] == "proved"


def test_each_flow_has_a_jacobian_of_its_own(tmp_path: Path) -> None:
    dense = "flow(base = normal) { autoregressive(hidden = [8]) -> permute(reverse) -> autoregressive(hidden = [8]) }"
    check = "check { jacobian(a) is triangular; jacobian(b) is triangular }\n"
    assert set(answers(tmp_path, FLOW, FLOW, "real[4]", check).values()) == {"proved"}
    found = answers(tmp_path, FLOW, dense, "real[4]", check)
    assert found["jacobian(a) is triangular"] == "proved" and found["jacobian(b) is triangular"] == "refuted"
    found = answers(tmp_path, dense, FLOW, "real[4]", check)
    assert found["jacobian(a) is triangular"] == "refuted" and found["jacobian(b) is triangular"] == "proved"


@pytest.mark.parametrize(("law", "kind"), [(MASKED, "binary[4]"), (FLOW, "real[4]")])
def test_the_laws_of_each_are_verified(tmp_path: Path, law: str, kind: str) -> None:
    from mpcompile.runner.initial import initial

    path = tmp_path / "m.mp"
    path.write_text(HEAD.format(a=kind, b=kind) + f"a ~ {law}\nb ~ {law}\n")
    module = api.load(path)
    program = "conditionals" if law == MASKED else "forward"
    assert {program, f"{program}_b"} <= set(module.programs)
    rows = list(laws_of(module, initial(module, 0), (3, 3)))
    assert {program, f"{program}_b"} <= {r.program for r in rows}
