"""What README.md shows is what the commands print."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from in_process import Cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md") if not p.name.startswith("MP"))]  # fmt: skip
SPEC = (ROOT / "specs" / "made.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("text", "status"), [(SPEC, 0), (SPEC.replace("strict(up)", "up"), 1)])
def test_check_prints_what_the_readme_shows(
    text: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "made.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = cli("check", "specs/made.yaml")
    assert done.code == status and f"```\n{done.out.rstrip()}\n```" in README


def test_the_spec_is_the_one_in_the_repository() -> None:
    assert f"```yaml\n{SPEC.rstrip()}\n```" in README


def test_every_spec_is_in_the_table() -> None:
    specs = {p.name for p in (ROOT / "specs").iterdir() if p.suffix in (".mp", ".yaml")}
    assert set(re.findall(r"^\| `(\w+\.(?:mp|yaml))` \|", README, re.MULTILINE)) == specs


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = prose(path)
    for link in re.findall(r"\[[^\]]*\]\((?!https?:)([^)\s]+)\)", text):
        target, _, heading = link.partition("#")
        other = path.parent / target if target else path
        assert other.exists(), link
        assert not heading or other.suffix != ".md" or heading in headings(other), link


def test_no_word_or_phrase_stands_twice() -> None:
    for page in PAGES:
        words = re.sub(r"`([^`]*)`", lambda code: "code" + re.sub(r"\W", "", code[1]), prose(ROOT / page))
        twice = re.findall(r"\b([A-Za-z]+(?:[ \n][A-Za-z]+){0,5})[ \n]\1\b", words)
        assert [phrase for phrase in twice if re.search("[a-z]{2}", phrase)] == [], page


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    told = re.findall(r"^#+ (.*)$", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.strip().lower()).replace(" ", "-") for t in told}
