"""Kill a training at random moments until it ends, and compare it with one that was left alone, bit for bit.

    python tests/runner/kill_loop.py --kills 50                                   the fake backend
    python tests/runner/kill_loop.py --kills 50 --spec specs/made.yaml --backend torch --steps 400

Exits with 1 where weights, optimiser state or metrics (timings aside) differ. Kills are SIGKILL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def child(options: argparse.Namespace) -> None:
    """One training in this process, resumed where there is something to resume."""
    from mpcompile.runner.loop import Options, train

    chosen = Options(
        backend=options.backend, data=options.data, seed=0, steps=options.steps, resume=True,
        checkpoint_every=options.every,
    )  # fmt: skip
    if options.spec is None:
        import fake  # the script's own folder is on the path of the script

        pause = 0.002 if options.slow else 0.0
        train(
            fake.module(valid_every=20, log_every=7),
            Path(options.child),
            chosen,
            backend=fake.FakeBackend(pause),
        )
    else:
        from mpcompile.api import load

        train(load(options.spec), Path(options.child), chosen)


def outcome(folder: Path) -> dict[str, str]:
    """Fingerprints of what must be the same: the last state, the best one, the metrics without timings."""
    last = sorted((folder / "checkpoints").glob("last-*"))[-1]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    return {
        "last": last.name + hashlib.sha256((last / "state.safetensors").read_bytes()).hexdigest(),
        "best": hashlib.sha256((folder / "best" / "state.safetensors").read_bytes()).hexdigest(),
        "metrics": hashlib.sha256(json.dumps(lines).encode()).hexdigest(),
    }


def run(options: argparse.Namespace, folder: Path, kill_after: float | None) -> bool:
    """Start a child; True where it ended by itself."""
    command = [sys.executable, __file__, "--child", str(folder), "--backend", options.backend,
               "--steps", str(options.steps), "--every", str(options.every)]  # fmt: skip
    command += ["--spec", options.spec] if options.spec else []
    command += ["--data", options.data] if options.data else []
    command += ["--slow"] if kill_after is not None else []
    process = subprocess.Popen(command)
    try:
        code = process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    if code:
        raise SystemExit(f"the training failed with exit status {code}")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--slow", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--spec")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--data")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=13, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as root:
        whole, broken = Path(root, "whole"), Path(root, "broken")
        start = time.monotonic()
        run(options, whole, None)
        span = (time.monotonic() - start) + (0.003 * options.steps if options.spec is None else 0)
        kills = ends = within = 0
        while kills < options.kills:
            if run(options, broken, moments.uniform(0.05, 1.0) * span):
                ends += 1
                if outcome(broken) != outcome(whole):
                    raise SystemExit(
                        f"differs after {kills} kills: {outcome(broken)} is not {outcome(whole)}"
                    )
                shutil.rmtree(broken)
            else:
                kills += 1
                within += any((broken / "checkpoints").glob("last-*"))
        run(options, broken, None)
        same = outcome(broken) == outcome(whole)
        print(
            f"{kills} kills ({within} after a checkpoint), {ends + 1} trainings completed: "
            f"{'all the same' if same else 'DIFFERENT'}"
        )
        raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
