"""Specs as tests: `pytest specs/` shows one test for each property of each spec. `-p no:mpcompile` turns it off.

Specs are collected below a file or folder that the command line names, and everywhere with `--mpcompile` or
`mpcompile = true` in pytest's settings. A run over the root folder or over `testpaths` collects none by itself, so
installing mpcompile changes no run of anyone's suite.

pytest imports this file at every start, so it imports nothing of the compiler until there is a spec to collect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mpcompile.diagnostics import Diagnostic
    from mpcompile.diagnostics.report import Property
    from mpcompile.ir import Module

_SUFFIXES = (".mp", ".yaml", ".yml")
_BYTES = 256 * 1024  # no spec is larger

#: What makes a YAML file a spec: the name of a model at the left margin, and a section of one. Settings of other tools
#: that have a `model` too have it as a mapping, or lack the sections.
_MODEL = re.compile(rb"^model[ \t]*:[ \t]*([\"']?)\w+\1[ \t]*(#.*)?\r?$", re.MULTILINE)
_SECTION = re.compile(rb"^(input|target|condition|density|recurrence)[ \t]*:", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option `--mpcompile` and the setting `mpcompile`."""
    group = parser.getgroup("mpcompile", "mpcompile: specs as tests")
    group.addoption(
        "--mpcompile", action="store_true", help="collect every spec (.mp, .yaml), not only those named"
    )
    parser.addini("mpcompile", "collect every spec, as --mpcompile does", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    """Collect the tests of a spec, where specs are wanted; other plugins go on collecting the file too."""
    if file_path.suffix not in _SUFFIXES or not _wanted(file_path, parent.config) or not is_spec(file_path):
        return None
    made: SpecFile = SpecFile.from_parent(parent, path=file_path)
    return made


def _wanted(path: Path, config: pytest.Config) -> bool:
    if path in (named := _named(config)):
        return True
    root = next((folder for folder in path.parents if folder in named), config.rootpath)
    below = path.relative_to(root) if path.is_relative_to(root) else path
    if "invalid" in below.parts:  # by convention of `mpcompile check`, specs that are wrong on purpose
        return False
    everywhere = config.getoption("--mpcompile") or config.getini("mpcompile")
    return bool(everywhere) or any(folder in named for folder in path.parents)


_NAMED: pytest.StashKey[set[Path]] = pytest.StashKey()


def _named(config: pytest.Config) -> set[Path]:
    """Files and folders that the command line names, less those that a run without arguments would cover."""
    if _NAMED not in config.stash:
        given: list[Path] = []
        if config.args_source is pytest.Config.ArgsSource.ARGS:
            given = [
                config.invocation_params.dir / str(argument).partition("::")[0] for argument in config.args
            ]
        own = [config.rootpath, *(config.rootpath / folder for folder in config.getini("testpaths"))]
        config.stash[_NAMED] = {path.resolve() for path in given} - {path.resolve() for path in own}
    return config.stash[_NAMED]


def is_spec(path: Path) -> bool:
    """Return whether a file is a spec: by its name, and a YAML file by its text."""
    if path.suffix == ".mp":
        return True
    try:
        with open(path, "rb") as handle:
            text = handle.read(_BYTES)
    except OSError:
        return False
    return bool(_MODEL.search(text) and _SECTION.search(text))


class SpecFile(pytest.File):
    """A spec. Reading it and finding its shapes happens when tests are collected; proving it when the first one runs."""

    def collect(self) -> Iterator[pytest.Item]:
        from mpcompile import api
        from mpcompile.diagnostics import SpecError

        self.module: Module | None = None
        self.findings: tuple[Diagnostic, ...] = ()
        self._proved: dict[str, Property] | None = None
        try:
            self.module = api.load(self.shown)
        except SpecError as problem:
            self.findings = problem.diagnostics
        yield WellFormed.from_parent(self, name="well-formed")
        if self.module is not None:
            for name in api.property_names(self.module):
                yield PropertyItem.from_parent(self, name=name)

    @property
    def shown(self) -> Path:
        """The path as findings show it: from the folder where pytest was started, if the spec lies below it."""
        start = self.config.invocation_params.dir
        return self.path.relative_to(start) if self.path.is_relative_to(start) else self.path

    def proved(self) -> dict[str, Property]:
        """The answers, by the name of the property; all of them are found at once."""
        from mpcompile import api

        if self._proved is None:
            assert self.module is not None
            self._proved = {p.name: p for p in api.properties(self.module)}
        return self._proved


class NotProved(Exception):
    """Carries the findings as text, which is what pytest shows of the failure."""


class _SpecItem(pytest.Item):
    parent: SpecFile

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, NotProved):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)  # an error of the compiler: with its traceback

    def fail_with(self, diagnostics: Iterable[Diagnostic], otherwise: str = "") -> None:
        from mpcompile import api
        from mpcompile.diagnostics.render import render

        text = api.excerpts(self.parent.shown)
        raise NotProved(render(diagnostics, [text] if text else []).rstrip() or otherwise)


class WellFormed(_SpecItem):
    """The spec can be read, its names mean something, its shapes fit, and nothing in it is hardly meant."""

    def runtest(self) -> None:
        from mpcompile import api
        from mpcompile.diagnostics.report import counts

        if self.parent.module is None:
            self.fail_with(self.parent.findings)
        elif found := [d for d in api.warnings(self.parent.module) if counts(d)]:
            self.fail_with(found)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


class PropertyItem(_SpecItem):
    """One claim of the spec, or one that its densities imply."""

    def runtest(self) -> None:
        answer = self.parent.proved()[self.name]
        if not answer.holds:
            self.fail_with(answer.diagnostics, f"{answer.name} {answer.answer}")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name
