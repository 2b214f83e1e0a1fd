"""Pages to follow: their blocks run from the top to the bottom, in one folder, and commands print what is shown.

A block of `mp NAME` is a spec, which later commands of its page can name; it has no finding, unless it is `broken`. A
block of `python` runs; `# NAME.py` in its first line makes it a file too. In a block of `console` a line that starts with
`$ ` is a command and the lines after it are of its output, in their order; `...` stands for others. What a training
has learned is not compared: here it lasts two steps. Nor are sizes of files.
"""

from __future__ import annotations

import gc
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from followed_pages import PAGES

from mpcompile import api
from mpcompile.cli import main
from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.ir import Training
from mpcompile.ranges import slots

ROOT = Path(__file__).parents[2]
#: Commands whose output depends on what was learned.
LEARNED = ("train", "eval", "--gradient-flow", "--density")


def blocks(page: str) -> list[tuple[list[str], str]]:
    """The words behind the opening of every block of a page, and the block."""
    folder = ROOT if page == "README" else ROOT / "docs"
    text = (folder / f"{page}.md").read_text(encoding="utf-8")
    return [
        (words.split(), block) for words, block in re.findall(r"^```([^\n]*)\n(.*?)^```", text, re.M | re.S)
    ]


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
    monkeypatch.syspath_prepend(folder)
    found = blocks(page)
    assert page.startswith(("tutorials/", "howto/")) or sum(w[:1] == ["console"] for w, _ in found) > 1
    for words, text in found:
        if words[:1] == ["mp"] and len(words) > 1:
            (folder / words[1]).write_text(text, encoding="utf-8")
            assert bool(findings(words[1])) == (words[2:] == ["broken"]), words[1]
        elif words[:1] == ["python"]:
            run(text, page, folder, monkeypatch)
        elif words[:1] == ["console"]:
            for command, *lines in [c.splitlines() for c in re.split(r"(?m)^\$ ", text) if c]:
                typed(command, lines, monkeypatch, capsys)


def findings(name: str) -> list[Diagnostic]:
    """Whatever is found of a spec, warnings too."""
    try:
        module = api.load(name)
        return [*api.check(module), *api.warnings(module)]
    except SpecError as problem:
        return list(problem.diagnostics)


def run(text: str, page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block of Python; one with the name of a file can be imported later."""
    if name := re.match(r"# (\w+)\.py\n", text):
        (folder / f"{name[1]}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name[1], raising=False)
    code = compile(text, page, "exec")
    made = ModuleType("a_block")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(code, made.__dict__)


def typed(
    command: str, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a command, which ends as its lines say and prints them."""
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
        assert all(f"({folder}{page}.md)" in text for page in [*PAGES, "laws"] if "/" not in page), index


def test_the_page_on_training_has_every_setting() -> None:
    named = re.findall(r"`(\w+)`", (ROOT / "docs" / "training.md").read_text(encoding="utf-8"))
    assert {slot.name for slot in slots(Training)} <= set(named)
