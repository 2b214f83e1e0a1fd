"""The `train` section of a spec, checked: unknown keys and impossible values are findings with a place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from mpcompile.backend import OptimizerSpec
from mpcompile.diagnostics import Source, Span, SpecError, error
from mpcompile.ir import Module
from mpcompile.runner.schedule import Schedule

RATES = {"adam": 1e-3, "adamw": 1e-3, "sgd": 1e-2, "adagrad": 1e-2, "perceptron": 1.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    batch        examples a step (never more than there are)
    epochs, steps  whichever ends first; neither means 2000 steps
    length       length of the windows that sequences are cut into, and of sampled sequences
    patience     validations without a new best before training stops; 0 never stops early
    valid_every  steps between validations (default: an epoch, at least 50 steps, at most a fifth of all)
    log_every    steps that a training line of the metrics averages over (default: total / 200, at most 100)
    checkpoint_every  steps between checkpoints (default: at validations, and after a minute)
    threshold    real or grey data above it count as one for binary fields; None refuses data that are not 0/1
    """

    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    rate: float = 1e-3
    schedule: Schedule = field(default_factory=Schedule)
    batch: int = 128
    epochs: int | None = None
    steps: int | None = None
    data: str | None = None
    seed: int = 0
    length: int = 64
    patience: int = 0
    valid_every: int | None = None
    log_every: int | None = None
    checkpoint_every: int | None = None
    threshold: float | None = None


def settings(module: Module) -> Settings:
    """Settings of a module's `train` section. Raises `SpecError` (MP510, MP511)."""
    plain = dict(module.train)
    clip, decay = plain.pop("clip", None), plain.pop("weight_decay", None)
    values: dict[str, Any] = {}
    if "optimizer" in plain:
        values["optimizer"], values["rate"] = _optimizer(module, plain.pop("optimizer"), clip, decay)
    else:
        values["optimizer"], values["rate"] = _optimizer(module, {}, clip, decay)
    if "schedule" in plain:
        values["schedule"] = _schedule(module, plain.pop("schedule"))
    known = [f.name for f in fields(Settings) if f.name not in ("optimizer", "schedule")]
    for key, value in plain.items():
        if key not in known:
            raise _unknown(module, "train", key, [*known, "optimizer", "schedule", "clip", "weight_decay"])
        values[key] = _value(module, key, value)
    return Settings(**values)


# Kind of each plain setting and its smallest value.
_INTEGERS = {
    "batch": 1, "epochs": 1, "steps": 0, "seed": 0, "length": 1, "patience": 0, "valid_every": 1,
    "log_every": 1, "checkpoint_every": 1,
}  # fmt: skip


def _value(module: Module, key: str, value: Any) -> Any:
    if key == "data":
        if isinstance(value, str):
            return value
        raise _bad(module, key, "the name of a data set or a file", value)
    if key in _INTEGERS:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= _INTEGERS[key]:
            return value
        raise _bad(module, key, f"an integer of at least {_INTEGERS[key]}", value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _bad(module, key, "a number", value)


def _optimizer(module: Module, given: Any, clip: Any, decay: Any) -> tuple[OptimizerSpec, float]:
    """Optimiser and base rate. Accepts `{"kind": "adam", "rate": 1e-3, ...}` or the bare kind."""
    plain = {"kind": given} if isinstance(given, str) else dict(given)
    kind = plain.pop("kind", "adam")
    if kind not in RATES:
        raise _bad(module, "optimizer", f"one of {', '.join(RATES)}", kind)
    values: dict[str, Any] = {"kind": kind}
    if kind == "adagrad":
        values["eps"] = 1e-10  # torch.optim's default of this rule
    if kind == "adamw":
        values["weight_decay"] = 1e-2
    if clip is not None:
        plain.setdefault("clip", clip)
    if decay is not None:
        plain.setdefault("weight_decay", decay)
    rate = plain.pop("rate", RATES[kind])
    betas = list(OptimizerSpec().betas)
    known = [f.name for f in fields(OptimizerSpec)]
    for key, value in plain.items():
        if key == "betas" and isinstance(value, list | tuple) and len(value) == 2:
            betas = [_number(module, key, v) for v in value]
        elif key in ("beta1", "beta2"):
            betas[key == "beta2"] = _number(module, key, value)
        elif key in known:
            values[key] = _number(module, key, value)
        else:
            raise _unknown(module, "optimizer", key, ["rate", "beta1", "beta2", *known])
    return OptimizerSpec(**values, betas=(betas[0], betas[1])), _number(module, "rate", rate)


def _schedule(module: Module, given: Any) -> Schedule:
    plain = {"kind": given} if isinstance(given, str) else dict(given)
    known = [f.name for f in fields(Schedule)]
    for key in plain:
        if key not in known:
            raise _unknown(module, "schedule", key, known)
    for key in ("warmup", "every"):
        if key in plain:
            plain[key] = int(_number(module, key, plain[key]))
    for key in ("final", "factor"):
        if key in plain:
            plain[key] = _number(module, key, plain[key])
    try:
        return Schedule(**plain)
    except ValueError as bad:
        raise error("MP511", str(bad), place(module.source, "schedule")) from bad


def _number(module: Module, key: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise _bad(module, key, "a number of at least 0", value)


def _bad(module: Module, key: str, expected: str, found: Any) -> SpecError:
    return error("MP511", f"train: {key} must be {expected}, not {found!r}", place(module.source, key))


def _unknown(module: Module, where: str, key: str, known: list[str]) -> SpecError:
    close = get_close_matches(key, known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"
    return error("MP510", f"{where} has no setting '{key}'", place(module.source, key), help=hint)


def place(source: Source, key: str) -> Span:
    """Where a key of the `train` section is written, as well as a search of the text can tell."""
    start = re.search(r"^\s*train\b", source.text, re.MULTILINE)
    if start is None:
        return Span.none()
    found = re.compile(rf"\b{re.escape(key)}\b").search(source.text, start.end())
    begin, end = found.span() if found else (start.end() - len("train"), start.end())
    line = source.text.count("\n", 0, begin) + 1
    column = begin - (source.text.rfind("\n", 0, begin) + 1) + 1
    return Span(source.path, line, column, line, column + end - begin)


def describe(values: Settings) -> Mapping[str, Any]:
    """Plain data of the settings, for `run.json`."""
    from dataclasses import asdict

    return asdict(values)
