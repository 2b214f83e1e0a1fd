"""Running means of weights over training (`train: {ema: 0.999}`), which every later use of a run takes.

The slot `ema` starts at zero, as every slot does, and takes `ema * slot + (1 - ema) * weight` after each step. The shares
of the steps sum to `1 - ema ** steps`, by which the slot is divided (Kingma and Ba 2015, section 3, of weights in place
of gradients). After the first step it is the weight itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from mpcompile.backend import Session
from mpcompile.ir import Array
from mpcompile.ir.training import EMA

_WEIGHT, _MEAN, _STEP = "parameter/", f"optimizer/{EMA}/", "optimizer/step"


def averaged(state: Mapping[str, Array], ema: float | None) -> dict[str, Array]:
    """Return a state with means in place of the weights that have one; as it is without `ema`, or before any step."""
    steps = int(state[_STEP]) if ema is not None and _STEP in state else 0
    if ema is None or steps == 0:
        return dict(state)
    total = -np.expm1(steps * np.log(ema))
    means = {
        _WEIGHT + key.removeprefix(_MEAN): np.asarray(array / total, array.dtype)
        for key, array in state.items()
        if key.startswith(_MEAN)
    }
    return {**state, **means}


@contextmanager
def averages(session: Session, ema: float | None) -> Iterator[None]:
    """Load means in place of the weights of a session for a while. Its own state comes back bit by bit."""
    if ema is None:
        yield
        return
    state = session.state()
    session.load_state(averaged(state, ema))
    try:
        yield
    finally:
        session.load_state(state)


__all__ = ["averaged", "averages"]
