"""Bounds on the log-likelihood of models with latents, tighter than the ELBO: many draws of the posterior an example."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpcompile.backend import Session
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Module
from mpcompile.runner.batches import as_precision, chunks, complete
from mpcompile.runner.data import Split

#: Numbers of data in one call, of all examples and draws together.
NUMBERS = 1 << 22


def importance_weighted(
    session: Session,
    module: Module,
    part: Split,
    batch: int,
    seed: int,
    precision: str,
    samples: int,
    seen: Callable[[int], None] = lambda count: None,
) -> Array:
    """log 1/K sum_k p(x, z_k) / q(z_k | x) of every example, K = `samples` draws of q (Burda et al. 2016, eq. 8).

    In expectation it is at least the ELBO, grows with K and tends to log p(x). `seen` is told how many rows each call
    took. Raises MP543 for a model without a program `log_weight`.
    """
    if "log_weight" not in module.programs:
        raise error(
            "MP543", f"model '{module.name}' has no posterior to draw from", Span.none(),
            help="--samples is for a model with `latent z ~ ...`",
        )  # fmt: skip
    found: list[Array] = []
    for number, data in chunks(part, batch):
        count = len(next(iter(data.values())))
        most = max(1, NUMBERS // sum(v.size for v in data.values()))
        total, drawn = np.full(count, -np.inf), 0
        while drawn < samples:
            k = min(samples - drawn, most)
            wide = {name: np.repeat(value, k, axis=0) for name, value in data.items()}
            inputs = complete(module, "log_weight", wide, (seed, "importance", number, drawn))
            out = session.run("log_weight", as_precision(inputs, precision))["log_weight"]
            logs = np.asarray(out, np.float64).reshape(count, k)
            total = np.logaddexp(total, np.logaddexp.reduce(logs, axis=1))
            drawn += k
            seen(k * count)
        found.append(total - np.log(samples))
    return np.concatenate(found)
