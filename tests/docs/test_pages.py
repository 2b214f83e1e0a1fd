"""Pages to follow: their blocks run from the top to the bottom, in one folder, and commands print what is shown.

A block of `mp NAME` is a spec, which later commands of its page can name; it has no finding, unless it is `broken`. Other
blocks with a name are files. A block of `python` runs, and so do its tests; `# NAME.py` in its first line makes it a file
too. In a block of `console` a line that starts with `$ ` is a command and the lines after it are of its output, in their
order; `...` stands for others. Sizes of files are not compared. Here a training lasts two steps, and only the words of
what it has learned are compared; under `MPCOMPILE_EVERY_COMMAND=1` it lasts as on the page, and numbers are alike.
`tests/support/followed_pages.py` lists the commands that are left out, each with its reason.
"""

from __future__ import annotations

import gc
import re
import shlex
import shutil
import sys
from math import isclose
from pathlib import Path
from types import ModuleType

import pytest
from followed_pages import ELSEWHERE, EVERY, LONG, PAGES, PATHS, ROOT, TYPED, UNRUN, fences, too_long, unrun
from followed_pages import typed as commands

from mpcompile import api
from mpcompile.cli import main
from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.ir import Training
from mpcompile.ranges import slots

#: Commands whose output depends on what was learned.
LEARNED = ("train", "eval", "--gradient-flow", "--density")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w])")


def sizeless(line: str) -> str:
    return re.sub(r"[\d,]+ bytes", "N bytes", line.rstrip())


def alike(shown: str, printed: str) -> bool:
    """Whether two lines differ in numbers alone, and after a whole training by a tenth at most."""
    words, found = (" ".join(NUMBER.sub("#", line).split()) for line in (shown, printed))
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=False)
    return words == found and (
        not EVERY or all(isclose(float(a), float(b), rel_tol=0.1, abs_tol=0.02) for a, b in pairs)
    )


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
    path = "README.md" if page == "README" else f"docs/{page}.md"
    for words, text in fences(path):
        if len(words) > 1:
            (folder / words[1]).write_text(text, encoding="utf-8")
        if words[:1] == ["mp"] and len(words) > 1:
            assert bool(findings(words[1])) == (words[2:] == ["broken"]), words[1]
        elif words[:1] == ["python"]:
            run(text, page, folder, monkeypatch)
        elif words[:1] == ["console"]:
            shown = [c.splitlines()[1:] for c in re.split(r"(?m)^\$ ", text) if c]
            for command, lines in zip(commands(words, text), shown, strict=True):
                if not unrun(path, command) and (EVERY or not too_long(command)):
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
    for name, test in [*made.__dict__.items()]:
        if name.startswith("test_"):
            test()


def typed(
    command: str, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a command, which ends as its lines say and prints them."""
    arguments = shlex.split(command if EVERY else re.sub(r" --steps \d+", "", command))
    assert arguments[0] == "mpcompile", command
    if arguments[1] == "train" and not EVERY:
        arguments += ["--steps", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    found = capsys.readouterr()
    faulty = any(re.match(r"(error|warning)\[", line) for line in lines)
    assert (ended.value.code or 0) == faulty, (command, found)
    if arguments[1] == "train" and not (EVERY or faulty):
        return
    same = alike if any(word in command for word in LEARNED) else str.__eq__
    streams = [[sizeless(line) for line in text.splitlines()] for text in found]  # a terminal mixes them
    for line in map(sizeless, lines):
        if line.strip() not in ("", "..."):
            places = [(rest, i) for rest in streams for i, printed in enumerate(rest) if same(line, printed)]
            assert places, (command, line, found)
            rest, i = places[0]
            del rest[: i + 1]


def test_every_command_is_run_or_has_its_reason() -> None:
    """A command stands in a `console` of a page that a test follows, or is one row of `UNRUN`; no row is left over."""
    found = [(p, w, c) for p in TYPED for w, block in fences(p) for c in commands(w, block)]
    for path, words, command in found:
        follows = path in ELSEWHERE or (path in PATHS and words == ["console"])
        rows = unrun(path, command)
        assert len(rows) <= 1 and (rows or follows), (path, command)
    for where, begins, _ in UNRUN:
        assert any(path == where and command.startswith(begins) for path, _, command in found), (
            where,
            begins,
        )
    for part in LONG:
        assert any(part in command for _, _, command in found), part
    left = sum(bool(unrun(path, command)) for path, _, command in found)
    long = sum(too_long(command) and not unrun(path, command) for path, _, command in found)
    print(
        f"{len(found) - left - long} commands run, {long} more by `make docs-commands`, {left} have their reason"
    )


def test_every_page_is_linked() -> None:
    for index in ("README.md", "docs/README.md"):
        text = (ROOT / index).read_text(encoding="utf-8")
        folder = "docs/" if index == "README.md" else ""
        assert all(f"({folder}{page}.md)" in text for page in [*PAGES, "laws"] if "/" not in page), index


def test_the_page_on_training_has_every_setting() -> None:
    named = re.findall(r"`(\w+)`", (ROOT / "docs" / "training.md").read_text(encoding="utf-8"))
    assert {slot.name for slot in slots(Training)} <= set(named)
