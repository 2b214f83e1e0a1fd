"""What is fuzzed: one row per target. A row's function takes an input and names its outcome.

Allowed are the outcomes that a command can answer: acceptance, `SpecError`, an error of usage, and what the docstring
of a reader says that it raises. Everything else is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import emitted
import mutators
import seeds
import words
from words import odd, spec_mutator, specs

Run = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Target:
    """`prepare` imports what is run and gives it; `share` is the part of a run's inputs that it gets.

    Branches of the modules `instrumented` guide the mutations.
    """

    prepare: Callable[[Path], Run]
    seeds: Callable[[], Iterable[bytes]]
    mutator: Callable[[], mutators.Mutator]
    share: int = 1
    instrumented: tuple[str, ...] = ("mpcompile.runner.data",)


# --- text ---


def decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def refusal(problem: Any, text: str) -> str:
    """The code of a refusal whose findings can be shown, each at a place of the text."""
    from mpcompile.diagnostics import Source
    from mpcompile.diagnostics.render import render

    path = problem.diagnostics[0].span.path
    lines = text.removeprefix("\ufeff").split("\n")
    for d in problem.diagnostics:
        s = d.span
        assert d.message and 1 <= s.line <= s.end_line <= len(lines), (d, "no line of the text")
        assert s.column >= 1 and s.end_column <= len(lines[s.end_line - 1]) + 1, (d, "no column of the text")
    shown = render(list(problem.diagnostics), [Source(path, text)], colour=False)
    assert problem.diagnostics[0].code in shown
    return str(problem.diagnostics[0].code)


def parse(syntax: str) -> Callable[[Path], Run]:
    def prepare(folder: Path) -> Run:
        from mpcompile.diagnostics import SpecError
        from mpcompile.frontend import parse_text

        def run(data: bytes) -> str:
            text = decoded(data)
            try:
                parse_text(text, f"m.{syntax}", syntax)  # type: ignore[arg-type]
            except SpecError as problem:
                return refusal(problem, text)
            return "accepted"

        return run

    return prepare


def fmt(syntax: str) -> Callable[[Path], Run]:
    """What is formatted reads back as the same model, in either syntax, and formats to itself."""

    def prepare(folder: Path) -> Run:
        from mpcompile.diagnostics import Source, SpecError
        from mpcompile.frontend import parse_text
        from mpcompile.frontend.ast import without_spans
        from mpcompile.frontend.formatting import formatted

        def run(data: bytes) -> str:
            text = decoded(data).removeprefix("\ufeff")
            try:
                model = parse_text(text, f"m.{syntax}", syntax)  # type: ignore[arg-type]
            except SpecError as problem:
                return problem.diagnostics[0].code
            outcome = "same"
            for to in ("mp", "yaml"):
                source = Source(f"m.{syntax}", text)
                try:
                    once = formatted(model, source, to)  # type: ignore[arg-type]
                except SpecError as problem:
                    outcome = refusal(problem, text)
                    assert outcome == "MP010", outcome
                    outcome += f" to {to}"
                    continue
                again = parse_text(once, f"m.{to}", to)  # type: ignore[arg-type]
                assert without_spans(again) == without_spans(model), "another model"
                assert formatted(again, Source(f"m.{to}", once), to) == once, "not idempotent"  # type: ignore[arg-type]
            return outcome

        return run

    return prepare


def check(folder: Path) -> Run:
    """Everything that `check` does with a text, within a budget of one second and 400 MB more than there is."""
    from mpcompile import api
    from mpcompile.budget import Budget, resident
    from mpcompile.diagnostics import SpecError
    from mpcompile.diagnostics.render import render

    memory = resident() + 400_000_000

    def run(data: bytes) -> str:
        path = folder / "check.mp"
        path.write_bytes(data)
        found = api.examine(path, budget=Budget(1.0, memory))
        if found.source is not None and found.diagnostics:
            render(list(found.diagnostics), [found.source], colour=False)
        if not found.properties and any(d.severity == "error" for d in found.diagnostics):
            return refusal(SpecError(found.diagnostics), decoded(data))
        return "examined"

    return run


SET_MODELS = (
    "model m(k = 2, rate = 0.5, wide = 4)\ninput x: real[3]\ntarget y: real[k]\n"
    "y ~ normal(x -> dense(wide) -> dropout(rate) -> dense(2 * k))",
)


def settings(folder: Path) -> Run:
    """Lines as the values of `--set`, on a small model."""
    import typer

    from mpcompile import api
    from mpcompile.budget import Budget, within
    from mpcompile.cli._run import settings_of
    from mpcompile.diagnostics import Source, Span, SpecError
    from mpcompile.frontend import parse_text
    from mpcompile.lowering import lower

    text = SET_MODELS[0]
    model, source = parse_text(text, "m.mp", "mp"), Source("m.mp", text)
    place = Span("m.mp", 1, 1, 1, 1)

    def run(data: bytes) -> str:
        try:
            given = settings_of(decoded(data).split("\n"))
        except typer.Exit:
            return "usage"
        try:
            with within(Budget(1.0)):
                lower(model, source, {k: api._number(k, v, place) for k, v in given.items()})
        except SpecError as problem:
            return refusal(problem, text)
        return "accepted"

    return run


# --- records and weights ---


def record(folder: Path) -> Run:
    """`run.json` of a folder that says it is a run, and the settings in it."""
    from mpcompile.diagnostics import SpecError
    from mpcompile.runner.record import settings_of
    from mpcompile.runner.run import open_run

    run_folder = folder / "run"
    run_folder.mkdir(exist_ok=True)
    (run_folder / "spec.mp").write_text("model m\n", encoding="utf-8")

    def run(data: bytes) -> str:
        (run_folder / "run.json").write_bytes(data)
        try:
            found = open_run(run_folder)
        except SpecError as problem:
            (d,) = problem.diagnostics
            assert "\n" not in d.message
            return re.sub(r"[^a-z ]", "", d.message.split("run.json", 2)[-1].lower())[:12] or d.code
        try:
            settings_of(found.facts)
        except ValueError:
            return "no settings"
        return "accepted"

    return run


def manifest(folder: Path) -> Run:
    """`manifest.json` of a checkpoint and of a build."""
    from mpcompile.runner.record import Build, Manifest, checked

    def run(data: bytes) -> str:
        outcome = ""
        for schema in (Manifest, Build):
            try:
                checked(data, schema)
                outcome += schema.__name__
            except ValueError as bad:
                assert type(bad) is ValueError and "\n" not in str(bad), bad
        return outcome or "refused"

    return run


def tensors(folder: Path) -> Run:
    """Weights of a checkpoint whose manifest names their hash, so that the reader of safetensors sees them."""
    import hashlib
    import json

    from mpcompile.runner.checkpoint import load

    at = folder / "best"
    at.mkdir(exist_ok=True)

    def run(data: bytes) -> str:
        (at / "state.safetensors").write_bytes(data)
        whole = json.loads(seeds.MANIFEST)
        whole["files"]["state.safetensors"] = hashlib.sha256(data).hexdigest()
        (at / "manifest.json").write_text(json.dumps(whole), encoding="utf-8")
        why: list[str] = []
        found = load(at, why=why)
        assert found is not None or why, "no reason"
        if found is not None:
            assert all(v.dtype.kind in "biuf" for v in found.state.values()), found.state
        return "read" if found is not None else "refused"

    return run


# --- data ---


def reader(ending: str) -> Callable[[Path], Run]:
    """A file of this ending as data; MPCOMPILE_DATA_GIB is a quarter."""

    def prepare(folder: Path) -> Run:
        import os

        from mpcompile.runner.data.dataset import Known
        from mpcompile.runner.data.files import read
        from mpcompile.runner.data.opening import Unreadable

        os.environ["MPCOMPILE_DATA_GIB"] = "0.25"
        path = folder / f"data{ending}"
        if ending in (".png", ".jpg"):
            (folder / "pictures").mkdir(exist_ok=True)
            path = folder / "pictures" / f"a{ending}"
        at = path.parent if path.parent != folder else path

        def run(data: bytes) -> str:
            path.write_bytes(data)
            try:
                raw = read(at, Known(names=("x", "y")))
            except Unreadable as bad:
                line = str(bad)
                assert "Error" not in line, line
                return re.sub(r"[^a-z ]", "", line.rpartition(": ")[2].lower())[:24]
            assert raw.splits
            return "read"

        return run

    return prepare


FITTED = (
    "model m\ninput x: real[3]\ntarget y: category(3)\ny ~ categorical(logits = x -> dense(3))",
    "model m\ninput x: real[time, 2]\ntarget y: real[time, 2]\ny ~ normal(x -> lstm(2) -> dense(4))",
    "model m\ninput x: category(5)[time]\nx ~ autoregressive(likelihood = categorical) "
    "{ embedding(4) -> shift -> dense(5) }",
    "model m\ninput x: binary[4]\nx ~ autoregressive(order = natural) "
    "{ reshape(time = 4, channel = 1) -> lstm(2) -> shift -> dense(1) -> flatten }",
    "model m\ninput x: integer(0..255)[1, 2, 2]\nx ~ flow(base = normal) { dequantize -> logit -> affine }",
)
DTYPES = ("<f4", "<f8", "<i8", "|u1", "|b1", "<i2", "<u8", "<f2", ">f8")
VALUES = (0.0, 1.0, 2.0, 4.0, -1.0, 0.5, 255.0, 256.0, 1e9, 3e38, float("nan"), float("inf"), 1e-45, -0.0)
SIZES = (0, 1, 2, 3, 4, 5, 12, 40)
COLUMNS = (
    ("x", "y", "length"), ("x", "y"), ("x", "len"), ("x_train", "x_valid", "x_test"),
    ("x_train", "y_train", "x_test", "y_test"), ("train", "valid"), ("y", "x", "z"), ("x", "x_train", "length_train"),
)  # fmt: skip


def fitted(folder: Path) -> Run:
    """A .npz of arrays that the input describes, fitted to a small model, and its first batch taken."""
    import numpy as np

    from mpcompile.diagnostics import Source, SpecError
    from mpcompile.frontend import parse_text
    from mpcompile.lowering import lower
    from mpcompile.runner.batches import chunks
    from mpcompile.runner.data import load_data

    modules = [lower(parse_text(t, "m.mp", "mp"), Source("m.mp", t)) for t in FITTED]
    path = folder / "fitted.npz"

    def run(data: bytes) -> str:
        r = Bytes(data)
        module = r.one(modules)
        held = {}
        names = r.one(COLUMNS)
        for name in names[: 1 + r.next() % len(names)]:
            kind = r.one(DTYPES)
            shape = tuple(r.one(SIZES) for _ in range(1 + r.next() % 4))
            if r.next() % 2:  # a shape that fits
                shape = (
                    r.one(SIZES),
                    *(
                        s if isinstance(s, int) else 5
                        for s in next(iter(module.fields.values())).type.shape[1:]
                    ),
                )
            array = np.zeros(shape)
            for _ in range(r.next() % 4):
                if array.size:
                    array.reshape(-1)[r.next() % array.size :: 1 + r.next() % 3] = r.one(VALUES)
            with np.errstate(all="ignore"):
                held[name] = array.astype(kind)
        np.savez(path, **held)
        try:
            found = load_data(module, str(path), length=1 + r.next() % 8, whole=bool(r.next() % 2))
        except SpecError as problem:
            assert "\n" not in problem.diagnostics[0].message
            return str(problem.diagnostics[0].code)
        next(iter(chunks(found.splits["train"], 4)), None)
        return "fitted"

    return run


class Bytes:
    """Choices out of an input, zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def next(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def one(self, of: Any) -> Any:
        return of[self.next() % len(of)]


# --- the table ---


def _emit(backend: str) -> Target:
    return Target(
        emitted.prepare(backend),
        lambda: odd(300),
        emitted.mutator,
        1,
        (f"mpcompile_{backend}", "mpcompile.emission"),
    )


def _text(*words: str) -> Callable[[], mutators.Mutator]:
    return lambda: mutators.text(words)


MP, BOTH = (".mp",), (".yaml", ".yml")
RECORDS = ("mpcompile.runner.record", "mpcompile.runner.run", "mpcompile.runner.checkpoint")
FRONT, MIDDLE = ("mpcompile.frontend",), ("mpcompile.lowering", "mpcompile.layers", "mpcompile.distributions")
TARGETS: dict[str, Target] = {
    "yaml": Target(parse("yaml"), lambda: specs(*BOTH), spec_mutator(*BOTH, more=words.YAML), 3, FRONT),
    "mp": Target(parse("mp"), lambda: specs(*MP), spec_mutator(*MP), 3, FRONT),
    "set": Target(
        settings,
        lambda: seeds.SETS,
        _text("k", "rate", "wide", "=", "\n", "1e3", *mutators.NUMBERS),
        12,
        ("mpcompile.cli", "mpcompile.api"),
    ),
    "fmt-mp": Target(
        fmt("mp"), lambda: specs(*MP), spec_mutator(*MP, more=("# c\n", "\n\n", "  "), fresh=0.7), 2, FRONT
    ),
    "fmt-yaml": Target(
        fmt("yaml"), lambda: specs(*BOTH), spec_mutator(*BOTH, more=words.YAML, fresh=0.7), 2, FRONT
    ),
    "check": Target(check, lambda: odd(200) + specs(*MP)[-100:], spec_mutator(*MP, fresh=0.5), 1, MIDDLE),
    "run.json": Target(record, seeds.run_json, lambda: mutators.structured(*seeds.run_json()), 15, RECORDS),
    "manifest": Target(
        manifest,
        lambda: [seeds.MANIFEST.encode(), seeds.BUILD.encode()],
        lambda: mutators.structured(seeds.MANIFEST, seeds.BUILD),
        15,
        RECORDS,
    ),
    "npz": Target(reader(".npz"), seeds.npzs, lambda: mutators.zipped(*seeds.npzs()), 8),
    "npy": Target(reader(".npy"), seeds.npys, lambda: mutators.npy, 12),
    "csv": Target(reader(".csv"), lambda: seeds.CSVS, _text(*words.CELLS), 12),
    "png": Target(reader(".png"), seeds.pngs, lambda: mutators.png, 6),
    "jpg": Target(reader(".jpg"), seeds.jpegs, lambda: mutators.fields, 6),
    "wav": Target(reader(".wav"), seeds.wavs, lambda: mutators.fields, 15),
    "safetensors": Target(tensors, seeds.safetensors, lambda: mutators.prefixed(8), 12, RECORDS),
    "fitted": Target(fitted, seeds.noise, lambda: mutators.bytewise, 6),
    **{f"emit-{name}": _emit(name) for name in ("torch", "jax", "onnx")},
}
