"""State the axes of random specs in other orders: every program is equal up to that order, and so is every verdict.

    python tests/fuzz/axis_orders.py [--specs 300] [--seed 0]

Prints every spec that differs, with its twin, and counts. The exit status is 1 where one does.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from axis_orders import disagreements, drafted, orders, read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specs", type=int, default=300, help="how many specs")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start, refused, bad = time.process_time(), Counter[str](), 0
    for n in range(given.specs):
        rng = np.random.default_rng([given.seed, n])
        draft = drafted(rng)
        turned = orders(draft, rng)
        found = read(draft.text({}))
        if isinstance(found, str):
            refused[found] += 1
        try:
            wrong = list(disagreements(draft, turned))
        except Exception:
            wrong = [traceback.format_exc(limit=-4)]
        if wrong:
            bad += 1
            print(f"spec {n}", *wrong, draft.text({}), draft.text(turned), sep="\n", flush=True)
    print(f"{given.specs} specs, {sum(refused.values())} refused alike ({dict(refused.most_common())})")
    print(f"{bad} differ; {time.process_time() - start:.0f} s")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
