"""Draws handed on while they are made: a derived sampler run some steps at a time, from state to state."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array
from mpcompile.passes.stream import STEPS, pieces
from mpcompile.runner.data.letters import BYTES, decode
from mpcompile.runner.divergence import require_finite
from mpcompile.runner.sampling import Draws

#: Steps of a piece: few enough to watch, and enough for a call to be worth it.
CHUNK = 32


@dataclass(frozen=True)
class Piece:
    """The next steps of draw `number`: `values` of variable `name`, and whether they are the last of it."""

    number: int
    name: str
    values: Array
    last: bool


class Stream:
    """Draws one after the other, some steps at a time; joined, a draw is the one that `sample` gives.

    Raises `SpecError` (MP542) for a model whose sampler is not one loop over time.
    """

    def __init__(self, plan: Draws) -> None:
        self.optimised = plan.optimised(plan.module)
        graph = self.optimised.module.programs[plan.program]
        found = pieces(graph) if plan.program == "sample" else None
        (self.name, drawn), *_ = graph.outputs.items()
        if found is None or drawn.type.rank != 2:
            raise error(
                "MP542", f"model '{plan.module.name}' is not drawn step by step along time", Span.none(),
                help="--stream is for models of text and of sound whose sampler is derived",
            )  # fmt: skip
        self.plan, self.programs = plan, found
        self.length = found.length if isinstance(found.length, int) else plan.env[str(found.length)]

    def pieces(self, chunk: int = CHUNK) -> Iterator[Piece]:
        plan, programs = self.plan, {"start": self.programs.start, "steps": self.programs.steps}
        noise = dict.fromkeys(programs, plan.module.noise[plan.program])
        module = replace(self.optimised.module, programs=programs, noise=noise, claims=[])
        session = plan.live(replace(self.optimised, module=module))
        for number in range(len(plan.drawn_by)):
            inputs = plan.inputs(number, number + 1)
            state = session.run("start", {k: v for k, v in inputs.items() if k in programs["start"].inputs})
            for first in range(0, self.length, chunk):
                steps = np.arange(first, min(first + chunk, self.length))[None]
                state = session.run("steps", {**inputs, **state, STEPS: steps})
                drawn = np.asarray(state.pop(self.name))
                require_finite(drawn, f"draw {self.name}")
                values = drawn[0]
                yield Piece(number, self.name, values, first + chunk >= self.length)


class Letters:
    """Text of codes as they come; bytes that end within a letter wait for the rest of it."""

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self.bytes = codecs.getincrementaldecoder("utf-8")("replace") if vocabulary == BYTES else None

    def text(self, codes: Array, last: bool) -> str:
        """The letters that are complete; all of them with the `last` codes."""
        if self.bytes is None:
            return decode(codes, self.vocabulary)
        return self.bytes.decode(codes.astype(np.uint8).tobytes(), last)
