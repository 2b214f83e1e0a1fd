"""Runs command lines in many environments, each in a fork of one process that has imported everything; JSON on stdout."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx  # noqa: F401  # the forks are to share it
import onnxruntime  # noqa: F401

from mpcompile.cli import COMMANDS, main

for module, _ in COMMANDS.values():
    importlib.import_module(f"mpcompile.cli.{module}")


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
    "narrow": narrow, "small disk": small_disk,
}  # fmt: skip

#: Commands of every kind, which are tried everywhere: the analyses, one that prints much, one that writes a file.
EVERYWHERE = ("check", "list", "new")
#: Where the others are tried: their guard is the same.
TRIED = ("disk full", "ascii")
ALSO = {
    ("train", "small disk"),
    ("build", "small disk"),
    ("sample", "small disk"),
    ("fmt in place", "small disk"),
    *((command, "no reader") for command in ("inspect", "explain", "schema", "fmt", "eval")),
}


def attempt(arguments: list[str], change: Callable[[], None]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  # they end with the process
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(files[0].fileno(), 1)
        os.dup2(files[1].fileno(), 2)
        os.chdir(tempfile.mkdtemp())
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
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]


if __name__ == "__main__":
    commands: dict[str, list[str]] = json.loads(sys.argv[1])
    found = {
        f"{name} / {where}": attempt(arguments, change)
        for name, arguments in commands.items()
        for where, change in ENVIRONMENTS.items()
        if name in EVERYWHERE or where in TRIED or (name, where) in ALSO
    }
    Path(sys.argv[2]).write_text(json.dumps(found))
