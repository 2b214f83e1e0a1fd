"""What README.md shows is what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from in_process import Cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md") if not p.name.startswith("MP"))])  # fmt: skip
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"(?<!!)\[[^\]]+\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
