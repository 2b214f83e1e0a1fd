"""The examples and the noise of a step: a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from mpcompile.ir import EXAMPLES, Array, Graph, Module, multiple_of
from mpcompile.runner.data import Split
from mpcompile.runner.noise import Key, draw, generator, permutation

Inputs = dict[str, Array]

# Batches with more numbers than this are prepared by a second thread while the device works.
_WORTH_A_THREAD = 50_000


def sizes(graph: Graph, data: Mapping[str, Array]) -> dict[str, int]:
    """Return the numbers of the symbols (`N`, `time`, ...) that the shapes of `data` fix."""
    found: dict[str, int] = {}
    for name, value in graph.inputs.items():
        if name in data:
            for size, actual in zip(value.shape, data[name].shape, strict=True):
                fixed = multiple_of(size)
                if fixed is not None:
                    symbol, times = fixed
                    found[symbol] = int(actual) // times
    return found


def complete(module: Module, program: str, data: Mapping[str, Array], key: Key) -> Inputs:
    """Return the inputs of a program: those of `data` that it reads, and its noise, under `key` and its name.

    Raises `KeyError` for an input that is neither data nor noise.
    """
    graph = module.programs[program]
    noise = module.noise.get(program, {})
    # another program may have noise of the same name in another shape
    env = sizes(graph, {name: array for name, array in data.items() if name not in noise})
    inputs: Inputs = {}
    for name, value in graph.inputs.items():
        if name in noise:
            spec = noise[name]
            inputs[name] = draw(spec.kind, value.type.concrete(env), (*key, name), classes=spec.classes)
        else:
            inputs[name] = data[name]
    return inputs


class Batches:
    """Training batches of one split.

    An epoch is one pass in an order keyed by (seed, epoch); what does not fill a batch is left to the next
    epoch's order, so every batch has the same shape. Windows are cut at a new offset in every epoch.
    """

    def __init__(self, module: Module, split: Split, batch: int, seed: int) -> None:
        self.module, self.split, self.seed = module, split, seed
        self.batch = min(batch, len(split))
        self.per_epoch = len(split) // self.batch
        self.order = lru_cache(maxsize=2)(self._order)

    def position(self, step: int) -> tuple[int, int]:
        """Epoch and place in it of 0-based `step`."""
        return divmod(step, self.per_epoch)

    def _order(self, epoch: int) -> tuple[Array, int]:
        """Order of the rows, and the offset of the windows."""
        shift = 0
        if self.split.windowed:
            length = next(c.length for c in self.split.columns.values() if hasattr(c, "length"))
            shift = int(generator(self.seed, "shift", epoch).integers(0, length))
        return permutation(len(self.split), self.seed, "order", epoch), shift

    def at(self, step: int) -> Inputs:
        """Inputs of `loss` at a 0-based step."""
        epoch, place = self.position(step)
        order, shift = self.order(epoch)
        rows = order[place * self.batch : (place + 1) * self.batch]
        data = self.split.take(rows, shift) | {EXAMPLES: np.asarray(len(self.split), np.float32)}
        return complete(self.module, "loss", data, (self.seed, "train", step))

    def stream(self, start: int, stop: int) -> Generator[Inputs, None, None]:
        """Inputs of steps `start` to `stop`, large ones prepared one step ahead."""
        if start >= stop:
            return
        first = self.at(start)
        if sum(v.size for v in first.values()) < _WORTH_A_THREAD:
            yield first
            for step in range(start + 1, stop):
                yield self.at(step)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead: Future[Inputs] | None = None
            for step in range(start, stop):
                now = first if ahead is None else ahead.result()
                if step + 1 < stop:
                    ahead = pool.submit(self.at, step + 1)
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
