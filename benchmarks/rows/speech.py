"""Words in recordings, without alignments of letters and frames."""

from __future__ import annotations

import numpy as np
import real_data
from training import SPECS, Bench, Figure

from mpcompile.ir import Array
from mpcompile.runner.evaluate import moments


def ctc(bench: Bench) -> list[Figure]:
    """specs/ctc.mp on recordings of ten digits, spelled: letters of the best path, and the likeliest of the ten words."""
    data = bench.prepared("spoken", real_data.spelled, bench.file("fsdd/fsdd_int16.npz"))
    sizes = {"letters": str(len(real_data.LETTERS)), "width": str(real_data.BANDS), "hidden": "48"}
    fitted = bench.fit(
        "ctc", SPECS / "ctc.mp", data, sizes, batch=32, steps=20_000, length=real_data.FRAMES,
        optimizer={"kind": "adam", "rate": 3e-3}, schedule="cosine",
    )  # fmt: skip
    held, session = fitted.whole(), fitted.session()
    sound = {name: held[name] for name in ("sound", "sound_length")}
    words, lengths = real_data.spellings()
    count = len(held["text"])
    score = [
        session.run(
            "log_prob",
            {**sound, "text": np.tile(word, (count, 1)), "length": np.full(count, n, np.float32)},
        )["log_prob"]
        for word, n in zip(words, lengths, strict=True)
    ]
    digit = (held["text"][:, None] == words).all(2).argmax(1)
    right = np.argmax(score, 0) == digit
    read = [path[path.sum(1) > 0].argmax(1) for path in session.run("predict", sound)["text"]]
    wrong = np.array(
        [distance(list(r), list(words[d, : lengths[d]])) for r, d in zip(read, digit, strict=True)]
    )
    size = lengths[digit]
    rate = wrong.sum() / size.sum()
    spread = np.std(wrong - rate * size, ddof=1) / (np.sqrt(len(size)) * size.mean())
    line = linear(fitted.whole("train"), held, words)
    likeliest = 1 - np.bincount(digit).max() / len(digit)
    note = f"logistic regression of mean and deviation of the spectrum {line:.3f}; chance {likeliest:.1f}"
    return [
        Figure("letter error rate, best path", float(rate), float(spread), "1: nothing read"),
        Figure.of(
            "word error rate, likeliest of ten",
            moments(1.0 - right),
            note,
        ),
    ]


def linear(seen: dict[str, Array], held: dict[str, Array], words: Array) -> float:
    """Error rate of logistic regression of the mean and deviation over frames, and the number of frames."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(part: dict[str, Array]) -> tuple[Array, Array]:
        frames = [s[: int(n)] for s, n in zip(part["sound"], part["sound_length"], strict=True)]
        x = np.array([np.concatenate([f.mean(0), f.std(0), [len(f)]]) for f in frames])
        return x, (part["text"][:, None] == words).all(2).argmax(1)

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*features(seen))
    return 1 - float(model.score(*features(held)))


def distance(a: list[int], b: list[int]) -> int:
    """The fewest insertions, deletions and substitutions between two texts (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
