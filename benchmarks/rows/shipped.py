"""Specs as they are shipped, on the data that they name: their NLL beside that of a closed-form law of the same data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from training import SPECS, Bench, Figure, Fitted

from mpcompile.api import load
from mpcompile.runner.baselines import bernoulli, categories
from mpcompile.runner.evaluate import evaluate, moments

BOUNDS = {"bound": "negative bound", "dequantized_bound": "negative bound (dequantised)"}


@dataclass(frozen=True, slots=True)
class Shipped:
    """`each` says whether figures are of one element, as a character, and not of a whole example."""

    name: str
    each: bool = False

    def __call__(self, bench: Bench) -> list[Figure]:
        """Train the spec within the row's time, with its own settings."""
        (path,) = SPECS.rglob(f"{self.name}.*")
        data = load(path).train.data
        if data is None:
            raise ValueError(f"{path.name} names no data")
        fitted = bench.fit(self.name, path, data)
        found = evaluate(fitted.run, fitted.module)
        unit = "nats_per_dim" if self.each else "nats"
        what = f"{BOUNDS.get(found['quantity'], 'NLL')}, nats{' an element' if self.each else ''}"
        own = found[unit]
        if found.get("baselines"):
            other = found["baselines"][0]
            label, theirs = other["name"], other[unit]
        else:
            label, theirs = alone(fitted)
        beside = f"{label}: {-theirs['mean']:.3f} +- {theirs['standard_error']:.2g}"
        return [Figure(what, -own["mean"], own["standard_error"], beside)]


def alone(fitted: Fitted) -> tuple[str, dict[str, float]]:
    """The log-likelihood of a model's variable `x` by elements apart, for models with conditions, as moments."""
    field = fitted.module.fields["x"]
    train, test = (fitted.whole(part)["x"] for part in ("train", "test"))
    train, test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    if field.base == "binary":
        return "pixels apart", moments(bernoulli(train, test))
    if field.classes:
        return "elements apart", moments(categories(train, test, field.classes))
    mean, cov = train.mean(0), np.cov(train.T)
    away = test - mean
    squares = (away @ np.linalg.inv(cov) * away).sum(1)
    log_det = np.linalg.slogdet(2 * np.pi * cov)[1]
    return "one Gaussian", moments(-0.5 * (squares + log_det))


#: Minutes of one core for each.
MINUTES: dict[str, float] = {
    "realnvp2d": 0.4, "maf": 0.4, "iaf": 0.4, "nsf": 0.5, "nsf_ar": 0.6, "mixture_flow": 0.4, "conditional_flow": 0.4,
    "fvsbn": 0.2, "nade": 0.5, "made_ensemble": 0.3, "pixelcnn": 0.5, "gated_pixelcnn": 0.5, "pixel_rnn": 0.6,
    "diagonal_bilstm": 0.6,
    "pixel_transformer": 0.6, "vae_flow_prior": 0.3, "vae_ar_decoder": 0.4, "vae_iaf": 0.4,
    "variational_dequantization": 0.6, "char_lstm": 0.6, "transformer": 0.6,
}  # fmt: skip
TEXTS = ("char_lstm", "transformer")
SHIPPED: dict[str, tuple[float, Callable[[Bench], list[Figure]]]] = {
    name: (minutes, Shipped(name, name in TEXTS)) for name, minutes in MINUTES.items()
}
