"""Runs command lines in many environments, each in a fork of one process; what they did goes into a file, as JSON.

A start-up costs ten times what a command does here. So a command forks from a process that has imported all that it
needs, but for `check` in the environments that an import could meet: that one imports in its environment.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx  # noqa: F401  # the forks are to share it
import onnxruntime  # noqa: F401

import mpcompile
import mpcompile_onnx
from mpcompile.cli import COMMANDS, main

for module, _ in COMMANDS.values():
    importlib.import_module(f"mpcompile.cli.{module}")


def import_all() -> None:
    """Import every module that a command with the onnx backend may need."""
    for package in (mpcompile, mpcompile_onnx):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name not in ("mpcompile.__main__", "mpcompile.pytest_plugin"):
                importlib.import_module(found.name)


def closed(number: int) -> Callable[[], None]:
    def change() -> None:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)

    return change


def only_stdout() -> None:
    closed(0)()
    closed(2)()


def full() -> None:
    sys.stdout = os.fdopen(os.dup2(os.open("/dev/full", os.O_WRONLY), 1), "w", closefd=False)


def no_reader() -> None:
    near, far = os.pipe()
    os.close(near)
    sys.stdout = os.fdopen(os.dup2(far, 1), "w", closefd=False)


def ascii_only() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="strict")


def no_home() -> None:
    os.environ.pop("HOME", None)


def wrong_home() -> None:
    os.environ["HOME"] = "/proc/nowhere"


def folder_gone() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def folder_closed() -> None:
    os.chdir("/proc")


def no_temporary() -> None:
    os.environ["TMPDIR"] = "/proc/nowhere"
    tempfile.tempdir = None


def strict_warnings() -> None:
    warnings.simplefilter("error")


def narrow() -> None:
    os.environ |= {"COLUMNS": "1", "LINES": "1", "TERM": "dumb", "NO_COLOR": "1"}


def small_disk() -> None:
    """No file may grow: what a write meets on a disk that is full."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


ENVIRONMENTS: dict[str, Callable[[], None]] = {
    "plain": lambda: None, "stdout closed": closed(1), "only stdout": only_stdout, "disk full": full,
    "no reader": no_reader, "ascii": ascii_only, "no home": no_home, "wrong home": wrong_home,
    "folder gone": folder_gone, "folder closed": folder_closed, "strict warnings": strict_warnings,
    "narrow": narrow, "no temporary": no_temporary, "small disk": small_disk,
}  # fmt: skip

#: Commands of every kind, which are tried everywhere: the analyses, one that prints much, one that writes a file.
EVERYWHERE = ("check", "list", "new")
#: What a module can notice while it is imported: streams, the home, the current and the temporary folder, warnings.
COLD = ("stdout closed", "only stdout", "no home", "wrong home", "folder gone", "folder closed", "no temporary",
        "strict warnings")  # fmt: skip
#: Where the others are tried: their guard is the same.
TRIED = ("disk full", "ascii")
WRITE = ("train", "build", "sample", "sample png", "predict", "fmt in place", "data", "check report", "inspect html",
         "schema -o", "report")  # fmt: skip
#: Commands that are tried nowhere else.
ONLY = ("sample png", "check report")
BEFORE = b"what was here before"
ALSO = {
    *((command, "small disk") for command in WRITE),
    ("data", "folder closed"),
    *((command, "no reader") for command in ("inspect", "explain", "schema", "fmt", "eval")),
}


def attempt(arguments: list[str], change: Callable[[], None]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command, with a line for each file of its folder that it left changed.

    Files that it is to write to are there before.
    """
    folder = Path(tempfile.mkdtemp())
    outputs = [
        folder / a.split("=")[-1] for a in arguments[1:] if "." in a and not os.path.isabs(a.split("=")[-1])
    ]
    for path in outputs:
        path.write_bytes(BEFORE)
    files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  # they end with the process
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(files[0].fileno(), 1)
        os.dup2(files[1].fileno(), 2)
        os.chdir(folder)
        sys.argv = ["mpcompile", *arguments]
        code = 111
        try:
            change()
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError):
                    code = 112
            os._exit(code)
    _, status = os.waitpid(child, 0)
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode("utf-8", "replace"))
    if change is small_disk:
        changed = [
            p.name
            for p in folder.rglob("*")
            if p.is_file() and (p not in outputs or p.read_bytes() != BEFORE)
        ]
        texts[1] += "".join(f"left: {name}\n" for name in changed)
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def sweep(first: list[str], commands: dict[str, list[str]]) -> dict[str, tuple[int, str, str]]:
    """What each command does in each of its environments, after `first`, which makes what they read."""
    found = {f"check / {where}": attempt(commands["check"], ENVIRONMENTS[where]) for where in COLD}
    import_all()
    found["first / plain"] = attempt(first, ENVIRONMENTS["plain"])
    for name, arguments in commands.items():
        for where, change in ENVIRONMENTS.items():
            tried = name in EVERYWHERE or (where in TRIED and name not in ONLY) or (name, where) in ALSO
            if tried and f"{name} / {where}" not in found:
                found[f"{name} / {where}"] = attempt(arguments, change)
    return found


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(sweep(**json.loads(sys.argv[1]))))
