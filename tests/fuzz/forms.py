"""Verdicts on `linear`, `equivariant` and `symmetric` of random predictions against runs in float64.

    python tests/fuzz/forms.py [--specs 1000] [--seed 0] [--start 0]

Spec n of a seed is the same on every machine, so that shards are `--start`. What is proved must hold in numbers, and what
is refuted must not. Prints every spec that disagrees, and counts. The exit status is 1 where one does.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from formed_specs import formed, judge, lowered

from mpcompile.analysis import prove
from mpcompile.diagnostics import SpecError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specs", type=int, default=1000, help="how many specs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="the first spec")
    given = parser.parse_args()
    counts, refused, bad, begin = Counter[str](), 0, 0, time.process_time()
    for n in range(given.start, given.start + given.specs):
        spec = formed(given.seed, n)
        try:
            text = spec.text()
            module = lowered(text)
        except SpecError:
            refused += 1
            continue
        wrong = list[str]()
        try:
            for verdict in prove(module):
                counts[f"{verdict.claim.kind} {verdict.status}"] += 1
                wrong += [f"{verdict.claim.kind} {w}; {verdict.how}" for w in judge(spec, module, verdict)]
        except Exception:
            wrong.append(traceback.format_exc(limit=-3))
        if wrong:
            bad += 1
            print(f"{'=' * 10} {n}", text, *wrong, sep="\n", flush=True)
    print(
        f"{given.specs} specs, {refused} of them refused; {time.process_time() - begin:.0f} s of processor time"
    )
    print(*(f"{number:8} {name}" for name, number in sorted(counts.items())), sep="\n")
    print(f"{bad} disagree")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
