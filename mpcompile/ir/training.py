"""The `train` section of a spec: schedules, settings and the choice of an optimiser, each with its declared range.

One object for `check`, `train`, `build` and the JSON Schema. A setting that is not stated is None; the runner's
`Settings` say what it is then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import cos, pi, sqrt
from typing import Annotated, Any, ClassVar, get_origin

from mpcompile.diagnostics import Diagnostic, Span, SpecError, error
from mpcompile.diagnostics.nearest import meant
from mpcompile.ir.augmentation import AUGMENTATIONS, Augmentation
from mpcompile.ir.optimizers import OPTIMIZERS, Adam, Optimizer
from mpcompile.ranges import (
    HUGE,
    MAX_SIZE,
    TINY,
    AnyName,
    Choice,
    Count,
    CountOrNone,
    DataName,
    Inner,
    Items,
    NonNegative,
    Positive,
    Range,
    Real,
    Seed,
    Slot,
    Unit,
    named,
    slots,
)

#: Values of `decay`, of `skip` and of `recompute`.
ALL, MATRICES, NOT_FINITE, LAYERS = "all", "matrices", "not_finite", "layers"
#: The slot of the running mean of a weight.
EMA = "ema"


@dataclass(frozen=True)
class Schedule:
    """The rate of a step over training, after `warmup` steps of linear growth."""

    keyword: ClassVar[str]
    #: Whether the rate of a step depends on how many there are.
    ends: ClassVar[bool] = False

    def rate(self, base: float, step: int, total: int) -> float:
        """Rate of the 0-based `step` out of `total`, from the optimiser's rate `base`."""
        raise NotImplementedError


def _warmed(warmup: int, base: float, step: int) -> float | None:
    """The rate while it grows; None from then on."""
    return base * (step + 1) / warmup if step < warmup else None


@dataclass(frozen=True)
class Constant(Schedule):
    """The rate stays as it is."""

    keyword: ClassVar[str] = "constant"
    warmup: CountOrNone = 0

    def rate(self, base: float, step: int, total: int) -> float:
        growing = _warmed(self.warmup, base, step)
        return base if growing is None else growing


@dataclass(frozen=True)
class _Decay(Schedule):
    """Down to `final` of the rate at the last step."""

    ends: ClassVar[bool] = True
    warmup: CountOrNone = 0
    final: Unit = 0.0

    def rate(self, base: float, step: int, total: int) -> float:
        growing = _warmed(self.warmup, base, step)
        part = min(1.0, (step - self.warmup) / max(1, total - self.warmup))
        return base * self.left(part) if growing is None else growing

    def left(self, part: float) -> float:
        """The share of the rate that is left when this part of the steps is done."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(_Decay):
    """Down to `final` of the rate, along a line."""

    keyword: ClassVar[str] = "linear"

    def left(self, part: float) -> float:
        return 1 - (1 - self.final) * part


@dataclass(frozen=True)
class Cosine(_Decay):
    """Down to `final` of the rate, along half a cosine."""

    keyword: ClassVar[str] = "cosine"

    def left(self, part: float) -> float:
        return self.final + (1 - self.final) * (1 + cos(pi * part)) / 2


@dataclass(frozen=True)
class Stepwise(Schedule):
    """Times `factor` after each `every` steps."""

    keyword: ClassVar[str] = "step"
    every: Count = 1000
    factor: Positive = 0.1
    warmup: CountOrNone = 0

    def rate(self, base: float, step: int, total: int) -> float:
        growing = _warmed(self.warmup, base, step)
        return float(base * self.factor ** self.times(step - self.warmup)) if growing is None else growing

    def times(self, done: int) -> float:
        """Return how often the rate has been multiplied after `done` steps."""
        return done // self.every


@dataclass(frozen=True)
class Exponential(Stepwise):
    """Times `factor` in every `every` steps, smoothly."""

    keyword: ClassVar[str] = "exponential"

    def times(self, done: int) -> float:
        return done / self.every


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """Over the square root of the step."""

    keyword: ClassVar[str] = "inverse_sqrt"
    warmup: CountOrNone = 0

    def rate(self, base: float, step: int, total: int) -> float:
        growing = _warmed(self.warmup, base, step)
        return base * sqrt(max(1, self.warmup) / max(1, step + 1)) if growing is None else growing


SCHEDULES: dict[str, type[Schedule]] = {
    c.keyword: c for c in (Constant, Linear, Cosine, Stepwise, Exponential, InverseSqrt)
}
#: Settings that are a name or a call of a table.
TABLES: dict[str, Mapping[str, type]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
#: Settings that are a list of calls of a table.
LISTS: dict[str, Mapping[str, type]] = {"augment": AUGMENTATIONS}


@dataclass(frozen=True)
class Training:
    """The settings of a `train` section, None where it states none. `spans` say where each value is written.

    optimizer    the update rule with its arguments; adam(1e-3) if left out
    schedule     the course of the rate over the steps; constant if left out
    batch        examples a step (never more than there are); 128 if left out
    epochs       passes over the data; `steps` or `epochs` ends first, 2000 steps where neither is stated
    steps        steps in all; 0 writes a run of the weights at their start
    data         a data set by name or a file; where it is left out `--data` names it
    seed         of weights, of the order of the data and of noise; 0 if left out
    length       length of the windows that sequences are cut into, and of sampled sequences; 64 if left out
    patience     validations without a new best before training stops; 0, which never stops early, if left out
    valid_every  steps between validations; an epoch, at least 50 steps and at most a fifth of all, if left out
    log_every    steps between lines of metrics; a two hundredth of all, at most 100, if left out
    checkpoint_every  steps between checkpoints; at validations and after half a minute if left out
    shards       pieces of one size that a batch is cut into, a power of two; each is computed by itself; as many as
                 processes if left out
    threshold    real or grey data above it count as one for binary fields; if left out data must be 0 and 1
    clip         threshold of the norm of the whole gradient; none if left out
    weight_decay  of the optimiser, where it states none of its own; 0, of adamw 0.01, if left out
    decay        the weights that `weight_decay` acts on: all, or those of two and more axes (no gains, no biases); all
                 if left out
    freeze       nets, blocks or paths of parameters that training leaves as they are; none if left out
    ema          share of the running mean of weights that a step keeps; validation and every later use take that mean;
                 no mean if left out
    skip         steps that change nothing: those with a loss or gradient that is not finite, and those whose gradient
                 has a norm above this number; no step is looked at if left out
    augment      random changes of training examples, one after the other; none if left out
    recompute    `layers`: the gradient computes repeated layers anew and keeps the input of each alone; it keeps all
                 values if left out
    """

    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    batch: Annotated[int, Range(1, MAX_SIZE)] | None = None
    epochs: Count | None = None
    steps: CountOrNone | None = None
    data: DataName | None = None
    seed: Seed | None = None
    length: Annotated[int, Range(1, MAX_SIZE)] | None = None
    patience: CountOrNone | None = None
    valid_every: Count | None = None
    log_every: Count | None = None
    checkpoint_every: Count | None = None
    shards: Annotated[int, Range(1, 1 << 20)] | None = None
    threshold: Real | None = None
    clip: Positive | None = None
    weight_decay: NonNegative | None = None
    decay: Annotated[str, Choice((ALL, MATRICES))] | None = None
    freeze: Annotated[tuple[str, ...], AnyName(), Items(1, 256)] | None = None
    ema: Inner | None = None
    skip: Annotated[str | float, Choice((NOT_FINITE,)), Range(TINY, HUGE)] | None = None
    augment: tuple[Augmentation, ...] | None = None
    recompute: Annotated[str, Choice((LAYERS,))] | None = None
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False, metadata={"argument": False})

    def place(self, *names: str) -> Span:
        """Return where the first stated of these settings is written; else where the section begins, or nowhere."""
        return next((self.spans[n] for n in (*names, *self.spans) if n in self.spans), Span.none())

    def changed(self, **plain: Any) -> Training:
        """Replace settings by plain values, such as an optimiser as `{"kind": "adam", "rate": 1e-3}`.

        Raises `SpecError`: MP510 for an unknown setting, MP511 for a value outside of its declared range.
        """
        faults: list[Diagnostic] = []
        values: dict[str, Any] = {}
        for name, value in plain.items():
            try:
                values[name] = None if value is None else self._checked(name, value)
            except SpecError as fault:
                faults += fault.diagnostics
        if faults:
            raise SpecError(faults)
        return replace(self, **values)

    def _checked(self, name: str, value: Any) -> Any:
        slot = setting(name, self.place(name))
        if name not in TABLES:
            return checked(slot, value, "train", self.place(name))
        if isinstance(value, Optimizer | Schedule):
            return value
        table = TABLES[name]
        stated = {"kind": value} if isinstance(value, str) else dict(value)
        kind = stated.pop("kind", next(iter(table)))
        if kind not in table:
            raise error("MP511", f"`{name}` of train must be {_or(table)}, got {kind!r}", self.place(name))
        own = {s.name: s for s in slots(table[kind])}
        for key in stated:
            if key not in own:
                raise error("MP510", f"{kind} has no setting '{key}'", self.place(name), help=named(key, own))
        return table[kind](**{k: checked(own[k], v, kind, self.place(name)) for k, v in stated.items()})


@dataclass(frozen=True, slots=True)
class OptimizerSpec:
    """The update of weights by a session: an update rule with its arguments, weight decay and clipping.

    kind          the keyword of a rule of `OPTIMIZERS`, whose class has the arithmetic that every backend follows
    arguments     of that rule, by name; what is not there has the rule's default
    weight_decay  on the weight for a rule that is `decoupled` (adamw), added to the gradient for the others
    clip          threshold of the global gradient norm, or None
    ema           decay of the running mean of weights in the slot `ema`, or None (`runner/averages.py`)
    skip          norm of the gradient above which a step changes nothing, as one that is not finite does; None: no
                  step is looked at
    The rate is handed to every step, so that schedules live in one place.
    """

    kind: str = "adam"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    clip: float | None = None
    ema: float | None = None
    skip: float | None = None

    @property
    def rule(self) -> Optimizer:
        """The rule with its arguments. Raises `ValueError` for a rule that is not known."""
        if self.kind not in OPTIMIZERS:
            raise ValueError(f"no update rule is named {self.kind!r}")
        return OPTIMIZERS[self.kind](**self.arguments)

    @property
    def kept(self) -> tuple[str, ...]:
        """The slots that a step reads and writes: those of the rule, and `ema`."""
        return self.rule.kept if self.ema is None else (*self.rule.kept, EMA)

    def kept_for(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the slots of `kept` that a weight of this shape has."""
        own = self.rule.kept_for(shape)
        return own if self.ema is None else (*own, EMA)

    @classmethod
    def of(cls, train: Training) -> OptimizerSpec:
        """The update rule of a `train` section; adam where it states none."""
        stated = train.optimizer or Adam()
        values = {k: v for k, v in plain(stated).items() if v is not None and k != "rate"}
        of_section = stated.usual_decay if train.weight_decay is None else train.weight_decay
        decay = values.pop("weight_decay", of_section)
        skip = HUGE if train.skip == NOT_FINITE else train.skip
        assert not isinstance(skip, str)
        return cls(values.pop("kind"), values, decay, train.clip, train.ema, skip)


def setting(name: str, span: Span) -> Slot:
    """Return the slot of a setting of the section. Raises MP510 for an unknown name."""
    known = {s.name: s for s in slots(Training)}
    if name not in known:
        hint = meant(name, known, span, f"known: {', '.join(known)}")
        raise error("MP510", f"train has no setting '{name}'", span, **hint)
    return known[name]


_KINDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a name",
    str | float: "a name or a number",
    tuple[str, ...]: "a list of names",
}


def checked(slot: Slot, value: Any, of: str, span: Span) -> Any:
    """Convert a plain value of a field to its type. Raises MP511 for another type or a value out of range."""
    if slot.type is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if slot.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wanted = get_origin(slot.type) if get_origin(slot.type) is tuple else slot.type
    if not isinstance(value, wanted) or isinstance(value, bool):
        kind = _KINDS[slot.type]
        raise error("MP511", f"`{slot.name}` of {of} must be {kind}, got {value!r}", span)
    wrong = slot.fault(value)
    if wrong:
        raise error("MP511", f"`{slot.name}` of {of} must be {wrong}", span)
    return value


def _or(names: Iterable[str]) -> str:
    *some, last = names
    return f"{', '.join(some)} or {last}"


def plain(choice: Optimizer | Schedule) -> dict[str, Any]:
    """Return an optimiser or a schedule as plain data, `{"kind": ..., ...}`."""
    return {"kind": choice.keyword, **{f.name: getattr(choice, f.name) for f in fields(choice)}}


__all__ = [
    "EMA",
    "LISTS",
    "MATRICES",
    "SCHEDULES",
    "TABLES",
    "OptimizerSpec",
    "Schedule",
    "Training",
    "checked",
    "plain",
    "setting",
]
