"""Real sets as the runner's own file form: splits cut, crops taken. Nothing is downloaded."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from mpcompile.ir import Array

SIDE = 128
HELD_OUT, VALIDATION = 6, 2  # slices of the stack, from its end


class Missing(Exception):
    """A file that a row needs is not there; the message is for a person."""


def mnist(path: Path, kept: int = 5000) -> dict[str, Array]:
    """MNIST with the last training images as a validation part: `image` `[n, 1, 28, 28]`, `label` `[n]`."""
    with np.load(path, allow_pickle=False) as file:
        x, y = file["x_train"], file["y_train"]
        parts = {
            "train": (x[:-kept], y[:-kept]),
            "valid": (x[-kept:], y[-kept:]),
            "test": (file["x_test"], file["y_test"]),
        }
    out = {f"image_{name}": image[:, None] for name, (image, _) in parts.items()}
    return out | {f"label_{name}": label for name, (_, label) in parts.items()}


def mnist_pixels(path: Path, flat: bool) -> dict[str, Array]:
    """MNIST without its labels, 2000 images for validation: `x` `[n, 784]` if `flat`, else `[n, 1, 28, 28]`."""
    parts = {n: a for n, a in mnist(path, 2000).items() if n.startswith("image_")}
    return {n.replace("image", "x"): a.reshape(len(a), -1) if flat else a for n, a in parts.items()}


def stack(path: Path) -> tuple[Array, Array]:
    """Slices `[n, 1, height, width]` of mean 0 and deviation 1, and where cells are (1) and membranes (0)."""
    with np.load(path, allow_pickle=False) as file:
        grey = file["image"].astype(np.float32)
        cells = np.unpackbits(file["label"], axis=2, count=grey.shape[2])
    spread = grey.std(axis=(1, 2), keepdims=True)
    image = (grey - grey.mean(axis=(1, 2), keepdims=True)) / spread
    return image[:, None], cells[:, None]


def crops(path: Path, seed: int, count: int = 2400) -> dict[str, Array]:
    """Random crops of the training slices, turned and mirrored; validation crops on a grid."""
    image, mask = stack(path)
    r = np.random.default_rng(seed)
    known = len(image) - HELD_OUT - VALIDATION
    pairs = []
    for _ in range(count):
        top, left = r.integers(0, image.shape[2] - SIDE + 1), r.integers(0, image.shape[3] - SIDE + 1)
        at = (r.integers(known), slice(None), slice(top, top + SIDE), slice(left, left + SIDE))
        turns, mirrored = r.integers(4), r.integers(2)
        pair = [np.rot90(a[at], turns, (1, 2)) for a in (image, mask)]
        pairs.append([a[:, :, ::-1] if mirrored else a for a in pair])
    out = {"image_train": np.stack([p[0] for p in pairs]), "mask_train": np.stack([p[1] for p in pairs])}
    for name, a in (("image", image), ("mask", mask)):
        part = a[known : known + VALIDATION, 0]
        tiles = part.reshape(len(part), a.shape[2] // SIDE, SIDE, a.shape[3] // SIDE, SIDE).swapaxes(2, 3)
        out[f"{name}_valid"] = tiles.reshape(-1, 1, SIDE, SIDE)
    return out


def held_out_slices(path: Path) -> tuple[Array, Array]:
    """The last slices of the stack and their masks, whole."""
    image, mask = stack(path)
    return image[-HELD_OUT:], mask[-HELD_OUT:]


def setosa() -> dict[str, Array]:
    """Irises of scikit-learn, standardised: `x` `[n, 4]`, and `y`: 1 for setosa, which a plane separates."""
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return _thirds((x - x.mean(0)) / x.std(0), (y == 0).astype(np.uint8))


def diabetes() -> dict[str, Array]:
    """Diabetes of scikit-learn, standardised: `x` `[n, 10]`, `y` `[n, 1]`."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return _thirds((x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std())


def digits() -> dict[str, Array]:
    """Digits of scikit-learn: `x` `[n, 64]` in [0, 1]."""
    from sklearn.datasets import load_digits

    return _thirds(load_digits(return_X_y=True)[0] / 16)


def _thirds(x: Array, y: Array | None = None) -> dict[str, Array]:
    """Two thirds to train on, one to test; no validation part, so that a run keeps its last weights."""
    order = np.random.default_rng(0).permutation(len(x))
    parts = {"train": order[len(x) // 3 :], "test": order[: len(x) // 3]}
    columns = {"x": x} if y is None else {"x": x, "y": y[:, None]}
    return {f"{name}_{part}": v[rows] for part, rows in parts.items() for name, v in columns.items()}


def backwards(path: Path, size: int = 6) -> dict[str, Array]:
    """First names of so many letters, as integers a = 0: `source` `[n, size]`, and `reply`, the same from the end."""
    words = sorted({w.strip().lower() for w in path.read_text(encoding="utf-8").split()})
    source = np.array([[ord(c) - ord("a") for c in w] for w in words if len(w) == size and w.isascii()])
    return {"source": source, "reply": source[:, ::-1].copy()}


#: Pen strokes by script, the condition of a drawing: 0 and 1.
SCRIPTS = ("strokes/kanji_rdp200.npz", "strokes/omniglot_strokes.npz")
MOST_DRAWINGS, MOST_MOVES, BLUR = 6000, 48, 0.02


def strokes(*paths: Path) -> dict[str, Array]:
    """Drawings of at most `MOST_MOVES` pen moves, as many of either script, one after the other.

    `move` `[T, 2]` in deviations of its script's moves, with uniform noise of a width of `BLUR` (repeated values would
    make a density infinite); `pen` `[T, 1]`, 1 where the pen leaves the paper; `length` and `script` `[n]`. The first
    row of a drawing, which says where it begins on the page, is left out.
    """
    r = np.random.default_rng(0)
    out: dict[str, list[Array]] = {}
    for script, path in enumerate(paths):
        with np.load(path, allow_pickle=False) as file:
            spread = file["train"][:, :2].astype(np.float64).std(0)
            for part in ("train", "valid", "test"):
                rows = np.split(file[part].astype(np.float64), np.cumsum(file[f"{part}_len"])[:-1])
                drawings = [d[1:] for d in rows if 1 < len(d) <= MOST_MOVES + 1]
                most = MOST_DRAWINGS if part == "train" else 400
                drawings = drawings[:most]
                moves = np.concatenate(drawings)
                blurred = moves[:, :2] / spread + BLUR * (r.random((len(moves), 2)) - 0.5)
                made = {
                    "move": blurred.astype(np.float32), "pen": moves[:, 2:].astype(np.uint8),
                    "length": np.array([len(d) for d in drawings]), "script": np.full(len(drawings), script),
                }  # fmt: skip
                for name, value in made.items():
                    out.setdefault(f"{name}_{part}", []).append(value)
    return {name: np.concatenate(parts) for name, parts in out.items()}


def turned(path: Path, steps: int = 16, keys: int = 88) -> dict[str, Array]:
    """Windows of chorales, half of them from their end to their beginning.

    `x` `[n, steps, keys]`, `length` `[n]`, and `turned` `[n, 1]`, which says whether time runs backwards.
    Of the training part each window is there both ways, of the others one way, drawn evenly.
    """
    r = np.random.default_rng(0)
    out: dict[str, Array] = {}
    with np.load(path, allow_pickle=False) as file:
        for part in ("train", "valid", "test"):
            rolls = np.unpackbits(file[part], axis=1, count=keys)
            pieces = np.split(rolls, np.cumsum(file[f"{part}_len"])[:-1])
            x = np.concatenate([p[: len(p) // steps * steps].reshape(-1, steps, keys) for p in pieces])
            back = np.arange(2 * len(x)) % 2 if part == "train" else r.integers(0, 2, len(x))
            x = np.repeat(x, 2, axis=0) if part == "train" else x
            x = np.where(back[:, None, None] == 1, x[:, ::-1], x)
            out |= {f"x_{part}": x, f"length_{part}": np.full(len(x), steps), f"turned_{part}": back[:, None]}
    return out


def moves(x: Array, widest: int = 12) -> Array:
    """How often the lowest key of a step moves by each interval, of rolls `[n, steps, keys]`: `[n, 2 * widest + 1]`."""
    moved = np.diff(x.argmax(2), axis=1).clip(-widest, widest) + widest
    return np.stack([np.bincount(row, minlength=2 * widest + 1) for row in moved])


def names(path: Path, longest: int = 12) -> list[Array]:
    """First names of 2 to `longest` letters, each once, as integers a = 0, in a random order."""
    words = sorted({w.strip().lower() for w in path.read_text(encoding="utf-8").split()})
    fit = [w for w in words if 2 <= len(w) <= longest and w.isascii() and w.isalpha()]
    order = np.random.default_rng(0).permutation(len(fit))
    return [np.array([ord(c) - ord("a") for c in fit[i]]) for i in order]


def cifar(path: Path) -> dict[str, Array]:
    """The first pictures of CIFAR-10: `image` `[n, 3, 32, 32]`, `label` `[n]`.

    3200 to train on, 300 to choose by, 500 to test.
    """
    with np.load(path, allow_pickle=False) as file:
        image, label = file["x"], file["y"]
    if image.shape[-1] == 3:
        image = np.moveaxis(image, -1, 1)
    cuts = {"train": slice(0, 3200), "valid": slice(3200, 3500), "test": slice(3500, None)}
    out = {f"image_{part}": image[rows] for part, rows in cuts.items()}
    return out | {f"label_{part}": label[rows] for part, rows in cuts.items()}


def numbers(seed: int, count: int = 6000) -> dict[str, Array]:
    """Numbers of four digits: `picture` `[n, 1, 16, 16]` of scikit-learn's digits, two above two; `caption` `[n, 4]`.

    Digits of the 1000 test pictures and of the 500 validation pictures are in no other part.
    """
    from sklearn.datasets import load_digits

    pixels, label = load_digits(return_X_y=True)
    r = np.random.default_rng((seed, 4))
    order, out = r.permutation(len(label)), {}
    for part, rows, n in (
        ("train", order[:1200], count),
        ("valid", order[1200:1400], 500),
        ("test", order[1400:], 1000),
    ):
        chosen = r.choice(rows, (n, 4))
        tiles = (pixels[chosen] / 16).reshape(n, 2, 2, 8, 8).swapaxes(2, 3).reshape(n, 1, 16, 16)
        out[f"picture_{part}"], out[f"caption_{part}"] = tiles.astype(np.float32), label[chosen]
        out[f"length_{part}"] = np.full(n, 4)
    return out


WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = "".join(sorted(set("".join(WORDS))))
#: Of the spectrogram: mel bands, frames kept (1 s), samples at 8 kHz from one frame to the next, and in one.
BANDS, FRAMES, HOP, WINDOW = 24, 64, 128, 256


def spellings() -> tuple[Array, Array]:
    """The ten words as places in `LETTERS`, filled up with 0: `[10, 5]`, and their lengths `[10]`."""
    lengths = np.array([len(w) for w in WORDS])
    text = np.zeros((len(WORDS), lengths.max()), np.int64)
    for row, word in enumerate(WORDS):
        text[row, : len(word)] = [LETTERS.index(c) for c in word]
    return text, lengths


def spelled(path: Path) -> dict[str, Array]:
    """Spoken digits: log mel spectra `sound` `[n, FRAMES, BANDS]`, letters `text` `[n, 5]`, and both lengths.

    Recordings 0 to 4 of each speaker and digit are the test part, number 5 is for validation.
    """
    with np.load(path, allow_pickle=False) as file:
        wave, ends, digit, index = (file[k] for k in ("wave", "off", "digit", "index"))
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(mel(100), mel(4000), BANDS + 2) / 2595) - 1)
    at = np.fft.rfftfreq(WINDOW, 1 / 8000)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bank = np.minimum((at - low) / (middle - low), (high - at) / (high - middle)).clip(0)
    sound, size = np.zeros((len(digit), FRAMES, BANDS), np.float32), np.zeros(len(digit), np.int64)
    for row, (start, end) in enumerate(pairwise(ends)):
        one = np.pad(wave[start:end] / 2**15, (0, WINDOW))
        frames = np.lib.stride_tricks.sliding_window_view(one, WINDOW)[::HOP][:FRAMES]
        power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2 @ bank
        size[row] = len(frames)
        sound[row, : len(frames)] = (np.log(power + 1e-6) + 6) / 4
    text, lengths = spellings()
    out: dict[str, Array] = {}
    for part, of in (("train", index > 5), ("valid", index == 5), ("test", index < 5)):
        columns = {
            "sound": sound[of],
            "sound_length": size[of],
            "text": text[digit[of]],
            "length": lengths[digit[of]],
        }
        out |= {f"{name}_{part}": column for name, column in columns.items()}
    return out
