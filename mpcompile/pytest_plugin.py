"""Specs as tests: `pytest specs/` shows one test for each property of each spec. `-p no:mpcompile` turns it off.

Specs are collected below a file or folder that the command line names, and everywhere with `--mpcompile` or
`mpcompile = true` in pytest's settings. A run over the root folder or over `testpaths` collects none by itself, so
installing mpcompile changes no run of anyone's suite.

pytest imports this file at every start, so it imports nothing of the compiler until there is a spec to collect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mpcompile.diagnostics import Diagnostic
    from mpcompile.diagnostics.report import Checked

_SUFFIXES = (".mp", ".yaml", ".yml")
#: Seconds between two looks at what another process is to find.
PAUSE = 0.05


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option `--mpcompile` and the setting `mpcompile`."""
    group = parser.getgroup("mpcompile", "mpcompile: specs as tests")
    group.addoption(
        "--mpcompile", action="store_true", help="collect every spec (.mp, .yaml), not only those named"
    )
    parser.addini("mpcompile", "collect every spec, as --mpcompile does", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    """Collect the tests of a spec, where specs are wanted; other plugins go on collecting the file too."""
    if file_path.suffix not in _SUFFIXES or not _wanted(file_path, parent.config) or not _is_spec(file_path):
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


def _is_spec(path: Path) -> bool:
    """Whether a file is a spec. Raises `pytest.UsageError` for settings of another form."""
    from mpcompile.folders import is_spec

    try:
        return is_spec(path)
    except ValueError as fault:
        raise pytest.UsageError(str(fault)) from None


class SpecFile(pytest.File):
    """A spec. When tests are collected its properties are named; they are proved when the first of them runs.

    Both are taken from the disk where the spec did not change (`mpcompile/cached.py`), so that the processes of a
    parallel run do not repeat each other's work.
    """

    def collect(self) -> Iterator[pytest.Item]:
        from mpcompile import cached
        from mpcompile.diagnostics import SpecError

        self._answer: Checked | None = None
        _name_ahead(self)
        yield WellFormed.from_parent(self, name="well-formed")
        with suppress(SpecError):  # `well-formed` says what is wrong
            for name in cached.property_names(self.shown):
                yield PropertyItem.from_parent(self, name=name)

    @property
    def shown(self) -> Path:
        """The path as findings show it: from the folder where pytest was started, if the spec lies below it."""
        return _shown(self.path, self.config)

    def answer(self) -> Checked:
        """The answer about the whole spec, which one process of a run finds, once."""
        from mpcompile import cached

        if self._answer is None:
            self._answer = cached.known(self.shown)
        while self._answer is None:
            with cached.busy(self.shown) as own:
                if own:
                    self._answer = cached.examine(self.shown)
            if not own:  # the wait for another process is time to find answers that are asked for later
                if not _answer_ahead(self.session):
                    sleep(PAUSE)
                self._answer = cached.known(self.shown)
        return self._answer

    def answer_ahead(self) -> bool:
        """Find the answer where nobody has it, or is about to; return whether it was found here and now."""
        from mpcompile import cached

        if self._answer is not None or cached.folder() is None or cached.known(self.shown) is not None:
            return False
        with cached.busy(self.shown) as own, suppress(Exception):  # a test of this spec shows what went wrong
            if own:
                self._answer = cached.examine(self.shown)
        return self._answer is not None

    def findings(self) -> tuple[Diagnostic, ...]:
        """The findings of no property: faults of the spec, and warnings. Nothing is proved for them."""
        from mpcompile import api, cached
        from mpcompile.diagnostics import SpecError

        if (found := self._answer or cached.known(self.shown)) is not None:
            self._answer = found
            return found.findings
        try:
            return tuple(api.warnings(api.load(self.shown)))
        except SpecError as problem:
            return problem.diagnostics


def _shown(path: Path, config: pytest.Config) -> Path:
    start = config.invocation_params.dir
    return path.relative_to(start) if path.is_relative_to(start) else path


_AHEAD: pytest.StashKey[bool] = pytest.StashKey()


def _name_ahead(file: SpecFile) -> None:
    """Name the properties of all specs of a run in several processes, each process from another place on.

    All processes collect all tests. Each finds on the disk what others have named, and so names its share alone.
    """
    from mpcompile import cached
    from mpcompile.diagnostics import SpecError

    config = file.config
    worker = getattr(config, "workerinput", None)
    if worker is None or cached.folder() is None or config.stash.get(_AHEAD, False):
        return
    config.stash[_AHEAD] = True
    specs = [
        path
        for named in sorted(_named(config))
        for path in (sorted(named.rglob("*")) if named.is_dir() else [named])
        if path.suffix in _SUFFIXES and path.is_file() and _wanted(path, config) and _is_spec(path)
    ]
    number, count = int(str(worker["workerid"]).removeprefix("gw")), int(worker["workercount"])
    start = len(specs) * number // count
    for path in specs[start:] + specs[:start]:
        with suppress(SpecError):
            cached.property_names(_shown(path, config))


def _answer_ahead(session: pytest.Session) -> bool:
    """Find one answer that a test of the run will ask for; return whether there was one to find.

    The last ones are asked for last, so that a process which goes through the tests in their order comes upon the others.
    """
    asked = dict.fromkeys(item.parent for item in session.items if isinstance(item, PropertyItem))
    return any(file.answer_ahead() for file in reversed(asked))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Find answers that other processes of a run will ask for, where this one has no more tests."""
    config, ended = session.config, exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if ended or not hasattr(config, "workerinput") or any(map(config.getoption, ("maxfail", "collectonly"))):
        return
    while _answer_ahead(session):
        pass


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
        from mpcompile.diagnostics.report import counts

        if found := [d for d in self.parent.findings() if counts(d)]:
            self.fail_with(found)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


class PropertyItem(_SpecItem):
    """One claim of the spec, or one that its densities imply."""

    def runtest(self) -> None:
        answer = next(p for p in self.parent.answer().properties if p.name == self.name)
        if not answer.holds:
            self.fail_with(answer.diagnostics, f"{answer.name} {answer.answer}")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name
