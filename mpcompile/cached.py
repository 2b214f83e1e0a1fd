"""Answers of `check`, kept on disk: an unchanged spec is proved once.

An answer is found again under a key of everything that it depends on: the text of the spec and its path, the parameters
that were set, the budget, the sources of this package, and the versions of Python and of the libraries that a proof runs
through. The entry names the files that the spec read, with their hashes, and holds for no others. Answers that depend on
the machine are not kept: those that ran out of a budget, and errors of the compiler.

The folder is the user's own (`$XDG_CACHE_HOME/mpcompile`), never one in a project, so that nobody receives answers with a
repository. `MPCOMPILE_CACHE` names another folder; empty, it turns the cache off. Whatever is damaged, or is not ours, is
as if it were not there. `build` and `train` prove everything themselves.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from mpcompile import api
from mpcompile.budget import Budget, OutOfBudget, ensured
from mpcompile.diagnostics import Diagnostic, PathStep, Severity, Source, Span, SpecError
from mpcompile.diagnostics.report import Checked, Property

FOLDER = "MPCOMPILE_CACHE"
#: Entries are removed, the oldest half of them, where there are more.
MOST = 4000
_LARGEST = 1 << 20  # bytes of an entry
_LONGEST = 1 << 26  # bytes of a file that a spec may read
_LIBRARIES = ("lark-", "networkx-", "numpy-", "pydantic-", "pydantic_core-", "pyyaml-")
#: The code of an answer that a larger budget, or a faster machine, may change.
_LIMITED = "MP310"


def examine(
    path: Path | str,
    overrides: Mapping[str, str] | None = None,
    budget: Budget | None = None,
) -> Checked:
    """Return what `api.examine` does, from the disk where nothing changed since it was found."""
    if (found := known(path, overrides, budget)) is not None:
        return found
    key = _Key.of("checked", path, overrides, budget)
    reads = _read_by(path) if key is not None else {}
    answer = api.examine(path, overrides, budget)
    if key is not None and all(d.code != _LIMITED for d in answer.diagnostics):
        key.keep({"answer": encoded(answer)}, reads)
    return answer


def known(
    path: Path | str, overrides: Mapping[str, str] | None = None, budget: Budget | None = None
) -> Checked | None:
    """Return the answer on the disk; None where there is none."""
    key = _Key.of("checked", path, overrides, budget)
    if key is not None and (found := key.found()) is not None:
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            return decoded(found["answer"])
    return None


def property_names(path: Path | str) -> tuple[str, ...]:
    """Return the names of the properties of a spec, proved or not. Raises `SpecError` for a spec that cannot be read."""
    if (answer := known(path)) is not None and answer.properties:
        return tuple(p.name for p in answer.properties)
    key = _Key.of("names", path, None, None)
    if key is not None and (found := key.found()) is not None:
        names = found.get("names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    reads = _read_by(path) if key is not None else {}
    made = tuple(api.property_names(api.load(path)))
    if key is not None:
        key.keep({"names": made}, reads)
    return made


@contextmanager
def busy(path: Path | str) -> Iterator[bool]:
    """Mark a spec as one that this process examines; give False where another process has marked it.

    A mark is a lock on one byte of a file in the cache, which ends with the process at the latest. Where there are no
    such locks, nobody else's mark is seen.
    """
    key = _Key.of("checked", path, None, None)
    locks = _locks(key.file.parents[1]) if key is not None else None
    if key is None or locks is None:
        yield True
        return
    import fcntl

    place = int(key.file.stem[:15], 16)
    try:
        fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.lockf(locks, fcntl.LOCK_UN, 1, place)


@cache
def _locks(root: Path) -> int | None:
    """Open the file of a cache whose bytes are marks, for as long as the process lives; None where that cannot be.

    A process that closed it once would lose all of its marks.
    """
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(root / "busy", os.O_RDWR | os.O_CREAT, 0o600)
    return None


# --- keys and entries ---


class _Key:
    """The place of an entry. Files that the spec reads are compared when the entry is found."""

    def __init__(self, folder: Path, name: str, path: Path | str, text: str) -> None:
        self.file = folder / name[:2] / f"{name}.json"
        self.path, self.text = path, text

    @classmethod
    def of(
        cls, kind: str, path: Path | str, overrides: Mapping[str, str] | None, budget: Budget | None
    ) -> _Key | None:
        """Return the key of an answer; None where there is no cache, or no file."""
        text = _hash(path)
        if (root := folder()) is None or text is None:
            return None
        limits = budget or Budget()
        parts = [
            kind,
            str(path),
            text,
            sorted((overrides or {}).items()),
            limits.seconds,
            limits.memory,
            _code(),
        ]
        name = sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()
        return cls(root, name, path, text)

    def found(self) -> dict[str, Any] | None:
        """Return the entry, if it is sound and the files that the spec read are as they were."""
        try:
            state = os.lstat(self.file)
            if state.st_size > _LARGEST or (hasattr(os, "getuid") and state.st_uid != os.getuid()):
                return None
            digest, _, body = self.file.read_bytes().partition(b"\n")
            if digest.decode() != sha256(body).hexdigest():
                return None
            entry = json.loads(body)
            same = all(_hash(path) == before for path, before in entry["reads"].items())
            return entry if same else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def keep(self, entry: dict[str, Any], reads: Mapping[str, str | None]) -> None:
        """Write an entry, whole or not at all; none of files that changed meanwhile.

        `reads` are the hashes from before the answer was found. A folder that cannot be written to keeps nothing.
        """
        body = json.dumps({**entry, "reads": dict(reads)}).encode("utf-8", "surrogatepass")
        changed = _hash(self.path) != self.text or any(_hash(p) != before for p, before in reads.items())
        if changed or len(body) > _LARGEST:
            return
        aside = self.file.with_name(f"{self.file.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside.write_bytes(sha256(body).hexdigest().encode() + b"\n" + body)
            os.replace(aside, self.file)
            _tidy(self.file.parents[1])


def folder() -> Path | None:
    """Return the folder of the cache; None where it is turned off, or nobody's home is known."""
    stated = os.environ.get(FOLDER)
    if stated is not None:
        return Path(stated) if stated else None
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "mpcompile"
    return None


def _tidy(root: Path) -> None:
    """Remove the oldest half of the entries where there are too many. Raises `OSError`."""
    files = [f for f in root.glob("??/*") if f.suffix in (".json", ".tmp")]
    if len(files) <= MOST:
        return
    for file in sorted(files, key=lambda f: f.stat().st_mtime)[: len(files) // 2]:
        file.unlink(missing_ok=True)


def _hash(path: Path | str) -> str | None:
    """The hash of a file; None of what is no file that can be read. All that are too large to be read are alike."""
    try:
        if not os.path.isfile(path):
            return None
        return "large" if os.path.getsize(path) > _LONGEST else sha256(Path(path).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None


@cache
def _code() -> str:
    """Hash what an answer depends on beside the spec: the sources of this package, and what they run on.

    Sources are told apart by size and time of change, so that an edited checkout is another one. Libraries are told apart
    by the names of their `dist-info` folders, which have the versions; their metadata would take longer to read than
    all answers.
    """
    import mpcompile_grammar

    state = sha256()
    for module in (sys.modules["mpcompile"], mpcompile_grammar):
        root = os.path.dirname(os.path.abspath(str(module.__file__)))
        for name, size, changed in sorted(_files_below(root)):
            state.update(f"{name[len(root) :]}:{size}:{changed}\n".encode())
    for installed in dict.fromkeys(name for folder in sys.path for name in _installed(folder)):
        state.update(f"{installed}\n".encode())
    state.update(f"{sys.version}:{sys.platform}:{sys.byteorder}".encode())
    return state.hexdigest()


def _files_below(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield the path, the size and the time of change of each file that is no byte code."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                state = entry.stat()
                yield entry.path, state.st_size, state.st_mtime_ns
            elif entry.name != "__pycache__":
                yield from _files_below(entry.path)


def _installed(folder: str) -> list[str]:
    """Return the `name-version.dist-info` of each library in a folder of `sys.path` that a proof runs through."""
    try:
        names = os.listdir(folder or ".")
    except OSError:  # an archive, or a folder that is not there
        return []
    return sorted(n for n in names if n.endswith("-info") and n.lower().startswith(_LIBRARIES))


def _read_by(path: Path | str) -> dict[str, str | None]:
    """Every path that a spec may read, whether there is a file or not, with the hash of the file."""
    from mpcompile.frontend import parse
    from mpcompile.frontend.reads import named

    try:
        with ensured():
            return {str(file): _hash(file) for file in named(parse(path)[0], path)}
    except (SpecError, OutOfBudget):
        return {}


# --- answers as JSON ---


def encoded(answer: Checked) -> dict[str, Any]:
    """Return an answer as plain data. Its crash is left out: it is of one run."""
    return {
        "path": answer.path,
        "source": [answer.source.path, answer.source.text] if answer.source else None,
        "properties": [
            [p.name, p.status, p.how, _span(p.span), [_diagnostic(d) for d in p.diagnostics], p.scope, p.method,
             list(p.assumptions)]
            for p in answer.properties
        ],
        "findings": [_diagnostic(d) for d in answer.findings],
    }  # fmt: skip


def decoded(data: Mapping[str, Any]) -> Checked:
    """Return the answer that `encoded` wrote. Raises `KeyError`, `TypeError` or `ValueError` for other data."""
    return Checked(
        data["path"],
        Source(*data["source"]) if data["source"] is not None else None,
        tuple(
            Property(
                name, status, how, Span(*span), tuple(map(_finding, own)), scope, method, tuple(assumptions)
            )
            for name, status, how, span, own, scope, method, assumptions in data["properties"]
        ),
        tuple(map(_finding, data["findings"])),
    )


def _span(span: Span) -> list[str | int]:
    return [span.path, span.line, span.column, span.end_line, span.end_column]


def _diagnostic(d: Diagnostic) -> list[Any]:
    steps = [[step.text, _span(step.span)] for step in d.path]
    return [d.code, d.message, _span(d.span), str(d.severity), d.label, list(d.notes), d.help, steps]


def _finding(data: list[Any]) -> Diagnostic:
    code, message, span, severity, label, notes, help, steps = data
    path = tuple(PathStep(text, Span(*at)) for text, at in steps)
    return Diagnostic(code, message, Span(*span), Severity(severity), label, tuple(notes), help, path)


__all__ = ["FOLDER", "busy", "decoded", "encoded", "examine", "folder", "known", "property_names"]
