"""Rows of `networks.py`: which models are trained on which set, and the figure that each is known by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training import Bench, Figure

from rows import codes, labels, pictures, sequences


@dataclass(frozen=True, slots=True)
class Row:
    """`measure` trains what it needs in about `minutes` of one core and gives the figures."""

    minutes: float
    measure: Callable[[Bench], list[Figure]]


ROWS = {
    "perceptron": Row(0.2, labels.perceptron),
    "mlp": Row(0.1, labels.mlp),
    "ridge": Row(0.1, labels.ridge),
    "universal": Row(1, labels.universal),
    "digits": Row(1, labels.cnn_digits),
    "mnist": Row(4, labels.cnn_mnist),
    "elman": Row(1, labels.elman),
    "fcn": Row(3, pictures.fcn),
    "unet": Row(6, pictures.unet),
    "linear": Row(0.5, codes.linear),
    "autoencoder": Row(0.5, codes.autoencoder),
    "denoising": Row(1, codes.denoising),
    "vae": Row(8, codes.vae),
    "beta_vae": Row(2, codes.beta_vae),
    "adding": Row(1, sequences.adding),
    "jsb": Row(3, sequences.jsb_lstm),
    "jsb_rnn_made": Row(3, sequences.jsb_rnn_made),
    "vrnn": Row(4, sequences.jsb_vrnn),
    "strokes": Row(5, sequences.strokes),
    "seq2seq": Row(1.5, sequences.seq2seq),
    "text": Row(2, sequences.text),
}
