"""Data sets: the table of contents, and `load_data`, which fits one to a module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.diagnostics.nearest import meant
from mpcompile.frontend.kinds import misplaced
from mpcompile.ir import Array, DType, Module, multiple_of, numbers
from mpcompile.ir.axes import CHANNEL, SPACES, Role, role
from mpcompile.ir.data_sets import DATA_SETS
from mpcompile.runner.data.alignments import require_alignments
from mpcompile.runner.data.dataset import (
    SPLITS,
    Column,
    Dataset,
    Known,
    Pieces,
    Raw,
    Split,
    Survey,
    Windows,
)
from mpcompile.runner.data.elements import share
from mpcompile.runner.data.letters import BYTES
from mpcompile.runner.data.opening import Unreadable, is_there
from mpcompile.runner.noise import permutation

if TYPE_CHECKING:
    from mpcompile.runner.data.adapt import Adapter

__all__ = ["NAMES", "Column", "Dataset", "Pieces", "Raw", "Split", "Windows", "drawn", "load_data"]

#: Of a model that reads no data: draws of an evaluation, and of a validation, steps to what stands for an epoch, and the
#: column of the numbers of its draws, which nothing reads, by a name that no variable can have.
HELD_OUT, VALIDATED, EPOCH, DRAWN = 10_000, 1_000, 50, "number of the draw"

POINTS = (
    "moons", "circles", "rings", "checkerboard2d", "spirals", "pinwheel", "gaussians8", "separable", "blobs",
    "sine", "line",
)  # fmt: skip
TABLES = ("iris", "wine", "breast_cancer", "diabetes")
NAMES = tuple(DATA_SETS)


def load_data(
    module: Module,
    spec: str,
    length: int = 64,
    threshold: float | None = None,
    *,
    vocabulary: list[str] | None = None,
    classes: Mapping[str, list[str]] | None = None,
    whole: bool = False,
    own: str = "",
    beside: Collection[str] = (),
    shared: bool = False,
) -> Dataset:
    """Load the data set of this name, or the file at this path, fitted to the fields of a module.

    `vocabulary` and `classes` (field -> words) are those of a run trained before; a text for a category of 256 is read
    as bytes. `whole` keeps a file that names no splits in one piece, unless its digest is `own`: that of the data
    the run was trained on. `beside` names columns that no variable takes: each split has those that the data
    have, as numbers of texts, which `classes` of the result has; `shared` leaves numbers among them in x, too.

    Raises `SpecError`: MP501 unknown, MP502 no column for a field, MP503 shape, MP504 range,
    MP505 vocabulary, MP506 unreadable, MP507 too little.
    """
    from mpcompile.runner.data.adapt import Adapter
    from mpcompile.runner.data.beside import joined, taken

    embedded = spec in NAMES
    if vocabulary is None and _reads_bytes(module):
        vocabulary = BYTES
    known = Known(vocabulary, module.fields, {n: f.labels or () for n, f in module.fields.items() if f.optional},
                  [name for name in beside if name not in module.fields], shared)  # fmt: skip
    try:
        raw = _embedded(module, spec, length, vocabulary)() if embedded else _user(module, spec, known)
        apart = taken(raw, known.beside)
        adapter = Adapter(module, spec, raw, length, threshold, embedded, classes)
        if whole and not embedded and raw.digest != own:
            _join(raw)
        elif not raw.fixed:
            _divide(raw, adapter)
        splits = adapter.splits()
    except Unreadable as bad:
        raise error("MP506", str(bad), _stated(module, spec), help=bad.help) from bad
    pairs = adapter.pairing()
    statistics = _statistics(splits["train"])
    _require_intervals(module, spec, splits)
    require_alignments(module, spec, splits)
    found = Dataset(
        spec,
        splits,
        raw.vocabulary if "x" in pairs.values() else None,
        adapter.words(),
        raw.digest,
        {
            "sizes": {k: len(s) for k, s in splits.items()},
            "fields": statistics,
            **({"rate": raw.rate} if raw.rate else {}),
        },
    )
    return joined(found, raw, apart)


def drawn(module: Module, batch: int, given: str | None = None) -> Dataset:
    """Return the data of a model that declares no variable: the numbers of its draws, `EPOCH` batches to an epoch.

    Raises `SpecError` (MP514) for data that are given all the same.
    """
    if given:
        raise error("MP514", f"model '{module.name}' reads no data, and '{given}' is given", Span.none(),
                    help="leave out --data: a step reads draws alone")  # fmt: skip
    sizes = dict(zip(SPLITS, (EPOCH * batch, VALIDATED, HELD_OUT), strict=True))
    splits = {k: Split({DRAWN: Column(np.arange(n), DType.INT, (), Survey())}) for k, n in sizes.items()}
    return Dataset("", splits, statistics={"sizes": sizes, "fields": {}})


def _stated(module: Module, spec: str) -> Span:
    """Return where `train.data` is written; nowhere where the command line names the data."""
    return module.train.spans.get("data", Span.none()) if module.train.data == spec else Span.none()


def _reads_bytes(module: Module) -> bool:
    """Whether a text would be read as bytes: by a sequence of a category of 256."""
    return any(f.base == "category" and f.classes == 256 and f.type.rank == 2 for f in module.fields.values())


def _embedded(module: Module, name: str, length: int, vocabulary: list[str] | None) -> Callable[[], Raw]:
    """The maker of one of our own sets; sets that can have any size take the one that the module declares."""
    from mpcompile.runner.data import columns, images, points, sequences

    if name in POINTS:
        return lambda: points.points(name)
    if name in TABLES:
        return lambda: points.table(name)
    time = next((s for f in module.fields.values() for s in f.type.shape[1:2] if f.type.rank > 1), length)
    steps = time if isinstance(time, int) else length
    makers: dict[str, Callable[[], Raw]] = {
        "xor": points.xor,
        "digits": images.digits,
        "binary_digits": lambda: images.digits(binary=True),
        "few_labels": images.few_labels,
        "shapes": lambda: images.shapes(*_picture_size(module)),
        "text": lambda: sequences.text(None, vocabulary),
        "adding": lambda: sequences.adding(steps),
        "tones": lambda: sequences.tones(steps),
        "rolls": lambda: sequences.rolls(steps, _last_size(module, 88)),
        "melodies": lambda: sequences.melodies(steps, _last_size(module, 24)),
        "reversal": lambda: sequences.reversal(*_dialogue(module, steps)),
        "spoken": lambda: sequences.spoken(
            steps, _last_size(module, 8), _classes(module, "text"), _times(module, "sound")
        ),
        "inverse": columns.inverse,
        "people": columns.people,
        "sales": lambda: columns.sales(steps, _classes(module, "item"), _last_size(module, 2)),
        "boxes": lambda: columns.boxes(_picture_size(module)[0]),
    }
    return makers[name]


def _picture_size(module: Module) -> tuple[int, int, int]:
    for field in module.fields.values():
        sizes = dict(zip(field.axes, field.type.shape[1:], strict=True))
        if field.role == "input" and set(sizes) == {CHANNEL, *SPACES[2]}:
            height, width, channels = numbers([sizes[name] for name in (*SPACES[2], CHANNEL)])
            return height, width, channels
    return 32, 32, 3


def _dialogue(module: Module, steps: int) -> tuple[int, int, int]:
    """Lengths and number of tokens of `source` and `reply`."""
    fields = [module.fields.get(name) for name in ("source", "reply")]
    sizes = [f.type.shape[1] if f is not None and f.type.rank > 1 else steps for f in fields]
    lengths = [s if isinstance(s, int) else steps for s in sizes]
    return lengths[0], lengths[1], next((f.classes for f in fields if f is not None and f.classes), 2)


def _times(module: Module, name: str) -> int:
    """Rows of a sequence that make one step of its length: 2 for `[2 * frames, ...]`."""
    field = module.fields.get(name)
    along = multiple_of(field.type.shape[1]) if field is not None and field.type.rank > 1 else None
    return 1 if along is None else along[1]


def _classes(module: Module, name: str) -> int:
    field = module.fields.get(name)
    return field.classes if field is not None and field.classes else 2


def _last_size(module: Module, default: int) -> int:
    for field in module.fields.values():
        sizes = dict(zip(field.axes, field.type.shape[1:], strict=True))
        size = sizes.get(CHANNEL)
        if isinstance(size, int) and any(role(n, s) is Role.ORDERED for n, s in sizes.items()):
            return size
    return default


def _user(module: Module, spec: str, known: Known) -> Raw:
    from mpcompile.runner.data.files import READERS, read

    path = Path(spec)
    if not is_there(path):
        if path.suffix.lower() in READERS or "/" in spec:
            help = (
                "a path begins where the command runs; --data PATH names another place, also of a run's data"
            )
            raise error("MP501", f"there is no data file '{spec}'", _stated(module, spec), help=help)
        if other := misplaced(spec, "data set"):
            raise error("MP501", other[0], _stated(module, spec), help=other[1])
        place, all_ = _stated(module, spec), f"known: {', '.join(NAMES)}; or a path to your own"
        raise error("MP501", f"no data set is named '{spec}'", place, **meant(spec, NAMES, place, all_))
    return read(path, known)


def _join(raw: Raw) -> None:
    """Put data that name no splits, streams too, into one piece: `test`, and `train` a copy of it."""
    parts = raw.splits
    if raw.fixed and not raw.streams:
        return
    one = parts["train"]
    if len(parts) > 1:
        one = {k: np.concatenate([parts[s][k] for s in parts]) for k in one}
    raw.splits = {"train": one, "test": one}


def _divide(raw: Raw, adapter: Adapter) -> None:
    """Cut into eight, one and one tenths in a fixed random order: train, valid, test; streams in their own order."""
    columns = raw.splits["train"]
    adapter.require_counts("train")
    count = len(columns["length"] if raw.pieces else next(iter(columns.values())))
    if adapter.streams():
        cut = [0, int(0.9 * count), int(0.95 * count), count]
        raw.splits = {
            s: {k: v[a:b] for k, v in columns.items()} for s, a, b in zip(SPLITS, cut, cut[1:], strict=False)
        }
        return
    order = permutation(count, "data", "split")
    cut = [0, count - 2 * (count // 10), count - count // 10, count]
    rows = {s: order[a:b] for s, a, b in zip(SPLITS, cut, cut[1:], strict=False)}
    raw.rows, raw.splits = rows, dict.fromkeys(rows, columns)


def _require_intervals(module: Module, data: str, splits: Mapping[str, Split]) -> None:
    """Raises `SpecError` (MP504) for values, of any split, that the first bijector of their flow is not defined on."""
    for name, steps in module.flow_steps.items():
        first = next((p for p in steps if p.interval is not None), None)
        if first is None or first.interval is None:
            continue
        low, high = first.interval
        for split, part in splits.items():
            column = part.columns.get(name)
            if (
                column is None
                or not column.survey.count
                or (low < column.survey.low and column.survey.high < high)
            ):
                continue
            values = column.array if isinstance(column, Column) else column.stream
            rows = column.rows if isinstance(column, Column) else None
            found, outside = column.survey, partial(_outside, low, high)
            raise error(
                "MP504", f"data '{data}': {name} lies in [{found.low:.4g}, {found.high:.4g}], and "
                f"`{first.label}` is defined on ({low:.4g}, {high:.4g}): beyond it are"
                f"{share(name, values, rows, outside)[1:]} of {split}", first.span,
                help="scale the data, or leave the bijector out: it makes values of an interval real",
            )  # fmt: skip


def _outside(low: float, high: float, values: Array) -> Array:
    return ~((values > low) & (values < high))


def _statistics(train: Split) -> dict[str, Any]:
    """Shape, range, mean and deviation of each field's training values."""
    out = {}
    for name, column in train.columns.items():
        if isinstance(column, Column):
            shape = list(column.shape)
        elif isinstance(column, Windows):
            shape = [column.length, *column.shape]
        else:
            shape = [int(column.own().max()), *column.stream.shape[1:]]
        found = column.survey
        out[name] = {
            "shape": [int(s) for s in shape],
            "low": float(found.low) if found.count else 0.0,
            "high": float(found.high) if found.count else 0.0,
            "mean": found.mean,
            "deviation": found.deviation,
        }
    return out
