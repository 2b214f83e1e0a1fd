"""Sequence sets: text, a task of long memory, piano rolls and tones, all generated."""

from __future__ import annotations

import numpy as np

from mpcompile.ir import Array
from mpcompile.runner.data.dataset import Raw
from mpcompile.runner.data.letters import encode
from mpcompile.runner.noise import generator

SIZES = {"train": 4000, "valid": 500, "test": 500}


def text(words: str | None = None, vocabulary: list[str] | None = None) -> Raw:
    """Encode characters as integers, one stream, the last tenths held out.

    `words` is a user's text, `vocabulary` that of a run trained before (sorted), or `letters.BYTES`. Raises
    `ValueError` for a character that the vocabulary lacks.
    """
    from mpcompile.runner.data.corpus import corpus

    words = corpus() if words is None else words
    if vocabulary is None:
        vocabulary = sorted(set(words))
    codes = encode(words, vocabulary)
    cut = [0, int(0.9 * len(codes)), int(0.95 * len(codes)), len(codes)]
    splits = {s: {"x": codes[a:b]} for s, a, b in zip(SIZES, cut, cut[1:], strict=False)}
    return Raw(splits, {"x": len(vocabulary)}, streams=frozenset({"x"}), vocabulary=vocabulary)


def adding(length: int) -> Raw:
    """Generate a task for long memory: x `[n, length, 2]` is a number and a marker, y the sum of marked numbers."""
    splits = {}
    for split, n in SIZES.items():
        r = generator("data", "adding", split, length)
        values, marks = r.random((n, length)), np.zeros((n, length))
        half = max(1, length // 2)
        first, second = r.integers(0, half, n), r.integers(half, max(length, half + 1), n) % length
        marks[np.arange(n), first] = 1
        marks[np.arange(n), second] = 1
        total = values[np.arange(n), first] + values[np.arange(n), second]
        x = np.stack([values, marks], 2).astype(np.float32)
        splits[split] = {"x": x, "y": total[:, None].astype(np.float32)}
    return Raw(splits)


def tones(length: int) -> Raw:
    """Generate sounds in (-1, 1): two partials under a slow envelope. x `[n, length]`, y one of four timbres."""
    splits: dict[str, dict[str, Array]] = {}
    t = np.arange(length)
    for split, n in SIZES.items():
        r = generator("data", "tones", split, length)
        y = r.integers(0, 4, n)
        pitch = 2 * np.pi * r.uniform(0.01, 0.06, n)[:, None]
        phase = r.uniform(0, 2 * np.pi, (n, 2))
        base = np.sin(pitch * t + phase[:, :1])
        over = np.sin((y + 2)[:, None] * pitch * t + phase[:, 1:])
        swell = 0.6 + 0.3 * np.sin(2 * np.pi * t / max(length, 64) + phase[:, :1])
        x = swell * (0.6 * base + 0.4 * over) + 0.01 * r.standard_normal((n, length))
        splits[split] = {"x": np.clip(x, -0.999, 0.999).astype(np.float32), "y": y}
    return Raw(splits, {"y": 4}, sounds=frozenset({"x"}))


def rolls(length: int, width: int = 88) -> Raw:
    """Generate piano rolls: x `[n, length, width]` of 0/1, chords of one key; y is major (0) or minor (1)."""
    splits: dict[str, dict[str, Array]] = {}
    for split, n in {k: v // 8 for k, v in SIZES.items()}.items():
        r = generator("data", "rolls", split, length, width)
        x, y = np.zeros((n, length, width), np.uint8), r.integers(0, 2, n)
        for i in range(n):
            steps = np.array([0, 2, 4, 5, 7, 9, 11] if y[i] == 0 else [0, 2, 3, 5, 7, 8, 10])
            root, degree = int(r.integers(0, 12)), 0
            for start in range(0, length, 4):
                degree = (degree + int(r.choice([0, 1, 3, 4, 5]))) % 7
                for voice, third in enumerate((0, 2, 4, 7)):
                    k = degree + third
                    key = root + 12 * (k // 7) + int(steps[k % 7]) + width // 3
                    hold = 4 if voice else int(r.integers(1, 5))
                    x[i, start : start + hold, key % width] = 1
        splits[split] = {"x": x, "y": y}
    return Raw(splits, {"x": 2, "y": 2})


def melodies(length: int, width: int = 24) -> Raw:
    """Generate pieces of half to full `length`, one after the other; y is major (0) or minor (1).

    x is 0/1 as in `rolls`.
    """
    whole = rolls(length, width)
    splits: dict[str, dict[str, Array]] = {}
    for split, columns in whole.splits.items():
        n = len(columns["y"])
        lengths = generator("data", "melodies", split, length).integers(max(1, length // 2), length + 1, n)
        pieces = [x[:size] for x, size in zip(columns["x"], lengths, strict=True)]
        splits[split] = {"x": np.concatenate(pieces), "length": lengths, "y": columns["y"]}
    return Raw(splits, whole.levels, pieces=frozenset({"x"}))


def reversal(source: int, reply: int, tokens: int) -> Raw:
    """Generate tokens to read, and the same ones from the end: source `[n, source]`, reply `[n, reply]`."""
    splits = {}
    for split, n in SIZES.items():
        given = generator("data", "reversal", split, source, tokens).integers(0, tokens, (n, source))
        splits[split] = {"source": given, "reply": np.resize(given[:, ::-1].T, (reply, n)).T.copy()}
    return Raw(splits, {"source": tokens, "reply": tokens})


def spoken(frames: int, width: int, letters: int, times: int = 1) -> Raw:
    """Generate words in noise: each letter is a code of its own, held for 1 to 3 steps, with 0 or 1 silent ones behind.

    sound `[n, frames, width]` and sound_length, text `[n, frames // times // 4]` and length. A step is `times` frames;
    `sound_length` counts steps. Silence separates equal neighbours, so that each text has an alignment with the steps.
    """
    splits = {}
    code = generator("data", "spoken", letters, width).standard_normal((letters, width))
    steps = max(1, frames // times)
    longest = max(1, steps // 4)
    for split, n in SIZES.items():
        r = generator("data", "spoken", split, frames, letters)
        length = r.integers(1, longest + 1, n)
        text = np.where(np.arange(longest) < length[:, None], r.integers(0, letters, (n, longest)), 0)
        held = np.minimum(r.integers(1, 4, text.shape), max(1, steps // longest - 1))
        silent = np.where(text == np.roll(text, -1, 1), 1, r.integers(0, 2, text.shape))
        ends = np.where(np.arange(longest) < length[:, None], held + silent, 0).cumsum(1)
        sound = 0.3 * r.standard_normal((n, frames, width))
        for i, j in np.argwhere(np.arange(longest) < length[:, None]):
            end = ends[i, j] - silent[i, j]
            sound[i, times * (end - held[i, j]) : times * end] += code[text[i, j]]
        splits[split] = {
            "sound": sound.astype(np.float32),
            "sound_length": np.maximum(1, np.minimum(ends[:, -1], steps)),
            "text": text,
            "length": length,
        }
    return Raw(splits, {"text": letters})
