"""How the time of each step of the compiler grows with a spec: exponents between sizes that double.

Each spec is a process of its own; a step that takes less than the floor at the largest size is left out.

    python benchmarks/growth.py [--families dense,made] [--sizes 50,100,200] [--backends torch] [--report]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from math import log
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from growing import DEEP, WIDE, steps


def measured(family: str, size: int, given: argparse.Namespace) -> dict[str, float] | str:
    """Seconds of each step and the peak of memory in MB, or what went wrong."""
    command = [sys.executable, __file__, "--one", f"{family}:{size}", "--backends", given.backends]
    try:
        done = subprocess.run([*command, *["--report"] * given.report], capture_output=True, text=True,
                              timeout=given.limit)  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"more than {given.limit:g} s"
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2][:150] or f"ended with {done.returncode}"
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--families", default="deep,wide")
    options.add_argument("--sizes", default="")
    options.add_argument("--backends", default="")
    options.add_argument("--report", action="store_true")
    options.add_argument("--floor", type=float, default=0.1)
    options.add_argument("--limit", type=float, default=120.0)
    options.add_argument("--one", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        name, _, size = given.one.partition(":")
        spec = (DEEP | WIDE)[name](int(size))
        found = steps(spec, tuple(filter(None, given.backends.split(","))), given.report)
        print(json.dumps(found | {"peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    wanted = [
        f for name in given.families.split(",") for f in {"deep": [*DEEP], "wide": [*WIDE]}.get(name, [name])
    ]
    for family in wanted:
        sizes = [int(s) for s in given.sizes.split(",") if s] or (
            [100, 200, 400] if family in DEEP else [128, 256, 512]
        )
        rows = {}
        for size in sizes:
            found = measured(family, size, given)
            if isinstance(found, str):
                print(f"{family:<18}{size:>7}  {found}", flush=True)
                break
            rows[size] = found
        if not rows:
            continue
        last, first = max(rows), min(rows)
        for step, seconds in rows[last].items():
            if step != "peak MB" and seconds < given.floor and step != "total":
                continue
            figures = [r.get(step, 0.0) for r in rows.values()]
            power = log(max(seconds, 1e-9) / max(figures[-2], 1e-9), 2) if len(figures) > 1 else 0.0
            shown = "  ".join(f"{x:9.3f}" for x in figures)
            print(
                f"{family:<18}{'..'.join((str(first), str(last))):>12}  {step:<24}{shown}   n^{power:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
