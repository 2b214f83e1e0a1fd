"""The page of a run: what it shows is what it is given, no text becomes markup, and it is accessible."""

from __future__ import annotations

import re
import shutil
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from specs_under_test import ROOT

from mpcompile import api
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower
from mpcompile.report import charts
from mpcompile.report.page import page as inspect_page
from mpcompile.report.run_page import page

CHROMIUM = next(
    (b for n in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(n))), None
)
METRICS = [
    {"split": split, "step": step, "loss": 40.0 - step + (split == "valid"), "learning_rate": 1e-3}
    for step in (1, 2, 3)
    for split in ("train", "valid")
]


@pytest.fixture(scope="module")
def text() -> str:
    module = api.load(ROOT / "specs" / "pixelcnn.mp")
    draw = np.random.default_rng(0)
    values = draw.normal(-20, 3, 200)
    sets = [("the model", values), ("<b>a law</b>", values - 1)]
    facts = {"data": "<script>alert(1)</script>", "step": 3}
    return page(
        module, [("autoregressive(x)", "proved", "offsets"), ("complete(x)", "refuted", "a path")], facts, METRICS,
        {"quantity": "log_likelihood", "dimensions": 64}, sets, {"x": draw.integers(0, 2, (4, 1, 8, 8))},
        rows=[("<i>y</i>", "accuracy", "0.9375 +- 0.0100")],
    )  # fmt: skip


def test_the_page_shows_what_it_is_given(text: str) -> None:
    for title in (
        "Training",
        "Held-out figures",
        "Likelihood of each example",
        "Samples",
        "Layers",
        "Receptive fields",
    ):
        assert f"<h2>{title}</h2>" in text
    assert "100.0% of the examples are more probable than under &lt;b&gt;a law&lt;/b&gt;" in text
    assert "<td>&lt;i&gt;y&lt;/i&gt;</td><td>accuracy</td><td class='num'>0.9375 +- 0.0100</td>" in text
    assert "badge proved" in text and "badge refuted" in text and "9 × 15" in text and "-8, -7" in text
    assert text.count("<polyline class='line c1'") == 2, "the losses and rates of the second split"
    assert "<script" not in text and not re.search(r"(?:src|href)=['\"](?!data:image/png)", text)


def test_a_picture_is_the_draws() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    data = b64decode(re.search(r"base64,([^']*)", charts.png(pixels, "a"))[1])  # type: ignore[index]
    size = int.from_bytes(data[data.index(b"IDAT") - 4 :][:4], "big")
    rows = zlib.decompress(data[data.index(b"IDAT") + 4 :][:size])
    assert (np.frombuffer(rows, np.uint8).reshape(5, 22)[:, 1:].reshape(5, 7, 3) == pixels).all()


@pytest.mark.parametrize(
    "values", [[1.0], [2.0, 2.0], [np.nan, 1.0], [np.nan], [], [-1e30, 1e30], [0.0, 1e-12]]
)
def test_charts_take_any_numbers(values: list[float]) -> None:
    drawn = charts.lines("a", "x", "y", [("b", list(range(len(values))), values)])
    drawn += charts.histograms("a", "x", [("b", np.array(values))])
    assert "nan" not in drawn and "inf" not in drawn
    assert bool(drawn) == bool(np.isfinite(values).any())


def test_numbers_of_an_axis_end_inside_the_chart() -> None:
    drawn = charts.lines("a", "x", "y", [("b", [0, 3000], [0, 1])])
    (place, anchor), *_ = re.findall(r"<text x='([\d.]+)' y='[\d.]+' text-anchor='(\w+)'>3000<", drawn)
    assert (float(place), anchor) == (640, "end")


def test_one_number_a_draw_is_a_histogram() -> None:
    """Also where it stands in an axis of one element: draws of `real[1]` are no series of one place."""
    module = api.load(ROOT / "specs" / "ridge.mp")
    written = page(module, [], {}, [], {}, [], {"y": np.random.default_rng(0).normal(size=(50, 1))})
    assert "50 draws of y" in written and "class='area c0'" in written and "place" not in written


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_pages_are_accessible_and_fit_a_small_window(text: str, tmp_path: Path) -> None:
    """Of the run and of `inspect`, in both colour schemes: contrast, headings, keyboard, no sideways scrolling.

    Names as long as they may be fit, too, and all buttons are inside the window.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    module = api.load(ROOT / "specs" / "realnvp2d.mp")
    named = list(zip(api.property_names(module), api.verdicts(module), strict=True))
    (tmp_path / "run.html").write_text(text, encoding="utf-8")
    (tmp_path / "inspect.html").write_text(inspect_page(module, named), encoding="utf-8")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme, name in (("light", "run"), ("dark", "run"), ("light", "inspect"), ("dark", "inspect")):
            window = {"width": 390, "height": 900}
            shown = browser.new_context(viewport=window, color_scheme=scheme, bypass_csp=True).new_page()
            shown.goto((tmp_path / f"{name}.html").as_uri())
            found = axe.Axe().run(shown).response["violations"]
            assert [(v["id"], [n["html"][:80] for n in v["nodes"]]) for v in found] == [], (name, scheme)
            assert shown.evaluate("document.documentElement.scrollWidth") == 390, (name, scheme)
        shown = browser.new_context(viewport={"width": 390, "height": 900}).new_page()
        for name, written in long_names().items():
            (tmp_path / f"{name}.html").write_text(written, encoding="utf-8")
            shown.goto((tmp_path / f"{name}.html").as_uri())
            assert shown.evaluate("document.documentElement.scrollWidth") == 390, name
            assert shown.evaluate("Math.max(0, ...[...document.querySelectorAll('button')].map(RIGHT))"
                                  .replace("RIGHT", "b => b.getBoundingClientRect().right")) <= 390, name  # fmt: skip
        browser.close()


def long_names() -> dict[str, str]:
    """Return both pages of a model whose names have 64 characters, the most that a name may have."""
    model, mask, size = (f"{word}{'_and_on' * 10}"[:64] for word in ("model", "mask", "size"))
    text = LONG.replace("MODEL", model).replace("MASK", mask).replace("SIZE", size)
    module = lower(parse_text(text), Source(f"{model}.mp", text))
    claims = [(f"autoregressive({mask})", "proved", mask)]
    named = list(zip(api.property_names(module), api.verdicts(module), strict=True))
    return {
        "long-run": page(
            module, claims, {"data": f"/{model}.csv", size: 9}, METRICS, {"quantity": mask}, [], {}
        ),
        "long-inspect": inspect_page(module, named),
    }


LONG = """model MODEL(SIZE = 8)

input x: binary[8]
mask MASK = degrees(order = natural)

block deep(w) on h { yield h + (h -> dense(w, mask = MASK) -> relu -> dense(w, mask = MASK)) }

x ~ autoregressive(order = natural, likelihood = bernoulli) {
  dense(SIZE, mask = MASK) -> deep(SIZE) -> dense(8, mask = strict(MASK))
}
"""
