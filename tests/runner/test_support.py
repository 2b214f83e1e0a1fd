"""Data beyond the box of a spline are said before training, with their share and their elements."""

import re
from pathlib import Path

import numpy as np
import pytest

from mpcompile import api
from mpcompile.bijectors import LAWS
from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.runner.data import load_data
from mpcompile.runner.initial import initial
from mpcompile.runner.loop import Options, train
from mpcompile.runner.support import beyond_reach, whole_numbers

SPLINES = {
    "autoregressive": "autoregressive(hidden = [8], law = spline(bound = 4))",
    "inverse": "inverse(autoregressive(hidden = [8], law = spline(bound = 4)))",
    "coupling": "coupling(mask = checkerboard, net = dense(8), law = spline(bound = 4))",
    "second": "affine -> permute(reverse) -> autoregressive(hidden = [8], law = spline(bound = 4))",
    "in a row": "autoregressive(hidden = [8]) -> autoregressive(hidden = [8], law = spline(bound = 4))",
}


def warned(folder: Path, chain: str, x: np.ndarray, declared: str = "real[4]") -> list[Diagnostic]:
    (folder / "m.mp").write_text(f"model m\ninput x: {declared}\nx ~ flow(base = normal) {{ {chain} }}\n")
    np.save(folder / "x.npy", x)
    module = api.load(folder / "m.mp")
    data = load_data(module, str(folder / "x.npy"))
    state = {f"parameter/{k}": v for k, v in initial(module, 0).items()}
    return beyond_reach(module, data.splits["train"], state)


@pytest.mark.parametrize("name", SPLINES)
def test_a_spline_and_data_of_another_scale(tmp_path: Path, name: str) -> None:
    r = np.random.default_rng(0)
    assert warned(tmp_path, SPLINES[name], r.standard_normal((500, 4))) == []
    (found,) = warned(tmp_path, SPLINES[name], r.standard_normal((500, 4)) * [1, 1e5, 1, 1])
    place = 2 if "reverse" in SPLINES[name] else 1
    share = re.match(r"([\d.]+)% of the values of 'x' lie beyond the box \[-4, 4\] of ", found.message)
    assert share is not None and 24 < float(share[1]) < 26 and found.message.endswith(f": x[{place}]")
    assert found.code == "MP508" and found.span.line == 3
    (found,) = warned(tmp_path, SPLINES[name], r.standard_normal((500, 4)) + 1e5)
    assert found.message.startswith("100.0%") and "x[0], x[1], x[2], x[3]" in found.message


@pytest.mark.parametrize("law", LAWS)
def test_each_law_declares_where_it_ends(tmp_path: Path, law: str) -> None:
    """What a law says is what it does: beyond its reach it is the identity, and without one it is said of no data."""
    chain = f"autoregressive(hidden = [8], law = {law})"
    found = warned(tmp_path, chain, 1e3 * np.random.default_rng(0).standard_normal((100, 4)))
    assert bool(found) == (LAWS[law]().reach is not None) == (law == "spline")


def test_integers_behind_a_logit_are_within(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (500, 4))
    chain = "dequantize -> logit(alpha = 0.05) -> " + SPLINES["autoregressive"]
    assert warned(tmp_path, chain, x, "integer(0..255)[4]") == []
    (found,) = warned(
        tmp_path, "dequantize -> " + SPLINES["autoregressive"].replace("4)", "0.5)"), x, "integer(0..255)[4]"
    )
    assert "beyond the box [-0.5, 0.5]" in found.message


def test_training_says_it_first(tmp_path: Path) -> None:
    """Before the first step; after actnorm has seen the first batch there is nothing to say."""
    np.save(tmp_path / "x.npy", 1e5 * np.random.default_rng(0).standard_normal((200, 4)))
    for before, count in (("", 1), ("actnorm -> ", 0)):
        text = (
            f"model m\ninput x: real[4]\nx ~ flow(base = normal) {{ {before}{SPLINES['autoregressive']} }}\n"
        )
        (tmp_path / "m.mp").write_text(text)
        said: list[str] = []
        options = Options(data=str(tmp_path / "x.npy"), steps=1)
        train(api.load(tmp_path / "m.mp"), tmp_path / f"run{count}", options, say=said.append)
        assert len(said) == count and all(
            s.startswith("warning[MP508]: 100.0% of the values") for s in said
        ), said


@pytest.mark.parametrize("row", range(0, 40, 4))
def test_values_that_a_bijector_is_not_defined_on(tmp_path: Path, row: int) -> None:
    """In whichever split they are: refused, with their number and element."""
    x = np.random.default_rng(0).uniform(0.1, 0.9, (40, 4))
    assert warned(tmp_path, "logit -> affine", x) == []
    x[row, 2] = 1.5
    with pytest.raises(SpecError) as caught:
        warned(tmp_path, "logit -> affine", x)
    (found,) = caught.value.diagnostics
    assert found.code == "MP504" and re.search(
        r"beyond it are 1 of \d+ values, in x\[2\] of (train|valid|test)$", found.message
    )


WHOLE = {
    "normal": ("normal(c -> dense(8))", True),
    "normal, its own scale": ("normal(loc = c -> dense(4), log_scale = c -> dense(4))", True),
    "normal, fixed scale": ("normal(loc = c -> dense(4), scale = 0.5)", False),
    "normal, given scale": ("normal(loc = c -> dense(4), scale = s)", False),
    "laplace": ("laplace(c -> dense(8))", True),
    "mixture of logistics": ("mixture(logistic, c -> dense(24), components = 2)", True),
    "mixture": ("mixture(components = 2)", True),
    "autoregressive": ("autoregressive(order = natural) { dense(8, mask = strict(degrees)) }", True),
    "flow that scales": ("flow(base = normal) { affine }", True),
    "flow that keeps the volume": ("flow(base = normal) { permute(reverse) }", False),
    "flow with a learned base": ("flow(base = normal(c -> dense(8))) { permute(reverse) }", True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_where_a_scale_is_learned(tmp_path: Path, name: str) -> None:
    """Told with the share and the elements, of laws whose density has no bound, and of no others."""
    law, told = WHOLE[name]
    text = f"model m\ncondition c: real[3]\ncondition s: real[4]\ninput x: real[4]\nx ~ {law}\n"
    (tmp_path / "m.mp").write_text(text)
    r = np.random.default_rng(0)
    x = r.standard_normal((400, 4))
    x[:, 1], x[:, 3] = r.integers(0, 9, 400), r.integers(-2, 2, 400)
    np.savez(tmp_path / "x.npz", c=r.standard_normal((400, 3)), s=np.exp(x), x=x)
    module = api.load(tmp_path / "m.mp")
    found = whole_numbers(module, load_data(module, str(tmp_path / "x.npz")).splits["train"])
    assert [d.code for d in found] == (["MP509"] if told else [])
    if told:
        assert found[0].message.startswith("50.0% of the values of 'x'") and found[0].message.endswith(
            "x[1], x[3]"
        )


def test_whole_numbers_of_a_sequence(tmp_path: Path) -> None:
    """A step of a recurrence; a feature is one element at all steps, and padding is none of its values."""
    text = (
        "model m\ninput x: real[time, 2]\ncondition n: integer(1..time)\n"
        "recurrence over time {{ carry h[3] = 0; x ~ {}; h = gru(x, h) }}\n"
    )
    r = np.random.default_rng(0)
    x = r.standard_normal((60, 50, 2))
    n = np.full(60, 2)
    for law, counted, elements in (
        ("normal(h -> dense(4))", False, []), ("normal(h -> dense(4))", True, ["x[0]"]),
        ("normal(loc = h -> dense(2), scale = 2)", True, []),
    ):  # fmt: skip
        x[..., 0] = r.integers(0, 5, x.shape[:2]) if counted else r.standard_normal(x.shape[:2])
        x[:, 2:] = 0
        (tmp_path / "m.mp").write_text(text.format(law))
        np.savez(tmp_path / "x.npz", x=x, n=n)
        module = api.load(tmp_path / "m.mp")
        found = whole_numbers(module, load_data(module, str(tmp_path / "x.npz")).splits["train"])
        assert [d.message.rsplit(": ")[-1] for d in found] == elements
