"""Schemas of `run.json` and the manifests of checkpoints and builds: files that nobody vouches for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mpcompile.diagnostics import Span, SpecError
from mpcompile.ir.training import TABLES
from mpcompile.ir.training import checked as checked_value
from mpcompile.ranges import MAX_SIZE, slots
from mpcompile.runner.options import TRACKED
from mpcompile.runner.settings import Settings, optimizer_of, own_arguments, schedule_of

FORMAT = 2  # of run.json: 2 adds `classes`, `trackers` and `history` to 1
LARGEST = 16 << 20  # bytes of a JSON file that is read at all

Natural = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Amount = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=4096)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
StateFile = Annotated[
    str, Field(pattern=r"^state(-[0-9]{5}-of-[0-9]{5})?\.safetensors$|^state\.safetensors\.index\.json$")
]


def _row_of(table: Mapping[str, type]) -> AfterValidator:
    """A row of a table, as the table is when a file is read."""

    def known(word: str) -> str:
        if word not in table:
            raise ValueError(f"must be one of {', '.join(table)}")
        return word

    return AfterValidator(known)


Kind = Annotated[str, _row_of(TABLES["optimizer"])]
Course = Annotated[str, _row_of(TABLES["schedule"])]
Tracked = Annotated[str, _row_of(dict.fromkeys(TRACKED, str))]


def _letters(vocabulary: list[str]) -> list[str]:
    """Single characters in ascending order, as `letters.encode` looks them up, or the texts of tokens."""
    if all(len(c) == 1 for c in vocabulary):
        if not vocabulary or any(a >= b for a, b in pairwise(vocabulary)):
            raise ValueError("must be characters in ascending order")
    elif len(vocabulary) < 2:
        raise ValueError("must be characters in ascending order, or tokens")
    return vocabulary


def _distinct(words: list[str]) -> list[str]:
    if len(set(words)) < len(words):
        raise ValueError("must be different words")
    return words


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Optimizer(_Strict):
    """An optimiser; arguments that are not of every one stand beside the others."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    kind: Kind
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    eps: Amount
    momentum: Amount
    weight_decay: Amount
    clip: Amount | None
    ema: Fraction | None = None
    skip: Amount | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        slots_of = slots(TABLES["optimizer"][self.kind])
        own = {s.name: s for s in slots_of if s.name in own_arguments(self.kind)}
        more = self.model_extra or {}
        known = {*type(self).model_fields, "beta1", "beta2"}
        if own.keys() - {*more, *known} or more.keys() - own.keys():
            raise ValueError(f"must have the arguments of {self.kind}")
        for name, value in more.items():
            try:
                checked_value(own[name], value, self.kind, Span.none())
            except SpecError as fault:
                raise ValueError(fault.diagnostics[0].message) from None
        return self


class _Schedule(_Strict):
    kind: Course
    warmup: Natural
    final: Fraction
    every: Positive
    factor: Annotated[float, Field(gt=0)]


class _Settings(_Strict):
    optimizer: _Optimizer
    rate: Amount
    schedule: _Schedule
    batch: Size
    epochs: Positive | None
    steps: Natural | None
    data: str | None
    seed: Natural
    length: Size
    patience: Natural
    valid_every: Positive | None
    log_every: Positive | None
    checkpoint_every: Positive | None
    shards: Positive = 1
    threshold: float | None


class _Spread(_Strict):
    shape: list[Natural]
    low: float
    high: float
    mean: float
    deviation: Amount


class _Statistics(_Strict):
    sizes: dict[Name, Natural]
    fields: dict[Name, _Spread]
    rate: Natural | None = None


class _Change(_Strict):
    """The changes of a resume, on the command line or by another version: name -> before and after."""

    step: Natural
    changes: dict[Name, Annotated[list[Any], Field(min_length=2, max_length=2)]]


class _Divergence(_Strict):
    """The step at which a training diverged, and what was not finite there."""

    step: Natural
    what: Name


class Facts(_Strict):
    """`run.json`."""

    format: Literal[1, 2]
    model: Name
    spec: Name
    spec_path: Name
    spec_hash: Digest
    overrides: dict[Name, str | int | float]
    data: Name
    data_digest: Digest | Literal[""]
    vocabulary: Annotated[list[Name], Field(max_length=1 << 21), AfterValidator(_letters)] | None
    classes: dict[Name, Annotated[list[Name], AfterValidator(_distinct)]] | None = None
    statistics: _Statistics
    order: Literal["table", "feistel"] = "table"
    seed: Natural
    steps: Natural | None
    settings: _Settings
    backend: Name
    device: Name
    precision: Literal["float32", "float64"]
    mixed: bool
    unproven: bool
    init: Name | None = None
    versions: dict[Name, Name]
    trackers: list[Tracked] = []
    layout: Literal["replicated", "sharded"] = "replicated"
    compile: bool = False
    history: list[_Change] = []
    diverged: _Divergence | None = None


class _Progress(_Strict):
    step: Natural = 0
    best: float | None = None
    best_step: Natural = 0
    worse: Natural = 0
    window: dict[Name, float | None] = {}  # None: a sum that is not finite
    window_count: Natural = 0
    seconds: Amount = 0.0
    reason: Literal["", "finished", "patience"] = ""
    loss: float | None = None
    skipped: Natural = 0
    skipped_since: Natural = 0


class _Record(_Strict):
    step: Natural
    epoch: Natural
    cursor: Natural
    seed: Natural
    spec_hash: Digest
    metrics_bytes: Natural
    progress: _Progress

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.progress.step != self.step or max(self.progress.best_step, self.progress.worse) > self.step:
            raise ValueError("must name one step")
        if self.progress.window.get("loss", 0.0) is None:
            raise ValueError("must have a finite loss")
        return self


class Manifest(_Strict):
    """`manifest.json` of a checkpoint."""

    format: Literal[1]
    files: dict[StateFile, Digest]
    record: _Record


class Build(BaseModel):
    """The part of a build's `manifest.json` that says whose folder it is; `files` are missing before 0.2."""

    model_config = ConfigDict(strict=True, extra="ignore")
    model: Name
    backend: Name
    mpcompile: Name
    spec: dict[Name, Name]
    proofs: list[Any]
    parameters: dict[Name, list[Natural]]
    files: dict[Name, Digest] = {}


def settings_of(facts: Mapping[str, Any]) -> Settings:
    """Return the settings that a run was started with."""
    plain = dict(facts["settings"])
    made = {"optimizer": optimizer_of(plain["optimizer"]), "schedule": schedule_of(plain["schedule"])}
    return Settings(**plain | made)


# Reading ----------------------------------------------------------------------------------------------


def checked(payload: bytes, schema: type[BaseModel]) -> dict[str, Any]:
    """Parse a JSON file that fits a schema. Raises `ValueError` with one clause that says where it does not."""
    plain = parsed(payload)
    given = plain.get("format") if isinstance(plain, dict) else None
    if schema is Facts and type(given) is int and given > FORMAT:
        raise ValueError(f"is of format {given}, which a newer mpcompile writes")
    try:
        return schema.model_validate(plain).model_dump()
    except ValidationError as bad:
        raise ValueError(_clause(bad)) from None


def parsed(payload: bytes) -> Any:
    """Parse JSON without doubled keys, NaN or infinities. Raises `ValueError` with one clause."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as bad:
        raise ValueError(f"is not UTF-8 at byte {bad.start}") from None
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as bad:
        raise ValueError(f"is not JSON at line {bad.lineno}, column {bad.colno}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"has {twice[:80]!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no number")


def _clause(bad: ValidationError) -> str:
    """The first fault of a validation: `settings.batch: must be ...`."""
    first = bad.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part)[:80] for part in first["loc"]) or "the whole"
    match first["type"]:
        case "missing":
            return f"lacks {where!r}"
        case "extra_forbidden":
            return f"has {where!r}, which is not known"
    found = repr(first["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    must = (
        first["msg"]
        .removeprefix("Value error, ")
        .replace("Input should", "must")
        .replace("String should", "must")
    )
    return f"has {where!r} = {found}: it {must[0].lower()}{must[1:]}"
