"""Which digit is heard in the samples of a WaveNet: a classifier of real recordings is asked.

    python benchmarks/recognised.py runs/autoregressive/words_digits --data /path/to/data -n 200

The run is one of row `words/digits` of `autoregressive.py`. `--data` holds `fsdd/fsdd_int16.npz`. The classifier (a
support vector machine on 24 mel bands of 31 frames in decibels) is fitted to the recordings that the run was trained on,
and asked of the test recordings and of samples whose digit is given. Chance is 0.1.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from autoregressive import spoken_words
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mpcompile.api import load
from mpcompile.backend import find_backend
from mpcompile.distributions.sampling import Sampling
from mpcompile.ir import Array
from mpcompile.runner.data.sound import expanded
from mpcompile.runner.run import open_run
from mpcompile.runner.sampling import sample

RATE, FRAME, HOP, BANDS = 8000, 256, 128, 24


def features(codes: Array) -> Array:
    """Mel bands in decibels below the loudest, down to -60: [n, frames x bands] of mu-law codes [n, samples]."""
    frames = np.lib.stride_tricks.sliding_window_view(expanded(codes, 256), FRAME, axis=1)[:, ::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=2)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)
    low, middle, high = (edges[i : i + BANDS, None] for i in range(3))
    weights = np.maximum(np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)), 0)
    loudness = 10 * np.log10(power @ weights.T + 1e-9)
    return np.maximum(loudness - loudness.max((1, 2), keepdims=True), -60).reshape(len(codes), -1)


def share(right: Array) -> str:
    mean = right.mean()
    return f"{mean:.3f} +- {np.sqrt(mean * (1 - mean) / len(right)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-n", type=int, default=200, help="samples")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--backend", default="jax")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = spoken_words(options.data / "fsdd" / "fsdd_int16.npz", Path(folder))
        with np.load(made, allow_pickle=False) as file:
            parts = dict(file)
    classifier = make_pipeline(StandardScaler(), SVC(C=10))
    classifier.fit(features(parts["x_train"]), parts["digit_train"])
    heard = classifier.predict(features(parts["x_test"])) == parts["digit_test"]
    print(f"recordings  {share(heard)} of {len(heard)} test recordings are heard as their digit")
    run = open_run(options.run)
    drawn = sample(
        run,
        load(run.spec, run.overrides, sampling=Sampling(options.temperature)),
        options.n,
        length=int(run.facts["settings"]["length"]),
        backend=find_backend(options.backend),
        device="cpu",
    )
    said = classifier.predict(features(drawn.values["x"])) == drawn.given["digit"]
    print(f"samples     {share(said)} of {len(said)} samples at temperature {options.temperature:g}")


if __name__ == "__main__":
    main()
