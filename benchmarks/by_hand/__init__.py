"""Models as a practitioner writes them, for `hand_written.py`.

A model takes the weights of the spec through a linear map of arrays (renaming, transposing, slicing, padding), so that
the same map takes gradients of the spec to those of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]
State = dict[str, np.ndarray]

#: Family: spec with its parameters, as `step_time.py` reads them.
SPECS = {
    "mlp": "mlp.mp",
    "cnn": "cnn.mp",
    "made": "made.yaml",
    "realnvp": "realnvp.yaml",
    "maf": "maf.mp",
    "vae": "vae.yaml",
    "vrnn": "vrnn.mp",
    "gated_pixelcnn": "gated_pixelcnn.mp",
    "wavenet": "wavenet.mp",
    "char_lstm": "char_lstm.mp",
    "gru": "gru.mp",
    "jsb_rnn_made": "../benchmarks/jsb_rnn_made.mp:length=300",
    "transformer2": "transformer.mp",
    "transformer12": "transformer.mp:layers=12",
}


def renamed(weights: Weights, *rules: tuple[str, str]) -> State:
    """Return the weights with the first rule (regular expression, replacement) that matches applied to each name."""
    found = {}
    for name, array in weights.items():
        for old, new in rules:
            text, count = re.subn("^" + old, new, name)
            if count:
                found[text] = array
                break
        else:
            raise KeyError(f"no rule renames {name}")
    return found
