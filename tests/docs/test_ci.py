"""The commands of docs/ci.md and of the workflow run, and the hooks match the files that they should."""

from __future__ import annotations

import gc
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import yaml

from mpcompile.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")
]
WORKFLOW = yaml.safe_load((ROOT / "docs" / "github-workflow.yml").read_text(encoding="utf-8"))
HOOKS = [
    hook
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    if hook["id"] != "mpcompile-models"  # takes no files: tests/foreign/test_gate.py runs it
]
#: Plugins that only cost start-up here are left out, and one that stops every item that is no function.
PLUGINS = "-p no:cacheprovider -p no:hypothesispytest -p no:syrupy -p no:xdist -p no:pytest-lsp"
ENVIRONMENT = os.environ | {
    "PYTEST_ADDOPTS": PLUGINS,
    "PATH": sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with two specs, and one that is wrong on purpose."""
    for name in ("made.yaml", "mlp.mp", "invalid/unknown_layer.yaml"):
        path = tmp_path / "specs" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        text = (ROOT / "specs" / name).read_text(encoding="utf-8")
        path.write_text(text.replace("pixels: 64, hidden: 256", "pixels: 8, hidden: 32"), encoding="utf-8")
    return tmp_path


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )


def test_the_page_has_commands_and_nothing_else_in_its_consoles() -> None:
    assert len(COMMANDS) > 8 and sum("--watch" in c for c in COMMANDS) == 1
    assert all(line.startswith("$ ") for block in BLOCKS for line in block.splitlines())


def test_every_command_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, but for those of pytest."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # the process goes on after a command
    for command in COMMANDS:
        if command.startswith("mpcompile") and "--watch" not in command:
            monkeypatch.setattr(sys, "argv", shlex.split(command))
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code, command
        elif command.startswith("pytest"):
            done = shell(command, folder)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert {c.split()[0] for c in COMMANDS} == {"mpcompile", "pytest"}
    written = {"mpcompile.sarif", "mpcompile.xml", "proofs.json"}
    assert written <= {path.name for path in folder.iterdir()}


def test_watch_ends_with_zero(folder: Path) -> None:
    (command,) = (c for c in COMMANDS if "--watch" in c)
    with subprocess.Popen(shlex.split(command), cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert b"watching 2 specs" in child.stderr.readline()
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0


def test_the_workflow_writes_what_it_uploads(folder: Path) -> None:
    steps = WORKFLOW["jobs"]["check"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    install, *rest = runs
    assert install.startswith("python -m pip install mpcompile") and len(rest) == 1
    done = shell(rest[0], folder)
    assert done.returncode == 0, done.stderr
    uploads = [step for step in steps if "upload" in step.get("uses", "")]
    for step in uploads:
        name = step["with"].get("sarif_file") or step["with"]["path"]
        assert (folder / name).is_file() and "always()" in step["if"] and f"hashFiles('{name}')" in step["if"]
    assert len(uploads) == 2 and WORKFLOW["permissions"]["security-events"] == "write"
    (folder / "specs" / "made.yaml").write_text("model: m\ninput: {x: 3}\n")
    failed = shell(rest[0], folder)
    assert failed.returncode == 1 and "::error file=specs/made.yaml,line=2" in failed.stdout


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: str(hook["id"]))
def test_hooks(hook: dict[str, str], folder: Path) -> None:
    assert {"id", "name", "entry", "language", "files"} <= hook.keys() and hook["language"] == "python"
    names = [
        str(path.relative_to(ROOT))
        for path in (
            *ROOT.glob("specs/**/*"),
            *ROOT.glob("docs/*"),
            *ROOT.glob("*.yaml"),
            *ROOT.glob(".*.yaml"),
        )
        if path.is_file()
    ]
    chosen = {n for n in names if re.search(hook["files"], n) and not re.search(hook["exclude"], n)}
    specs = {str(p.relative_to(ROOT)) for p in ROOT.glob("specs/**/*") if p.suffix in (".mp", ".yaml")}
    assert chosen >= {name for name in specs if "/invalid/" not in name} and len(chosen) > 5
    assert not any("/invalid/" in name for name in chosen)
    (folder / "compose.yaml").write_text("services:\n  x:   {image: y}\n", encoding="utf-8")
    for given in ("specs/made.yaml specs/mlp.mp compose.yaml", "compose.yaml"):
        done = shell(f"{hook['entry']} {given}", folder)
        assert done.returncode == 0 and "compose" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert (folder / "compose.yaml").read_text(encoding="utf-8").startswith("services:\n  x:   {")
    (folder / "wrong.yaml").write_text("model: m\ninput: {x: 3}\n", encoding="utf-8")
    assert shell(f"{hook['entry']} wrong.yaml", folder).returncode in (1, 2), "a spec anywhere"


def test_hooks_have_the_names_that_the_page_uses() -> None:
    assert set(re.findall(r"- id: (\S+)", PAGE)) == {hook["id"] for hook in HOOKS}
