"""The record of where a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Progress:
    """The record that a resume needs beside the session's state; plain data in the checkpoint's manifest."""

    step: int = 0
    best: float | None = None
    best_step: int = 0
    worse: int = 0  # validations since the best
    window: dict[str, float] = field(default_factory=dict)  # sums since the last training line
    window_count: int = 0
    seconds: float = 0.0
    reason: str = ""
    loss: float | None = None  # of the last step
    skipped: int = 0  # steps that changed nothing
    skipped_since: int = 0  # those of them since the last one that did

    def add(self, scalars: Mapping[str, float]) -> None:
        """Take in the scalars of a step. The gradient's norm is no mean: a line has that of its own step.

        Of a step that changed nothing only the number counts.
        """
        if scalars.get("skipped"):
            self.skipped += 1
            self.skipped_since += 1
            self.window["skipped"] = self.window.get("skipped", 0.0) + 1
            return
        self.loss, self.skipped_since = scalars["loss"], 0
        for name, value in scalars.items():
            if name != "gradient_norm":
                self.window[name] = self.window.get(name, 0.0) + float(value)
        self.window_count += 1

    def means(self) -> dict[str, float]:
        """Means over the steps since the last time, which begin anew, and the number of steps that were skipped."""
        found = {name: value / self.window_count for name, value in self.window.items()}
        if "skipped" in found:
            found["skipped"] = self.window["skipped"]
        self.window, self.window_count = {}, 0
        return found


__all__ = ["Progress"]
