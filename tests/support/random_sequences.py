"""Random specs over sequences, as text, and what their programs really read: for laws about verdicts and for fuzzing.

Shifts up to 40, dilations, loops both ways, attention, pooling norms, `last -> over`, before and after one another, so
that what an offset set forgets (everything is read) stands before and behind what moves. Numbers come from one seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Module
from mpcompile.lowering import lower
from mpcompile.runner.initial import initial

SHIFTS = (1, 1, 2, 3, 5, 9, 16, 17, 31, 40)
WIDTH = 3


@dataclass(frozen=True)
class Spec:
    """A spec, its subject, and the numbers of its symbols that are worth a try."""

    seed: int
    text: str
    subject: str
    symbols: tuple[str, ...]

    def module(self) -> Module:
        return lower(parse_text(self.text), Source(f"random_{self.seed}.mp", self.text))


def sequence(seed: int) -> Spec:
    """An autoregressive sequence, or (one in four) a vector beside a sequence that it is a condition of."""
    rng = np.random.default_rng(seed)
    vector = rng.random() < 0.25
    start = [] if rng.random() < 0.15 else [f"shift({_of(rng, SHIFTS)})"]
    middle = [piece(rng, 2) for _ in range(int(rng.integers(1, 4)))]
    chain = " -> ".join([f"dense({WIDTH})", *(start if not vector else []), *middle])
    if vector:
        text = (
            f"model random\ninput x: real[{WIDTH}]\ncondition c: real[time, {WIDTH}]\n"
            f"x ~ autoregressive(order = natural) {{\n"
            f"  over(time) -> {chain} -> add(c) -> last -> dense({2 * WIDTH})\n}}\n"
        )
        return Spec(seed, text.replace(f"dense({WIDTH}) -> ", "", 1), "x", ("time",))
    condition, extra = "", ""
    if rng.random() < 0.3:
        condition, extra = (
            f"condition q: real[frames, {WIDTH}]\n",
            " -> add(q -> gru(3, output = state) -> over(time))",
        )
    text = (
        f"model random\ninput x: real[time, 1]\n{condition}"
        f"x ~ autoregressive {{\n  {chain}{extra} -> dense(2)\n}}\n"
    )
    return Spec(seed, text, "x", ("time", "frames") if condition else ("time",))


def _of(rng: np.random.Generator, choices: tuple[int, ...]) -> int:
    return int(choices[int(rng.integers(len(choices)))])


def piece(rng: np.random.Generator, depth: int, width: int = WIDTH) -> str:
    """A layer of a sequence, or a residual block of two, that keeps its width."""
    kernel, dilation = int(rng.integers(1, 4)), _of(rng, (1, 1, 2, 3, 7))
    pieces = [
        f"dense({width})", "tanh", "layer_norm", f"shift({_of(rng, SHIFTS)})", f"shift({_of(rng, SHIFTS)})",
        f"conv1d({width}, {kernel}, dilation = {dilation})", f"conv1d({width}, {kernel}, dilation = {dilation})",
        f"conv1d({width}, {kernel}, dilation = {dilation}, pad = same)", f"rnn({width})", f"gru({width})",
        f"lstm(2, bidirectional = true) -> dense({width})", "attention(1, mask = causal)", "attention(1)",
        "group_norm(1)", "last -> over(time)",
    ]  # fmt: skip
    if depth and rng.random() < 0.3:
        return f"residual({piece(rng, depth - 1, width)} -> {piece(rng, 0, width)})"
    return pieces[int(rng.integers(len(pieces)))]


def leaks(module: Module, subject: str, sizes: Mapping[str, int], trials: int = 2) -> bool:
    """Whether a parameter of some element changes, in float64, when the element or a later one does."""
    return any(_later(changed) for changed in changes(module, subject, sizes, trials))


def _later(changed: np.ndarray) -> bool:
    elements, steps = changed.shape
    when = np.arange(elements) // (elements // steps)  # elements of one step have one place in the order
    return bool((changed & (when[:, None] >= np.arange(steps)[None, :])).any())


def changes(module: Module, subject: str, sizes: Mapping[str, int], trials: int = 1) -> Iterator[np.ndarray]:
    """Bool [elements of the subject, steps]: whether any parameter of a step changes with an element, in float64.

    A row of the batch for each element that is changed. A change below 1e-9 of the largest value counts as none.
    """
    graph = module.programs["conditionals"]
    axis = next(c for c in module.claims if c.kind == "autoregressive").ordering.axis
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        weights = {k: rng.normal(size=v.shape) for k, v in initial(module, trial).items()}
        given = {}
        for name, value in graph.inputs.items():
            shape = value.type.concrete({"N": 1, **sizes})
            given[name] = rng.normal(size=shape)
        x = given[subject][0]
        rows = np.repeat(x[None], x.size + 1, 0)
        for j in range(x.size):
            rows[j + 1].reshape(-1)[j] = rng.normal()
        feed = {k: np.repeat(v, len(rows), 0) for k, v in given.items()} | {subject: rows}
        with np.errstate(all="ignore"):
            outputs = interpret(graph, weights, feed)
        steps, found = x.shape[0], np.zeros((x.size, x.shape[0]), bool)
        for y in outputs.values():
            own = np.moveaxis(y, axis, -1) if axis is not None else y
            own = own.reshape(len(rows), steps, -1)
            found |= np.abs(own[1:] - own[:1]).max(-1) > 1e-9 * max(1.0, float(np.abs(own).max()))
        yield found
