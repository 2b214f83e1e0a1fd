"""The step of a session beside the bare step of its framework, in one process.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --specs specs/mlp.mp --backends jax --rounds 21

`bare` is the step without a session: for jax the jitted function of (weights, slots, batch) that a session has compiled,
called on arrays of its own; for onnx `run_with_iobinding` of `train_step.onnx`, its state bound once; for torch the loop
that everyone writes around the emitted model, with the fused rule of torch.optim and no norm. Both sides take the same
batch from the same numpy arrays, read no scalar but the last one of a round, and have one thread. Rounds of the two
alternate, in an order that changes from round to round, so that what else the machine does hits both alike. Printed are
medians of microseconds a step over rounds, and the median of the ratios of neighbouring rounds. The aim is 1.05.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


import numpy as np

from mpcompile.api import load
from mpcompile.backend import OptimizerSpec, find_backend, installed
from mpcompile.ir import Array, Module
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs
from mpcompile.runner.initial import initial
from mpcompile.runner.pages import keep_pages
from mpcompile.runner.settings import settings

SPECS = ("mlp.mp", "made.yaml", "vae.yaml")
#: Seconds of a round, and steps before the first one.
ROUND, WARM = 0.2, 20
RATE = 1e-3

Inputs = Mapping[str, Array]
#: Takes some steps, and waits for the last one.
Steps = Callable[[int], None]


def session_steps(session: Any, inputs: Inputs) -> Steps:
    """Steps as the runner takes them: without a norm that nobody asks for."""

    def steps(count: int) -> None:
        for _ in range(count):
            told = session.step(inputs, RATE, norm=False)
        told["loss"]

    return steps


def bare_jax(session: Any, inputs: Inputs) -> Steps:
    """The compiled update of a session, on arrays of its own."""
    import jax

    with session.place.active():
        copy = lambda tree: jax.tree.map(lambda a: a + 0, tree)  # noqa: E731  # the update donates what it is given
        state = [copy(session.trained), copy(session.slots), session.count]
    update, fixed = session._step, dict(session.fixed)
    rate, asked = session.place.floats.type(RATE), np.bool_(False)
    program = session.module.programs["loss"]

    def steps(count: int) -> None:
        trained, slots, number = state
        with session.place.active():
            for _ in range(count):
                given = {
                    n: np.asarray(inputs[n], session.place.width(v.dtype)) for n, v in program.inputs.items()
                }
                trained, slots, written, number, told = update(
                    trained, fixed, slots, number, rate, asked, given
                )
                fixed.update(written)
            jax.block_until_ready(told)
        state[:] = trained, slots, number

    return steps


def bare_onnx(session: Any, inputs: Inputs) -> Steps:
    """Runs of the graph of a step, with every buffer bound once; both sides of buffers in turn, as a step needs them."""
    import onnxruntime as ort

    session.step(inputs, RATE)
    stepper = session.stepper
    program, bindings = stepper.program, stepper.bindings
    given = {n: program._array(inputs[n], program.graph.inputs[n]) for n in stepper.data}
    number = [session.count]

    def steps(count: int) -> None:
        for _ in range(count):
            number[0] += 1
            binding = bindings[number[0] % 2]
            stepper.rate[...], stepper.number[...] = RATE, number[0]
            held = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in given.items()}
            for n, value in held.items():
                binding.bind_ortvalue_input(n, value)
            program.session.run_with_iobinding(binding)

    return steps


def bare_torch(module: Module, weights: Inputs, spec: OptimizerSpec, inputs: Inputs) -> Steps:
    """The usual loop around the emitted model, with the fused rule of torch.optim."""
    import torch

    backend: Any = find_backend("torch")
    model = backend.compile(module, weights)
    own, more = vars(spec.rule), {}
    if "beta1" in own:
        more = {"betas": (own["beta1"], own["beta2"]), "eps": own["eps"]}
    kind = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[spec.kind]
    trained = [p for p in model.parameters() if p.requires_grad]
    rule: Any = getattr(torch.optim, kind)(
        trained, lr=RATE, weight_decay=spec.weight_decay, fused=True, **more
    )
    kinds = {
        n: torch.float32 if v.dtype.name == "FLOAT" else None
        for n, v in module.programs["loss"].inputs.items()
    }

    def steps(count: int) -> None:
        for _ in range(count):
            rule.zero_grad(set_to_none=True)
            made = model.loss(**{n: torch.from_numpy(inputs[n]).to(kinds[n]) for n in kinds})
            loss = made["loss"] if isinstance(made, dict) else made
            loss.backward()
            if spec.clip is not None:
                torch.nn.utils.clip_grad_norm_(trained, spec.clip)
            rule.step()
        loss.item()

    return steps


def pair(
    name: str, module: Module, weights: Inputs, spec: OptimizerSpec, inputs: Inputs
) -> tuple[Steps, Steps]:
    """The session's steps and the bare ones, from the same weights; both from sessions of their own."""
    open_one = find_backend(name).session
    session = session_steps(open_one(module, weights, spec), inputs)
    if name == "torch":
        return session, bare_torch(module, weights, spec, inputs)
    return session, {"jax": bare_jax, "onnx": bare_onnx}[name](open_one(module, weights, spec), inputs)


def measure(both: tuple[Steps, Steps], rounds: int) -> tuple[float, float, float]:
    """Median microseconds a step of both, and the median of their ratios in neighbouring rounds."""
    counts = []
    for steps in both:
        steps(WARM)
        start = time.perf_counter()
        steps(5)
        counts.append(max(5, round(ROUND * 5 / (time.perf_counter() - start))))
    count = min(counts)
    found: list[list[float]] = [[], []]
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            both[which](count)
            found[which].append(1e6 * (time.perf_counter() - start) / count)
    ratios = [a / b for a, b in zip(*found, strict=True)]
    return median(found[0]), median(found[1]), median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path(__file__).parents[1] / "specs"
    parser.add_argument("--specs", nargs="+", default=[str(folder / name) for name in SPECS])
    parser.add_argument("--backends", default=",".join(installed()))
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    keep_pages()
    print(f"{os.cpu_count()} cores, one thread; load {', '.join(f'{x:.1f}' for x in os.getloadavg())}")
    print(f"{'spec':<14}{'backend':<9}{'session us':>11}{'bare us':>10}{'ratio':>8}")
    for path in options.specs:
        module = optimise(load(Path(path))).module
        stated = settings(module)
        narrow = {
            k: np.asarray(v, np.float32 if v.dtype.kind == "f" else v.dtype)
            for k, v in example_inputs(module, "loss", stated.batch, stated.length).items()
        }
        weights = initial(module, stated.seed)
        for name in options.backends.split(","):
            own, bare, ratio = measure(pair(name, module, weights, stated.optimizer, narrow), options.rounds)
            print(f"{Path(path).stem:<14}{name:<9}{own:>11.0f}{bare:>10.0f}{ratio:>8.3f}", flush=True)
    print(f"load at the end {', '.join(f'{x:.1f}' for x in os.getloadavg())}")


if __name__ == "__main__":
    main()
