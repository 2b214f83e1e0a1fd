"""Drawing from a trained run, in bounded memory; sample i is the same however many are asked for."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any
from wave import Wave_write

import numpy as np

from mpcompile.backend import Backend, Session, SessionOptions, find_backend, open_session
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Field, Module, Symbolic, symbols
from mpcompile.passes.pipeline import Optimised, optimise
from mpcompile.runner import disk
from mpcompile.runner.batches import Inputs, as_precision
from mpcompile.runner.completion import CLAMPS, Completion
from mpcompile.runner.completion import conditions as stated_conditions
from mpcompile.runner.data import Split
from mpcompile.runner.data.lengths import require_places
from mpcompile.runner.data.letters import decode
from mpcompile.runner.data.sound import MOST_RATE, expanded
from mpcompile.runner.divergence import require_finite
from mpcompile.runner.noise import draw
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of
from mpcompile.specialize import member, member_count

# Noise is drawn for whole blocks of examples and cut to size.
BLOCK = 64
ARRAYS = (".npz", ".npy", ".csv", ".txt", ".wav")
_RATE = 8000  # of sound files, in Hz, where the run does not know that of its data


@dataclass(frozen=True, slots=True)
class Samples:
    """Draws by variable `[n, ...]`, and what the run knows about showing them.

    given    the conditions and inputs that they were drawn under
    classes  variable -> the words that its numbers stand for
    rows     [n] the row of the data that each draw is given, where they are given some
    """

    values: dict[str, Array]
    given: dict[str, Array]
    fields: Mapping[str, Field]
    vocabulary: list[str] | None
    statistics: Mapping[str, Any]
    classes: Mapping[str, list[str]] = field(default_factory=dict)
    rows: Array | None = None

    @classmethod
    def of(cls, run: Run, module: Module, values: dict[str, Array], given: dict[str, Array]) -> Samples:
        """Draws from a run's model. Raises `SpecError` (MP530) where one is not finite; a log-probability may be."""
        for name, drawn in values.items():
            require_finite(
                np.where(drawn == -np.inf, 0, drawn) if name == "log_prob" else drawn, f"draw {name}"
            )
        facts = run.facts
        known = (facts.get("vocabulary"), facts["statistics"], facts.get("classes") or {})
        return cls(values, given, module.fields, *known)

    def first(self) -> str:
        """The variable that a picture shows: the first declared one among the draws, else the first draw."""
        return next((f for f in self.fields if f in self.values), next(iter(self.values)))


def sample(
    run: Run,
    module: Module,
    count: int,
    *,
    seed: int = 0,
    length: int | None = None,
    backend: Backend | None = None,
    device: str | None = None,
    batch: int | None = None,
    completion: Completion | None = None,
    conditions: Mapping[str, str] | None = None,
    watch: Callable[[int], None] | None = None,
) -> Samples:
    """Draw `count` samples from the best checkpoint, or predict for test inputs where there is no sampler.

    Category conditions run through their classes; other inputs come from the test data. `length` is that of
    sequences (default: the training windows'), `batch` the largest number of examples at once; `watch` is told how
    many there are after each. Raises `SpecError` (MP540 without a program to draw from, MP542 for options that do
    not apply).
    """
    plan = Draws(run, module, count, seed, length, backend, device, completion, conditions)
    parts: list[dict[str, Array]] = []
    per_call = batch or _blocks(plan.module, plan.program, plan.env) * BLOCK
    for start in range(0, count, per_call):
        stop = min(start + per_call, count)
        parts.append(_by_member(plan, start, stop))
        if watch is not None:
            watch(stop)
    return plan.samples({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


class Draws:
    """The source of draws: the program, its weights, and its inputs for any of the examples.

    drawn_by   the member of a mixture over orders and masks that each example is drawn by
    """

    def __init__(
        self,
        run: Run,
        module: Module,
        count: int,
        seed: int,
        length: int | None,
        backend: Backend | None,
        device: str | None,
        completion: Completion | None,
        conditions: Mapping[str, str] | None,
    ) -> None:
        program = next((p for p in ("sample", "predict") if p in module.programs), None)
        if program is None:
            raise error(
                "MP540", f"model '{module.name}' has neither a sample nor a predict program", Span.none(),
                help="state a law of what is to be drawn or predicted: terms of the loss alone give neither",
            )  # fmt: skip
        self.run, self.module, self.seed, self.program = run, module, seed, program
        self.precision = str(run.facts["precision"])
        self.backend = backend or find_backend(str(run.facts["backend"]))
        self.device = device or str(run.facts["device"])
        self.weights = as_precision(run.parameters(module)[0], self.precision)
        stated = dict(completion.beside_of(count)) if completion is not None else {}
        stated |= stated_conditions(run, module, conditions, count) if conditions else {}
        self.given = _given(run, module, program, count, stated)
        if completion is not None:
            self.given |= completion.inputs(count)
        self.env = _environment(module, program, self.given, length or int(run.facts["settings"]["length"]))
        require_places(module, self.env, "MP542", "samples have", Span.none(), "--length {most}")
        number = member_count(module)
        self.rows = completion.rows_of(count) if completion is not None else None
        kept = completion is not None and completion.name
        self.drawn_by = np.zeros(count, int) if kept else _members(number, count, seed)
        self.session = cache(self._session)

    def inputs(self, start: int, stop: int) -> Inputs:
        """Return the inputs for examples `start` to `stop`."""
        noise = {
            name: _noise(self.module, self.program, name, self.env, start, stop, self.seed)
            for name, spec in self.module.noise.get(self.program, {}).items()
            if spec.kind != "choice"
        }
        return as_precision({k: v[start:stop] for k, v in self.given.items()} | noise, self.precision)

    def optimised(self, module: Module) -> Optimised:
        """Return the program of a module as it is run with these weights, which change no more."""
        name = self.program
        noise = {name: module.noise[name]} if name in module.noise else {}
        alone = replace(module, programs={name: module.programs[name]}, noise=noise)
        return optimise(alone, self.weights)

    def live(self, optimised: Optimised) -> Session:
        weights = as_precision(optimised.weights or {}, self.precision)
        options = SessionOptions(self.device, self.precision)
        return open_session(self.backend, optimised, weights, options=options)

    def _session(self, number: int) -> Session:
        """Open a session for one member, whose sampler is derived as that of one order."""
        return self.live(self.optimised(member(self.module, number)))

    def samples(self, values: dict[str, Array]) -> Samples:
        """Draws with what they were drawn under."""
        given = {k: v for k, v in self.given.items() if k in self.module.fields}
        return replace(Samples.of(self.run, self.module, values, given), rows=self.rows)


def _members(number: int, count: int, seed: int) -> Array:
    """Draw the member of a mixture for each of `count` draws."""
    blocks = [
        draw("choice", (BLOCK,), (seed, "sample", "member", b), classes=number)
        for b in range(-(-count // BLOCK))
    ]
    return np.concatenate(blocks)[:count]


def _by_member(plan: Draws, start: int, stop: int) -> dict[str, Array]:
    """Outputs that have one row for each example, each drawn by its member."""
    out: dict[str, Array] = {}
    inputs, drawn_by = plan.inputs(start, stop), plan.drawn_by[start:stop]
    count = stop - start
    for number in np.unique(drawn_by):
        rows = np.flatnonzero(drawn_by == number)
        part = {k: v[rows] if np.ndim(v) and len(v) == count else v for k, v in inputs.items()}
        for k, v in plan.session(int(number)).run(plan.program, part).items():
            if np.ndim(v) and len(v) == len(rows):
                out.setdefault(k, np.empty((count, *np.shape(v)[1:]), np.asarray(v).dtype))[rows] = v
    return out


def _given(
    run: Run, module: Module, program: str, count: int, stated: Mapping[str, Array]
) -> dict[str, Array]:
    """Inputs that are not noise: what is stated, classes in turn, everything else from the test data."""
    settled = {*module.noise.get(program, {}), *stated}
    inputs = module.programs[program].inputs
    wanted = [n for n in inputs if n not in settled and not n.startswith(CLAMPS)]
    given = {k: v for k, v in stated.items() if k in inputs}
    test: Split | None = None
    for name in wanted:
        field = module.fields.get(name)
        if field is None:
            raise error(
                "MP540", f"program '{program}' needs '{name}', which is no field of the model", Span.none()
            )
        if field.role == "condition" and field.base == "category" and field.type.rank == 1 and field.classes:
            given[name] = np.arange(count) % field.classes
            continue
        if test is None:
            test = data_of(run, module).split("test")
        given[name] = test.take(np.arange(count) % len(test))[name]
    return given


def _environment(module: Module, program: str, given: Mapping[str, Array], length: int) -> dict[str, int]:
    """A number for every symbol but `N`: from the given inputs, else `length`."""
    env: dict[str, int] = {}
    for name, value in module.programs[program].inputs.items():
        for axis, size in enumerate(value.shape):
            for s in symbols(size):
                if name in given and isinstance(size, Symbolic) and str(size) == s:
                    env[s] = given[name].shape[axis]
                else:
                    env.setdefault(s, length)
    return env


def _blocks(module: Module, program: str, env: Mapping[str, int]) -> int:
    """Blocks to a call: as many as keep the noise of a call below about a million numbers."""
    graph = module.programs[program]
    names = [n for n in graph.inputs if n in module.noise.get(program, {})]
    size = sum(int(np.prod(graph.inputs[n].type.concrete({**env, "N": 1}))) for n in names)
    return int(np.clip(1_000_000 // (max(size, 1) * BLOCK), 1, 16))


def _noise(
    module: Module, program: str, name: str, env: Mapping[str, int], start: int, stop: int, seed: int
) -> Array:
    """Noise of examples `start` to `stop`."""
    kind = module.noise[program][name].kind
    type_ = module.programs[program].inputs[name].type
    if not type_.shape or str(type_.shape[0]) != "N":
        return draw(kind, type_.concrete({**env, "N": stop - start}), (seed, "sample", name))
    shape = type_.concrete({**env, "N": BLOCK})
    first = start // BLOCK
    blocks = [draw(kind, shape, (seed, "sample", name, b)) for b in range(first, -(-stop // BLOCK))]
    return np.concatenate(blocks)[start - first * BLOCK : stop - first * BLOCK]


# Files ------------------------------------------------------------------------------------------------


def write_arrays(path: Path, samples: Samples) -> None:
    """Write draws by the file's ending: .npz all variables; .npy, .csv, .txt, .wav the first.

    The file is there once all of it is written. Raises `SpecError` (MP541) where they do not fit the ending.
    """
    with disk.whole(path) as aside:
        _write_arrays(aside, samples)


def _write_arrays(path: Path, samples: Samples) -> None:
    name = samples.first()
    value = samples.values[name]
    match path.suffix.lower():
        case ".npz":
            extra = {f"given_{k}": v for k, v in samples.given.items()}
            if samples.rows is not None:
                extra["row"] = samples.rows
            np.savez_compressed(path, **samples.values, **extra)  # type: ignore[arg-type]  # names are no options of savez
        case ".npy":
            np.save(path, value, allow_pickle=False)
        case ".csv":
            _write_table(path, samples, name)
        case ".txt":
            path.write_text("\n\n".join(texts(samples)) + "\n", encoding="utf-8", errors="replace")
        case ".wav":
            _write_sound(path, samples, name)
        case other:
            raise error("MP541", f"samples cannot be written as '{other}'", Span.none(),
                        help=f"known: {', '.join(ARRAYS)}, .png, .jpg")  # fmt: skip


def _write_table(path: Path, samples: Samples, name: str) -> None:
    """A row for each draw, behind the `row` of the data that it is given; classes by their words where they are known."""
    value, words = samples.values[name], samples.classes.get(name)
    flat = value.reshape(len(value), -1)
    header = [name] if flat.shape[1] == 1 else [f"{name}_{i}" for i in range(flat.shape[1])]
    whole = flat.dtype.kind in "iub"
    if words is None or flat.dtype.kind not in "iu":
        kinds = ["%d" if whole else "%.8g"] * flat.shape[1]
        if samples.rows is not None:
            flat, header, kinds = np.column_stack([samples.rows, flat]), ["row", *header], ["%d", *kinds]
        np.savetxt(path, flat, kinds, ",", header=",".join(header), comments="")
        return
    low = samples.fields[name].low
    before = [] if samples.rows is None else [samples.rows.tolist()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(["row"] if before else []), *header])
        named = dict(enumerate(words, low))
        cells = [[named.get(int(v), int(v)) for v in column] for column in flat.T]
        writer.writerows(zip(*before, *cells, strict=True))


def texts(samples: Samples) -> list[str]:
    """Decode the draws of a text model to strings. Raises `SpecError` (MP541) where the run has no vocabulary."""
    value = samples.values[samples.first()]
    if samples.vocabulary is None or value.dtype.kind not in "iu":
        raise error(
            "MP541", "only a model of text can be written as .txt", Span.none(), help="use .npz or .csv"
        )
    return [decode(row, samples.vocabulary) for row in value.reshape(len(value), -1)]


def _write_sound(path: Path, samples: Samples, name: str) -> None:
    """Write all draws one after the other, 16 bits; categories and integers are taken as mu-law codes."""
    value = samples.values[name]
    if value.ndim > 3 or value.ndim < 2 or (value.ndim == 3 and 1 not in value.shape[1:]):
        raise error("MP541", f"'{name}' has shape {list(value.shape[1:])}: that is no sound", Span.none())
    with open_sound(path, value.size, rate_of(samples.statistics)) as file:
        file.writeframesraw(frames(value.reshape(len(value), -1), samples.fields.get(name)))


def rate_of(statistics: Mapping[str, Any]) -> int:
    """Return the samples a second of the sound that a run was trained on, in Hz."""
    rate = int(statistics.get("rate") or _RATE)
    return rate if 1 <= rate <= MOST_RATE else _RATE


def open_sound(target: Path | IO[bytes], length: int, rate: int) -> Wave_write:
    """Open a mono file of `length` samples of 16 bits, `rate` a second, to be written to and closed; a pipe will do."""
    file = Wave_write(target if not isinstance(target, Path) else str(target))
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(rate)
    file.setnframes(length)
    return file


def frames(values: Array, field: Field | None) -> bytes:
    """Encode sound as samples of 16 bits."""
    if field is not None and field.base in ("category", "integer") and field.classes:
        values = expanded(values - field.low, field.classes)
    rounded: Array = np.rint(np.clip(values, -1, 1) * 32767).astype("<i2")
    return rounded.tobytes()


def sizes(values: Mapping[str, Array]) -> Sequence[str]:
    """Format `x [100, 2]` for every variable, for a closing message."""
    return [f"{name} {list(value.shape)}" for name, value in values.items()]
