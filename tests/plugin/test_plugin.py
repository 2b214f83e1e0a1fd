"""Specs as tests of pytest: what is collected, what fails and how, and that nobody else is bothered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from specs_under_test import ROOT

from mpcompile import api, cached, pytest_plugin

pytest_plugins = ["pytester"]

MADE = (ROOT / "specs" / "made.yaml").read_text(encoding="utf-8")
MLP = (ROOT / "specs" / "mlp.mp").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def loaded() -> None:
    """`pytester` forgets what a run imported, which numpy does not survive: so everything is imported before."""
    api.check(api.load(ROOT / "specs" / "realnvp2d.mp"))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.Pytester]:
    # a plugin of others, which may be installed here, and stops every item that is no function
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:pytest-lsp")
    pytester.makepyfile(test_own="def test_own(): pass")
    files = {
        "specs/made.yaml": MADE,
        "specs/deep/mlp.mp": MLP,
        "specs/bad.yml": MADE.replace("strict(up)", "up"),
        "specs/broken.mp": "model m\nnet f = (\n",
        "specs/invalid/wrong.mp": "model m\nnet f = (\n",
        "specs/service.yaml": "model: {name: a}\ninput: b\n",
        "specs/other.yaml": "model: resnet\nlr: 0.1\n",
    }
    for name, text in files.items():
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    yield pytester


def collected(project: pytest.Pytester, *arguments: str) -> set[str]:
    lines = project.runpytest("--collect-only", "-q", "-p", "no:cacheprovider", *arguments).outlines
    return {line for line in lines if "::" in line}


PROPERTIES = ("well-formed", "autoregressive(x)", "complete(x)", "independent")
MADE_ITEMS = {f"specs/made.yaml::{name}" for name in PROPERTIES}
BAD_ITEMS = {name.replace("made.yaml", "bad.yml") for name in MADE_ITEMS}
MLP_ITEMS = {"specs/deep/mlp.mp::well-formed", "specs/deep/mlp.mp::independent"}
ALL = MADE_ITEMS | BAD_ITEMS | MLP_ITEMS | {"specs/broken.mp::well-formed"}
OWN = {"test_own.py::test_own"}


def test_is_an_entry_point_named_as_the_option_to_turn_it_off() -> None:
    (found,) = {p.value for p in entry_points(group="pytest11", name="mpcompile")}
    assert found == "mpcompile.pytest_plugin"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], OWN),
        (["."], OWN),
        (["specs"], ALL),
        (["specs/made.yaml"], MADE_ITEMS),
        (["specs/made.yaml::complete(x)"], {"specs/made.yaml::complete(x)"}),
        (["specs/deep", "test_own.py"], OWN | MLP_ITEMS),
        (["specs/invalid"], {"specs/invalid/wrong.mp::well-formed"}),
        (["--mpcompile"], OWN | ALL),
        (["-o", "mpcompile=true"], OWN | ALL),
        (["-o", "testpaths=specs", "specs"], set()),
        (["-k", "complete", "specs"], {i for i in ALL if "complete" in i}),
        (["-p", "no:mpcompile", "specs"], set()),
    ],
)
def test_what_is_collected(arguments: list[str], expected: set[str], project: pytest.Pytester) -> None:
    assert collected(project, *arguments) == expected


def test_outcomes_and_the_text_of_a_failure(project: pytest.Pytester) -> None:
    result = project.runpytest("specs", "-v", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=8, failed=3)
    out = result.stdout.str()
    for name in ("bad.yml::autoregressive(x)", "bad.yml::complete(x)", "broken.mp::well-formed"):
        assert f"specs/{name} FAILED" in out
    assert "error[MP301]: output x[0] depends on input x[48]" in out and "path: x[48] -> dense_0" in out
    assert " --> specs/bad.yml:11:9" in out and "^^^^" in out and "error[MP101]" in out
    assert "pytest_plugin.py" not in out  # no traceback through the plugin


def test_a_spec_is_proved_once_and_only_when_a_property_runs(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    prove = api.verdicts
    monkeypatch.setattr(api, "verdicts", lambda module: calls.append(module.name) or prove(module))
    monkeypatch.delenv("MPCOMPILE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.path / "kept"))
    project.runpytest("specs/made.yaml", "--collect-only", "-p", "no:cacheprovider")
    project.runpytest("specs/made.yaml::well-formed", "-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert calls == []
    project.runpytest("specs/made.yaml", "-p", "no:cacheprovider").assert_outcomes(passed=4)
    assert calls == ["made"]
    project.runpytest("specs/made.yaml", "-p", "no:cacheprovider").assert_outcomes(passed=4)
    assert calls == ["made"], "the answer is on the disk"
    (project.path / "specs" / "made.yaml").write_text(MADE.replace("strict(up)", "up"), encoding="utf-8")
    project.runpytest("specs/made.yaml", "-p", "no:cacheprovider").assert_outcomes(passed=2, failed=2)
    assert calls == ["made", "made"]


def test_in_a_folder_set_as_specs_every_yaml_file_is_one(project: pytest.Pytester) -> None:
    """Elsewhere files of others are left alone."""
    project.makepyprojecttoml('[tool.mpcompile]\nspecs = ["specs/set"]\n')
    (project.path / "specs" / "set").mkdir()
    (project.path / "specs" / "set" / "typo.yaml").write_text(
        MADE.replace("model:", "modle:"), encoding="utf-8"
    )
    assert collected(project, "specs") == ALL | {"specs/set/typo.yaml::well-formed"}
    result = project.runpytest("specs/set", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    assert "modle" in result.stdout.str()


def test_processes_name_properties_from_another_place_on_each(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two begins in the middle, and finds there what the first one has named."""
    monkeypatch.setenv("MPCOMPILE_CACHE", str(project.path / "kept"))
    loaded: list[str] = []
    load = api.load
    monkeypatch.setattr(api, "load", lambda path, *rest: loaded.append(Path(path).name) or load(path, *rest))

    class Worker:
        def __init__(self, number: int) -> None:
            self.input = {"workerid": f"gw{number}", "workercount": 2}

        def pytest_configure(self, config: pytest.Config) -> None:
            config.workerinput = self.input  # type: ignore[attr-defined]  # as pytest-xdist does

    arguments = ("specs", "--collect-only", "-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:xdist")
    for number in (1, 0):
        run = project.inline_run(*arguments, plugins=[Worker(number)])
        assert len(run.getcalls("pytest_itemcollected")) == len(ALL)
    assert loaded[:4] == ["deep/mlp.mp".split("/")[1], "made.yaml", "bad.yml", "broken.mp"]
    assert loaded[4:] == ["broken.mp"] * (len(loaded) - 4), "what cannot be read has no names to keep"


MARKED = """
import sys
from mpcompile import cached
with cached.busy("specs/made.yaml") as own:
    print(own, flush=True)
    sys.stdin.read()
"""


def test_a_process_that_waits_for_an_answer_finds_others(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process marks a spec as its own: the tests of it wait, and other specs are proved meanwhile, once each."""
    monkeypatch.setenv("MPCOMPILE_CACHE", str(project.path / "kept"))
    other = subprocess.Popen([sys.executable, "-c", MARKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None and other.stdout is not None and other.stdout.readline() == b"True\n"
    proved: list[str] = []
    examine = api.examine
    monkeypatch.setattr(api, "examine", lambda path, *rest: proved.append(path.name) or examine(path, *rest))
    monkeypatch.setattr(pytest_plugin, "sleep", lambda _: other.communicate())  # it ends, without an answer
    arguments = ("specs/made.yaml", "specs/bad.yml", "specs/deep", "-p", "no:cacheprovider")
    project.runpytest(*arguments).assert_outcomes(passed=8, failed=2)
    assert proved == ["mlp.mp", "bad.yml", "made.yaml"] and other.returncode == 0


def test_a_process_without_tests_finds_answers_for_others(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPCOMPILE_CACHE", str(project.path / "kept"))

    class Worker:
        """Has no test to run, as when another process was given all of them."""

        def pytest_configure(self, config: pytest.Config) -> None:
            config.workerinput = {"workerid": "gw0", "workercount": 1}  # type: ignore[attr-defined]

        def pytest_runtestloop(self) -> bool:
            return True

    def known(*more: str) -> list[bool]:
        arguments = (
            "specs/made.yaml",
            "specs/deep",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:terminal",
            "-p",
            "no:xdist",
        )
        project.inline_run(*arguments, *more, plugins=[Worker()])
        return [cached.known(Path(p)) is not None for p in ("specs/made.yaml", "specs/deep/mlp.mp")]

    monkeypatch.chdir(project.path)
    assert known("-x") == [False, False], "a run that ends at the first failure may end soon"
    assert known("-k", "made") == [True, False]
    assert known() == [True, True]


def test_an_error_of_the_compiler_keeps_its_traceback(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verdicts(module: object) -> None:
        raise ZeroDivisionError("in the compiler")

    monkeypatch.setattr(api, "verdicts", verdicts)
    result = project.runpytest("specs/made.yaml::complete(x)", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    assert "ZeroDivisionError: in the compiler" in result.stdout.str() and "api.py" in result.stdout.str()


def test_loading_it_imports_nothing_of_the_compiler() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import mpcompile.pytest_plugin\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(sorted(new), sorted({m.split('.')[1] for m in sys.modules if m.startswith('mpcompile.')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = ["api", "budget", "diagnostics", "public", "pytest_plugin"]
    assert done.stdout.strip() == f"['mpcompile'] {rooms}"


def test_our_own_suite_collects_no_specs() -> None:
    """A folder of ours with specs in it, below `tests`, would be collected when it is named."""
    assert [p for p in Path(ROOT, "tests").rglob("*") if p.suffix in (".mp", ".yaml", ".yml")] == []
