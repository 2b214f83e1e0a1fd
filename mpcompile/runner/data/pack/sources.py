"""Sources of a pack, read some rows at a time: .npz, .npy, .csv, texts, sounds, and folders of pictures or sounds."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.arrays import npy, npz_blocks, npz_names, split_name, unpacked
from mpcompile.runner.data.dataset import SPLITS, blocks
from mpcompile.runner.data.delimited import parts
from mpcompile.runner.data.folders import classes_of, media
from mpcompile.runner.data.letters import BYTES, encode
from mpcompile.runner.data.opening import Unreadable, opened, reading
from mpcompile.runner.data.pack.collect import Block, Coded
from mpcompile.runner.data.pack.store import Facts
from mpcompile.runner.data.pack.tokens import tokens
from mpcompile.runner.data.pictures import Fit, picture
from mpcompile.runner.data.sound import wav
from mpcompile.runner.noise import permutation

Blocks = Iterator[tuple[str, Block]]
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Wishes:
    """The choices of a pack: columns to take, in their order; the size of pictures; what a text is cut into.

    text     `characters`, `bytes`, or the path of a tokenizer.json
    column   of a table: the one that is the text
    partial  whether a column of a type that is not read matters only where a variable takes it
    """

    columns: Sequence[str] = ()
    fit: Fit | None = None
    text: str = "characters"
    column: str | None = None
    partial: bool = False


def of_npz(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield arrays by split and name, as `files.read` names them."""
    names = npz_names(path)
    shapes = {k for k in names if k.endswith("_shape") and k.removesuffix("_shape") in names}
    keys: dict[tuple[str, str], str] = {}
    for key in names:
        if key not in shapes:
            column, split = split_name(key)
            if keys.setdefault((split, column), key) != key:
                raise Unreadable(f"{path}: '{key}' names column '{column}' of split '{split}' twice")
    splits = {split for split, _ in keys}
    if "all" in splits and len(splits) > 1:
        raise Unreadable(f"{path}: some arrays name a split and others do not")
    if splits and not splits & {"all", "train"}:
        raise Unreadable(f"{path}: there is no training part (arrays named e.g. x, or x_train)")
    facts.fixed = "all" not in splits
    for split in ("all", *SPLITS):
        for (own, column), key in keys.items():
            if own != split or (wishes.columns and column not in wishes.columns):
                continue
            shape = next(npz_blocks(path, f"{key}_shape"), None) if f"{key}_shape" in shapes else None
            for block in npz_blocks(path, key):
                bits = shape is not None and block.dtype == np.uint8
                value = unpacked(path, key, block, shape) if bits and shape is not None else block
                yield "train" if split == "all" else split, Block(arrays={column: value})


def of_npy(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield the rows of one array, x."""
    for _, block in blocks(npy(path)):
        yield "train", Block(arrays={"x": block})


def of_csv(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield the rows of a table: every column by its header; the words of a column are classes."""
    for header, rows, words in parts(path):
        chosen = chosen_of(path, wishes, header)
        scalars: dict[str, Array | Coded] = {}
        for i, name in enumerate(header):
            if name in chosen:
                column = rows[:, i]
                known = words.get(i)
                codes = np.where(np.isnan(column), -1, column).astype(np.int64)
                scalars[name] = column if known is None else Coded(codes, list(known))
        yield "train", Block({name: scalars[name] for name in chosen})


def chosen_of(path: Path, wishes: Wishes, header: Sequence[str]) -> list[str]:
    """Return the columns to take. Raises `Unreadable` for one that is not there, and for two of one name."""
    if twice := [name for i, name in enumerate(header) if name in header[:i]]:
        raise Unreadable(f"{path}: two columns are headed '{twice[0]}'")
    if missing := [name for name in wishes.columns if name not in header]:
        raise Unreadable(
            f"{path}: it has no column '{missing[0]}'", f"its columns are {', '.join(header[:20])}"
        )
    return list(wishes.columns or header)


def of_text(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield a text as one stream of characters, bytes or tokens."""
    yield from of_letters(path, wishes, facts, lambda: _letters(path))


def of_letters(path: Path, wishes: Wishes, facts: Facts, text: Callable[[], Iterator[str]]) -> Blocks:
    """Encode a text that can be read twice: the first time for its characters."""
    facts.streams = ["x"]
    if wishes.text.endswith(".json"):
        yield from (
            ("train", Block(arrays={"x": codes})) for codes in tokens(Path(wishes.text), text(), facts)
        )
        return
    if wishes.text not in ("characters", "bytes"):
        raise Unreadable(
            f"a text is cut into characters, bytes or the tokens of a .json, not '{wishes.text}'"
        )
    facts.vocabulary = BYTES if wishes.text == "bytes" else sorted(set().union(*map(set, text())))
    facts.levels = {"x": len(facts.vocabulary)}
    for words in text():
        yield "train", Block(arrays={"x": encode(words, facts.vocabulary)})


def _letters(path: Path) -> Iterator[str]:
    """The characters of a file, in blocks of whole lines where lines are not longer than a block."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with opened(path, bounded=False) as file, reading(path):
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        rest = ""
        while data := file.read(_CHUNK):
            rest += decoder.decode(data)
            cut = rest.rfind("\n") + 1 or len(rest)
            yield rest[:cut]
            rest = rest[cut:]
        rest += decoder.decode(b"", final=True)
        if rest:
            yield rest


def of_wav(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield a sound as one stream."""
    yield from _sounds([path], ["train"], facts)


def of_folder(path: Path, wishes: Wishes, facts: Facts) -> Blocks:
    """Yield pictures with the classes of their folders; of sounds whole files are held out, as `files.read` does."""
    pictures, sounds = media(path)
    if sounds:
        order = permutation(len(sounds), "data", "split")
        tenth = max(1, len(sounds) // 10)
        held = [len(sounds) - 2 * tenth, tenth, tenth]
        facts.fixed = True
        splits = [s for s, count in zip(SPLITS, held, strict=True) for _ in range(count)]
        yield from _sounds([sounds[i] for i in order], splits, facts)
        return
    names, codes = classes_of(path, pictures)
    facts.images, facts.levels = ["x"], {"x": 256}
    if names:
        facts.classes["y"] = names
    for i, file in enumerate(pictures):
        arrays = {"x": picture(file, 1, wishes.fit)[None]}
        yield "train", Block(arrays=arrays | ({"y": codes[i : i + 1]} if names else {}))


def _sounds(files: Sequence[Path], splits: Sequence[str], facts: Facts) -> Blocks:
    facts.streams, facts.sounds = ["x"], ["x"]
    for split, file in zip(splits, files, strict=True):
        wave, rate = wav(file)
        if facts.rate and rate != facts.rate:
            raise Unreadable(
                f"{file}: sounds must share one rate; this has {rate} Hz, {files[0]} has {facts.rate} Hz"
            )
        facts.rate = rate
        yield split, Block(arrays={"x": wave})


__all__ = [
    "Blocks", "Wishes", "chosen_of", "of_csv", "of_folder", "of_letters", "of_npy", "of_npz", "of_text", "of_wav",
]  # fmt: skip
