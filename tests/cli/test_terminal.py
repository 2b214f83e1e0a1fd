"""Nothing of a spec, a run or data can command the terminal: no control character, no mark of direction, no markup."""

import ast
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_process import Cli

import mpcompile.cli
from mpcompile.cli import _out

HOSTILE = "\x1b]0;x\x07\x1b[31m\u202e[red]\x9b1m"
COMMANDS = sorted(Path(mpcompile.cli.__file__).parent.glob("*.py"))
#: What may write to a stream of its own: `_out.py`; the guard, when nothing else works; the screen of `--watch`.
WRITERS = {"_out.py", "_guard.py", "_watch.py"}


def controls(text: str) -> set[str]:
    """Characters that no output may carry."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Callable[..., str]:
    """Runs a command in `tmp_path`, in this process: a new one would load a framework each time. Gives all its output."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str | Path) -> str:
        said = cli(*arguments).said
        assert "Traceback" not in said and "internal error" not in said, said
        return said

    return command


@pytest.mark.parametrize("path", COMMANDS, ids=lambda p: p.name)
def test_commands_print_in_one_way(path: Path) -> None:
    """No command calls `print`, `typer.echo` or a stream's `write`, and no text of rich is read as markup."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or path.name in WRITERS:
            continue
        called = ast.unparse(node.func)
        assert called not in (
            "print",
            "typer.echo",
            "click.echo",
            "typer.secho",
            "sys.stdout.write",
            "sys.stderr.write",
            "Console",  # ends the process in its own way where the reader went away: `Terminal` does not
        )
        if called == "TextColumn" and re.search("description|fields", ast.unparse(node)):
            assert "markup=False" in ast.unparse(node)
        if called.endswith("add_row"):
            assert "plain" in ast.unparse(node)


def test_the_three_ways(capsys: pytest.CaptureFixture[str]) -> None:
    _out.echo(HOSTILE, "a\nb\tc")
    said = capsys.readouterr().out
    assert not controls(said) and said.count("\n") == 2 and "[red]" in said
    assert not controls(_out.visible(HOSTILE)) and _out.visible("a\n\tb") == "a\n\tb"
    _out.result("\u200d exact in a pipe\n")
    assert capsys.readouterr().out == "\u200d exact in a pipe\n"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with a model of text, trained for a step on letters that command terminals."""
    (tmp_path / "m.mp").write_text(
        "model m\ninput x: category(16)[time]\nx ~ autoregressive { embedding(4) -> shift(1) -> dense(16) }\n"
        "train { steps: 1, length: 8, batch: 4 }\n"
    )
    letters = "".join(sorted({*HOSTILE, *"abc"}))
    (tmp_path / "a.txt").write_text((letters * 50), encoding="utf-8")
    text = (tmp_path / "m.mp").read_text().replace("16", str(len(letters)))
    (tmp_path / "m.mp").write_text(text)
    return tmp_path


def test_text_of_a_run(bare: Path, run: Callable[..., str]) -> None:
    said = run("train", "m.mp", "--data", "a.txt", "--out", "r")
    assert (bare / "r" / "run.json").exists(), said
    said += run("sample", "r", "-n", "2", "-o", "x.txt")
    assert set(HOSTILE) & set((bare / "x.txt").read_text(encoding="utf-8"))  # the file has them
    drawn = (bare / "x.txt").read_text(encoding="utf-8")
    assert run("sample", "r", "-n", "2", "--stream") == drawn  # exact in a pipe
    on_terminal = terminal("sample", "r", "-n", "2", "--stream", folder=bare)
    assert on_terminal.replace("\r\n", "\n") == _out.visible(drawn)
    said += run("eval", "r")
    for command in ("eval", "report"):
        assert "MP511" in run(command, "r", "--device", "nowhere")
    assert "\\u001b" in said and not controls(said)
    facts = json.loads((bare / "r" / "run.json").read_text())
    for key in ("data", "model", "spec_path"):
        (bare / "r" / "run.json").write_text(json.dumps(facts | {key: HOSTILE}))
        assert not controls(run("eval", "r"))
    assert not controls(run("sample", HOSTILE)) and not controls(run("check", HOSTILE))


def terminal(*arguments: str, folder: Path) -> str:
    """What a command writes to a terminal."""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "mpcompile", *arguments]
        done = subprocess.run(
            command, cwd=folder, stdout=theirs, stderr=subprocess.PIPE, timeout=120, check=False
        )
        os.close(theirs)
        assert done.returncode == 0, done.stderr
        return os.read(screen.fileno(), 1 << 16).decode()


DATA = {
    f"{HOSTILE}.npy": b"noise",
    f"{HOSTILE}.csv": f"{HOSTILE},{HOSTILE}\n{HOSTILE},1\n".encode(),
    "words.csv": f"a,label\n1,{HOSTILE}\n2,b\n".encode(),
    "broken.csv": f"1,2\n1,{HOSTILE}\n".encode(),
    f"{HOSTILE}.txt": b"\xff" * 40,
    "gone" + HOSTILE: b"",
}


def test_names_and_cells_of_data(tmp_path: Path, run: Callable[..., str]) -> None:
    (tmp_path / "m.mp").write_text("model m\ninput x: real[2]\nx ~ normal\ntrain { steps: 1 }\n")
    spec = "model m\ninput x: real[3]\ntarget y: category(2)\ny ~ categorical(logits = x -> dense(2))\n"
    (tmp_path / "m.mp").write_text(spec)
    np.savez(tmp_path / "a.npz", **{HOSTILE: np.ones(3)})
    for name, held in DATA.items():
        (tmp_path / name).write_bytes(held)
        said = run("train", "m.mp", "--data", name)
        assert re.search(r"MP50\d", said) and not controls(said), said
    assert not controls(run("train", "m.mp", "--data", "a.npz"))
    folder = tmp_path / "pictures" / HOSTILE
    folder.mkdir(parents=True)
    (folder / f"{HOSTILE}.png").write_bytes(b"noise")
    assert not controls(run("train", "m.mp", "--data", "pictures"))


def test_names_of_specs_and_folders(tmp_path: Path, run: Callable[..., str]) -> None:
    """Paths are data too: those that are read, written and refused."""
    spec = tmp_path / f"{HOSTILE}.mp"
    spec.write_text("model m\ninput x: binary[4]\nx ~ autoregressive { dense(4, mask = degrees) }\n")
    for command in ("check", "fmt", "verify", "inspect", "build"):
        said = run(command, spec.name)
        assert said or command == "fmt"
        assert not controls(said), command
    spec.write_text(
        "model m\ninput x: binary[4] # \u202e\nx ~ autoregressive { dense(4, mask = \u202edegrees) }\n"
    )
    for command in ("check", "fmt", "inspect", "build", "train"):
        assert not controls(run(command, spec.name)), command
    assert not controls(run("build", "nowhere.mp", "-o", HOSTILE))


def test_markup_is_shown_as_it_is(tmp_path: Path, run: Callable[..., str]) -> None:
    (tmp_path / "[red]x.mp").write_text(
        "model m\ninput x: binary[4]\nx ~ autoregressive { dense(4, mask = degrees) }\n"
    )
    assert "[red]x.mp" in run("verify", "[red]x.mp", "--output-format", "full")
