"""README, and the pages about families of models: their specs are sound, their commands run, and print what is shown.

A block of `mp NAME` is a spec, which later commands of its page can name; it has no finding, unless it is `broken`. In a
block of `console` a line that starts with `$ ` is a command and the lines after it are of its output, in their order;
`...` stands for others. What a training has learned is not compared: here it lasts two steps. Nor are sizes of files.
"""

from __future__ import annotations

import gc
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from mpcompile import api
from mpcompile.cli import main
from mpcompile.ir import Training
from mpcompile.ranges import slots

ROOT = Path(__file__).parents[2]
PAGES = [
    "training",
    "runs",
    "networks",
    "convolutional",
    "recurrent",
    "latents",
    "autoregressive",
    "flows",
    "notes",
]
#: Commands whose output depends on what was learned.
LEARNED = ("train", "eval", "--gradient-flow", "--density")


def blocks(page: str, kind: str) -> list[tuple[str, str]]:
    """What stands behind ```kind, and the block."""
    folder = ROOT if page == "README" else ROOT / "docs"
    text = (folder / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{kind} ?([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def sizeless(line: str) -> str:
    return re.sub(r"[\d,]+ bytes", "N bytes", line.rstrip())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # the process goes on after a command
    return tmp_path


@pytest.mark.parametrize("page", ["README", *PAGES])
def test_the_page_is_what_happens(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for title, text in blocks(page, "mp"):
        name, _, broken = title.partition(" ")
        (folder / name).write_text(text, encoding="utf-8")
        if broken:
            assert broken == "broken"
        else:
            assert api.check(api.load(name)) == []
    shown = [block for _, block in blocks(page, "console")]
    assert len(shown) > 1
    for command, *lines in [c.splitlines() for block in shown for c in re.split(r"(?m)^\$ ", block) if c]:
        arguments = shlex.split(re.sub(r" --steps \d+", "", command))
        assert arguments[0] == "mpcompile", command
        if arguments[1] == "train":
            arguments += ["--steps", "2"]
        monkeypatch.setattr(sys, "argv", arguments)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        found = "".join(capsys.readouterr())
        faulty = any(re.match(r"(error|warning)\[", line) for line in lines)
        assert (ended.value.code or 0) == faulty, (command, found)
        if not any(word in command for word in LEARNED):
            rest = [sizeless(line) for line in found.splitlines()]
            for line in map(sizeless, lines):
                if line.strip() not in ("", "..."):
                    assert line in rest, (command, line, found)
                    rest = rest[rest.index(line) + 1 :]


def test_every_page_is_linked() -> None:
    for index in ("README.md", "docs/README.md"):
        text = (ROOT / index).read_text(encoding="utf-8")
        folder = "docs/" if index == "README.md" else ""
        assert all(f"({folder}{page}.md)" in text for page in [*PAGES, "laws"]), index


def test_the_page_on_training_has_every_setting() -> None:
    named = re.findall(r"`(\w+)`", (ROOT / "docs" / "training.md").read_text(encoding="utf-8"))
    assert {slot.name for slot in slots(Training)} <= set(named)
