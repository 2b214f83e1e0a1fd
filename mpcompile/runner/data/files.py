"""A user's own data: packs, .npz, .npy, .csv, .txt, .wav, .parquet and its kin, folders. Nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.arrays import npy, npz, split_name, unpacked
from mpcompile.runner.data.dataset import SPLITS, Known, Raw
from mpcompile.runner.data.delimited import table
from mpcompile.runner.data.folders import classes_of, digest_of_files, files_below, media
from mpcompile.runner.data.letters import BYTES
from mpcompile.runner.data.opening import Unreadable, digest, opened, reading, require, whole
from mpcompile.runner.data.pack import Wishes, arrow, collected
from mpcompile.runner.data.pack.manifest import digest_of as digest_of_pack
from mpcompile.runner.data.pack.manifest import is_pack, load
from mpcompile.runner.data.pack.store import Memory
from mpcompile.runner.data.pictures import picture
from mpcompile.runner.data.sound import wav
from mpcompile.runner.noise import permutation


def read(path: Path, known: Known) -> Raw:
    """Read the columns of a file, or of a folder of pictures or sounds.

    Raises `Unreadable`, one line that names the file.
    """
    with reading(path):
        if is_pack(path):
            return _pack(path, known)
        if arrow.is_saved(path):
            return _columns(path, known)
        if path.is_dir():
            return _folder(path)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise Unreadable(f"{path}: data are {', '.join(READERS)} or a folder of pictures or sounds")
        raw = reader(path, known)
        raw.digest = digest(path).hex()
        return raw


def _pack(path: Path, known: Known) -> Raw:
    """A pack, after its columns were found to be those of its manifest; text under the vocabulary of a run before."""
    found = digest_of_pack(path)
    raw = _cut(load(path).raw(path, known))
    raw.digest = found
    if raw.vocabulary is not None and known.vocabulary not in (None, raw.vocabulary):
        raise Unreadable(
            f"{path}: its text is packed with other letters than the model or the run has",
            "read the .txt itself, or pack with --text bytes for a category(256)",
        )
    return raw


def _columns(path: Path, known: Known) -> Raw:
    """Columns of a source of pyarrow's that fit into memory."""
    raw = _cut(collected(path, Wishes(partial=True), lambda name: Memory(path, name)).raw(path, known))
    raw.digest = digest_of_files(files_below(path)) if path.is_dir() else ""
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
            value = unpacked(path, key, value, found[f"{key}_shape"])
        column, split = split_name(key)
        if column in splits.setdefault(split, {}):
            raise Unreadable(f"{path}: '{key}' names column '{column}' of split '{split}' twice")
        splits[split][column] = value
    if not splits:
        raise Unreadable(f"{path}: it holds no array")
    return _assembled(path, splits)


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
    raw.digest = digest_of_files(files)
    return raw


def _folder(path: Path) -> Raw:
    """Pictures of one size as x `[n, channels, height, width]`, 0..255; sub-folders by name are classes y.

    A folder of three or more sounds is one stream. Links to folders are not followed.
    """
    files, sounds = media(path)
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
    names, codes = classes_of(path, files)
    if names:
        columns["y"], classes["y"] = codes, names
    return Raw({"train": columns}, {"x": 256}, fixed=False, digest=digest_of_files(files), classes=classes)


def digest_of(path: Path) -> str:
    """Return the digest that `read` gives, without reading the file or folder as data. Raises `Unreadable`."""
    with reading(path):
        if is_pack(path):
            return digest_of_pack(path)
        if not path.is_dir():
            return digest(path).hex()
        if arrow.is_saved(path):
            return digest_of_files(files_below(path))
        files, sounds = media(path)
        return digest_of_files(files or sounds)


#: What reads a file, by its ending.
READERS: dict[str, Callable[[Path, Known], Raw]] = {
    ".npz": lambda path, _: _npz(path),
    ".npy": lambda path, _: Raw({"train": {"x": npy(path)}}, fixed=False),
    ".csv": table,
    ".txt": lambda path, known: _text(path, known.vocabulary),
    ".wav": lambda path, _: _stream([wav(path)]),
    **dict.fromkeys(arrow.SUFFIXES, _columns),
}

__all__ = ["READERS", "Known", "Unreadable", "digest_of", "read"]
