"""Every verdict of random specs against runs in float64: proved must hold, refuted must show.

    python tests/fuzz/verdicts.py --specs 20000 --seed 0 [--start 0] [--state verdicts.json]

Spec n of a seed is the same on every machine, so that shards are `--start`. With `--state` a run goes on where it
stopped. Prints every spec that disagrees, then counts: verdicts by claim and status, and what is undecided by claim,
primitive and reason.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from claimed_specs import claimed
from judged import independent, judge, padding

from mpcompile.analysis import Status, prove
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.lowering import lower

Counts = dict[str, Counter[str]]


def look(text: str, counts: Counts, show: bool = False) -> list[str]:
    """Disagreements of one spec; its verdicts are counted."""
    try:
        module = lower(parse_text(text), Source("m.mp", text))
    except SpecError as refused:
        counts["refused"][str(refused).split()[1]] += 1
        return []
    counts["specs"]["lowered"] += 1
    verdicts, wrong = prove(module), list[str]()
    for verdict in verdicts:
        kind, status = verdict.claim.kind, str(verdict.status)
        counts["verdicts"][f"{kind} {status}"] += 1
        if verdict.status in (Status.UNDECIDED, Status.HELD):
            reason = re.sub(r"-?\d+|`\w+`", "#", verdict.reason or verdict.method)
            counts["undecided"][f"{kind}, {verdict.primitive or '-'}: {reason[:110]}"] += 1
            if show:
                print(f"{kind} {status}: {verdict.how}", text, sep="\n")
        wrong += [f"{kind}: {w}; {verdict.how}" for w in judge(module, verdict)]
    said = {v.claim.kind: v for v in verdicts}
    for kind, law in (("independent", independent), ("padding", padding)):
        verdict_ = said.get(kind)
        broken = list(law(module))
        if broken and (verdict_ is None or verdict_.status is Status.PROVED):
            wrong.append(f"{kind}: {'not asked' if verdict_ is None else verdict_.status}, and {broken[0]}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specs", type=int, default=1000, help="how many specs")
    parser.add_argument(
        "--undecided", action="store_true", help="print every spec with a claim that is not decided"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="the first spec")
    parser.add_argument("--state", type=Path, help="file of counts, from which a run that stopped goes on")
    given = parser.parse_args()
    counts: Counts = {k: Counter() for k in ("specs", "verdicts", "undecided", "refused", "wrong")}
    first, start = given.start, time.process_time()
    if given.state and given.state.exists():
        kept = json.loads(given.state.read_text(encoding="utf-8"))
        first, counts = kept["next"], {k: Counter(v) for k, v in kept["counts"].items()}
    for n in range(first, given.start + given.specs):
        text = claimed(given.seed, n)
        try:
            wrong = look(text, counts, given.undecided)
        except Exception:
            wrong = [f"crash: {traceback.format_exc(limit=-3)}"]
        for w in wrong:
            counts["wrong"][w.split(":")[0]] += 1
            print(f"{'=' * 10} {n}\n{text}{w}", flush=True)
        if given.state and (n + 1) % 100 == 0:
            kept = {"next": n + 1, "counts": counts}
            given.state.write_text(json.dumps(kept), encoding="utf-8")
    _report(counts, time.process_time() - start)
    return bool(counts["wrong"].total())


def _report(counts: Counts, seconds: float) -> None:
    print(
        f"{counts['specs'].total()} specs ({counts['refused'].total()}"
        f" more were refused), {seconds:.0f} s of processor time"
    )
    for name, number in sorted(counts["verdicts"].items()):
        print(f"{number:8} {name}")
    open_, all_ = counts["undecided"].total(), counts["verdicts"].total()
    print(f"{all_} verdicts, {open_ / max(1, all_):.1%} of them undecided or held:")
    for name, number in counts["undecided"].most_common():
        print(f"{number:8} {name}")
    print(f"{counts['wrong'].total()} disagreements: {dict(counts['wrong'])}")


if __name__ == "__main__":
    sys.exit(main())
