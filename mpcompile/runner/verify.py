"""`mpcompile verify`: the same weights, inputs and noise through every backend and the numpy oracle.

A difference is max |a - b| / max(1, max |a|) over an array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mpcompile.analysis.dependence import environment_for, support
from mpcompile.backend import find_backend
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Graph, Module
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
#: (batch, length) of the two rounds that every program is run on.
SIZES = ((3, 7), (2, 5))
#: Weights near their initial values: far from them a flow amplifies rounding, on every backend alike.
SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: what was compared (`values`, `gradients`, `law`), where, and by how much it differed."""

    check: str
    backend: str
    precision: str
    program: str
    value: str
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return bool(self.difference <= self.tolerance)


def difference(expected: Array, found: Array) -> float:
    """max |a - b| / max(1, max |a|); infinite where shapes differ or something is not a number."""
    a, b = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if a.shape != b.shape or not np.isfinite(b).all():
        return float("inf")
    return float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) if a.size else 0.0


def verify(module: Module, backends: list[str], seed: int = 0) -> Iterator[Row]:
    """Every comparison of a module, the laws of the oracle itself first."""
    weights = example_weights(module, seed, SPREAD)
    yield from _laws(module, weights)
    fast = optimise(module).module  # derived samplers are held to the reference ones, which the oracle runs
    gradient = differentiate(module.programs["loss"], "loss", _trainable(module))
    for name in backends:
        backend = find_backend(name)
        for precision, tolerance in TOLERANCE.items():
            session = backend.session(fast, weights, precision=precision)
            for program, graph in module.programs.items():
                worst: dict[str, float] = {}
                for batch, length in SIZES:
                    inputs = example_inputs(module, program, batch, length, seed)
                    expected, found = interpret(graph, weights, inputs), session.run(program, inputs)
                    for key, value in expected.items():
                        gap = difference(value, found[key]) if key in found else float("inf")
                        worst[key] = max(worst.get(key, 0.0), gap)
                for key, gap in worst.items():
                    yield Row("values", name, precision, program, key, gap, tolerance)
            inputs = example_inputs(module, "loss", *SIZES[0], seed)
            expected, (_, found) = interpret(gradient, weights, inputs), session.gradients(inputs)
            gaps = {k: difference(expected[gradient_name(k)], found[k]) for k in _trainable(module)}
            key = max(gaps, key=lambda k: gaps[k])
            yield Row("gradients", name, precision, "loss", key, gaps[key], tolerance)


def _trainable(module: Module) -> list[str]:
    used = module.programs["loss"].parameters()
    return [p.name for p in module.parameters.values() if p.trainable and p.name in used]


def _law(program: str, value: str, gap: float, tolerance: float) -> Row:
    return Row("law", "oracle", "float64", program, value, gap, tolerance)


def _laws(module: Module, weights: dict[str, Array]) -> Iterator[Row]:
    """Laws that tie programs to each other, checked on the oracle."""
    programs = module.programs
    same = "log_prob" in programs and programs["log_prob"].inputs.keys() == programs["loss"].inputs.keys()
    if same and not module.updates("loss"):  # batch statistics are the loss's own, as dropout is
        inputs = example_inputs(module, "loss", *SIZES[0])
        loss = interpret(programs["loss"], weights, inputs)["loss"]
        score = interpret(programs["log_prob"], weights, inputs)["log_prob"].mean()
        yield _law("loss", "loss = -mean(log_prob)", difference(loss, -score), 1e-12)
    for subject in module.pieces if "forward" in programs else ():
        if subject in module.fields:  # not the flow of a dequantiser's noise
            yield from _flow(module, weights, subject)
    for claim in module.claims:
        observed = claim.program == "conditionals" and claim.subject in programs["conditionals"].inputs
        if claim.kind == "autoregressive" and observed:
            leaked = numeric_leaks(module, claim.subject, weights)
            yield _law("conditionals", "reads nothing beyond the proof", float(leaked), 0.0)


def _flow(module: Module, weights: dict[str, Array], subject: str) -> Iterator[Row]:
    """Round trip, and log_det against the numeric Jacobian and its support against the proof."""
    graph = module.programs["forward"]
    inputs = example_inputs(module, "forward", 1)
    out = interpret(graph, weights, inputs)
    given = {k: v for k, v in inputs.items() if k in module.programs["inverse"].inputs}
    back = interpret(module.programs["inverse"], weights, {"z": out["z"], **given})[subject]
    yield _law("inverse", "inverse(forward(x)) = x", difference(inputs[subject], back), 1e-6)
    size, step = inputs[subject].size, 1e-5
    moved = np.repeat(inputs[subject], 2 * size, axis=0).reshape(2 * size, size)
    moved[np.arange(size), np.arange(size)] += step
    moved[size + np.arange(size), np.arange(size)] -= step
    wide = {k: np.repeat(v, 2 * size, axis=0) for k, v in inputs.items()}
    wide[subject] = moved.reshape(2 * size, *inputs[subject].shape[1:])
    z = interpret(graph, weights, wide)["z"]
    jacobian = ((z[:size] - z[size:]) / (2 * step)).T
    _, log_det = np.linalg.slogdet(jacobian)
    yield _law("forward", "log_det = log |det J|", difference(out["log_det"][0], log_det), 1e-5)
    allowed = support(graph, subject, "z", environment_for(graph, SIZES[0][1]))
    outside = int((np.abs(jacobian) > 1e-9)[~allowed].sum())
    yield _law("forward", "J within the derived support", float(outside), 0.0)


def numeric_leaks(module: Module, subject: str, weights: dict[str, Array]) -> int:
    """Dependencies of `conditionals` seen by changing one input element at a time that were not derived."""
    graph: Graph = module.programs["conditionals"]
    base = example_inputs(module, "conditionals", 1)
    x, field = base[subject], module.fields[subject]
    size = x.size
    moved = np.repeat(x, size + 1, axis=0).reshape(size + 1, size)
    for j in range(size):
        changed = moved[j + 1, j] + 1
        moved[j + 1, j] = (
            changed if field.base == "real" else (changed - field.low) % (field.classes or 2) + field.low
        )
    wide = {k: np.repeat(v, size + 1, axis=0) for k, v in base.items()}
    wide[subject] = moved.reshape(size + 1, *x.shape[1:])
    env, leaks = environment_for(graph, SIZES[0][1]), 0
    for key, value in interpret(graph, weights, wide).items():
        seen = (np.abs(value[1:] - value[:1]) > 1e-12).reshape(size, -1).T
        leaks += int((seen & ~support(graph, subject, key, env)).sum())
    return leaks
