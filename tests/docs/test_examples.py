"""Every example of README and the documentation is sound: whole specs are checked, Python runs, commands parse.

A block of `mp NAME` or `yaml NAME` is a whole spec and has no finding, unless it is `broken`; one whose first line
begins as a spec does must be marked so. Commands anywhere, in blocks and in running text, are parsed by the real
command line, so that an option that is gone is found; `test_pages.py`, `test_ci.py` and `test_readme.py` run those that
a reader types.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from followed_pages import ALL as PAGES
from followed_pages import COMMAND, FENCE, PATHS, ROOT, fences

from mpcompile import api
from mpcompile.cli import COMMANDS
from mpcompile.diagnostics import SpecError
from mpcompile.frontend import parse

#: What a spec begins with, after comments.
BEGINS = re.compile(r"\A(\s*#[^\n]*\n)*\s*model[ :]")


#: What the parser of a command raises: the class that typer derives its own from.
WRONG = typer.BadParameter.__mro__[1]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


SPECS = [
    pytest.param(words, block, id=f"{page}:{words[1]}")
    for page in PAGES
    for words, block in fences(page)
    if words and words[0] in ("mp", "yaml") and len(words) > 1 and not (page in PATHS and words[0] == "mp")
]


def test_every_whole_spec_is_named() -> None:
    """A block that is a spec has a name, so that it is checked; README's is that of the repository."""
    for page in PAGES:
        if page.startswith(("docs/codes/", "docs/reference/")):  # excerpts, and examples of test_reference.py
            continue
        for words, block in fences(page):
            if BEGINS.match(block) and not (page == "README.md" and block == text("specs/made.yaml")):
                assert len(words) > 1 and words[0] in ("mp", "yaml"), (page, block)
    assert len(SPECS) > 2


@pytest.mark.parametrize(("words", "block"), SPECS)
def test_a_spec_is_sound(words: list[str], block: str, tmp_path: Path) -> None:
    path = tmp_path / words[1]
    assert path.suffix == f".{words[0]}"
    path.write_text(block, encoding="utf-8")
    try:
        module = api.load(path)
        found = [*api.check(module), *api.warnings(module)]
    except SpecError as problem:
        found = list(problem.diagnostics)
    assert bool(found) == ("broken" in words), found


def test_both_syntaxes_of_the_first_example_mean_the_same(tmp_path: Path) -> None:
    for words, block in fences("docs/language.md"):
        if words and words[-1].startswith("language."):
            (tmp_path / words[-1]).write_text(block, encoding="utf-8")
    assert parse(tmp_path / "language.mp")[0].same_as(parse(tmp_path / "language.yaml")[0])


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p not in PATHS and any(w[:1] == ["python"] for w, _ in fences(p))],
)
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for words, block in fences(page):
        if words[:1] == ["python"]:
            if name := re.match(r"# (\w+)\.py\n", block):  # a file that a later block may import
                (tmp_path / f"{name[1]}.py").write_text(block, encoding="utf-8")
                monkeypatch.delitem(sys.modules, name[1], raising=False)
            code = compile(block, page, "exec")
            exec(code, {})


def checked(page: str, words: list[str], block: str) -> str:
    """How the suite checks a block; nothing for one that it does not."""
    kind = words[0] if words else ""
    if page.startswith("docs/codes/"):
        return "is the text of a code (test_codes)"
    if page.startswith("docs/reference/") and kind == "mp":
        return "is an example of its name (test_reference)"
    if kind in ("mp", "yaml") and len(words) > 1:
        return "is a sound spec, or as broken as it says"
    if kind in ("yaml", "toml", "json"):
        return "parses"
    if kind == "python":
        return "runs"
    if kind in ("console", "sh", "bash", "") and COMMAND.search(block):
        return "is commands, which run or parse"
    if page == "README.md" and not kind:
        return "is printed by a command (test_readme)"
    if kind in ("lua", "elisp"):
        return "is a setting of an editor, not run"
    return "is no code" if kind == "text" else ""


def test_every_block_is_checked() -> None:
    found = Counter(checked(page, words, block) for page in PAGES for words, block in fences(page))
    assert "" not in found, [(p, b) for p in PAGES for w, b in fences(p) if not checked(p, w, b)]
    code = found.total() - found["is no code"]
    ran = code - found["is a setting of an editor, not run"]
    print(f"{ran} of {code} blocks of code are checked: {ran / code:.1%}")
    print("\n".join(f"{count:5} {how}" for how, count in found.most_common()))


def test_settings_are_of_their_format() -> None:
    for page in PAGES:
        for words, block in fences(page):
            if words[:1] == ["toml"]:
                assert tomllib.loads(block), (page, block)
            elif words == ["yaml"] and not block.startswith("#"):
                assert yaml.safe_load(block), (page, block)
            elif words[:1] == ["json"]:
                assert json.loads(block), (page, block)


@cache
def command_line() -> dict[str, Any]:
    """The parser of each command."""
    app = typer.Typer()
    for name, (module, function) in COMMANDS.items():
        app.command(name)(getattr(importlib.import_module(f"mpcompile.cli.{module}"), function))
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def commands(page: str) -> Iterator[tuple[str, bool]]:
    """Commands of mpcompile in blocks, and in running text between backticks, which may leave out what they act on."""
    for _, block in fences(page):
        joined = re.sub(r"\\\n\s*", " ", block)
        for command in re.findall(
            r"^\s*(?:\$ |- run: )?(mpcompile (?!=)(?:'[^'\n]*'|[^\n#|>'])*)", joined, re.MULTILINE
        ):
            yield command, True
    for command in re.findall(r"`(mpcompile [^`]*)`", FENCE.sub("", text(page))):
        yield command, False


def arguments(command: str) -> list[str]:
    """Words of a command, where N and K stand for a number, an ellipsis for more, and KIND=FILE for itself."""
    words = [re.sub(r"^(N|K|S)$", "1", word) for word in shlex.split(command)[1:]]
    return [w.removesuffix("...") for w in words if w not in ("...", "||")]


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))])
def test_commands_parse(page: str) -> None:
    for command, whole in commands(page):
        name, *rest = arguments(command)
        if name in ("--version", "--help", "--install-completion", "--show-completion"):
            continue
        assert name in COMMANDS, (page, command)
        try:
            command_line()[name].make_context(name, rest, resilient_parsing=False)
        except typer.Exit:  # --help
            pass
        except WRONG as wrong:
            left_out = str(wrong).startswith("Missing parameter") or "requires an argument" in str(wrong)
            assert left_out and not whole, f"{page}: {command}: {wrong}"


def test_an_option_that_is_gone_is_found() -> None:
    with pytest.raises(Exception, match="nonsense"):
        command_line()["check"].make_context("check", ["a.mp", "--nonsense"])


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    for page in PAGES:
        named = [
            n
            for _, block in fences(page)
            for n in re.findall(r"^(?:\$ )?make ([a-z-]+)", block, re.MULTILINE)
        ]
        named += re.findall(r"`make ([a-z-]+)", text(page))
        assert set(named) <= targets, page


def test_scripts_that_are_named_exist() -> None:
    for page in PAGES:
        scripts = re.findall(r"python ((?:benchmarks|tests|docs)/[\w/]+\.py)", text(page))
        assert [s for s in scripts if not (ROOT / s).is_file()] == [], page


def test_options_of_scripts_exist() -> None:
    """Scripts take minutes to hours; here it is enough that each option is written down in their folder."""
    for page in PAGES:
        for _, block in fences(page):
            for folder, given in re.findall(r"python (benchmarks|tests/release)/\S+\.py( [^\n]*)", block):
                sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / folder).rglob("*.py"))
                for option in re.findall(r"(?<=\s)--[a-z-]+", given):
                    assert f'"{option}"' in sources, (page, option)
