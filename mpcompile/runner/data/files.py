"""A user's own data: .npz, .npy, .csv, .txt, .wav, folders of pictures or of sounds. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.arrays import npy, npz
from mpcompile.runner.data.dataset import SPLITS, Raw
from mpcompile.runner.data.delimited import table
from mpcompile.runner.data.letters import BYTES
from mpcompile.runner.data.opening import Unreadable, digest, opened, reading, require, whole
from mpcompile.runner.data.pictures import PICTURES, picture
from mpcompile.runner.data.sound import wav
from mpcompile.runner.noise import permutation

_NAMES = {"val": "valid", "validation": "valid", "dev": "valid"} | {s: s for s in SPLITS}
_MOST_FILES = 2**20


@dataclass(frozen=True)
class Known:
    """The facts that a reader may need: the letters of a text, the variables, and those that may be missing."""

    vocabulary: list[str] | None = None
    names: Collection[str] = ()
    optional: Mapping[str, Collection[str]] = field(default_factory=dict)


def read(
    path: Path,
    vocabulary: list[str] | None = None,
    names: Collection[str] = (),
    optional: Mapping[str, Collection[str]] | None = None,
) -> Raw:
    """Read the columns of a file, or of a folder of pictures or sounds.

    `vocabulary` encodes a text; `names` are the variables that the columns of a table may be headed by, and values of
    those in `optional`, each with the words of its classes, may be missing. Raises `Unreadable`, one line that names the
    file.
    """
    with reading(path):
        if path.is_dir():
            return _folder(path)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise Unreadable(f"{path}: data are {', '.join(READERS)} or a folder of pictures or sounds")
        raw = reader(path, Known(vocabulary, names, optional or {}))
        raw.digest = digest(path).hex()
        return raw


def _npz(path: Path) -> Raw:
    """Arrays `x`, `y` or by field; `x_train`, `train_x`, `train` name a split; `<name>_shape` marks packed bits.

    A column `len` or `length` cuts those as long as its sum into sequences of their own (`train_len`).
    """
    found = npz(path)
    shapes = {k for k in found if k.endswith("_shape") and k.removesuffix("_shape") in found}
    splits: dict[str, dict[str, Array]] = {}
    for key, value in found.items():
        if key in shapes:
            continue
        if key + "_shape" in shapes and value.dtype == np.uint8:
            value = _unpacked(path, key, value, found[f"{key}_shape"])
        column, split = _split_name(key)
        if column in splits.setdefault(split, {}):
            raise Unreadable(f"{path}: '{key}' names column '{column}' of split '{split}' twice")
        splits[split][column] = value
    if not splits:
        raise Unreadable(f"{path}: it holds no array")
    return _assembled(path, splits)


def _unpacked(path: Path, key: str, bits: Array, shape: Array) -> Array:
    """Rows of bits that were packed into bytes; the last size of `shape` says how many a row has."""
    width = int(shape[-1]) if shape.ndim == 1 and len(shape) and shape.dtype.kind in "iu" else -1
    if bits.ndim != 2 or not 0 <= 8 * bits.shape[1] - width < 8:
        shown = ", ".join(str(n) for n in bits.shape[:8])
        raise Unreadable(f"{path}: '{key}_shape' is no shape of the packed bits '{key}' [{shown}]")
    require(path, len(bits) * width, f"array '{key}'")
    return np.unpackbits(bits, axis=1, count=width)


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
    rows = sum(ends.tolist())  # a sum of whole numbers of any size
    return frozenset(k for k, v in columns.items() if k != "length" and len(v) == rows != len(ends))


def _text(path: Path, vocabulary: list[str] | None) -> Raw:
    from mpcompile.runner.data.sequences import text

    with opened(path) as file:
        require(path, 3 * os.fstat(file.fileno()).st_size, "its text")
    data = whole(path).removeprefix(b"\xef\xbb\xbf")
    try:
        words = data.decode("utf-8", "surrogateescape" if vocabulary == BYTES else "strict")
    except UnicodeDecodeError as bad:
        where = f"byte {data[bad.start]:#04x} at {bad.start}"
        raise Unreadable(
            f"{path}: it is not UTF-8 ({where})",
            "save it as UTF-8; a category(256) reads the bytes of any text",
        ) from bad
    if len(words) < 20:
        raise Unreadable(f"{path}: {len(words)} characters are too few")
    try:
        return text(words, vocabulary)
    except ValueError as bad:  # characters that the run's vocabulary lacks
        raise Unreadable(f"{path}: {bad}") from bad


def _stream(sounds: list[tuple[Array, int]], order: Array | None = None) -> Raw:
    """Sounds one after the other as one stream. Of one sound the last tenths are held out, of several whole ones."""
    rate = sounds[0][1]
    if order is None:
        x = sounds[0][0]
        cut = [0, int(0.9 * len(x)), int(0.95 * len(x)), len(x)]
        splits = {s: {"x": x[a:b]} for s, a, b in zip(SPLITS, cut, cut[1:], strict=False)}
    else:
        tenth = max(1, len(sounds) // 10)
        cut = [0, len(sounds) - 2 * tenth, len(sounds) - tenth, len(sounds)]
        splits = {
            s: {"x": np.concatenate([sounds[i][0] for i in order[a:b]])}
            for s, a, b in zip(SPLITS, cut, cut[1:], strict=False)
        }
    found = frozenset({"x"})
    return Raw(splits, sounds=found, streams=found, rate=rate)


def _sounds(path: Path, files: list[Path]) -> Raw:
    """A folder of sounds; whole files are held out, a tenth each, in a fixed random order."""
    sounds: list[tuple[Array, int]] = []
    size = 0
    for file in files:
        sounds.append(wav(file))
        wave, rate = sounds[-1]
        if rate != sounds[0][1]:
            first = f"{files[0]} has {sounds[0][1]} Hz"
            raise Unreadable(f"{file}: sounds must share one rate; this has {rate} Hz, {first}")
        size += 2 * wave.nbytes
        require(path, size)
    raw = _stream(sounds, permutation(len(files), "data", "split"))
    raw.digest = _digest(files)
    return raw


def _folder(path: Path) -> Raw:
    """Pictures of one size as x `[n, channels, height, width]`, 0..255; sub-folders by name are classes y.

    A folder of three or more sounds is one stream. Links to folders are not followed.
    """
    files, sounds = _media(path)
    if sounds:
        return _sounds(path, sounds)
    x: Array | None = None
    for i, file in enumerate(files):
        found = picture(file, len(files))
        if x is None:
            x = np.empty((len(files), *found.shape), np.uint8)
        if found.shape != x.shape[1:]:
            sizes = f"{list(found.shape)}, {files[0]} is {list(x.shape[1:])}"
            raise Unreadable(f"{file}: pictures must share one size; this is {sizes}")
        x[i] = found
    assert x is not None
    columns, classes = {"x": x}, {}
    folders = [p.parent.relative_to(path).as_posix() for p in files]
    if "." not in folders:
        names = sorted(set(folders), key=lambda name: name.split("/"))
        for name in names:
            if not name.isprintable():
                raise Unreadable(f"{path}: the folder {name!r} cannot name a class")
        number = {name: i for i, name in enumerate(names)}
        columns["y"], classes["y"] = np.array([number[f] for f in folders]), names
    return Raw({"train": columns}, {"x": 256}, fixed=False, digest=_digest(files), classes=classes)


def _media(path: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder, or where there are none its sounds. Raises `Unreadable`."""
    every = _files(path)
    files = [p for p in every if p.suffix.lower() in PICTURES]
    sounds = [p for p in every if p.suffix.lower() == ".wav"]
    if not files and len(sounds) < 3:
        raise Unreadable(f"{path}: no .png or .jpg, nor three .wav, in this folder")
    return files, [] if files else sounds


def digest_of(path: Path) -> str:
    """Return the digest that `read` gives, without reading the file or folder as data. Raises `Unreadable`."""
    with reading(path):
        if not path.is_dir():
            return digest(path).hex()
        files, sounds = _media(path)
        return _digest(files or sounds)


def _files(path: Path) -> list[Path]:
    """Return all files below a folder, in order."""
    found: list[Path] = []
    for at, _, names in os.walk(path):
        found += [Path(at, name) for name in names]
        if len(found) > _MOST_FILES:
            raise Unreadable(f"{path}: the folder holds more than {_MOST_FILES} files")
    return sorted(found)


def _digest(files: list[Path]) -> str:
    """Return the digest of several files, in order."""
    together = hashlib.sha256()
    for file in files:
        together.update(digest(file))
    return together.hexdigest()


#: What reads a file, by its ending.
READERS: dict[str, Callable[[Path, Known], Raw]] = {
    ".npz": lambda path, _: _npz(path),
    ".npy": lambda path, _: Raw({"train": {"x": npy(path)}}, fixed=False),
    ".csv": lambda path, known: table(path, known.names, known.optional),
    ".txt": lambda path, known: _text(path, known.vocabulary),
    ".wav": lambda path, _: _stream([wav(path)]),
}

__all__ = ["READERS", "Known", "Unreadable", "digest_of", "read"]
