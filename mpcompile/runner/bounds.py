"""Bounds on the log-likelihood of models with latents, tighter than the ELBO: many draws of the posterior an example."""

from __future__ import annotations

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array
from mpcompile.runner.reading import Reading

#: Numbers of data in one call, of all examples and draws together.
NUMBERS = 1 << 22


def importance_weighted(reading: Reading, samples: int) -> Array:
    """Estimate log 1/K sum_k p(x, z_k) / q(z_k | x) of every example with K = `samples` (Burda et al. 2016, eq. 8).

    In expectation it is at least the ELBO, grows with K and tends to log p(x). Raises MP543 for a model without a
    program `log_weight`.

    z_k are draws of q.
    """
    if "log_weight" not in reading.module.programs:
        raise error(
            "MP543", f"model '{reading.module.name}' has no posterior to draw from", Span.none(),
            help="--samples is for a model with `latent z ~ ...`",
        )  # fmt: skip
    found: list[Array] = []
    for number, data in reading:
        count = len(next(iter(data.values())))
        most = max(1, NUMBERS // sum(v.size for v in data.values()))
        total, drawn = np.full(count, -np.inf), 0
        while drawn < samples:
            k = min(samples - drawn, most)
            wide = {name: np.repeat(value, k, axis=0) for name, value in data.items()}
            out = reading.run("log_weight", wide, "importance", number, drawn)["log_weight"]
            logs = np.asarray(out, np.float64).reshape(count, k)
            total = np.logaddexp(total, np.logaddexp.reduce(logs, axis=1))
            drawn += k
        found.append(total - np.log(samples))
    return np.concatenate(found)
