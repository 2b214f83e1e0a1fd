"""Sum the probabilities of all states: every discrete spec at all its lengths, and random discrete models.

    python tests/fuzz/normalised.py [--random 300] [--seed 17]

Prints the largest distance from one of each kind, and every model that is farther than 1e-9.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from enumerated import SPECS, drawn, load, total

from mpcompile import api
from mpcompile.diagnostics import SpecError

CLOSE = 1e-9


def specs(folder: Path) -> list[tuple[str, float]]:
    found = []
    for name, small in SPECS.items():
        module = load(folder, name, small)
        for length in small.lengths:
            found.append((f"{name} at {length}", abs(total(module, small.variables, length) - 1)))
            print(f"{found[-1][0]:<32}{found[-1][1]:.1e}", flush=True)
    return found


def random_models(folder: Path, count: int, seed: int) -> tuple[list[tuple[str, float]], int]:
    """Distances of models that a check proves, and how many drawn ones it refuses."""
    found, refused, n = list[tuple[str, float]](), 0, 0
    path = folder / "m.mp"
    while len({name for name, _ in found}) < count:
        text, variables, lengths = drawn(np.random.default_rng([seed, n]))
        n += 1
        path.write_text(f"model m\n{text}", encoding="utf-8")
        try:
            module = api.load(path)
            open_ = [v for v in api.verdicts(module) if v.status != "proved"]
            proved = not open_
            if open_:
                print(f"{open_[0].claim.kind} {open_[0].status}: {open_[0].how}", text, sep="\n")
        except SpecError as problem:
            print(problem, text, sep="\n")
            proved = False
        if not proved:
            refused += 1
            continue
        for length in lengths:
            try:
                found.append((text, abs(total(module, variables, length) - 1)))
            except IndexError as problem:  # a class that has no probability
                print(problem, text, sep="\n")
                found.append((text, float("inf")))
    return found, refused


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=300, help="how many random models")
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    start = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        shipped = specs(Path(name))
        others, refused = random_models(Path(name), given.random, given.seed)
    bad = [f"{what}: {far:.1e}" for what, far in [*shipped, *others] if not far < CLOSE]
    models = len({text for text, _ in others})
    print(f"{len(shipped)} sums of {len(SPECS)} specs: at most {max(f for _, f in shipped):.1e} from one")
    print(f"{len(others)} sums of {models} random models: at most {max(f for _, f in others):.1e} from one")
    print(f"{refused} drawn models refused or not proved; {time.process_time() - start:.0f} s")
    print("\n".join(bad) or "none is farther from one than 1e-9")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
