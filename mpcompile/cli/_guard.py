"""The one guard around every command: what must never end in a traceback, and how it ends instead.

A fault of the compiler is one line, with a file that holds its traceback. What the machine refuses (a full disk, a folder
that may not be written, no memory) is one line without one. A reader that went away ends the command quietly.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import TextIO

from mpcompile.diagnostics import InternalError

#: Exit codes: 0 clean, 1 findings, 2 wrong usage, a machine that refuses, or a fault of the compiler.
FAULT = 2
INTERRUPTED = 130

#: How the machine refuses, as opposed to a fault of the compiler.
_REFUSALS = frozenset({
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG,
    errno.ENFILE, errno.ENOENT, errno.ENODEV, errno.ENOMEM, errno.ENOSPC, errno.ENOTDIR, errno.ENXIO, errno.EPERM,
    errno.EROFS, errno.ETXTBSY,
})  # fmt: skip

_debug = False


def debugging() -> bool:
    """Return whether a fault shows its traceback: with --debug, or where MPCOMPILE_DEBUG is set."""
    return _debug or bool(os.environ.get("MPCOMPILE_DEBUG"))


def run(command: Callable[[], object]) -> int:
    """Run the command line; give its exit code. Nothing but a missing interpreter gets past it."""
    global _debug
    _debug = _take_debug(sys.argv)
    try:
        open_streams()
        calm_warnings()
        code = _exit_code(command)
    except KeyboardInterrupt:
        return INTERRUPTED
    return max(code, _flush(told=code == FAULT))


def _exit_code(command: Callable[[], object]) -> int:
    stdout = sys.stdout
    try:
        command()
    except SystemExit as end:
        if sys.stdout is not stdout:  # how typer says that the reader went away
            _drop(stdout)
            return FAULT
        return end.code if isinstance(end.code, int) else 0 if end.code is None else FAULT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop(sys.stdout)
        return FAULT
    except Exception as fault:
        return _told(fault)
    return 0


def _told(fault: Exception) -> int:
    """Say what ended the command. Gives the exit code."""
    from mpcompile.backend import BackendMissing
    from mpcompile.diagnostics import SpecError
    from mpcompile.diagnostics.render import printable, render, use_colour

    if isinstance(fault, SpecError):
        _write_error(render(fault.diagnostics, colour=use_colour(sys.stderr)))
        return 1
    if debugging():
        _write_error("".join(traceback.format_exception(fault)))
    if isinstance(fault, BackendMissing):
        line = str(fault)
    elif isinstance(fault, MemoryError):
        line = "out of memory"
    elif isinstance(fault, OSError) and fault.errno in _REFUSALS:
        line = refusal(fault)
    else:
        line = internal(fault)
    _write_error(f"error: {printable(line)}\n")
    return FAULT


def refusal(fault: OSError) -> str:
    """Format what the machine refuses on one line: `runs/a: no space left on device`."""
    reason = (fault.strerror or type(fault).__name__).lower()
    return f"{'cannot write' if fault.filename is None else os.fsdecode(fault.filename)}: {reason}"


def internal(fault: BaseException) -> str:
    """Describe a fault of the compiler on one line, its traceback in a file: type, message, place, report."""
    file = write_report(fault)
    where = f"report in {file}; " if file else ""
    return f"internal error: {described(fault)}; {where}--debug shows where"


def described(fault: BaseException) -> str:
    """Describe a fault by its type, the first line of its message, and where it was raised."""
    frames = traceback.extract_tb(fault.__traceback__)
    at = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    text = str(fault).partition("\n")[0][:300]
    if isinstance(fault, InternalError):  # its code says more than its type
        return f"{text}{at}"
    return f"{type(fault).__name__}{': ' if text else ''}{text}{at}"


def write_report(fault: BaseException) -> str:
    """Write traceback, versions and the command line to a new file in the folder of temporary files, for its owner alone.

    Gives the path; nothing where no such file can be made.
    """
    import platform
    import tempfile

    from mpcompile import __version__

    head = (
        f"mpcompile {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"command: {sys.argv!r}\n\n"
    )
    try:
        handle, path = tempfile.mkstemp(prefix="mpcompile-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as report:
            report.write(head + "".join(traceback.format_exception(fault)))
    except OSError:
        return ""
    return path


def require_folder() -> None:
    """Raise `SystemExit` (2) where the current folder is gone: libraries of the frameworks end the process there."""
    try:
        os.getcwd()
    except OSError:
        _write_error("error: the current folder is gone; change to one that exists\n")
        raise SystemExit(FAULT) from None


def require_arguments(arguments: list[str]) -> None:
    """Raise `SystemExit` (2) where an argument is empty: an unset variable of a shell would name the current folder."""
    from mpcompile.diagnostics.render import printable

    end = arguments.index("--") if "--" in arguments else len(arguments)
    for at, text in enumerate(arguments):
        valued = at < end and text.startswith("--") and text.find("=") == len(text) - 1
        if valued or not text:
            before = text[:-1] if valued else arguments[at - 1] if at else "mpcompile"
            _write_error(f"error: the argument behind '{printable(before)}' is empty\n")
            raise SystemExit(FAULT)


# --- streams and warnings ---


def open_streams() -> None:
    """Give the command three streams that can take any text.

    A closed one leads nowhere, so that no file of the user ever gets its number; a character that the terminal cannot
    show is escaped.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free is this one
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def calm_warnings() -> None:
    """Prevent warnings of libraries from becoming errors of the command, also where Python is told to make them so."""
    if any(action == "error" for action, *_ in warnings.filters):
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)


def _take_debug(arguments: list[str]) -> bool:
    """Remove `--debug`, which every command has, from the command line."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = "--debug" in arguments[:end]
    arguments[:end] = [a for a in arguments[:end] if a != "--debug"]
    return found


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)


def _flush(told: bool) -> int:
    """Write out what is left: a disk that is full, or a reader that went away, shows here. Gives an exit code.

    `told` says that an error was printed already.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as fault:
            _drop(stream)
            if not told and isinstance(fault, OSError) and not isinstance(fault, BrokenPipeError):
                _write_error(f"error: {refusal(fault)}\n")
            return FAULT
    return 0


def _drop(stream: TextIO) -> None:
    """Lead a stream nowhere, so that nothing is raised when Python closes it."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass


__all__ = ["debugging", "described", "internal", "refusal", "run", "write_report"]
