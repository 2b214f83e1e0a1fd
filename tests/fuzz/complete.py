"""`complete(x)` of random sequences against numeric dependence in float64: proved must be there, refuted must be missing.

    python tests/fuzz/complete.py [--models 500] [--seed 99]

A proof is held to numbers at 2, 3, 7 and 12 steps, a refutation at the length that it names, if that is at most 40.
Prints every model that disagrees, every one that is undecided, and counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from enumerated import sequence

from mpcompile import api
from mpcompile.analysis import prove
from mpcompile.analysis.order import ranks_of
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Claim, Module
from mpcompile.runner.examples import example_inputs, example_weights

LENGTHS, LONGEST = (2, 3, 7, 12), 40
#: Weights and data for which a dependence may show, and how much a result must change.
DRAWS, CHANGE = 3, 1e-13


def reads(m: Module, claim: Claim, length: int) -> Array:
    """Bool [elements, elements]: what changes with each element of x, at any of some weights and data."""
    graph, declared = m.programs[claim.program], m.fields["x"]
    levels = 2 if declared.base == "binary" else declared.classes or 2
    found: Array | None = None
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        given = example_inputs(m, claim.program, 1, length, seed)
        given |= {n: np.full_like(given[n], length) for n, f in m.fields.items() if f.counts and n in given}
        weights = {
            k: rng.normal(size=v.shape) / np.sqrt(max(1, v.shape[-1])) + 0.1
            for k, v in example_weights(m).items()
        }
        x = given["x"]
        rows = np.repeat(x.reshape(1, -1), x.size + 1, 0)
        step = 1 + seed % max(1, levels - 1)
        for j in range(x.size):
            rows[j + 1, j] = (rows[j + 1, j] - declared.low + step) % levels + declared.low
        feed = {k: np.repeat(v, len(rows), 0) for k, v in given.items()} | {
            "x": rows.reshape(-1, *x.shape[1:])
        }
        for y in interpret(graph, weights, feed).values():
            changed = np.abs(y[1:] - y[:1]) > CHANGE
            if claim.ordering.axis is not None:
                changed = changed.any(claim.ordering.axis)
            pairs = changed.reshape(x.size, -1).T
            found = pairs if found is None else found | pairs
    assert found is not None
    return found


def missing(m: Module, claim: Claim, length: int) -> int:
    """How many pairs that the order allows do not show."""
    ranks = ranks_of(m.programs[claim.program], claim, {"N": 1, "time": length}).reshape(-1)
    return int(((ranks[:, None] > ranks[None, :]) & ~reads(m, claim, length)).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--seed", type=int, default=99)
    given = parser.parse_args()
    counts, wrong, start = Counter[str](), 0, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.mp"
        for n in range(given.models):
            text, _, _ = sequence(np.random.default_rng([given.seed, n]))
            path.write_text(f"model m\n{text}check {{ complete(x) }}\n", encoding="utf-8")
            m = api.load(path)
            (verdict,) = (v for v in prove(m) if v.claim.kind == "complete")
            counts[str(verdict.status)] += 1
            if verdict.status == "proved":
                bad = any(missing(m, verdict.claim, length) for length in LENGTHS)
            elif verdict.status == "refuted":
                at = verdict.at["time"]
                bad = at <= LONGEST and not missing(m, verdict.claim, at)
            else:
                print(verdict.how, text, sep="\n")
                bad = False
            if bad:
                wrong += 1
                print(f"WRONG: {verdict.status}, {verdict.how}", text, sep="\n")
    print(f"{dict(counts)}: {wrong} wrong; {time.process_time() - start:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
