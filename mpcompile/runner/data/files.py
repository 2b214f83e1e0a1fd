"""A user's own data: .npz, .npy, .csv, .txt, .wav, folders of pictures or of sounds. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import zipfile
from math import isfinite
from pathlib import Path

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.dataset import SPLITS, Raw
from mpcompile.runner.data.letters import BYTES
from mpcompile.runner.noise import permutation

ENDINGS = (".npz", ".npy", ".csv", ".txt", ".wav")
_PICTURES = {".png", ".jpg", ".jpeg"}
_NAMES = {"val": "valid", "validation": "valid", "dev": "valid"} | {s: s for s in SPLITS}


class Unreadable(ValueError):
    """A file that cannot be data; the message is one line."""


def read(path: Path, vocabulary: list[str] | None = None) -> Raw:
    """Columns of a file, or of a folder of pictures or sounds. `vocabulary` encodes a text. Raises `Unreadable`."""
    try:
        if path.is_dir():
            return _folder(path)
        ending = path.suffix.lower()
        raw = _text(path, vocabulary) if ending == ".txt" else _READERS[ending](path)
    except KeyError:
        raise Unreadable(f"{path}: data are {', '.join(ENDINGS)} or a folder of pictures or sounds") from None
    except (OSError, zipfile.BadZipFile, EOFError) as bad:
        raise Unreadable(f"{path}: {bad}") from bad
    except Unreadable:
        raise
    except ValueError as bad:
        pickled = "Object arrays" in str(bad) or "pickle" in str(bad)
        why = "it holds pickled objects, which are never loaded" if pickled else str(bad)
        raise Unreadable(f"{path}: {why}") from bad
    raw.digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return raw


def _npz(path: Path) -> Raw:
    """Arrays `x`, `y` or by field; `x_train`, `train_x`, `train` name a split; `<name>_shape` marks packed bits.

    A column `len` or `length` cuts those as long as its sum into sequences of their own (`train_len`).
    """
    with np.load(path, allow_pickle=False) as file:
        found = {key: np.asarray(file[key]) for key in file.files}
    shapes = {k for k in found if k.endswith("_shape") and k.removesuffix("_shape") in found}
    splits: dict[str, dict[str, Array]] = {}
    for key, value in found.items():
        if key in shapes:
            continue
        shape = found.get(f"{key}_shape")
        if shape is not None and value.dtype == np.uint8:
            value = np.unpackbits(value, axis=1)[:, : int(shape[-1])]
        column, split = _split_name(key)
        if column in splits.setdefault(split, {}):
            raise Unreadable(f"{path}: '{key}' names column '{column}' of split '{split}' twice")
        splits[split][column] = _plain(path, key, value)
    return _assembled(path, splits)


def _split_name(key: str) -> tuple[str, str]:
    """Column and split of a key: `x_train` is (x, train), `train` is (x, train), `x` is (x, all)."""
    if key in _NAMES:
        return "x", _NAMES[key]
    head, _, tail = key.rpartition("_")
    if head and tail in _NAMES:
        return head, _NAMES[tail]
    first, _, rest = key.partition("_")
    if rest and first in _NAMES:
        return rest, _NAMES[first]
    return key, "all"


def _assembled(path: Path, splits: dict[str, dict[str, Array]]) -> Raw:
    if "all" in splits:
        if len(splits) > 1:
            both = ", ".join(splits["all"])
            raise Unreadable(
                f"{path}: {both} name no split but other arrays do; use e.g. {both.split(',')[0]}_train"
            )
        return _cut(Raw({"train": splits["all"]}, fixed=False))
    if "train" not in splits:
        raise Unreadable(f"{path}: there is no training part (arrays named e.g. x, or x_train)")
    for split, columns in splits.items():
        if set(columns) != set(splits["train"]):
            raise Unreadable(
                f"{path}: split '{split}' has {sorted(columns)}, train has {sorted(splits['train'])}"
            )
    return _cut(Raw(splits))


def _cut(raw: Raw) -> Raw:
    """The same, with sequences of unequal length where a column of lengths adds up to the rows of others."""
    for columns in raw.splits.values():
        for name in ("len", "lengths"):
            if name in columns and "length" not in columns:
                columns["length"] = columns.pop(name)
    pieces = [_pieces(columns) for columns in raw.splits.values()]
    raw.pieces = frozenset.intersection(*pieces)
    return raw


def _pieces(columns: dict[str, Array]) -> frozenset[str]:
    """Columns that `length` cuts into sequences of their own."""
    ends = columns.get("length")
    if ends is None or ends.ndim != 1 or ends.dtype.kind not in "iu" or not len(ends) or ends.min() < 1:
        return frozenset()
    rows = int(ends.sum())
    return frozenset(k for k, v in columns.items() if k != "length" and len(v) == rows != len(ends))


def _plain(path: Path, key: str, value: Array) -> Array:
    if value.dtype.kind not in "buif":
        raise Unreadable(f"{path}: array '{key}' holds {value.dtype}, not numbers")
    if value.ndim == 0:
        raise Unreadable(f"{path}: array '{key}' is a single number")
    return value


def _npy(path: Path) -> Raw:
    return Raw({"train": {"x": _plain(path, "x", np.load(path, allow_pickle=False))}}, fixed=False)


def _csv(path: Path) -> Raw:
    """Numbers, with an optional header. Columns headed `y`, `label` or `target` are y, the rest x.

    A label that is words in every row is a class, numbered in the order of the alphabet.
    """
    import csv

    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise Unreadable(f"{path}: it is empty")
    header = None if all(map(_numeric, rows[0])) else [c.strip() for c in rows[0]]
    body = rows[1:] if header else rows
    if not body:
        raise Unreadable(f"{path}: there is a header but no row")
    last = [i for i, h in enumerate(header or []) if h.lower() in ("y", "label", "target")]
    named = {i for i in last if not any(_numeric(row[i]) for row in body if i < len(row))}
    for number, row in enumerate(body, 2 if header else 1):
        if len(row) != len(rows[0]):
            raise Unreadable(f"{path}: row {number} has {len(row)} values, the first has {len(rows[0])}")
        for i, cell in enumerate(row):
            if not cell.strip():
                raise Unreadable(f"{path}: row {number} has an empty cell")
            if i not in named and not (_numeric(cell) and isfinite(float(cell))):
                raise Unreadable(f"{path}: row {number} holds {cell[:30]!r}, which is not a finite number")
    classes = {i: sorted({row[i] for row in body}) for i in named}
    values = np.array(
        [[classes[i].index(c) if i in named else float(c) for i, c in enumerate(row)] for row in body], float
    )
    columns = {"x": values[:, [i for i in range(values.shape[1]) if i not in last]]}
    if last:
        columns["y"] = values[:, last]
    return Raw({"train": columns}, fixed=False)


def _numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _text(path: Path, vocabulary: list[str] | None) -> Raw:
    from mpcompile.runner.data.sequences import text

    data = path.read_bytes()
    try:
        words = data.decode("utf-8", "surrogateescape" if vocabulary == BYTES else "strict")
    except UnicodeDecodeError as bad:
        where = f"byte {data[bad.start]:#04x} at {bad.start}"
        raise Unreadable(
            f"{path}: it is not UTF-8 ({where}); a category(256) reads the bytes of any text"
        ) from bad
    if len(words) < 20:
        raise Unreadable(f"{path}: {len(words)} characters are too few")
    return text(words, vocabulary)


def _wav(path: Path) -> Raw:
    """A sound as one stream; the last tenths are held out."""
    x, rate = _sound(path)
    cut = [0, int(0.9 * len(x)), int(0.95 * len(x)), len(x)]
    splits = {s: {"x": x[a:b]} for s, a, b in zip(SPLITS, cut, cut[1:], strict=False)}
    return Raw(splits, sounds=frozenset({"x"}), streams=frozenset({"x"}), rate=rate)


def _sounds(files: list[Path]) -> Raw:
    """Sounds one after the other as one stream; whole files are held out, a tenth each, in a fixed random order."""
    digest, waves, first = hashlib.sha256(), [], 0
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
        wave, rate = _sound(file)
        first = first or rate
        if rate != first:
            raise Unreadable(
                f"{file}: sounds must share one rate; this has {rate} Hz, {files[0]} has {first} Hz"
            )
        waves.append(wave)
    order, tenth = permutation(len(files), "data", "split"), max(1, len(files) // 10)
    cut = [0, len(files) - 2 * tenth, len(files) - tenth, len(files)]
    splits = {
        s: {"x": np.concatenate([waves[i] for i in order[a:b]])}
        for s, a, b in zip(SPLITS, cut, cut[1:], strict=False)
    }
    found = frozenset({"x"})
    return Raw(splits, sounds=found, streams=found, digest=digest.hexdigest(), rate=first)


def _sound(path: Path) -> tuple[Array, int]:
    """16-bit or 8-bit PCM, channels averaged, in [-1, 1), and its rate in Hz."""
    import wave

    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except wave.Error as bad:
        raise Unreadable(f"{path}: {bad}") from bad
    if width == 2:
        x = np.frombuffer(frames, "<i2").astype(np.float32) / 2**15
    elif width == 1:
        x = (np.frombuffer(frames, np.uint8).astype(np.float32) - 128) / 128
    else:
        raise Unreadable(f"{path}: {8 * width}-bit sound; 8 and 16 bits are read")
    return np.asarray(x.reshape(-1, channels).mean(1)), rate


def _folder(path: Path) -> Raw:
    """Pictures of one size as x `[n, channels, height, width]`, 0..255; sub-folders by name are classes y.

    A folder of three or more sounds is one stream.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _PICTURES and p.is_file())
    sounds = sorted(p for p in path.rglob("*") if p.suffix.lower() == ".wav" and p.is_file())
    if not files and len(sounds) > 2:
        return _sounds(sounds)
    if not files:
        raise Unreadable(f"{path}: no .png or .jpg, nor three .wav, in this folder")
    try:
        from PIL import Image
    except ImportError:
        raise Unreadable(f"{path}: pictures need Pillow: pip install 'mpcompile[plots]'") from None
    digest = hashlib.sha256()
    pictures = []
    for file in files:
        with Image.open(file) as image:
            grey = image.mode in ("1", "L", "I", "I;16", "LA")
            array = np.asarray(image.convert("L" if grey else "RGB"))
        digest.update(hashlib.sha256(file.read_bytes()).digest())
        pictures.append(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
        if pictures[-1].shape != pictures[0].shape:
            sizes = f"{list(pictures[-1].shape)}, {files[0]} is {list(pictures[0].shape)}"
            raise Unreadable(f"{file}: pictures must share one size; this is {sizes}")
    columns: dict[str, Array] = {"x": np.stack(pictures)}
    classes = sorted({p.parent for p in files} - {path})
    if classes and all(p.parent != path for p in files):
        columns["y"] = np.array([classes.index(p.parent) for p in files])
    return Raw({"train": columns}, {"x": 256}, fixed=False, digest=digest.hexdigest())


_READERS = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".wav": _wav}
