"""The site is built without a warning, its links lead somewhere, and its main pages pass axe in both colour schemes.

All pages are read and their references resolved; only the main ones are written as HTML, which costs most of the time.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

pytest.importorskip("furo")
pytest.importorskip("myst_parser")

ROOT = Path(__file__).parents[2]
MAIN = ("index", "start", "tutorials/first-made", "reference/optimizers", "gallery/made")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def publish() -> Iterator[ModuleType]:
    """`docs/publish.py` as a module."""
    sys.path.insert(0, str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("publish", ROOT / "docs" / "publish.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def site(publish: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the main pages; a warning anywhere on the site is an error."""
    folder = tmp_path_factory.mktemp("site")
    shown = [ROOT / "specs" / name for name in ("made.yaml", "vae.yaml", "unet.mp")]
    publish.stage(folder / "pages", shown)
    doctrees = ["-d", str(folder / "doctrees")]
    assert publish.sphinx(folder / "pages", folder / "none", "-b", "dummy", *doctrees) == 0
    files = [str(folder / "pages" / f"{name}.md") for name in MAIN]
    assert publish.sphinx(folder / "pages", folder / "html", "-b", "html", *doctrees, files=files) == 0
    return folder


class Links(HTMLParser):
    """The links of a page, its anchors, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {k: v or "" for k, v in attrs}
        self.anchors |= {found["id"]} if "id" in found else set()
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("link", "script", "img"):
            self.loads.append(found.get("src") or found.get("href") or "")


def test_links_of_the_main_pages_lead_somewhere(site: Path) -> None:
    pages = {str(p.relative_to(site / "pages").with_suffix(".html")) for p in (site / "pages").rglob("*.md")}
    pages |= {"genindex.html", "search.html", "py-modindex.html"}
    for name in MAIN:
        path = site / "html" / f"{name}.html"
        found = Links(path.read_text(encoding="utf-8"))
        for link in found.links:
            target, _, anchor = unquote(link).partition("#")
            if target.startswith(("http:", "https:")):
                continue
            page = (path.parent / target).resolve().relative_to((site / "html").resolve()) if target else None
            assert page is None or str(page) in pages, (name, link)
            assert page is not None or anchor in found.anchors, (name, link)
        outside = [x for x in found.loads if x.startswith(("http", "//"))]
        assert outside == [], name  # nothing is fetched from elsewhere


def test_a_link_to_nothing_is_found(publish: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"docs/start\.md: a link leads to nowhere\.md"):
        publish.rewritten("docs/start.md", "[x](nowhere.md)", [])
    text = (
        "[a](../specs/made.yaml) [b](../README.md) [c](../tests/docs) [d](proofs.md#x)\n```\n[e](no.md)\n```"
    )
    kept = publish.rewritten("docs/start.md", text, [ROOT / "specs" / "made.yaml"])
    assert kept == "[a](gallery/made.md) [b](index.md) c [d](proofs.md#x)\n```\n[e](no.md)\n```"


def test_every_page_is_on_the_site(site: Path, publish: ModuleType) -> None:
    """And in a table of contents, or below the first page of its folder, which links it."""
    pages = {str(p.relative_to(site / "pages")) for p in (site / "pages").rglob("*.md")}
    wanted = {publish.place(str(p.relative_to(ROOT))) for p in (ROOT / "docs").rglob("*.md")}
    assert wanted <= pages
    for name in sorted(pages):
        text = (site / "pages" / name).read_text(encoding="utf-8")
        if text.startswith("---\norphan"):
            folder = name.partition("/")[0]
            assert f"{folder}/" in publish.APART, name
            index = (site / "pages" / folder / "index.md").read_text(encoding="utf-8")
            assert f"({Path(name).name}" in index, name


def test_the_gallery_has_every_spec_with_its_picture(publish: ModuleType, site: Path) -> None:
    listed = publish.gallery.specs()
    assert {p.name for p in listed} >= {
        p.name for p in (ROOT / "specs").iterdir() if p.suffix in (".mp", ".yaml")
    }
    assert len({p.stem for p in listed}) == len(listed)
    text = (site / "pages" / "gallery" / "made.md").read_text(encoding="utf-8")
    assert re.search(r'<g class="layer">.*\n<text[^>]*>dense\(hidden, mask = up\)</text>', text)
    assert (
        "13.135 +- 0.023 nats" in text
        and (ROOT / "specs" / "made.yaml").read_text(encoding="utf-8").rstrip() in text
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no browser")
def test_main_pages_pass_axe(site: Path) -> None:
    """At the width of a telephone, where nothing may overflow sideways, in both colour schemes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    sync = pytest.importorskip("playwright.sync_api")
    contrast = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    with sync.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        for name in MAIN:
            tab.goto((site / "html" / f"{name}.html").as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390, name
            for scheme, options in (("light", None), ("dark", contrast)):
                tab.emulate_media(color_scheme=scheme)
                found = axe.Axe().run(tab, options=options)
                assert found.violations_count == 0, (name, scheme, found.generate_report())
        browser.close()
