"""What a sample costs: the derived sampler, in forward passes of the same batch, and against the reference sampler.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --models made wavenet --backends jax torch --batches 1 64

Every line is a process of one thread, timed by its processor time, medians of a few rounds. The module is the one for
inference (`mpcompile build --inference`), so that masks are within the weights of the pass and of the sampler alike.

pass       one teacher-forced pass of the network over the batch (`conditionals`)
sample     the derived sampler; `passes` is how many passes it costs
vs naive   the reference sampler, which runs the whole network once for each element, over the derived one. Where it
           would take longer than --patience seconds, its time is that of one iteration times the iterations, marked ~
equal      elements of the sample that one iteration of the reference sampler, with the same noise, leaves as they are:
           where all are, it is the reference sampler's sample. Where that was run, elements equal to its own
derive     deriving the samplers and simplifying all programs
memory     by how much a draw raises the process's peak

What takes more than --limit seconds of processor time, or more memory than --memory, is stopped, and its line says so.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

# ruff: noqa: E402  (frameworks read the settings above when they are imported)
import numpy as np

from mpcompile import api
from mpcompile.backend import Session, find_backend, installed
from mpcompile.ir import Array, Builder, DType, Graph, Input, Module, Node, Value
from mpcompile.passes.incremental.recognise import recognise
from mpcompile.passes.pipeline import for_inference, optimise
from mpcompile.runner.examples import example_weights

ROOT = Path(__file__).parents[1]
#: What to put in place of the size of the specs' images.
DIGITS = ("[1, 8, 8]", "[1, 28, 28]")

#: name -> spec, settings, replaced text, length of sequences
MODELS: dict[str, tuple[str, dict[str, str], tuple[str, str], int]] = {
    "made 784-500-784": (
        "made.yaml", {"pixels": "784", "hidden": "500"}, ("      - dense(hidden, mask = up) -> relu\n", ""), 0,
    ),
    "made 784-2048-2048-784": ("made.yaml", {"pixels": "784", "hidden": "2048"}, ("", ""), 0),
    "gated pixelcnn 28x28": ("pixelcnn.mp", {}, DIGITS, 0),
    "rgb pixelcnn 8x8": ("rgb_pixelcnn.mp", {"width": "48", "layers": "4", "levels": "16", "size": "8"}, ("", ""), 0),
    "row lstm 28x28": ("pixel_rnn.mp", {"width": "16", "layers": "4"}, DIGITS, 0),
    "diagonal bilstm 28x28": ("vision/diagonal_bilstm.mp", {"width": "16", "layers": "2"}, DIGITS, 0),
    "wavenet 20 x 1024": ("wavenet.mp", {"layers": "10", "cycles": "2", "width": "32"}, ("", ""), 1024),
    "wavenet 30 x 16000": ("wavenet.mp", {"layers": "10", "cycles": "3", "width": "32"}, ("", ""), 16000),
    "transformer 4 x 128": (
        "transformer.mp", {"layers": "4", "width": "128", "longest": "256", "characters": "65"}, ("", ""), 256,
    ),
    "lstm 256": ("char_lstm.mp", {}, ("", ""), 256),
}  # fmt: skip
#: Seconds from which on a single call is a measurement.
LONG = 10.0
COLUMNS = {"pass": "pass ms", "sample": "sample ms", "passes": "passes", "naive": "vs naive", "equal": "equal",
           "derive": "derive ms", "memory": "memory MB"}  # fmt: skip


def load(name: str) -> tuple[Module, int]:
    spec, settings, (old, new), length = MODELS[name]
    text = (ROOT / "specs" / spec).read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"specs/{spec} no longer has {old!r}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(spec).name
        path.write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
        return api.load(path, settings), length


def iteration(program: Graph) -> Graph:
    """Return one iteration of a reference sampler; the input `drawn` has the elements that it starts from."""
    given: list[Value] = []

    def rewrite(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if (ref := recognise(node)) is None:
            return None
        around = dict(zip(node.inputs, inputs, strict=True))
        moved = {inside: around[outside] for inside, outside in ref.captured.items()}
        moved[ref.x] = b.input("drawn", ref.x.type)
        given.append(moved[ref.x])
        for inner in ref.body.nodes():
            if (
                not isinstance(inner.op, Input)
                and ref.step not in inner.inputs
                and all(v in moved for v in inner.inputs)
            ):
                moved.update(
                    zip(inner.outputs, b.emit_all(inner.op, *(moved[v] for v in inner.inputs)), strict=True)
                )
        return (moved[ref.drawn],)

    made = program.rebuild(rewrite)
    (made.inputs["drawn"],) = given
    return made.live()


def prepared(module: Module) -> tuple[Module, dict[str, Array], float]:
    """Programs `conditionals`, `sample`, `naive` and `iteration` for inference, weights, and the seconds of deriving."""
    start = time.process_time()
    optimised = optimise(module)
    derive = time.process_time() - start
    if optimised.refusals:
        raise ValueError(f"refused: {optimised.refusals}")
    fast, noise = optimised.module.programs, module.noise["sample"]
    slow = module.programs["sample"]
    programs = {
        "conditionals": fast["conditionals"],
        "sample": fast["sample"],
        "naive": slow,
        "iteration": iteration(slow),
    }
    module = replace(module, programs=programs, noise=dict.fromkeys(("sample", "naive", "iteration"), noise))
    frozen = for_inference(module, example_weights(module, 0))
    return frozen.module, {k: np.asarray(v, np.float32) for k, v in frozen.weights.items()}, derive


def draw(module: Module, program: str, env: dict[str, int]) -> dict[str, Array]:
    """Data and noise for a program."""
    rng, found = np.random.default_rng(0), {}
    for name, value in module.programs[program].inputs.items():
        shape, noise = value.type.concrete(env), module.noise.get(program, {}).get(name)
        if noise is None:
            found[name] = rng.integers(0, 2, shape).astype(
                np.int64 if value.dtype is DType.INT else np.float32
            )
        elif noise.kind == "normal":
            found[name] = rng.normal(size=shape).astype(np.float32)
        else:
            found[name] = rng.uniform(0.001, 0.999, shape).astype(np.float32)
    return found


def seconds(call: Callable[[], object], rounds: int, enough: float = 10.0) -> float:
    """The median of some rounds, or of those that fit in `enough` seconds; at least one.

    A round calls until a tenth of a second is over: a process's clock has ticks of up to ten milliseconds.
    """
    times: list[float] = []
    spent = 0.0
    while len(times) < rounds and spent < enough:
        start, calls, took = time.process_time(), 0, 0.0
        while took < 0.1:
            call()
            calls, took = calls + 1, time.process_time() - start
        times.append(took / calls)
        spent += took
    return sorted(times)[len(times) // 2]


def raised(call: Callable[[], object]) -> float:
    """By how many MB a call raises the peak of this process above what it holds before (Linux)."""

    def status(field: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(row.split()[1]) for row in lines if row.startswith(field))

    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again
    before = status("VmRSS:")
    call()
    return (status("VmHWM:") - before) / 1024


def measure(name: str, backend: str, batch: int, patience: float) -> Iterator[tuple[str, str]]:
    """The columns of a line, as they become known."""
    module, length = load(name)
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    module, weights, derive = prepared(module)
    yield "derive", f"{derive * 1e3:.0f}"
    session: Session = find_backend(backend).session(module, weights)
    env = {"N": batch, "time": length}
    data, noise = draw(module, "conditionals", env), draw(module, "sample", env)
    compiles = backend == "jax"

    def timed(call: Callable[[], object], rounds: int) -> float:
        """The first call warms up, or compiles; where it is long and does not, it is the measurement."""
        start = time.process_time()
        call()
        first = time.process_time() - start
        return first if first > LONG and not compiles else seconds(call, rounds)

    forward = timed(lambda: session.run("conditionals", data), 7)
    yield "pass", f"{forward * 1e3:.2f}"
    sample: dict[str, Array] = {}
    if compiles:
        session.run("sample", noise)
    start = time.process_time()
    memory = raised(lambda: sample.update(session.run("sample", noise)))
    derived = time.process_time() - start
    if derived < LONG:
        derived = seconds(lambda: session.run("sample", noise), 5)
        forward = min(forward, seconds(lambda: session.run("conditionals", data), 7))
    yield "pass", f"{forward * 1e3:.2f}"
    yield "sample", f"{derived * 1e3:.1f}"
    yield "passes", f"{derived / forward:.1f}"
    yield "memory", f"{memory:.0f}"
    ((key, drawn),) = sample.items()
    steps = length or int(np.prod(drawn.shape[1:]))
    turned: dict[str, Array] = {}
    one = timed(lambda: turned.update(session.run("iteration", noise | {"drawn": drawn})), 3)
    again = turned[key]
    if steps * one < patience:
        naive, mark = seconds(lambda: sample.update(session.run("naive", noise)), 1), ""
        again = sample[key]
    else:
        naive, mark = steps * one, "~"
    yield "naive", f"{mark}{naive / derived:.0f}"
    yield "equal", f"{(again == drawn).mean():.2%}"


def line(name: str, backend: str, batch: int, options: argparse.Namespace) -> str:
    """A line of the table, from a process of its own: sessions of one would slow down another."""
    chosen = [
        "--models",
        name,
        "--backends",
        backend,
        "--batches",
        str(batch),
        "--patience",
        str(options.patience),
    ]

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (options.limit, options.limit + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (options.memory << 30,) * 2)

    done = subprocess.run(
        [sys.executable, __file__, "--one", *chosen], capture_output=True, text=True, check=False, preexec_fn=bounded
    )  # fmt: skip
    known = dict(row.split(" ", 1) for row in done.stdout.splitlines())
    why = ""
    if done.returncode == -signal.SIGXCPU:
        why = f"stopped after {options.limit} s"
        if "pass" in known and "passes" not in known:
            known["passes"] = f">{1e3 * options.limit / float(known['pass']) / 2:.0f}"
    elif done.returncode:
        why = "failed: " + (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
    cells = "".join(f"{known.get(column, '-'):>10}" for column in COLUMNS)
    return f"{name:24}{backend:6}{batch:6}{cells}  {why}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="parts of names")
    parser.add_argument("--backends", nargs="*", default=installed())
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 64])
    parser.add_argument(
        "--patience", type=float, default=20.0, help="seconds that a reference sampler may take"
    )
    parser.add_argument("--limit", type=int, default=600, help="seconds of processor time for a line")
    parser.add_argument("--memory", type=int, default=12, help="GiB for a line")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [n for n in MODELS if any(part in n for part in options.models)]
    if options.one:
        for column, text in measure(names[0], options.backends[0], options.batches[0], options.patience):
            print(column, text, flush=True)
        return 0
    print(
        f"{'model':24}{'':6}{'batch':>6}" + "".join(f"{title:>10}" for title in COLUMNS.values()), flush=True
    )
    for name in names:
        for backend in options.backends:
            for batch in options.batches:
                print(line(name, backend, batch, options), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
