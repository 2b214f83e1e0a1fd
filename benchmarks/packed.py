"""What masks cost in a training step: dense without masks, `W * M`, and weights stored without what masks remove.

    python benchmarks/packed.py
    python benchmarks/packed.py --widths 784,1000,784 --batch 128 --backends torch,jax --blocks 2,4,8
    python benchmarks/packed.py --check specs/*.mp specs/*.yaml --small

The network is MADE of these widths (Germain et al. 2015) under adam. `dense` is the same network without masks, which
predicts its input; `masked` multiplies each weight with its mask in every step; `packed` is the session that
`mpcompile train` opens, with the number of row blocks that the costs choose, and `packed K` has K of them. Each backend
has one thread of one core; rounds alternate between the kinds, and a ratio is the median over rounds of the processor
time in the program (user) to that of `dense` in the same round. Differences are those of losses of `packed` and `masked`.

`--check` trains masked specs for 200 steps in double precision, in two blocks and with masks, under every optimiser
that keeps zeros, with and without weight decay, and prints the largest differences of state. `--small` takes the sizes
of the test suite.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
if hasattr(os, "sched_setaffinity"):  # frameworks size their pools by the cores that they see
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

# ruff: noqa: E402  (frameworks read the settings above when they are imported)
import numpy as np

from mpcompile.api import load
from mpcompile.backend import (
    DOUBLE,
    OptimizerSpec,
    Session,
    find_backend,
    installed,
    open_session,
    without_dead,
)
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.ir import Array, Module
from mpcompile.ir.optimizers import OPTIMIZERS
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.runner.initial import initial
from mpcompile.runner.pages import keep_pages

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from specs_under_test import small


def network(widths: list[int], masked: bool) -> Module:
    """MADE of these widths, or the network without its masks."""
    pixels, *hidden, _ = widths
    up, last = (", mask = degrees", ", mask = strict(degrees)") if masked else ("", "")
    body = " -> ".join([f"dense({h}{up}) -> relu" for h in hidden] + [f"dense({pixels}{last})"])
    if masked:
        text = f"model made\ninput x: binary[{pixels}]\nx ~ autoregressive {{ {body} }}\n"
    else:
        text = f"model dense\ninput x: real[{pixels}]\ntarget y: binary[{pixels}]\ny ~ bernoulli(logits = x -> {body})\n"
    return optimise(lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text), {})).module


def sessions(backend: str, widths: list[int], blocks: list[int]) -> dict[str, Session]:
    """Return a session of each kind, all with the same weights."""
    rule, made = OptimizerSpec("adam"), network(widths, True)
    weights = initial(made)
    found: dict[str, Session] = {}
    dense = network(widths, False)
    found["dense"] = find_backend(backend).session(dense, initial(dense), rule)
    found["masked"] = find_backend(backend).session(made, weights, rule)
    found["packed"] = open_session(backend, made, weights, rule)
    found |= {f"packed {k}": open_session(backend, made, weights, rule, blocks=k) for k in blocks}
    return found


def steps(session: Session, batches: list[dict[str, Array]]) -> tuple[float, float]:
    """Take a step on each batch; return seconds of processor time in the program, and the last loss."""
    before = getrusage(RUSAGE_SELF).ru_utime
    told: Mapping[str, float] = {}
    for batch in batches:
        told = session.step(batch, 1e-3, norm=False)
    loss = told["loss"]  # which waits for the step
    return getrusage(RUSAGE_SELF).ru_utime - before, loss


def check(path: str, backends: list[str], sizes: Mapping[str, str]) -> None:
    """Print how far packed training of a spec is from training with masks. Raises `SystemExit` beyond 1e-9."""
    module = optimise(load(path, sizes)).module
    supports = {n: p.support for n, p in module.parameters.items() if p.support is not None}
    if not supports:
        return
    weights = without_dead(example_weights(module), supports)
    batches = [example_inputs(module, "loss", 4, seed=k) for k in range(200)]
    keeping = [k for k, rule in OPTIMIZERS.items() if rule.keeps_zeros]
    for backend, kind, decay in product(backends, keeping, (0.0, 0.1)):
        rule = OptimizerSpec(kind, weight_decay=decay, clip=1.0)
        want = trained(find_backend(backend).session(module, weights, rule, options=DOUBLE), batches)
        found = trained(open_session(backend, module, weights, rule, options=DOUBLE, blocks=2), batches)
        apart = distance(want, found)
        print(f"{path} {backend} {kind} decay {decay}: {apart:.0e} apart", flush=True)
        dead = [found[k][~s.stored] for n, s in supports.items() for k in found if k.endswith(f"/{n}")]
        if any(a.any() for a in dead):
            raise SystemExit("a weight that masks remove was trained")
        # Some trainings multiply every rounding: then both must part by as much as from a nudge.
        if apart > 1e-9:
            least = max(distance(want, trained(s, batches)) for s in (
                find_backend(backend).session(module, nudged(weights, seed), rule, options=DOUBLE)
                for seed in range(2)
            ))  # fmt: skip
            print(f"    from weights that are some roundings away: {least:.0e} apart", flush=True)
            if apart > 100 * least:
                raise SystemExit("packed training is not training with masks")


def trained(session: Session, batches: list[dict[str, Array]]) -> Mapping[str, Array]:
    """Return the state of a session behind these steps."""
    for batch in batches:
        session.step(batch, 1e-3)
    return session.state()


def distance(want: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """Return the largest difference of two states."""
    return max(float(np.abs(found[k] - a).max(initial=0)) for k, a in want.items())


def nudged(weights: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Return weights that differ by up to four roundings, either way."""
    rng = np.random.default_rng(seed)
    return {
        k: v * (1 + rng.uniform(-1, 1, v.shape) * 1e-15) if v.dtype.kind == "f" else v
        for k, v in weights.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", default="784,2000,2000,784")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--backends", default=",".join(installed()))
    parser.add_argument("--blocks", default="")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=6, help="steps of a round")
    parser.add_argument("--check", nargs="+", default=[], metavar="SPEC")
    parser.add_argument("--small", action="store_true", help="the sizes at which the suite tests a spec")
    given = parser.parse_args()
    for path in given.check:
        check(path, given.backends.split(","), small(Path(path).stem) if given.small else {})
    if given.check:
        return
    keep_pages()
    widths = [int(w) for w in given.widths.split(",")]
    rng = np.random.default_rng(0)
    data = [rng.integers(0, 2, (given.batch, widths[0])).astype(np.float32) for _ in range(given.steps)]
    batches = [{"x": x, "y": x} for x in data]
    for backend in given.backends.split(","):
        kinds = sessions(backend, widths, [int(k) for k in given.blocks.split(",") if k])
        for session in kinds.values():
            steps(session, batches[:3])
        rounds = [
            {kind: steps(session, batches) for kind, session in kinds.items()} for _ in range(given.rounds)
        ]
        least = min(r["dense"][0] for r in rounds) / len(batches)
        ratios = {kind: median(r[kind][0] / r["dense"][0] for r in rounds) for kind in kinds}
        apart = max(abs(r["packed"][1] / r["masked"][1] - 1) for r in rounds)
        print(f"{backend}: dense {1e3 * least:.1f} ms;", ", ".join(f"{k} {v:.2f}" for k, v in ratios.items()),
              f"; losses {apart:.0e} apart", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
