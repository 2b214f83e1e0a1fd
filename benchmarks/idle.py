"""The tables of what a step costs, one after another once the machine is idle: one command of at most 35 minutes.

    python benchmarks/idle.py --out tables --peers /path/to/peers/bin/python
    python benchmarks/idle.py --parts hand_written jsb --wait 0

It waits until the load of the last minute is below 0.5, at most `--wait` minutes. Each part is a command of this folder,
with a time at which it is stopped; what it printed is shown, and written to `--out` as PART.txt under the load that it
began and ended with and the name of the processor. `--peers` is the interpreter of an environment with the libraries of
`flow_peers.py`; without them flows have no ratios. Exit status 1: a part failed or was stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

HERE = Path(__file__).parent
#: Part: command, and seconds after which it is stopped.
PARTS = {
    "step_time": (["step_time.py", "--repeats", "7"], 440),
    "hand_written": (["hand_written.py"], 360),
    "flow_speed": (["flow_speed.py", "--names", "torch,normflows,nflows"], 150),
    "flow_compiled": (["flow_speed.py", "--names", "torch.compile,normflows,nflows"], 900),
    "jsb": (["hand_written.py", "--families", "jsb_rnn_made", "--frameworks", "torch"], 60),
    "depth": (["depth.py", "--layers", "4", "64"], 90),
}
#: The load below which a machine is idle, and how long it takes to fall that far after other work, in minutes.
IDLE, WAIT = 0.5, 15.0


def load() -> str:
    return ", ".join(f"{x:.2f}" for x in os.getloadavg())


def wait(minutes: float) -> None:
    """Wait for the machine to be idle. Raises `SystemExit` where it is not in time."""
    end = time.monotonic() + 60 * minutes
    while minutes and os.getloadavg()[0] >= IDLE:
        if time.monotonic() > end:
            raise SystemExit(
                f"the load is {load()} after {minutes:g} minutes; --wait 0 measures all the same"
            )
        time.sleep(5)


def processor() -> str:
    """Return what `step_time.py` finds; that module is not loaded here, for it would leave one core to all parts."""
    text = "from step_time import processor; print(processor())"
    return subprocess.run(
        [sys.executable, "-c", text], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()


def measure(part: str, python: str, out: Path) -> bool:
    """Run a part, show and keep what it prints; return whether it came to its end."""
    (script, *options), seconds = PARTS[part]
    start, before = time.monotonic(), load()
    lines = []
    command = [python, str(HERE / script), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as run:  # fmt: skip
        stop = Timer(seconds, os.killpg, (run.pid, signal.SIGKILL))  # with the processes that it started
        stop.start()
        for line in run.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
        run.wait()
        stop.cancel()
    took = time.monotonic() - start
    end = {0: "done"}.get(run.returncode, "stopped" if took >= seconds else f"failed ({run.returncode})")
    head = f"$ python benchmarks/{' '.join([script, *options])}\n"
    foot = f"# {end} after {took:.0f} s; {processor()}; load {before} before, {load()} after\n"
    print(foot, flush=True)
    (out / f"{part}.txt").write_text(head + "".join(lines) + foot, encoding="utf-8")
    return run.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("tables"))
    parser.add_argument("--peers", default=sys.executable, help="the interpreter for flows")
    parser.add_argument("--wait", type=float, default=WAIT, help="minutes; 0 measures at once")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    wait(given.wait)
    ended = [
        measure(part, given.peers if part.startswith("flow") else sys.executable, given.out)
        for part in given.parts
    ]
    raise SystemExit(0 if all(ended) else 1)


if __name__ == "__main__":
    main()
