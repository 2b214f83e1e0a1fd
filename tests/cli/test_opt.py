"""`mpcompile opt`: passes by name, and programs as text that reads back."""

from __future__ import annotations

from functools import partial

import pytest
from in_process import Cli
from specs_under_test import ROOT, full

from mpcompile.ir.same import same_graph
from mpcompile.passes.cse import CommonSubexpressions
from mpcompile.passes.fold import FoldConstants
from mpcompile.passes.pipeline import SHIPPED
from mpcompile.passes.selection import selected
from mpcompile.text import parse_all

MADE = "specs/made.yaml"


@pytest.fixture
def opt(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `mpcompile opt`."""
    monkeypatch.chdir(ROOT)
    return partial(cli, "opt")


def test_a_page_parses_back_to_what_the_passes_give(opt: Cli) -> None:
    code, out, said = opt(MADE, "-p", "shipped", "--data", "--scopes", "--verify-each", "--time")
    assert code == 0, said
    graphs, programs = parse_all(out), full("made").programs
    assert list(graphs) == list(programs)
    for name in ("loss", "log_prob"):
        expected = SHIPPED.run(programs[name]).graph
        assert same_graph(graphs[name], expected, places=False)
    rows = [line.split()[0] for line in said.splitlines()]
    assert rows == ["pass", "samplers", "rearrange", "fission", "simplify", "cse{across:", "dce"]


def test_a_page_for_people_names_layers_and_leaves_data_out(opt: Cli) -> None:
    code, out, _ = opt(MADE, "--program", "log_prob")
    assert code == 0 and out.startswith("program log_prob(x: float[N, 64]) -> (log_prob: float[N]) {")
    assert "# x.net.dense_0: dense(hidden, mask = up)  (specs/made.yaml:9:9)" in out
    assert "%dense_0.mat_mul = mat_mul(%x, %dense_0.transpose) : float[N, 256]" in out
    assert "data {" not in out and out.count("program ") == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (("-p", "simplfy"), "error: -p: no pass is named 'simplfy'; did you mean `simplify`?"),
    (("--program", "los"), "error: no program is named 'los' (there are loss,"),
])  # fmt: skip
def test_wrong_usage_is_told(arguments: tuple[str, ...], message: str, opt: Cli) -> None:
    code, out, said = opt(MADE, *arguments)
    assert code == 2 and said.startswith(message) and not out


def test_passes_are_selected_with_their_options() -> None:
    line = selected("fold{most: 8}, cse{across: false},shipped")
    assert line.passes == (FoldConstants(8), CommonSubexpressions(across=False), *SHIPPED.passes)
    assert selected(",".join(map(str, line.passes))).passes == line.passes
    assert selected("").passes == ()


@pytest.mark.parametrize(("text", "message"), [
    ("fold{least: 8}", "fold has no option least: 8 .its options are most: int"),
    ("fold{most: true}", "fold has no option most: True"),
    ("dce{x: 1}", "its options are none"),
    ("fold cse", "expected ','"),
    ("fold{most: 1", "expected"),
    ("%", "cannot read"),
])  # fmt: skip
def test_what_selects_no_pass_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        selected(text)
