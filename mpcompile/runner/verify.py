"""`mpcompile verify`: the same weights, inputs and noise through every backend and the numpy oracle.

A difference of values is max |a - b| / max(1, max |a|) over an array, that of a gradient max |a - b| / max |a|.

One session is alive at a time; what is held beside it are the weights in double precision and the oracle's answers, which
for `gradients` are twice as many numbers again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpcompile.analysis.cost import peak
from mpcompile.analysis.dependence import environment_for, support
from mpcompile.backend import Session, SessionOptions, open_session
from mpcompile.interpret import Apply, evaluate, interpret
from mpcompile.ir import STATE, Array, Graph, Module, Primitive
from mpcompile.ops import Scan
from mpcompile.passes.gradient import differentiate, gradient_name
from mpcompile.passes.pipeline import Optimised, optimise
from mpcompile.runner.examples import example_inputs, example_weights
from mpcompile.specialize import member, member_count

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
#: (batch, length) of the two rounds that every program is run on.
SIZES = ((3, 7), (2, 5))
#: The rounds where the gradient of the loss holds more than `LARGE` at the first of `SIZES`.
SMALLER_SIZES = ((2, 7), (1, 5))
#: Bytes that are live at once in single precision (`analysis.cost.peak`). The oracle holds twice as many, a backend that
#: lays out the windows of a convolution for one product about eight times.
LARGE = 2**30
#: Weights near their initial values: far from them a flow amplifies rounding, on every backend alike.
SPREAD = 0.02
#: A gradient is compared relative to its own largest entry, or to this part of the largest entry of all gradients.
FLOOR = 1e-3
#: So many roundings may be made where a primitive makes one: in its inputs, in its sums, by its library.
ROUNDINGS = 8
#: One rounding, relative to the number rounded.
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: what was compared (`values`, `gradients`, `law`), where, and by how much it differed.

    `moved` is how far the value itself moves where every weight, input and result of a primitive moves by `ROUNDINGS`
    roundings of its precision: Monte Carlo arithmetic (Parker 1997), a sum by roundings of its absolute terms. It is
    looked at where a difference is above its tolerance: no program can be expected to come nearer than roundings let it
    (Higham 2002, sections 1.5 and 3.1). A gradient that vanishes identically (a bias before `batch_norm`) is rounding
    alone, and this is the absolute scale it is judged by. Gradients jump where a `relu` or a maximum passes a kink, so
    that the whole step is taken, and not one rounding multiplied, and the largest movement of any parameter's gradient
    stands for all of them.
    """

    check: str
    backend: str
    precision: str
    program: str
    value: str
    difference: float
    tolerance: float
    moved: float = 0.0

    @property
    def holds(self) -> bool:
        return bool(self.difference <= max(self.tolerance, self.moved))


def difference(expected: Array, found: Array, floor: float = 1.0) -> float:
    """Return max |a - b| / max(floor, max |a|); infinite where shapes differ or something is not a number."""
    a, b = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if a.shape != b.shape or not np.isfinite(b).all():
        return float("inf")
    gap = float(np.abs(a - b).max(initial=0.0))
    return gap / max(floor, float(np.abs(a).max())) if gap else 0.0


def verify(module: Module, backends: list[str], seed: int = 0, device: str = "cpu") -> Iterator[Row]:
    """Yield every comparison of a module, the laws of the oracle itself first. The oracle is on the CPU."""
    gradient = differentiate(module.programs["loss"], "loss", _trainable(module))
    sizes = sizes_for(gradient)
    weights = _rounded(example_weights(module, seed, SPREAD))
    yield from _laws(module, weights, sizes[0])
    inputs = {p: [_rounded(example_inputs(module, p, *s, seed)) for s in sizes] for p in module.programs}
    questions = [_Question("values", p, g, weights, inputs[p]) for p, g in module.programs.items()]
    questions.append(_Question("gradients", "loss", gradient, weights, inputs["loss"]))
    fast = optimise(module)  # derived samplers are held to the reference ones, which the oracle runs
    for name in backends:
        for precision in TOLERANCE:
            yield from _ask(name, device, precision, fast, questions)


def sizes_for(gradient: Graph) -> tuple[tuple[int, int], ...]:
    """Return (batch, length) of both rounds: `SIZES`, or `SMALLER_SIZES` for a network of very large images."""
    batch, length = SIZES[0]
    live = peak(gradient, {s: batch if s == "N" else length for s in gradient.symbols()})
    return SMALLER_SIZES if live > LARGE else SIZES


def _ask(
    backend: str, device: str, precision: str, optimised: Optimised, questions: list[_Question]
) -> Iterator[Row]:
    """Ask all questions to one session, which is gone when they are answered."""
    weights = questions[0].weights
    session = open_session(backend, optimised, weights, options=SessionOptions(device, precision))
    for question in questions:
        yield from question.ask(session, backend, precision)


@dataclass
class _Question:
    """A graph at every size. The oracle answers once, sessions are asked one after the other."""

    check: str
    program: str
    graph: Graph
    weights: dict[str, Array]
    inputs: list[dict[str, Array]]

    def ask(self, session: Session, backend: str, precision: str) -> Iterator[Row]:
        """One row for each output, or for each parameter: the worst of all sizes."""
        gaps, tolerance = dict.fromkeys(self.expected[0], 0.0), TOLERANCE[precision]
        for inputs, expected in zip(self.inputs, self.expected, strict=True):
            for key, gap in self._gaps(expected, self._found(session, inputs)).items():
                gaps[key] = max(gaps[key], gap)
        for key, gap in gaps.items():
            # movements are taken in float64 by roundings of float32; where they are small they are linear in the rounding
            unclear, scale = tolerance < gap < float("inf"), UNIT[precision] / UNIT["float32"]
            moved = self.moved[key] * scale if unclear else 0.0
            yield Row(self.check, backend, precision, self.program, key, gap, tolerance, moved)

    @cached_property
    def expected(self) -> list[dict[str, Array]]:
        return [self._oracle(self.weights, x) for x in self.inputs]

    @cached_property
    def moved(self) -> dict[str, float]:
        """Measure how far each value moves with `ROUNDINGS` roundings of all that it is computed from and by."""
        rounded, most = _Roundings(), dict.fromkeys(self.expected[0], 0.0)
        weights = rounded.all(self.weights)
        for inputs, expected in zip(self.inputs, self.expected, strict=True):
            for key, gap in self._gaps(expected, self._oracle(weights, rounded.all(inputs), rounded)).items():
                # a movement to what is no number is none that a program may make
                most[key] = max(most[key], gap if np.isfinite(gap) else 0.0)
        if self.check == "gradients":
            # a kink that these roundings pass for one parameter, a program may for another
            return dict.fromkeys(most, max(most.values(), default=0.0))
        return most

    def _found(self, session: Session, inputs: dict[str, Array]) -> Mapping[str, Array]:
        if self.check == "gradients":
            return session.gradients(inputs)[1]
        return session.run(self.program, inputs)

    def _oracle(
        self, weights: dict[str, Array], inputs: dict[str, Array], apply: Apply = evaluate
    ) -> dict[str, Array]:
        found = interpret(self.graph, weights, inputs, apply=apply)
        if self.check == "values":
            return found
        return {n: found[gradient_name(n)] for n in weights if gradient_name(n) in found}

    def _gaps(self, expected: dict[str, Array], found: Mapping[str, Array]) -> dict[str, float]:
        floor = 1.0
        if self.check == "gradients":
            floor = FLOOR * max((float(np.abs(a).max(initial=0.0)) for a in expected.values()), default=0.0)
        return {
            k: difference(a, found[k], floor or 1.0) if k in found else float("inf")
            for k, a in expected.items()
        }


def _rounded(arrays: dict[str, Array]) -> dict[str, Array]:
    """Round to float32 in float64, so that sessions of both precisions are given the same numbers."""
    return {
        k: a.astype(np.float32).astype(np.float64) if a.dtype.kind == "f" else a for k, a in arrays.items()
    }


class _Roundings:
    """Primitives whose results are moved by `ROUNDINGS` roundings of float32, up or down at random."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, op: Primitive, *inputs: Array) -> tuple[Array, ...]:
        if isinstance(op, Scan):
            return op.evaluate_by(self, *inputs)
        results = op.evaluate(*inputs)
        sizes = op.magnitude(results, *inputs)
        return tuple(self.move(y, size) for y, size in zip(results, sizes, strict=True))

    def move(self, y: Array, size: Array) -> Array:
        if y.dtype.kind != "f":
            return y
        step = np.where(np.isfinite(size), size, 0.0) * (ROUNDINGS * UNIT["float32"])
        return np.asarray(y + step * self.rng.choice([-1.0, 1.0], y.shape))

    def all(self, arrays: dict[str, Array]) -> dict[str, Array]:
        return {k: self.move(a, np.abs(a)) for k, a in arrays.items()}


def _trainable(module: Module) -> list[str]:
    used = module.programs["loss"].parameters()
    return [p.name for p in module.parameters.values() if p.trained and p.name in used]


def _law(program: str, value: str, gap: float, tolerance: float) -> Row:
    return Row("law", "oracle", "float64", program, value, gap, tolerance)


def _laws(module: Module, weights: dict[str, Array], size: tuple[int, int]) -> Iterator[Row]:
    """Laws that tie programs to each other, checked on the oracle."""
    programs = module.programs
    same = "log_prob" in programs and programs["log_prob"].inputs.keys() == programs["loss"].inputs.keys()
    same = same and not module.weighted and "terms" not in programs["loss"].outputs
    # batch statistics are the loss's own, as dropout is
    if same and not any(n.startswith(STATE) for n in programs["loss"].outputs):
        inputs = example_inputs(module, "loss", *size)
        loss = interpret(programs["loss"], weights, inputs)["loss"]
        score = interpret(programs["log_prob"], weights, inputs)["log_prob"].mean()
        yield _law("loss", "loss = -mean(log_prob)", difference(loss, -score), 1e-12)
    # not the flow of a dequantiser's noise, nor of a model with latents, nor a law in a step of a recurrence
    flows = {
        c.subject: c.program for c in module.claims if c.kind == "jacobian" and c.subject in module.fields
    }
    for subject, program in flows.items():
        if program in programs and subject in programs[program].inputs:
            yield from _flow(module, weights, subject, program)
    for claim in module.claims:
        if claim.kind != "autoregressive" or claim.subject not in module.fields:
            continue
        read = programs[claim.program].inputs.get(claim.subject)
        if read is not None and read.type == module.fields[claim.subject].type:
            leaked = sum(
                numeric_leaks(member(module, k), claim.subject, weights, claim.program)
                for k in range(member_count(module))
            )
            yield _law(claim.program, "reads nothing beyond the proof", float(leaked), 0.0)


def _flow(module: Module, weights: dict[str, Array], subject: str, forward: str) -> Iterator[Row]:
    """Round trip, and log_det against the numeric Jacobian and its support against the proof."""
    graph, inverse = module.programs[forward], forward.replace("forward", "inverse", 1)
    inputs = example_inputs(module, forward, 1)
    out = interpret(graph, weights, inputs)
    given = {k: v for k, v in inputs.items() if k in module.programs[inverse].inputs}
    back = interpret(module.programs[inverse], weights, {"z": out["z"], **given})[subject]
    yield _law(inverse, "inverse(forward(x)) = x", difference(inputs[subject], back), 1e-6)
    size, step = inputs[subject].size, 1e-5
    moved = np.repeat(inputs[subject], 2 * size, axis=0).reshape(2 * size, size)
    moved[np.arange(size), np.arange(size)] += step
    moved[size + np.arange(size), np.arange(size)] -= step
    wide = {k: np.repeat(v, 2 * size, axis=0) for k, v in inputs.items()}
    wide[subject] = moved.reshape(2 * size, *inputs[subject].shape[1:])
    z = interpret(graph, weights, wide)["z"]
    jacobian = ((z[:size] - z[size:]) / (2 * step)).T
    _, log_det = np.linalg.slogdet(jacobian)
    yield _law(forward, "log_det = log |det J|", difference(out["log_det"][0], log_det), 1e-5)
    allowed = support(graph, subject, "z", environment_for(graph, SIZES[0][1])).value
    outside = int((np.abs(jacobian) > 1e-9)[~allowed].sum())
    yield _law(forward, "J within the derived support", float(outside), 0.0)


def numeric_leaks(
    module: Module,
    subject: str,
    weights: dict[str, Array],
    program: str = "conditionals",
    limit: int = LARGE // 4,
) -> int:
    """Count the dependencies of `conditionals`, seen by changing one input element at a time, that were not derived.

    Elements are changed in as many examples at once as hold `limit` bytes (`analysis.cost.peak`), at least one.
    """
    graph: Graph = module.programs[program]
    base = example_inputs(module, program, 1)
    x, field = base[subject], module.fields[subject]
    env = environment_for(graph, SIZES[0][1])
    allowed = {key: support(graph, subject, key, env).value for key in graph.outputs}
    rows, leaks = max(1, limit // peak(graph, env) - 1), 0
    for start in range(0, x.size, rows):
        changed = np.arange(start, min(start + rows, x.size))
        wide = {k: np.repeat(v, len(changed) + 1, axis=0) for k, v in base.items()}
        moved = wide[subject].reshape(-1, x.size)
        at = (1 + np.arange(len(changed)), changed)  # the first example is left as it is
        moved[at] += 1
        if field.base != "real":
            moved[at] = (moved[at] - field.low) % (field.classes or 2) + field.low
        for key, value in interpret(graph, weights, wide).items():
            seen = (np.abs(value[1:] - value[:1]) > 1e-12).reshape(len(changed), -1).T
            leaks += int((seen & ~allowed[key][:, changed]).sum())
    return leaks
