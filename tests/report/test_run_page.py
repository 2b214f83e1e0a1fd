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
    )  # fmt: skip


def test_the_page_shows_what_it_is_given(text: str) -> None:
    for title in ("Training", "Likelihood of each example", "Samples", "Layers", "Receptive fields"):
        assert f"<h2>{title}</h2>" in text
    assert "100.0% of the examples are more probable than under &lt;b&gt;a law&lt;/b&gt;" in text
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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_pages_are_accessible_and_fit_a_small_window(text: str, tmp_path: Path) -> None:
    """Of the run and of `inspect`, in both colour schemes: contrast, headings, keyboard, no sideways scrolling."""
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
        browser.close()
