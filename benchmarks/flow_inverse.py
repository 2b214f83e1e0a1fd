"""The inverse of a masked autoregressive flow beside zuko's, in passes of the network; and the sizes of ONNX files.

    python benchmarks/flow_inverse.py
    python benchmarks/flow_inverse.py --backends jax --batches 1 64
    python benchmarks/flow_inverse.py --files

Five layers over 784 variables, 512 units twice. `pass` is `forward` of the same batch, `inverse` the derived sampler's;
the last column is how many times as long zuko takes, which runs its network 784 times for each layer: its time is that
of `--passes` of these, times 784 / passes. One thread, processor time, medians, a process for each line. `--files` prints
the largest ONNX file of an inference program of each flow at 64 and 784 variables, beside its weights.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

# ruff: noqa: E402  (frameworks read the settings above when they are imported)
import numpy as np

from mpcompile.api import load
from mpcompile.backend import find_backend
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_weights
from mpcompile.runner.initial import initial

HERE = Path(__file__).parent
DIMS, HIDDEN, LAYERS = 784, 512, 5


def milliseconds(call: Callable[[], object], rounds: int) -> float:
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def zuko(batch: int, passes: int) -> float:
    """Milliseconds of an inverse; raises `ImportError` where zuko is not installed."""
    import torch
    import zuko as library

    torch.set_num_threads(1)
    flow = library.flows.MAF(DIMS, transforms=LAYERS, hidden_features=[HIDDEN] * 2, passes=passes)
    z = torch.randn(batch, DIMS)
    with torch.no_grad():
        return milliseconds(lambda: flow().transform.inv(z), 1) * DIMS / passes


def ours(backend: str, batch: int) -> tuple[float, float, float]:
    """Milliseconds of a pass and of an inverse, and the largest error of forward(inverse(z)) = z."""
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    module = load(HERE / "flow_maf.mp", {"dims": DIMS, "hidden": HIDDEN, "layers": LAYERS})
    weights = {name: np.asarray(w, np.float32) for name, w in example_weights(module, 0).items()}
    session = find_backend(backend).session(optimise(module).module, weights)
    z = np.random.default_rng(0).standard_normal((batch, DIMS)).astype(np.float32)
    x = session.run("inverse", {"z": z})["x"]
    error = float(np.abs(session.run("forward", {"x": x})["z"] - z).max())
    one = milliseconds(lambda: session.run("forward", {"x": x}), 9)
    return one, milliseconds(lambda: session.run("inverse", {"z": z}), 5), error


def line(backend: str, batch: int, passes: int) -> str:
    one, inverse, error = ours(backend, batch)
    try:
        times = f"{zuko(batch, passes) / inverse:9.0f}"
    except ImportError:
        times = "        -"
    return f"{backend:8}{batch:6}{one:10.2f}{inverse:12.1f}{inverse / one:9.1f}{error:10.0e}{times}"


def files() -> None:
    print(f"{'flow':10}{'dims':>6}{'weights MB':>12}{'file MB':>9}{'limit MB':>10}")
    for kind in ("coupling", "maf", "nsf"):
        for dims in (64, DIMS):
            module = load(HERE / f"flow_{kind}.mp", {"dims": dims})
            weights = initial(module, 0)
            held = sum(w.nbytes for w in weights.values())
            made = find_backend("onnx").emit(optimise(module).module, weights, inline=True)
            largest = max(len(data) for name, data in made.items() if not name.startswith("train_step"))
            print(
                f"{kind:10}{dims:6}{held / 1e6:12.2f}{largest / 1e6:9.2f}{1.5 * held / 1e6 + 1:10.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", default=["torch", "jax", "onnx"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--passes", type=int, default=8, help="of zuko that are timed")
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.files:
        files()
    elif options.one:
        print(line(options.backends[0], options.batches[0], options.passes))
    else:
        print(
            f"{'backend':8}{'batch':>6}{'pass ms':>10}{'inverse ms':>12}{'passes':>9}{'error':>10}{'zuko':>9}"
        )
        for backend in options.backends:
            for batch in options.batches:
                chosen = ["--backends", backend, "--batches", str(batch), "--passes", str(options.passes)]
                subprocess.run([sys.executable, __file__, "--one", *chosen], check=True)


if __name__ == "__main__":
    main()
