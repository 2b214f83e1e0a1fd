"""Sums and expectations over all joint states of some latents, from what is known at each state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from mpcompile import ops
from mpcompile.ir import Builder, Value
from mpcompile.ops import build as F


@dataclass(frozen=True)
class Counted:
    """The values of a model at all joint states of some latents: [N, states, ...] each, the last latent fastest.

    sizes    the classes of each latent
    summed   which of them are summed out; the others are enumerated under a posterior
    missing  whether some of them are variables with missing values: `shares` says which states the data allow
    logs     log-likelihood, `kls` divergences of latents drawn at each state, `priors` log p of the state, `log_qs` its
             log-probability under the posteriors, `shares` 1 or 0
    """

    b: Builder
    sizes: tuple[int, ...]
    summed: tuple[int, ...]
    missing: bool
    logs: Value
    kls: Value
    priors: Value
    log_qs: Value
    shares: Value

    def objective(self) -> tuple[Value, Value | None]:
        """Build log-likelihood and divergence, [N, ...] each; no divergence where all latents are summed out."""
        b = self.b
        joint = F.sub(b, F.add(b, self.logs, self.priors), self.kls)
        if len(self.summed) == len(self.sizes):
            if self.missing:  # classes that the data exclude have no part in the sum
                joint = F.where(b, F.less(b, 0.5, self.shares), joint, float("-inf"))
            return b.emit(ops.LogSumExp((1,), False), joint), None
        logs, log_qs, shares = self.logs, self.log_qs, self.shares
        if self.summed:
            logs = self._apart(joint, lambda x: b.emit(ops.LogSumExp((2,), False), x))
            log_qs, shares = self._alike(log_qs), self._alike(shares)
            gap = log_qs
        else:
            gap = F.sub(b, F.add(b, log_qs, self.kls), self.priors)
        weights = b.emit(ops.Exp(), log_qs)
        weights = F.mul(b, shares, weights) if self.missing else weights
        expected = [F.sum_axes(b, F.mul(b, weights, x), [1]) for x in (logs, gap)]
        return expected[0], expected[1]

    def _alike(self, x: Value) -> Value:
        """Return a value that is the same at all states that are summed out, without them: [N, enumerated, ...]."""
        return self._apart(
            x, lambda x: F.reshape(self.b, F.slice_axis(self.b, x, 2, 0, 1), (*x.shape[:2], *x.shape[3:]))
        )

    def _apart(self, x: Value, reduce: Callable[[Value], Value]) -> Value:
        """States as [N, enumerated, summed, ...], and a function of that which drops the third axis."""
        b, n, rest = self.b, len(self.sizes), x.shape[2:]
        kept = [i for i in range(n) if i not in self.summed]
        wide = F.reshape(b, x, (x.shape[0], *self.sizes, *rest))
        order = [*kept, *self.summed, *range(n, n + len(rest))]
        wide = F.transpose(b, wide, 0, *(i + 1 for i in order))
        rows = prod(self.sizes[i] for i in kept)
        return reduce(F.reshape(b, wide, (x.shape[0], rows, prod(self.sizes) // rows, *rest)))
