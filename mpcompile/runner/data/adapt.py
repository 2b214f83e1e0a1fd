"""Fit raw columns to the fields of a module: names, shapes, element kinds and ranges."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import prod
from pathlib import Path

import numpy as np

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Array, Field, Module, Shape, Symbolic, multiple_of, number, numbers
from mpcompile.ir.axes import CHANNEL, SPACES
from mpcompile.runner.data.dataset import (
    Column,
    Pieces,
    Raw,
    Runs,
    Split,
    Windows,
    about_lengths,
    blocks,
    shape_of,
)
from mpcompile.runner.data.elements import checked, prepared
from mpcompile.runner.data.lengths import require_places
from mpcompile.runner.data.opening import require

_OBSERVED = ("input", "target", "condition")


@dataclass(frozen=True, slots=True)
class Adapter:
    """Fits one raw set to a module.

    length     windows that streams are cut into
    threshold  see `Settings.threshold`
    embedded   the set is the project's own: grey images may be scaled and enlarged to fit
    classes    field -> words that its numbers stand for in the run that the data are for; None: a run that begins
    """

    module: Module
    name: str
    raw: Raw
    length: int
    threshold: float | None = None
    embedded: bool = False
    classes: Mapping[str, list[str]] | None = None

    def splits(self) -> dict[str, Split]:
        """Every split, adapted. Raises `SpecError` (MP502 to MP507)."""
        pairs = self.pairing()
        self._require_lengths(pairs)
        ahead = self._ahead(pairs)
        numbers = {f: self._numbers(self.module.fields[f], c) for f, c in pairs.items()}
        sizes: dict[str, int] = {}
        made = {}
        for split, columns in self.raw.splits.items():
            self.require_counts(split, set(pairs.values()))
            fitted: dict[str, Column | Windows | Pieces] = {}
            for field_name, column in pairs.items():
                field, renumbered = self.module.fields[field_name], numbers[field_name]
                if renumbered is not None:
                    columns = {**columns, column: _renumbered(columns[column], renumbered)}
                if column in self.raw.pieces:
                    fitted[field_name] = self._pieces(field, column, columns, self.raw.rows.get(split))
                elif self._streams(field, column, columns[column]):
                    fitted[field_name] = self._windows(field, column, columns[column], split, ahead)
                else:
                    rows, found = self.raw.rows.get(split), columns[column]
                    if column == "length" and field.counts and self.raw.pieces:
                        found = -(-found // self._at_once(field.counts))
                    fitted[field_name] = self._column(field, column, found, rows, sizes)
            self._require_within(fitted, sizes)
            made[split] = Split(fitted)
            self._require_places(fitted)
            if not len(made[split]) and split == "train":
                raise error("MP507", f"data '{self.name}': there is no training example", self._anywhere())
        return made

    def require_counts(self, split: str, among: Collection[str] | None = None) -> None:
        """Raises `SpecError` (MP507) where columns have different numbers of examples; `among`: of these columns."""
        counts = {k: n for k, n in self.raw.counts(split).items() if among is None or k in among}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{k} has {n}" for k, n in counts.items())
            raise error(
                "MP507", f"data '{self.name}': numbers of examples differ: {shown}", self._anywhere(),
                help=about_lengths(self.raw.splits[split]),
            )  # fmt: skip

    def words(self) -> dict[str, list[str]]:
        """The words that the numbers of a field stand for: the spec's own, those of the run, or those of the data."""
        stated = {name: list(f.labels) for name, f in self.module.fields.items() if f.labels}
        if self.classes is not None:
            return {f: words for f, words in self.classes.items() if f in self.module.fields} | stated
        return {f: self.raw.classes[c] for f, c in self.pairing().items() if c in self.raw.classes} | stated

    def _numbers(self, field: Field, column: str) -> Array | None:
        """The number, of the spec or of the run, of each number of a column of words.

        Raises `SpecError` (MP505) for words that the spec or the run lacks.
        """
        words = self.raw.classes.get(column)
        if words is None:
            return None
        where = f"column '{column}' of data '{self.name}'"
        if field.base not in ("category", "binary", "integer"):
            raise error("MP504", f"{where} holds words, '{field.name}' takes numbers", field.span,
                        help=f"{field.role} {field.name}: category({len(words)})")  # fmt: skip
        known = list(field.labels) if field.labels else (self.classes or {}).get(field.name)
        if self.classes is None and known is None:
            count = 2 if field.base == "binary" else field.classes
            if count is not None and len(words) > count:
                raise error("MP505", f"{where} holds {len(words)} words, '{field.name}' has {count} classes",
                            field.span, help=f"the words are {_listed(words)}")  # fmt: skip
            return np.arange(len(words)) + field.low
        if known is None:
            raise error("MP505", f"{where} holds words, the run was trained on numbers", field.span)
        if missing := [w for w in words if w not in known]:
            lacks = "which is no class of the spec" if field.labels else "which the run was not trained on"
            first, close = self.raw.lines.get(column, {}), get_close_matches(missing[0], known, 1)
            at = f", first in row {first[missing[0]]}" if missing[0] in first else ""
            meant = f"did you mean '{close[0]}'? " if close else ""
            raise error("MP505", f"{where} holds {_listed(missing)}, {lacks}{at}", field.span,
                        help=f"{meant}its words for '{field.name}' are {_listed(known)}")  # fmt: skip
        return np.array([known.index(w) for w in words]) + field.low

    def pairing(self) -> dict[str, str]:
        """Return which column feeds which field: the same name, else x for inputs and y for others."""
        columns = self.raw.columns
        pairs = {f: f for f in self.module.fields if f in columns}
        lone = len(self.module.fields) == 1
        for name, field in self.module.fields.items():
            if name in pairs:
                continue
            free = [c for c in columns if c not in pairs.values() and (c != "length" or field.counts)]
            if field.counts and "length" in free:
                pairs[name] = "length"
                continue
            wish = "x" if field.role == "input" or lone else "y"
            if wish in free:
                pairs[name] = wish
            elif len(free) == 1 and (wish == "y" or "x" not in columns) and not self._rest(free[0]):
                pairs[name] = free[0]
            elif "y" not in columns and "x" in columns and self._repeats(field, pairs):
                pairs[name] = "x"
            else:
                raise self._missing(field)
        for column in pairs.values():
            if column in self.raw.faults:
                raise self.raw.faults[column]
        return {f: pairs[f] for f in self.module.fields}

    def _rest(self, column: str) -> bool:
        """Whether a column is what no variable of the model is named after, of a table whose columns have names."""
        return column == "x" and self.raw.headed.get("x", ["x"]) != ["x"]

    def _missing(self, field: Field) -> SpecError:
        """The finding (MP502) that a field has no column, with the headers of a table as they are in the file."""
        headed = self.raw.headed
        shown = [
            f"{c} (from {_listed(headed[c])})" if headed.get(c, [c]) != [c] else c for c in self.raw.columns
        ]
        close = get_close_matches(field.name, [h for names in headed.values() for h in names], 1)
        help = f"name an array or a column '{field.name}' (or x for the input and y for the target); "
        help += "of pictures, each class in a folder of its own"
        if headed:
            other = f"the column '{close[0]}'" if close else "the column"
            help = f"head {other} '{field.name}'; columns that no variable is named after make x, and one headed y is y"
        return error(
            "MP502",
            f"data '{self.name}' has nothing for {field.role} '{field.name}'; columns: {', '.join(shown)}",
            field.span,
            help=help,
        )

    def _repeats(self, field: Field, pairs: Mapping[str, str]) -> bool:
        """Whether a target is what an input is: the data once more (an autoencoder), or the next element of a stream."""
        same = [self.module.fields[f].type.shape for f, column in pairs.items() if column == "x"]
        return field.role == "target" and ("x" in self.raw.streams or field.type.shape in same)

    def _anywhere(self) -> Span:
        return next(iter(self.module.fields.values())).span

    # Streams ----------------------------------------------------------------------------------------

    def streams(self) -> frozenset[str]:
        """Columns that a field wants windows of."""
        fields, columns = self.module.fields, self.raw.splits["train"]
        pairs = [(fields[f], c) for f, c in self.pairing().items() if c not in self.raw.pieces]
        return frozenset(c for f, c in pairs if self._streams(f, c, columns[c]))

    def _streams(self, field: Field, column: str, values: Array) -> bool:
        """Whether a column is one long sequence that this field wants windows of."""
        sequence = field.type.rank > 1
        if column in self.raw.streams:
            return sequence
        return sequence and values.ndim == field.type.rank - 1 and isinstance(field.type.shape[1], Symbolic)

    def _ahead(self, pairs: dict[str, str]) -> dict[str, int]:
        """A target that reads the same stream as an input is that stream one step ahead."""
        read = {c for f, c in pairs.items() if self.module.fields[f].role == "input"}
        fields = self.module.fields
        return {
            f: int(fields[f].role == "target" and c in read and c in self.raw.streams)
            for f, c in pairs.items()
        }

    def _windows(
        self, field: Field, column: str, stream: Array, split: str, ahead: dict[str, int]
    ) -> Windows:
        size, along = field.type.shape[1], multiple_of(field.type.shape[1])
        length = size if isinstance(size, int) else self.length * (1 if along is None else along[1])
        if self.raw.vocabulary is not None and column == "x":
            self._vocabulary(field, len(self.raw.vocabulary))
        expected = [s for s in field.type.shape[2:] if s != 1]
        if [s for s in stream.shape[1:] if s != 1] != expected:
            raise self._misfit(field, [length, *field.type.shape[2:]], list(stream.shape), column)
        values = prepared(self.raw, self.embedded, field, column, stream)
        window = Windows(
            values, field.type.dtype, length, numbers(field.type.shape[2:]),
            checked(self.name, field, column, values, None, self.threshold), self._threshold(field),
            ahead[field.name], max(ahead.values()),
        )  # fmt: skip
        if split == "train" and not len(window):
            raise error(
                "MP507",
                f"data '{self.name}': a window of '{field.name}' takes {length} steps of {len(stream)}",
                field.span,
                help="set train.length to less",
            )
        return window

    def _vocabulary(self, field: Field, found: int) -> None:
        """Raises `SpecError`: MP504 for a variable of numbers, MP505 for another number of classes."""
        if field.base not in ("category", "integer"):
            raise error("MP504", f"field '{field.name}': data '{self.name}' is a text, whose characters are classes "
                        "without order", field.span, help=f"declare {field.name}: category({found})[...]")  # fmt: skip
        if field.classes != found:
            names = [k for k, v in self.module.params.items() if v == field.classes]
            flag = f"--set {names[0]}={found}" if names else f"declare '{field.name}' with {found} classes"
            raise error("MP505", f"data '{self.name}' has {found} different characters, '{field.name}' declares "
                        f"{field.classes}", field.span, help=flag)  # fmt: skip

    def _pieces(self, field: Field, column: str, columns: dict[str, Array], rows: Array | None) -> Pieces:
        """Sequences of unequal length, for a field along a length that the model lets each example state."""
        length, times = (multiple_of(field.type.shape[1]) if field.type.rank > 1 else None) or ("", 1)
        if not any(f.counts == length for f in self.module.fields.values()):
            raise error(
                "MP503",
                f"the sequences of data '{self.name}' have lengths from {columns['length'].min()} to "
                f"{columns['length'].max()}, and '{field.name}' has one for all",
                field.span,
                help="condition length: integer(1..time)",
            )
        values, wanted = columns[column], field.type.shape[2:]
        packed = len(wanted) == 1 and values.shape[1:] == (-(-number(wanted[0]) // 8),)
        if packed and field.base == "binary" and values.dtype == np.uint8:
            require(Path(self.name), len(values) * number(wanted[0]), f"column '{column}'")
            values = np.unpackbits(values, axis=1, count=number(wanted[0]))
        if values.shape[1:] != wanted:
            raise self._misfit(field, [field.type.shape[1], *wanted], list(values.shape), column)
        values = prepared(self.raw, self.embedded, field, column, values)
        lengths = columns["length"].astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        runs = None if rows is None else Runs(starts[rows], lengths[rows])
        survey = checked(self.name, field, column, values, runs, self.threshold)
        return Pieces(
            values, field.type.dtype, starts, lengths, survey, rows, self._threshold(field), times
        )  # fmt: skip

    def _require_within(
        self, fitted: Mapping[str, Column | Windows | Pieces], sizes: Mapping[str, int]
    ) -> None:
        """Raises `SpecError` (MP504) for a length that is longer than the sequences that it is of."""
        for name, column in fitted.items():
            field = self.module.fields[name]
            most = sizes.get(field.counts or "")
            if most is None or not isinstance(column, Column) or column.survey.high <= most:
                continue
            times = self._at_once(field.counts or "")
            rows = f", of {times} rows each" if times > 1 else ""
            raise error("MP504", f"data '{self.name}' state lengths of up to {column.survey.high:g} for '{name}', and "
                        f"the sequences have {most} steps{rows}", field.span,
                        help=f"a step is {times} rows: divide, and round up" if times > 1 else "")  # fmt: skip

    def _at_once(self, length: str) -> int:
        """Return the number of rows of a sequence that make one step of a length: 2 for `[2 * frames, ...]`."""
        sizes = (multiple_of(s) for f in self.module.fields.values() for s in f.type.shape[1:])
        return max((times for name, times in filter(None, sizes) if name == length), default=1)

    def _require_lengths(self, pairs: Mapping[str, str]) -> None:
        """Raises `SpecError` (MP503) where the data say which steps are padding and the model would learn them."""
        if "length" in pairs.values() or self.raw.pieces:
            return
        for name, column in pairs.items():
            field = self.module.fields[name]
            along = field.type.shape[1] if field.type.rank > 1 else 1
            for columns in self.raw.splits.values():
                held, steps = columns.get("length"), columns[column].shape[1:2]
                if isinstance(along, int) or held is None or not steps or (held == steps[0]).all():
                    continue
                raise error(
                    "MP503",
                    f"data '{self.name}' states lengths that are not {steps[0]}, and '{name}' has one length for all",
                    field.span,
                    help=f"condition length: integer(1..{along}); or leave the array 'length' out",
                )

    def _require_places(self, fitted: Mapping[str, Column | Windows | Pieces]) -> None:
        """Raises `SpecError` (MP503) for sequences of more steps than the model has learned positions."""
        for name, column in fitted.items():
            field = self.module.fields[name]
            env = {str(n): m for n, m in zip(field.type.shape[1:], shape_of(column), strict=True)}
            windows = isinstance(column, Windows)
            help = "set train.length to {most}" if windows else "position({most}) has to be longer"
            require_places(self.module, env, "MP503", f"data '{self.name}': '{name}' has", field.span, help)

    # Fixed sizes ------------------------------------------------------------------------------------

    def _column(
        self, field: Field, column: str, values: Array, rows: Array | None, sizes: dict[str, int]
    ) -> Column:
        values, shape = self._shaped(field, column, values, sizes)
        values = prepared(self.raw, self.embedded, field, column, values)
        survey = checked(self.name, field, column, values, rows, self.threshold)
        return Column(values, field.type.dtype, shape, survey, rows, self._threshold(field))

    def _threshold(self, field: Field) -> float | None:
        return self.threshold if field.base == "binary" else None

    def _shaped(
        self, field: Field, column: str, values: Array, sizes: dict[str, int]
    ) -> tuple[Array, tuple[int, ...]]:
        """The array, and the shape of an example in the field; symbols take the size they meet first and keep it."""
        usual = (CHANNEL, *SPACES[2])  # a picture is read channels first
        if column in self.raw.images and field.axes != usual and set(field.axes) == set(usual):
            order = [field.axes.index(name) for name in usual]
            first = replace(field, axes=usual, type=field.type.with_shape(
                (field.type.shape[0], *(field.type.shape[1 + i] for i in order))))  # fmt: skip
            values, shape = self._shaped(first, column, values, sizes)
            back = [order.index(i) for i in range(len(order))]
            pictures = values.reshape(len(values), *shape).transpose(0, *(1 + i for i in back))
            return pictures, tuple(pictures.shape[1:])
        wanted = field.type.shape[1:]
        found = values.shape[1:]
        if len(wanted) == len(found):
            bound = dict(sizes)
            if all(_meets(w, f, bound) for w, f in zip(wanted, found, strict=True)):
                sizes.update(bound)
                return values, found
        if any(isinstance(w, Symbolic) and w.terms[0][1] > 1 for w in wanted):
            whole = self._whole(wanted, values)
            if whole is not None:
                return self._shaped(field, column, whole, sizes)
            raise self._misfit(field, list(wanted), list(found), column)
        fixed = [w if isinstance(w, int) else sizes.get(str(w)) for w in wanted]
        if None in fixed and fixed.count(None) == 1:
            rest = prod([w for w in fixed if w is not None])
            fixed = [w if w is not None else prod(found) // max(rest, 1) for w in fixed]
            sizes.update(
                {str(w): int(f or 0) for w, f in zip(wanted, fixed, strict=True) if isinstance(w, Symbolic)}
            )
        target = [int(w) for w in fixed if w is not None]
        if len(target) == len(wanted):
            if prod(target) == prod(found):
                return values, tuple(target)
            enlarged = self._enlarged(column, values, target)
            if enlarged is not None:
                return enlarged, tuple(target)
        raise self._misfit(field, list(wanted), list(found), column)

    def _whole(self, wanted: Shape, values: Array) -> Array | None:
        """Values with zeros behind them, up to a multiple of the rows that a model reads at once along a stated length.

        None where nothing is lacking.
        """
        counted = {f.counts for f in self.module.fields.values()}
        lacking = [(0, 0)]
        for size, found in zip(wanted, values.shape[1:], strict=False):
            along = multiple_of(size)
            lacking.append((0, -found % along[1] if along is not None and along[0] in counted else 0))
        if len(lacking) != values.ndim or not any(after for _, after in lacking):
            return None
        return np.pad(values, lacking)

    def _enlarged(self, column: str, values: Array, target: list[int]) -> Array | None:
        """A grey image repeated by a whole factor, with a border and channels as needed, or None."""
        if column not in self.raw.images:
            return None
        side = round(np.sqrt(np.prod(target)))
        if len(target) == 1 and side * side == target[0]:
            channels, height, width = 1, side, side
        elif len(target) in (2, 3):
            channels, height, width = (1, *target) if len(target) == 2 else (target[0], target[1], target[2])
        else:
            return None
        _, c, h, w = values.shape
        factor = min(height // h, width // w)
        if factor < 1 or c not in (1, channels):
            return None
        big = values.repeat(factor, 2).repeat(factor, 3)
        top, left = (height - big.shape[2]) // 2, (width - big.shape[3]) // 2
        border = ((0, 0), (0, 0), (top, height - big.shape[2] - top), (left, width - big.shape[3] - left))
        big = np.pad(big, border).repeat(channels // c, 1)
        return big.reshape(len(values), *target)

    def _misfit(self, field: Field, wanted: list[object], found: list[int], column: str) -> SpecError:
        shown = ", ".join(map(str, wanted))
        help = f"declare '{field.name}' with {list(found)}, or give other data"
        if column == "x" and "y" in self.raw.headed and "y" not in self.pairing().values():
            help = f"the column headed '{self.raw.headed['y'][0]}' is y, which no variable takes: head it differently"
        return error(
            "MP503",
            f"field '{field.name}' has shape [{shown}], column '{column}' of data '{self.name}' has {found}",
            field.span,
            help=help,
        )


def _listed(words: Collection[str]) -> str:
    """Some words of a list, and how many more there are."""
    shown = list(words)[:8]
    return ", ".join(map(repr, shown)) + (f" and {len(words) - 8} more" if len(words) > 8 else "")


def _meets(wanted: int | Symbolic, found: int, sizes: dict[str, int]) -> bool:
    """Whether a size fits; a symbol, which may stand `times` over, is bound to the first size it meets."""
    if isinstance(wanted, int):
        return wanted == found
    ((names, times),) = wanted.terms
    parts, rest = divmod(found, times)
    return rest == 0 and sizes.setdefault(names[0], parts) == parts


def _renumbered(codes: Array, numbers: Array) -> Array:
    """The number of each code of a word; NaN stays, where a value is missing."""
    if (numbers == np.arange(len(numbers))).all():
        return codes
    most = float(numbers.max(initial=0))
    out = np.empty(codes.shape, np.float32 if codes.dtype.kind == "f" and most < 2**24 else codes.dtype)
    for start, block in blocks(codes):
        there = ~np.isnan(block) if block.dtype.kind == "f" else np.ones(block.shape, bool)
        found = numbers[np.where(there, block, 0).astype(np.int64)]
        out[start : start + len(block)] = np.where(there, found, np.nan) if codes.dtype.kind == "f" else found
    return out
