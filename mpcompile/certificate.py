"""A record of what was proved of which text, that anyone can check again: `mpcompile check --certificate`.

A certificate names files by their path from its own folder and their SHA-256, so it says nothing of where it was made,
and the same specs give the same bytes. Its digest shows damage. It is no signature: whoever can edit a certificate can
compute it anew, which is why verifying proves every property again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from mpcompile import __version__, api
from mpcompile.budget import Budget
from mpcompile.diagnostics import Diagnostic, Severity, Span, SpecError, error
from mpcompile.diagnostics.report import ACCEPTED, Checked, Property, Report

FORMAT = "mpcompile-certificate/2"
MAX_BYTES = 16 * 1024 * 1024


def certify(report: Report, folder: Path, overrides: Mapping[str, str]) -> str:
    """Return the certificate of a report in which every property is proved, as the text of a file in `folder`.

    Entries are in order of their paths. Raises `ValueError` when a property is not proved, for a report without specs,
    and for a spec on another drive than the folder.
    """
    if not report.specs:
        raise ValueError("a certificate is about one spec at least")
    if not all(spec.proved for spec in report.specs):
        raise ValueError("what is not proved is not certified")
    body = {
        "format": FORMAT,
        "mpcompile": __version__,
        "set": dict(sorted(overrides.items())),
        "specs": sorted(
            (_entry(spec, folder, overrides) for spec in report.specs), key=lambda e: str(e["path"])
        ),
    }
    return json.dumps(body | {"digest": digest(body)}, indent=2) + "\n"


def digest(body: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a certificate without its digest, as JSON with sorted keys and no spaces."""
    kept = {key: value for key, value in body.items() if key != "digest"}
    return sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _entry(spec: Checked, folder: Path, overrides: Mapping[str, str]) -> dict[str, Any]:
    """Return the entry of one spec."""
    from mpcompile.frontend import parse
    from mpcompile.frontend.reads import reads

    path = Path(spec.path)
    module = api.load(path, overrides)
    return {
        "path": _from(folder, path),
        "sha256": _hash(path),
        "reads": {_from(folder, file): _hash(file) for file in reads(parse(path)[0], path)},
        "model": module.name,
        "parameters": dict(sorted(module.params.items())),
        "variables": {
            name: f"{v.base}[{', '.join(map(str, v.type.shape[1:]))}]" for name, v in module.fields.items()
        },
        "properties": [_property(p) for p in spec.properties],
    }


def _property(p: Property) -> dict[str, Any]:
    """Return the entry of one property; `scope` is empty where the spec allows what is refuted."""
    return {
        "name": p.name,
        "status": p.status,
        "scope": p.scope,
        "method": p.method,
        "assumptions": list(p.assumptions),
    }


def _hash(path: Path) -> str:
    with open(path, "rb") as handle:
        state = sha256()
        while block := handle.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _from(folder: Path, path: Path) -> str:
    """A path from a folder, with `/`. Raises `ValueError` for another drive."""
    return Path(os.path.relpath(path, folder)).as_posix()


def verify(certificate: Path, budget: Budget | None = None) -> Report:
    """Prove everything again, each spec within a budget (or the default).

    A report without findings: every file is as it was, and every property holds as it did.
    """
    try:
        body = _read(certificate)
    except SpecError as problem:
        return Report(findings=problem.diagnostics)
    place = Span(str(certificate), 1, 1, 1, 1)
    findings = []
    if digest(body) != body["digest"]:
        findings.append(
            Diagnostic("MP601", "the certificate is not as it was written: its digest differs", place)
        )
    if body["mpcompile"] != __version__:
        message = f"certified by mpcompile {body['mpcompile']}, and this is {__version__}"
        findings.append(Diagnostic("MP602", message, place, help="check again and write a new certificate"))
    specs = []
    for entry in body["specs"]:
        spec = api.examine(certificate.parent / entry["path"], body["set"], budget)
        errors = [d for d in spec.findings if d.severity is Severity.ERROR]  # a warning is no difference
        specs.append(
            Checked(
                spec.path,
                spec.source,
                spec.properties,
                (*errors, *_differences(entry, spec, certificate.parent, body["set"])),
            )
        )
    return Report(tuple(specs), tuple(findings))


def _differences(
    entry: Mapping[str, Any], spec: Checked, folder: Path, overrides: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Yield the differences between a spec and its entry."""
    path = Path(spec.path)
    start = Span(spec.path, 1, 1, 1, 1)
    if not path.is_file():
        return  # that it cannot be read is a finding already
    if (now := _hash(path)) != entry["sha256"]:
        yield Diagnostic(
            "MP603", "the spec has changed since it was certified", start,
            notes=(f"certified sha256 {entry['sha256']}", f"now sha256 {now}"),
        )  # fmt: skip
    if any(d.severity is Severity.ERROR for d in spec.findings):
        return  # it has no module any more, and the errors say why
    current = _entry(spec, folder, overrides)
    for name in sorted(entry["reads"].keys() | current["reads"].keys()):
        before, after = entry["reads"].get(name), current["reads"].get(name)
        if before != after:
            what = (
                "is not read any more"
                if after is None
                else "was not read"
                if before is None
                else "has changed"
            )
            yield Diagnostic("MP603", f"the file {name!r} {what} since the spec was certified", start)
    for key in ("model", "parameters", "variables"):
        if json.dumps(entry[key], sort_keys=True) != json.dumps(current[key], sort_keys=True):
            yield Diagnostic("MP604", f"{key}: certified {entry[key]}, now {current[key]}", start)
    before, after = ({p["name"]: _described(p) for p in e["properties"]} for e in (entry, current))
    spans = {p.name: p.span for p in spec.properties}
    for name in [*before, *(n for n in after if n not in before)]:
        if before.get(name) != after.get(name):
            message = (
                f"{name} was certified {before.get(name, 'not at all')}, and is now {after.get(name, 'gone')}"
            )
            yield Diagnostic("MP604", message, spans.get(name, start))


def _described(p: Mapping[str, Any]) -> str:
    """One property on one line, every field of it."""
    scope = f", for {p['scope']}" if p["scope"] else ""
    assumed = f", if {'; '.join(p['assumptions'])}" if p["assumptions"] else ""
    return f"{p['status']}: {p['method']}{scope}{assumed}"


def _read(path: Path) -> dict[str, Any]:
    """A certificate of the right form. Raises `SpecError`."""
    place = Span(str(path), 1, 1, 1, 1)
    try:
        with open(path, "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
        body: Any = json.loads(data, object_pairs_hook=_once) if len(data) <= MAX_BYTES else None
    except OSError as reason:
        message = f"cannot read the certificate: {(reason.strerror or str(reason)).lower()}"
        raise error("MP600", message, place) from None
    except (ValueError, RecursionError):
        body = None
    if not _well_formed(body):
        message = f"this is not a certificate of the form {FORMAT}"
        raise error("MP600", message, place, help="`mpcompile check --certificate FILE` writes one")
    made: dict[str, Any] = body
    return made


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ. Raises `ValueError`."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def _well_formed(body: Any) -> bool:
    """Whether a JSON value has the keys of a certificate and no other, of their types, and says nothing twice."""
    return (
        _has(body, {"format": str, "mpcompile": str, "set": dict, "specs": list, "digest": str})
        and body["format"] == FORMAT
        and all(isinstance(value, str) for value in body["set"].values())
        and bool(body["specs"])
        and all(map(_entry_well_formed, body["specs"]))
        and _differ([entry["path"] for entry in body["specs"]])
    )


def _entry_well_formed(entry: Any) -> bool:
    return (
        _has(entry, {"path": str, "sha256": str, "reads": dict, "model": str, "parameters": dict,
                     "variables": dict, "properties": list})
        and "\0" not in entry["path"]
        and all(isinstance(value, str) for value in (*entry["reads"].values(), *entry["variables"].values()))
        and all(isinstance(value, int | float) for value in entry["parameters"].values())
        and all(
            _has(p, {"name": str, "status": str, "scope": str, "method": str, "assumptions": list})
            and p["status"] in ACCEPTED
            and all(isinstance(text, str) for text in p["assumptions"])
            for p in entry["properties"]
        )
        and _differ([p["name"] for p in entry["properties"]])
    )  # fmt: skip


def _has(value: Any, keys: Mapping[str, type]) -> bool:
    """Whether a value is an object of exactly these keys, with values of these types."""
    return (
        isinstance(value, dict)
        and value.keys() == keys.keys()
        and all(isinstance(value[key], kind) for key, kind in keys.items())
    )


def _differ(names: list[str]) -> bool:
    return len(set(names)) == len(names)


__all__ = ["FORMAT", "certify", "verify"]
