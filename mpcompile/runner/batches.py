"""The examples and the noise of a step: a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.group import ALONE, Group
from mpcompile.ir import EXAMPLES, Array, Graph, Module, NoiseSpec, Type, multiple_of
from mpcompile.runner.augment import Augmenter
from mpcompile.runner.data import Split, Windows
from mpcompile.runner.data.dataset import restored, stored
from mpcompile.runner.noise import Key, draw, generator
from mpcompile.runner.order import Kind, Order, usual
from mpcompile.runner.workers import made_by

Inputs = dict[str, Array]

# Batches with more numbers than this are prepared by a second thread while the device works.
_WORTH_A_THREAD = 50_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """The inputs of a program, by name: their types, and what to draw for those that are noise."""

    inputs: Mapping[str, Type]
    noise: Mapping[str, NoiseSpec]

    @classmethod
    def of(cls, module: Module, program: str) -> Recipe:
        graph = module.programs[program]
        return cls({k: v.type for k, v in graph.inputs.items()}, dict(module.noise.get(program, {})))

    def sizes(self, data: Mapping[str, Array]) -> dict[str, int]:
        """Return the numbers of the symbols (`N`, `time`, ...) that the shapes of `data` fix."""
        found: dict[str, int] = {}
        for name, type in self.inputs.items():
            if (
                name in data and name not in self.noise
            ):  # another program may have noise of that name in another shape
                for size, actual in zip(type.shape, data[name].shape, strict=True):
                    if (fixed := multiple_of(size)) is not None:
                        found[fixed[0]] = int(actual) // fixed[1]
        return found

    def complete(
        self, data: Mapping[str, Array], key: Key, batch: int | None = None, part: slice = slice(None)
    ) -> Inputs:
        """Return the inputs: those of `data` that the program reads, and its noise, under `key` and its name.

        `data` may have only a `part` of the examples of a batch: the noise of the whole is drawn, and theirs is cut out.
        N is the number of their rows where the program reads none of them. Raises `KeyError` for an input that is neither
        data nor noise.
        """
        env = self.sizes(data)
        env.setdefault("N", next((len(rows) for rows in data.values() if np.ndim(rows)), 0))
        if batch is not None:
            env["N"] = batch
        inputs: Inputs = {}
        for name, type in self.inputs.items():
            spec = self.noise.get(name)
            if spec is None:
                inputs[name] = data[name]
                continue
            drawn = draw(spec.kind, type.concrete(env), (*key, name), classes=spec.classes)
            inputs[name] = drawn[part] if type.shape and str(type.shape[0]) == "N" else drawn
        return inputs


def sizes(graph: Graph, data: Mapping[str, Array]) -> dict[str, int]:
    """Return the numbers of the symbols (`N`, `time`, ...) that the shapes of `data` fix."""
    return Recipe({k: v.type for k, v in graph.inputs.items()}, {}).sizes(data)


def complete(module: Module, program: str, data: Mapping[str, Array], key: Key) -> Inputs:
    """Return the inputs of a program: those of `data` that it reads, and its noise, under `key` and its name.

    Raises `KeyError` for an input that is neither data nor noise.
    """
    return Recipe.of(module, program).complete(data, key)


@dataclass(frozen=True, slots=True)
class Maker:
    """Make the inputs of training steps: the same in this process and in a worker.

    split    the examples
    batch    examples of a step
    order    which of them come when
    seed     of noise and of the offset of windows
    recipe   the inputs of `loss`
    augmenter  changes the examples
    own      the places in a batch whose rows `at` gives unless it is told others
    """

    split: Split
    batch: int
    order: Order
    seed: int
    recipe: Recipe
    augmenter: Augmenter
    own: slice

    @property
    def per_epoch(self) -> int:
        return len(self.split) // self.batch

    def stored(self) -> Maker:
        """Return this with mapped arrays as places in their files, as it travels to another process."""
        return replace(self, split=stored(self.split))

    def restored(self) -> Maker:
        """Return this with its mapped arrays. Raises `SpecError` (MP506) where a file is gone."""
        return replace(self, split=restored(self.split))

    def at(self, step: int, part: slice | None = None) -> Inputs:
        """Return the inputs of `loss` at a 0-based step, those of `part` of the batch."""
        part = self.own if part is None else part
        epoch, place = divmod(step, self.per_epoch)
        rows = self.order.rows(epoch, place * self.batch, (place + 1) * self.batch)
        data = self.split.take(rows, self._shift(epoch), part)
        self.augmenter.change(data, (self.seed, "train", step), self.batch, part)
        data[EXAMPLES] = np.asarray(len(self.split), np.float32)
        return self.recipe.complete(data, (self.seed, "train", step), self.batch, part)

    def _shift(self, epoch: int) -> int:
        """Return the offset of windows in an epoch."""
        length = next((c.length for c in self.split.columns.values() if isinstance(c, Windows)), 0)
        return int(generator(self.seed, "shift", epoch).integers(0, length)) if length else 0


class Batches:
    """Training batches of one split.

    An epoch is one pass in an order keyed by (seed, epoch); what does not fill a batch is left to the next
    epoch's order, so every batch has the same shape. Windows are cut at a new offset in every epoch.

    `order` is the kind of order of a run resumed. With `workers` other processes make the batches, which are the same.
    A process of a `group` reads the rows of its shards alone.
    """

    def __init__(
        self, module: Module, split: Split, batch: int, seed: int, order: Kind | None = None, workers: int = 0,
        group: Group = ALONE,
    ) -> None:  # fmt: skip
        self.module, self.split, self.seed, self.workers = module, split, seed, workers
        self.batch = min(batch, len(split))
        self.order = Order(len(split), seed, order or usual(len(split)))
        own = group.rows(self.batch) if group.size > 1 else slice(None)
        self.maker = Maker(
            split, self.batch, self.order, seed, Recipe.of(module, "loss"), Augmenter.of(module), own
        )
        self.per_epoch = self.maker.per_epoch

    def position(self, step: int) -> tuple[int, int]:
        """Epoch and place in it of 0-based `step`."""
        return divmod(step, self.per_epoch)

    def at(self, step: int, part: slice = slice(None)) -> Inputs:
        """Inputs of `loss` at a 0-based step: those of the whole batch, or of a part of it."""
        return self.maker.at(step, part)

    def stream(self, start: int, stop: int) -> Generator[Inputs, None, None]:
        """Inputs of steps `start` to `stop`, the rows of this process; large ones are prepared one step ahead."""
        if start >= stop:
            return
        if self.workers:
            yield from made_by(self.workers, self.maker, start, stop)
            return
        first = self.maker.at(start)
        if sum(v.size for v in first.values()) < _WORTH_A_THREAD:
            yield first
            for step in range(start + 1, stop):
                yield self.maker.at(step)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead: Future[Inputs] | None = None
            for step in range(start, stop):
                now = first if ahead is None else ahead.result()
                if step + 1 < stop:
                    ahead = pool.submit(self.maker.at, step + 1)
                yield now


def chunks(split: Split, batch: int) -> Iterator[tuple[int, Inputs]]:
    """Yield a split in order: `(number of the chunk, data)`, the last chunk possibly shorter."""
    for number, start in enumerate(range(0, len(split), batch)):
        yield number, split.take(np.arange(start, min(start + batch, len(split))))


def as_precision(inputs: Inputs, precision: str) -> Inputs:
    """Widen floats for a float64 session."""
    if precision != "float64":
        return inputs
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
