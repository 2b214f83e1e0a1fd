"""What a sample costs: the derived sampler, in forward passes of the same batch, and against the reference sampler.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --models made wavenet --backends jax torch --batches 1 64

Each line times, in one process and one thread, interleaved, by process CPU time and medians: one teacher-forced pass
(`conditionals`), the derived sampler, and one in which the network runs once for each element. Where the last would take
longer than --patience seconds, its time is that of its steps times a pass, and marked with ~. The peak is that of the
whole process. Samples drawn with the same
noise are compared wherever both were run.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np  # noqa: E402  # threads are counted when it is imported

from mpcompile import api  # noqa: E402
from mpcompile.backend import find_backend, installed  # noqa: E402
from mpcompile.ir import DType, Module  # noqa: E402
from mpcompile.passes.pipeline import optimise  # noqa: E402
from mpcompile.runner.examples import example_weights  # noqa: E402

ROOT = Path(__file__).parents[1]

#: name -> spec, settings, replaced text, length of sequences
MODELS: dict[str, tuple[str, dict[str, str], tuple[str, str], int]] = {
    "made 784-500-500-784": ("made.yaml", {"pixels": "784", "hidden": "500"}, ("", ""), 0),
    "made 784-2048-2048-784": ("made.yaml", {"pixels": "784", "hidden": "2048"}, ("", ""), 0),
    "pixelcnn 28x28": ("pixelcnn.mp", {}, ("[1, 8, 8]", "[1, 28, 28]"), 0),
    "row lstm 28x28": ("pixel_rnn.mp", {"width": "16", "layers": "4"}, ("[1, 8, 8]", "[1, 28, 28]"), 0),
    "diagonal bilstm 28x28": (
        "vision/diagonal_bilstm.mp", {"width": "16", "layers": "2"}, ("[1, 8, 8]", "[1, 28, 28]"), 0,
    ),
    "wavenet 20 layers": ("wavenet.mp", {"layers": "10", "cycles": "2", "width": "32"}, ("", ""), 1024),
    "wavenet 30 layers": ("wavenet.mp", {"layers": "10", "cycles": "3", "width": "32"}, ("", ""), 16000),
    "transformer 4 x 128": (
        "transformer.mp", {"layers": "4", "width": "128", "longest": "256", "characters": "65"}, ("", ""), 256,
    ),
    "char_lstm": ("char_lstm.mp", {}, ("", ""), 256),
}  # fmt: skip


def load(name: str) -> tuple[Module, int]:
    spec, settings, (old, new), length = MODELS[name]
    text = (ROOT / "specs" / spec).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(spec).name
        path.write_text(text.replace(old, new) if old else text, encoding="utf-8")
        return api.load(path, settings), length


def seconds(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return sorted(times)[len(times) // 2]


def line(name: str, backend_name: str, batch: int, patience: float) -> str:
    module, length = load(name)
    backend = find_backend(backend_name)
    if backend_name == "torch":
        import torch

        torch.set_num_threads(1)
    weights = {k: np.asarray(v, np.float32) for k, v in example_weights(module, 0).items()}
    start = time.perf_counter()
    optimised = optimise(module)
    derive = time.perf_counter() - start
    if optimised.refusals:
        return f"{name:24} {backend_name:6} {batch:5} {'refused: ' + str(optimised.refusals)}"
    slow, fast = backend.session(module, weights), backend.session(optimised.module, weights)
    rng, env = np.random.default_rng(0), {"N": batch, "time": length}

    def draw(program: str) -> dict[str, np.ndarray]:
        found = {}
        for name, value in module.programs[program].inputs.items():
            shape, noise = value.type.concrete(env), module.noise.get(program, {}).get(name)
            if noise is None:
                kind = np.int64 if value.dtype is DType.INT else np.float32
                found[name] = rng.integers(0, 2, shape).astype(kind)
            else:
                normal = noise.kind == "normal"
                made = rng.normal(size=shape) if normal else rng.uniform(0.001, 0.999, shape)
                found[name] = made.astype(np.float32)
        return found

    noise, data = draw("sample"), draw("conditionals")
    sample = fast.run("sample", noise)  # compiles
    slow.run("conditionals", data)
    forward = seconds(lambda: slow.run("conditionals", data), 7)
    derived = seconds(lambda: fast.run("sample", noise), 3)
    forward = min(forward, seconds(lambda: slow.run("conditionals", data), 7))
    (key, drawn), *_ = sample.items()
    steps = length or int(np.prod(drawn.shape[1:]))
    if steps * forward < patience:
        reference = slow.run("sample", noise)[key]
        naive, mark = seconds(lambda: slow.run("sample", noise), 1), " "
        same = f"{(reference == drawn).mean():.2%}"
    else:
        naive, mark, same = steps * forward, "~", "-"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{name:24} {backend_name:6} {batch:5} {forward * 1e3:10.2f} {derived * 1e3:10.1f} {derived / forward:8.1f} "
        f"{mark}{naive / derived:8.0f} {same:>8} {derive * 1e3:9.0f} {peak:8.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="parts of names")
    parser.add_argument("--backends", nargs="*", default=installed())
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 64])
    parser.add_argument("--patience", type=float, default=20.0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [n for n in MODELS if any(part in n for part in options.models)]
    if options.one:
        print(line(names[0], options.backends[0], options.batches[0], options.patience))
        return 0
    titles = (
        "model",
        "",
        "batch",
        "pass ms",
        "sample ms",
        "passes",
        "vs naive",
        "equal",
        "derive ms",
        "peak MB",
    )
    print("{:24} {:6} {:>5} {:>10} {:>10} {:>8} {:>9} {:>8} {:>9} {:>8}".format(*titles))
    for name in names:
        for backend in options.backends:
            for batch in options.batches:  # a process each: sessions of one would slow down another
                chosen = ["--models", name, "--backends", backend, "--batches", str(batch)]
                call = [sys.executable, __file__, "--one", *chosen, "--patience", str(options.patience)]
                done = subprocess.run(call, capture_output=True, text=True, check=False)
                why = done.stderr.strip().splitlines()[-1:]
                print(done.stdout.rstrip() or f"{name:24} {backend:6} {batch:5} failed: {why}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
