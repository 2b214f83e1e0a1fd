"""Augmentation of training batches in numpy, drawn by (seed, step): the same on every backend and after a resume.

It is a step of the runner and no program: it changes data, not the model, workers make it beside the training, and no
backend can differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpcompile.ir import Array, Module
from mpcompile.ir.augmentation import Augmentation, Crop, Flip, Noise, Shift
from mpcompile.ir.axes import SPACES
from mpcompile.runner.noise import Key, draw, generator

_SPACE = {name for axes in SPACES.values() for name in axes}


@dataclass(frozen=True, slots=True)
class Augmenter:
    """The augmentations of a module. `axes` has the names of the axes of each variable, `lowest` its lowest value."""

    steps: Sequence[Augmentation]
    axes: dict[str, tuple[str, ...]]
    lowest: dict[str, int]

    @classmethod
    def of(cls, module: Module) -> Augmenter:
        steps = module.train.augment or ()
        named = {name: module.fields[name] for step in steps for name in step.of}
        return cls(
            steps,
            {name: tuple(f.axes) for name, f in named.items()},
            {name: f.low if f.base == "integer" else 0 for name, f in named.items()},
        )

    def change(self, data: dict[str, Array], key: Key, batch: int, part: slice) -> None:
        """Change the examples `[n, ...]` of a batch, or of a `part` of it: the draws are those of the whole batch."""
        for number, step in enumerate(self.steps):
            of_step = (*key, "augment", number)
            if isinstance(step, Noise):
                for name in step.of:
                    found = data[name]
                    drawn = draw("normal", (batch, *found.shape[1:]), (*of_step, name))[part]
                    data[name] = found + np.float32(step.deviation) * drawn
                continue
            draws = generator(*of_step)
            if isinstance(step, Flip):
                flipped = draws.random(batch)[part] < 0.5
                for name in step.of:
                    data[name] = _flipped(data[name], flipped, 1 + self.axes[name].index(step.over))
            elif isinstance(step, Crop | Shift):
                moved = {axis: draws.integers(-step.by, step.by + 1, batch)[part] for axis in sorted(_SPACE)}
                for name in step.of:
                    for axis, by in moved.items():
                        if axis in self.axes[name]:
                            fill = self.lowest[name] if isinstance(step, Crop) else None
                            data[name] = _moved(data[name], by, 1 + self.axes[name].index(axis), fill)


def _flipped(values: Array, which: Array, axis: int) -> Array:
    out = values.copy()
    out[which] = np.flip(values[which], axis)
    return out


def _moved(values: Array, by: Array, axis: int, fill: int | None) -> Array:
    """Move each example by its own number of steps along an axis: around, or with `fill` where nothing comes from."""
    size = values.shape[axis]
    source = np.arange(size) - by[:, None]
    shape = [len(values), *(size if i == axis else 1 for i in range(1, values.ndim))]
    found = np.take_along_axis(values, (source % size).reshape(shape), axis)
    if fill is None:
        return np.asarray(found)
    inside = ((source >= 0) & (source < size)).reshape(shape)
    return np.asarray(np.where(inside, found, np.asarray(fill, values.dtype)))


__all__ = ["Augmenter"]
