"""Reading a spec from a stranger: what is refused before anything is parsed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from mpcompile.diagnostics import Diagnostic, Source, Span, SpecError, error
from mpcompile.frontend.locate import Locator

MAX_BYTES = 256 * 1024
MAX_LINE = 10_000
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

_ALONE = re.compile("\r(?!\n)")


def read_file(path: Path | str) -> Source:
    """Read the text of a spec, guarded: size, encoding, control characters, line length. Raises `SpecError`."""
    shown = str(path)
    start = Span(shown, 1, 1, 1, 1)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and not Path(path).is_dir():
            raise error("MP001", "cannot read the file: it is no regular file", start)
        with open(path, "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as reason:
        raise error(
            "MP001", f"cannot read the file: {(reason.strerror or str(reason)).lower()}", start
        ) from None
    except ValueError:  # a NUL in the path
        raise error("MP001", "cannot read the file: the path is not valid", start) from None
    if len(data) > MAX_BYTES:
        raise error("MP002", f"the spec is larger than {MAX_BYTES // 1024} KiB", start)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as reason:
        before = data[: reason.start].decode("utf-8")
        span = Locator(Source(shown, before)).span(len(before), len(before) + 1)
        raise error(
            "MP003", f"byte 0x{data[reason.start]:02x} is not UTF-8", span, help="save it as UTF-8"
        ) from None
    return guard(text, shown)


def forbidden(text: str) -> bool:
    """Return whether a text holds a character that no spec may hold."""
    return _FORBIDDEN.search(text) is not None


def guard(text: str, path: str) -> Source:
    """Guard a text that is already decoded, as `read_file` does; a leading byte order mark is dropped.

    Raises `SpecError`.
    """
    text = text.removeprefix("\ufeff")
    source = Source(path, text)
    if len(text) > MAX_BYTES:
        raise error("MP002", f"the spec is larger than {MAX_BYTES // 1024} KiB", Span(path, 1, 1, 1, 1))
    found: list[Diagnostic] = []
    locator = Locator(source)
    bad = _FORBIDDEN.search(text)
    if bad:
        name = "a NUL byte" if bad.group() == "\0" else f"the control character U+{ord(bad.group()):04X}"
        found.append(Diagnostic("MP004", f"the text holds {name}", locator.span(bad.start(), bad.end())))
    alone = _ALONE.search(text)
    if alone:
        found.append(Diagnostic("MP004", "this line ends in a carriage return alone", locator.span(*alone.span()),
                                help="save the file with line feeds at the ends of lines"))  # fmt: skip
    at = 0
    for line in text.split("\n"):
        if len(line) > MAX_LINE and not alone:
            span = locator.span(at + MAX_LINE, at + MAX_LINE + 1)
            found.append(Diagnostic("MP005", f"this line is longer than {MAX_LINE} characters", span))
            break
        at += len(line) + 1
    if found:
        raise SpecError(found)
    return source


__all__ = ["MAX_BYTES", "MAX_LINE", "forbidden", "guard", "read_file"]
