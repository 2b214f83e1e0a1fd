"""Coverage-guided fuzzing of everything that reads what others wrote, and of what is emitted for it.

    python tests/fuzz/run.py [--target T ...] [--inputs 2000000] [--seconds 60] [--seed 1] [--out build/fuzz]
    python tests/fuzz/run.py --target T --replay FILE

`--inputs` are divided over the targets by the shares in `targets.py`; `--seconds` is of each target. Needs atheris: where
it is not installed, one line says so and the exit status is 0. A finding is an exception that is no allowed outcome, an
input that takes more than 2 s of processor time, one that adds more than 500 MB, or a process that ends. The exit status
is 1 where there is one; the inputs are kept in `--out`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append")
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "build" / "fuzz")
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed, and has no wheel for some systems; nothing was fuzzed")
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(HERE))
    if given.child:
        import harness

        folder, inputs, seconds = given.child
        harness.child(given.target[0], Path(folder), int(inputs), float(seconds), given.seed)
    from targets import TARGETS

    names = given.target or list(TARGETS)
    if unknown := [n for n in names if n not in TARGETS]:
        parser.error(f"no target is named {unknown[0]} ({', '.join(TARGETS)})")
    if given.replay:
        with tempfile.TemporaryDirectory() as folder:
            print(TARGETS[names[0]].prepare(Path(folder))(given.replay.read_bytes()))
        return 0
    seconds = given.seconds if given.seconds is not None else 60.0 if given.inputs is None else 1e9
    shares = sum(TARGETS[n].share for n in names)
    given.out.mkdir(parents=True, exist_ok=True)
    found = {}
    print(
        f"{'target':<12}{'inputs':>10}{'per s':>8}{'findings':>10}{'slowest':>9}{'added':>8}{'resident':>10}",
        flush=True,
    )
    for name in names:
        inputs = max(1, (given.inputs or 10**12) * TARGETS[name].share // shares)
        found[name] = one(name, inputs, seconds, given.seed, given.out)
        print(_row(name, found[name]), flush=True)
    inputs, findings = (
        sum(f["inputs"] for f in found.values()),
        sum(len(f["findings"]) for f in found.values()),
    )
    print(f"{inputs} inputs, {findings} findings")
    return 1 if findings else 0


def one(name: str, inputs: int, seconds: float, seed: int, out: Path) -> dict[str, Any]:
    """Fuzz one target in a process of its own, and read its report. A process that dies is a finding."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as temporary:
        folder = Path(temporary)
        command = [sys.executable, __file__, "--target", name, "--seed", str(seed), "--child", temporary,
                   str(inputs), str(seconds)]  # fmt: skip
        start = time.monotonic()
        with open(folder / "stderr", "w+b") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=lambda: _limits(seconds)
            )
            while process.poll() is None:
                time.sleep(0.05)
                if time.monotonic() - start > 2 * seconds + 1800:  # it waits for something
                    process.kill()
            errors.seek(0)
            said = errors.read()[-2000:].decode("utf-8", "replace")
        report = folder / f"{name}.json"
        facts: dict[str, Any] = {
            "inputs": 0,
            "seconds": 0,
            "peak": 0,
            "resident": 0,
            "slowest": 0,
            "outcomes": {},
            "findings": {},
        }
        if report.exists():
            facts = json.loads(report.read_text(encoding="utf-8"))
        if process.returncode:
            path, last = folder / f"{name}-last", folder / f"{name}.input"
            held = last.read_bytes() if last.exists() else b"\0" * 4
            path.write_bytes(held[4 : 4 + int.from_bytes(held[:4], "little")])
            facts["findings"][f"process: ended with {process.returncode}"] = {
                "kind": "process", "count": 1, "input": str(path), "trace": said}  # fmt: skip
        for key, finding in facts["findings"].items():
            kept = out / Path(finding["input"]).name
            kept.write_bytes(Path(finding["input"]).read_bytes())
            print(f"{name}: {key}, {finding['count']} times; --replay {kept}\n{finding['trace']}", flush=True)
        (out / f"{name}.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        return facts


def _limits(seconds: float) -> None:
    """A net under the machine: nothing takes all of its memory, and nothing runs for ever, mutators included."""
    most = int(min(seconds, 1e6)) + 120
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))


def _row(name: str, f: dict[str, Any]) -> str:
    rate = f["inputs"] / max(f["seconds"], 1e-9)
    return (f"{name:<12}{f['inputs']:>10}{rate:>8.0f}{len(f['findings']):>10}{f['slowest']:>8.2f}s"
            f"{f['peak'] / 1e6:>6.0f}MB{f['resident'] / 1e6:>8.0f}MB")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
