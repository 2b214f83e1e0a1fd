"""No command ends in a traceback: every command in every environment, and what an internal error looks like."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from specs_under_test import ROOT

from mpcompile.cli import COMMANDS, _guard, main

SPEC = """model m(k = 2)

input x: binary[2]
target y: binary[1]

y ~ bernoulli(logits = x -> dense(k) -> tanh -> dense(1))

train { steps: 2, batch: 4, data: xor }
"""


def invoke(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command line in this process; give its exit code."""
    monkeypatch.setattr(sys, "argv", ["mpcompile", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """What every command does in every environment: exit code, stdout, stderr."""
    folder = tmp_path_factory.mktemp("sweep")
    spec, wrong, rows = folder / "m.mp", folder / "wrong.mp", folder / "rows.csv"
    spec.write_text(SPEC)
    wrong.write_text(SPEC.replace("bernoulli", "bernulli"))
    rows.write_text("x,job\n1.5,cook\n2.5,clerk\n")
    s, r = str(spec), str(folder / "run")
    commands = {
        "build": ["build", s, "-b", "onnx"], "build -o": ["build", s, "-b", "onnx", "-o", str(folder / "b")],
        "check": ["check", s], "check wrong": ["check", str(wrong)],
        "check sarif": ["check", str(wrong), "--output-format", "sarif", "--report", "junit=/proc/nowhere/x"],
        "train": ["train", s, "-b", "onnx", "--steps", "1"],
        "eval": ["eval", r], "sample": ["sample", r, "-n", "2", "-o", "s.csv"],
        "predict": ["predict", r, "xor", "-o", "p.npz"],
        "verify": ["verify", s, "--backends", "onnx"],
        "data": ["data", "pack", str(rows), "-o", "p"],
        "inspect": ["inspect", s], "inspect html": ["inspect", s, "--output-format", "html", "-o", "x.html"],
        "opt": ["opt", s, "-p", "shipped", "--time"],
        "explain": ["explain", "MP301"], "list": ["list"], "new": ["new", "model_1"], "fmt": ["fmt", "--stdout", s],
        "fmt in place": ["fmt", str(wrong)], "schema": ["schema"], "schema -o": ["schema", "-o", "s.json"],
        "sample png": ["sample", r, "-n", "2", "-o", "s.png"], "check report": ["check", s, "--report", "sarif=s.sarif"],
        "server": ["server"], "import": ["import", str(folder / "nothing.onnx")], "report": ["report", r, "-o", "r.html"],
    }  # fmt: skip
    assert {c[0] for c in commands.values()} == set(COMMANDS)
    out = folder / "found.json"
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    told = json.dumps({"first": ["train", s, "-b", "onnx", "--out", r], "commands": commands})
    child = [sys.executable, str(Path(__file__).with_name("sweep.py")), told, str(out)]
    subprocess.run(child, check=True, env=env, cwd=folder, timeout=300, stdin=subprocess.DEVNULL)
    found: dict[str, tuple[int, str, str]] = json.loads(out.read_text())
    return found


def test_no_command_crashes_anywhere(swept: dict[str, tuple[int, str, str]]) -> None:
    for case, (code, stdout, stderr) in swept.items():
        assert code in (0, 1, 2), (case, code, stderr)
        for text in (stdout, stderr):
            assert "Traceback" not in text and "internal error" not in text, (case, text)
            assert "Exception ignored" not in text, (case, text)
        if code == 2:
            gone = case.endswith(("only stdout", "no reader", "small disk"))
            lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
            assert gone or len(lines) == 1, (case, stderr)


def test_commands_do_their_work_where_nothing_is_in_the_way(swept: dict[str, tuple[int, str, str]]) -> None:
    wrong = {"import": 2, "check wrong": 1, "check sarif": 2, "fmt in place": 0}
    for case, (code, _, stderr) in swept.items():
        command, where = case.split(" / ")
        if where in ("plain", "only stdout", "ascii", "no home", "wrong home", "strict warnings", "narrow"):
            assert code == wrong.get(command, 0), (case, stderr)


def test_what_a_command_writes_is_whole_or_what_was_there_before(
    swept: dict[str, tuple[int, str, str]],
) -> None:
    small = {case: found for case, found in swept.items() if case.endswith(" / small disk")}
    wrote = {
        "build",
        "check report",
        "data",
        "inspect html",
        "new",
        "predict",
        "report",
        "sample",
        "sample png",
        "schema -o",
        "train",
    }
    assert wrote <= {case.split(" / ")[0] for case, (code, _, _) in small.items() if code == 2}
    assert [(case, stderr) for case, (_, _, stderr) in small.items() if "left: " in stderr] == []


def test_a_full_disk_and_a_lost_reader_are_told(swept: dict[str, tuple[int, str, str]]) -> None:
    for command in ("check", "list", "inspect", "schema", "eval"):
        code, _, stderr = swept[f"{command} / disk full"]
        assert (code, stderr.splitlines()[-1]) == (2, "error: cannot write: no space left on device")
    lost = [(*found, case) for case, found in swept.items() if case.endswith(" / no reader")]
    assert len(lost) >= 8 and [case for code, _, stderr, case in lost if code != 2 or stderr] == []


def test_what_a_terminal_cannot_show_is_escaped(swept: dict[str, tuple[int, str, str]]) -> None:
    assert swept["inspect / ascii"][1].isascii() and swept["verify / ascii"][1].isascii()
    assert "+--" in swept["verify / ascii"][1]


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize(
    ("behind", "before"),
    [
        (("",), ""),
        (("-o", ""), "-o"),
        (("--out", "", "x"), "--out"),
        (("x", "--data="), "--data"),
        (("--", ""), "--"),
    ],
)
def test_no_argument_is_empty(
    command: str,
    behind: tuple[str, ...],
    before: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A variable of a shell that is not set would name the current folder; `--set k=` is another matter."""
    assert invoke(command, *behind, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == f"error: the argument behind '{before or command}' is empty\n"


PATHS = [("nowhere", "no such file or folder: nowhere"), ("nowhere.mp", "no such file or folder: nowhere.mp"),
         ("empty", "no spec (.mp, .yaml) in empty")]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "path", "says"),
    [
        (c, *p) for c in ("check", "verify", "fmt") for p in PATHS if (c, p[0]) != ("fmt", "empty")
    ],  # nothing to format
)
def test_a_path_without_a_spec_is_no_success(
    command: str, path: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Nothing that fails where nothing is looked at would pass for a result."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "m.txt").write_text("")
    assert invoke(command, path, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr() == ("", f"error: {says}\n")


@pytest.mark.parametrize("command", ["check", "build", "train"])
def test_a_warning_is_said_once(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "m.mp").write_text(SPEC.replace("k = 2", "k = 2, spare = 1"))
    monkeypatch.chdir(tmp_path)
    options = {"check": [], "build": ["-b", "onnx"], "train": ["-b", "onnx", "--steps", "0"]}[command]
    assert invoke(command, "m.mp", *options, monkeypatch=monkeypatch) == (command == "check")
    assert "".join(capfd.readouterr()).count("MP324") == 1


# --- an internal error ---


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError("in the compiler\nsecond line\x1b[2J")


def test_an_internal_error_is_one_line_with_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("MPCOMPILE_DEBUG", raising=False)
    monkeypatch.setattr("mpcompile.diagnostics.codes.CODES", property(broken))
    assert invoke("explain", "MP301", monkeypatch=monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    found = re.fullmatch(
        r"error: internal error: AttributeError: .* \(explain\.py:\d+\); report in (\S+); --debug shows where",
        line,
    )
    assert found is not None, line
    report = Path(found[1])
    text = report.read_text()
    assert "Traceback" in text and "mpcompile 0." in text and "['mpcompile', 'explain', 'MP301']" in text
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert invoke("explain", "MP301", monkeypatch=monkeypatch) == 2
    assert len(list(tmp_path.glob("mpcompile-error-*"))) == 2  # none is replaced


@pytest.mark.parametrize("place", ["before", "behind", "environment"])
def test_debug_shows_the_traceback_of_every_command(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("mpcompile.reference.json_schema", broken)
    if place == "environment":
        monkeypatch.setenv("MPCOMPILE_DEBUG", "1")
    arguments = {"before": ["--debug", "schema"], "behind": ["schema", "--debug"], "environment": ["schema"]}[
        place
    ]
    assert invoke(*arguments, monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error and "internal error: ZeroDivisionError: in the compiler (" in error


@pytest.mark.parametrize(
    ("fault", "line"),
    [(MemoryError(), "error: out of memory"), (RecursionError("deep"), "error: internal error: RecursionError: deep"),
     (OSError(28, "No space left on device", "a/b"), "error: a/b: no space left on device"),
     (OSError(122, "Disk quota exceeded"), "error: cannot write: disk quota exceeded"),
     (KeyError("time"), "error: internal error: KeyError: 'time'"),
     (AssertionError(), "error: internal error: AssertionError"),
     (OSError(95, "Operation not supported"), "error: internal error: OSError")],
)  # fmt: skip
def test_every_fault_is_one_line(
    fault: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising() -> None:
        raise fault

    monkeypatch.setattr("mpcompile.reference.json_schema", raising)
    assert invoke("schema", monkeypatch=monkeypatch) == 2
    found = capsys.readouterr().err.splitlines()
    assert len(found) == 1 and found[0].startswith(line)


def test_an_interrupt_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mpcompile.reference.json_schema", raising)
    assert invoke("schema", monkeypatch=monkeypatch) == 130
    monkeypatch.setattr(_guard, "open_streams", raising)  # while modules are imported
    assert invoke("schema", monkeypatch=monkeypatch) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    assert _guard.internal(ValueError("x")) == "internal error: ValueError: x; --debug shows where"


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """With stdout closed, the first file that is opened would be number 1, and prints would go into it."""
    out = tmp_path / "schema.json"
    command = f"{sys.executable} -m mpcompile schema -o {out} >&- 2>&-"
    assert subprocess.run(command, shell=True, cwd=ROOT, check=False).returncode == 0
    assert json.loads(out.read_text())


@pytest.mark.parametrize(
    ("given", "code"),
    [("nan", "MP113"), ("inf", "MP113"), ("-inf", "MP113"), ("1e999", "MP113"), ("1" + "0" * 40, "MP113"),
     ("9" * 6000, "MP113"),
     ("", "MP113"), ("0x10", "MP113"), ("x" * 10**5, "MP113"), ("k", "MP113"), ("2.5", "MP113"), ("-1", "MP205")],
)  # fmt: skip
def test_a_setting_that_is_no_size_is_located(
    given: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "m.mp").write_text(SPEC)
    arguments = ["check", str(tmp_path / "m.mp"), "--output-format", "concise", "--set", f"k={given}"]
    assert invoke(*arguments, monkeypatch=monkeypatch) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(re.match(r".*m\.mp:\d+:\d+: " + code, line) and len(line) < 400 for line in lines)


def test_a_setting_has_one_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "m.mp").write_text(SPEC)
    for given, wrong in ((["k=1", "k=2"], "twice"), (["k"], "name=value"), (["=3"], "name=value")):
        options = [o for text in given for o in ("--set", text)]
        assert invoke("check", str(tmp_path / "m.mp"), *options, monkeypatch=monkeypatch) == 2
        assert wrong in capsys.readouterr().err
    assert invoke("check", str(tmp_path / "m.mp"), "--set", "a b=1", monkeypatch=monkeypatch) == 1
    assert "MP110" in capsys.readouterr().out
