"""From raw columns to the fields of a module: names, shapes, element kinds and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.ir import Array, Field, Module, Symbolic
from mpcompile.runner.data.dataset import Column, Pieces, Raw, Split, Windows, about_lengths
from mpcompile.runner.data.sound import companded

_OBSERVED = ("input", "target", "condition")


@dataclass(frozen=True, slots=True)
class Adapter:
    """Fits one raw set to a module.

    length     windows that streams are cut into
    threshold  see `Settings.threshold`
    embedded   the set is the project's own: grey images may be scaled and enlarged to fit
    """

    module: Module
    name: str
    raw: Raw
    length: int
    threshold: float | None = None
    embedded: bool = False

    def splits(self) -> dict[str, Split]:
        """Every split, adapted. Raises `SpecError` (MP502 to MP507)."""
        pairs = self.pairing()
        ahead = self._ahead(pairs)
        sizes: dict[str, int] = {}
        made = {}
        for split, columns in self.raw.splits.items():
            every = self.raw.counts(split)
            counts = {pairs[f]: every[pairs[f]] for f in pairs}
            if len(set(counts.values())) > 1:
                shown = ", ".join(f"{k} has {n}" for k, n in counts.items())
                raise error(
                    "MP507", f"data '{self.name}': numbers of examples differ: {shown}", self._anywhere(),
                    help=about_lengths(columns),
                )  # fmt: skip
            fitted: dict[str, Column | Windows | Pieces] = {}
            for field_name, column in pairs.items():
                field = self.module.fields[field_name]
                if column in self.raw.pieces:
                    fitted[field_name] = self._pieces(field, column, columns)
                elif self._streams(field, column, columns[column]):
                    fitted[field_name] = self._windows(field, column, columns[column], split, ahead)
                else:
                    fitted[field_name] = self._column(field, column, columns[column], sizes)
            made[split] = Split(fitted)
            if not len(made[split]) and split == "train":
                raise error("MP507", f"data '{self.name}': there is no training example", self._anywhere())
        return made

    def pairing(self) -> dict[str, str]:
        """Which column feeds which field: the same name, else x for inputs and y for others."""
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
            elif len(free) == 1 and (wish == "y" or "x" not in columns):
                pairs[name] = free[0]
            elif "y" not in columns and "x" in columns and self._repeats(field, pairs):
                pairs[name] = "x"
            else:
                raise error(
                    "MP502",
                    f"data '{self.name}' has nothing for {field.role} '{name}'; "
                    f"columns: {', '.join(columns)}",
                    field.span,
                    help=f"name an array or a column '{name}' (or x for the input and y for the target); "
                    "of pictures, each class in a folder of its own",
                )
        return {f: pairs[f] for f in self.module.fields}

    def _repeats(self, field: Field, pairs: Mapping[str, str]) -> bool:
        """Whether a target is what an input is: the data once more (an autoencoder), or the next element of a stream."""
        same = [self.module.fields[f].type.shape for f, column in pairs.items() if column == "x"]
        return field.role == "target" and ("x" in self.raw.streams or field.type.shape in same)

    def _anywhere(self) -> Span:
        return next(iter(self.module.fields.values())).span

    # Streams ----------------------------------------------------------------------------------------

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
        size = field.type.shape[1]
        length = size if isinstance(size, int) else self.length
        if self.raw.vocabulary is not None and column == "x":
            self._vocabulary(field, len(self.raw.vocabulary))
        values = self._elements(field, column, stream)
        expected = [s for s in field.type.shape[2:] if s != 1]
        if [s for s in values.shape[1:] if s != 1] != expected:
            raise self._misfit(field, [length, *field.type.shape[2:]], list(stream.shape), column)
        window = Windows(
            values.reshape(len(values), *[int(str(s)) for s in field.type.shape[2:]]),
            field.type.dtype, length, ahead[field.name], max(ahead.values()),
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
        if field.base in ("category", "integer") and field.classes != found:
            names = [k for k, v in self.module.params.items() if v == field.classes]
            flag = f"--set {names[0]}={found}" if names else f"declare '{field.name}' with {found} classes"
            raise error(
                "MP505",
                f"data '{self.name}' has {found} different characters, "
                f"'{field.name}' declares {field.classes}",
                field.span,
                help=flag,
            )

    def _pieces(self, field: Field, column: str, columns: dict[str, Array]) -> Pieces:
        """Sequences of unequal length, for a field along a length that the model lets each example state."""
        along = str(field.type.shape[1]) if field.type.rank > 1 else ""
        if not any(f.counts == along for f in self.module.fields.values()):
            raise error(
                "MP503",
                f"the sequences of data '{self.name}' have lengths from {columns['length'].min()} to "
                f"{columns['length'].max()}, and '{field.name}' has one for all",
                field.span,
                help="condition length: integer(1..time)",
            )
        values, wanted = columns[column], field.type.shape[2:]
        packed = len(wanted) == 1 and values.shape[1:] == (-(-int(str(wanted[0])) // 8),)
        if packed and field.base == "binary" and values.dtype == np.uint8:
            values = np.unpackbits(values, axis=1, count=int(str(wanted[0])))
        if values.shape[1:] != wanted:
            raise self._misfit(field, [along, *wanted], list(values.shape), column)
        return Pieces(self._elements(field, column, values), field.type.dtype, columns["length"])

    # Fixed sizes ------------------------------------------------------------------------------------

    def _column(self, field: Field, column: str, values: Array, sizes: dict[str, int]) -> Column:
        shaped = self._shaped(field, column, values, sizes)
        return Column(self._elements(field, column, shaped), field.type.dtype)

    def _shaped(self, field: Field, column: str, values: Array, sizes: dict[str, int]) -> Array:
        """`[n, ...]` in the field's shape; symbols take the size they meet first and keep it."""
        wanted = field.type.shape[1:]
        found = values.shape[1:]
        if len(wanted) == len(found):
            bound = dict(sizes)
            if all(_meets(w, f, bound) for w, f in zip(wanted, found, strict=True)):
                sizes.update(bound)
                return values
        if any(isinstance(w, Symbolic) and w.terms[0][1] > 1 for w in wanted):
            raise self._misfit(field, list(wanted), list(found), column)
        fixed = [w if isinstance(w, int) else sizes.get(str(w)) for w in wanted]
        if None in fixed and fixed.count(None) == 1:
            rest = int(np.prod([w for w in fixed if w is not None]))
            total = int(np.prod(found))
            fixed = [w if w is not None else total // max(rest, 1) for w in fixed]
            sizes.update(
                {str(w): int(f or 0) for w, f in zip(wanted, fixed, strict=True) if isinstance(w, Symbolic)}
            )
        target = [int(w) for w in fixed if w is not None]
        if len(target) == len(wanted):
            if int(np.prod(target)) == int(np.prod(found)):
                return values.reshape(len(values), *target)
            enlarged = self._enlarged(column, values, target)
            if enlarged is not None:
                return enlarged
        raise self._misfit(field, list(wanted), list(found), column)

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
        return error(
            "MP503",
            f"field '{field.name}' has shape [{shown}], column '{column}' of data '{self.name}' has {found}",
            field.span,
            help=f"declare '{field.name}' with {list(found)}, or give other data",
        )

    # Elements ---------------------------------------------------------------------------------------

    def _elements(self, field: Field, column: str, values: Array) -> Array:
        """Values in the field's range, in a compact type."""
        if bad := int(values.size - np.isfinite(values).sum()):
            raise self._range(field, column, f"holds values that are not finite, {bad} of {values.size}", "")
        levels = self.raw.levels.get(column)
        if field.base == "binary":
            return self._binary(field, column, values)
        if field.base in ("integer", "category"):
            return self._whole(field, column, values, levels)
        if self.embedded and levels and column in (*self.raw.images, "x") and values.dtype.kind in "ui":
            return (values / (levels - 1)).astype(np.float32)  # grey levels of our own sets as 0..1
        return values.astype(np.float32)

    def _binary(self, field: Field, column: str, values: Array) -> Array:
        if self.threshold is not None:
            return (values > self.threshold).astype(np.uint8)
        if ((values == 0) | (values == 1)).all():
            return values.astype(np.uint8)
        low, high = values.min(), values.max()
        ours = "data: binary_digits is the digits' own, or " if self.name == "digits" else ""
        raise self._range(
            field, column, f"holds values from {low:g} to {high:g}, a binary field takes 0 and 1",
            f"{ours}train.threshold makes values above a number ones",
        )  # fmt: skip

    def _whole(self, field: Field, column: str, values: Array, levels: int | None) -> Array:
        classes = field.classes
        low = field.low if field.base == "integer" else 0
        if column in self.raw.sounds and classes:
            values = companded(values, classes) + low
        if values.dtype.kind == "f" and not (values == np.rint(values)).all():
            raise self._range(field, column, f"holds fractions, '{field.name}' takes whole numbers", "")
        whole = values.astype(np.int64)
        if self.embedded and column in self.raw.images and levels and classes and classes != levels:
            if classes > levels:
                whole = np.rint(whole * ((classes - 1) / (levels - 1))).astype(np.int64) + low
            else:
                whole = whole * classes // levels + low  # each of as many grey levels
        if len(whole) and classes is not None and (whole.min() < low or whole.max() > low + classes - 1):
            found = f"holds {whole.min()} to {whole.max()}, '{field.name}' takes {low} to {low + classes - 1}"
            raise self._range(field, column, found, "")
        small = (
            np.min_scalar_type(int(whole.max()))
            if len(whole) and whole.size and whole.min() >= 0
            else np.int64
        )
        return whole.astype(small)

    def _range(self, field: Field, column: str, what: str, help: str) -> SpecError:
        where = f"field '{field.name}': column '{column}' of data '{self.name}'"
        return error("MP504", f"{where} {what}", field.span, help=help)


def _meets(wanted: int | Symbolic, found: int, sizes: dict[str, int]) -> bool:
    """Whether a size fits; a symbol, which may stand `times` over, is bound to the first size it meets."""
    if isinstance(wanted, int):
        return wanted == found
    ((names, times),) = wanted.terms
    parts, rest = divmod(found, times)
    return rest == 0 and sizes.setdefault(names[0], parts) == parts
