"""A split of a set, read by a session a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mpcompile.backend import Backend, Session, SessionOptions, open_session
from mpcompile.ir import Array, Module
from mpcompile.runner.batches import as_precision, chunks, complete
from mpcompile.runner.data import Split
from mpcompile.runner.run import Run

#: Examples of a batch at least, whatever a training took.
_LEAST = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """A session and the split that its programs are run on, in batches of `batch` examples.

    `seed` is that of the noise, which is the same at every reading, so that two of them differ by the weights alone.
    `seen` is told how many rows each call took.
    """

    session: Session
    module: Module
    part: Split
    batch: int
    seed: int
    precision: str
    seen: Callable[[int], None] = lambda count: None

    def __iter__(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Batches in order, by number."""
        return chunks(self.part, self.batch)

    def run(self, program: str, data: dict[str, Array], *key: str | int) -> dict[str, Array]:
        """A program of the session on some rows; `key` and the seed name its noise."""
        inputs = complete(self.module, program, data, (self.seed, *key))
        out = self.session.run(program, as_precision(inputs, self.precision))
        self.seen(len(next(iter(data.values()))))
        return dict(out)


def reading_of(
    run: Run,
    module: Module,
    part: Split,
    *,
    backend: Backend | None = None,
    device: str | None = None,
    seen: Callable[[int], None] = lambda count: None,
) -> tuple[Reading, int]:
    """Open a session of a run's best checkpoint to read a split with, and return its step too.

    Backend, device, precision and seed are those of the run. Raises `SpecError` as `Run.parameters` does.
    """
    facts = run.facts
    weights, step = run.parameters(module)
    precision = str(facts["precision"])
    own, place = backend or str(facts["backend"]), device or str(facts["device"])
    options = SessionOptions(place, precision)
    session = open_session(own, module, as_precision(weights, precision), options=options)
    batch = max(_LEAST, int(facts["settings"]["batch"]))
    return Reading(session, module, part, batch, int(facts["seed"]), precision, seen), step
