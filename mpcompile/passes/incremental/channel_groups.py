"""The elements of a pixel in groups, by the channel before which they become known.

Where the channels of a pixel are drawn one after the other, a layer's own channels become known one group after the
other (van den Oord et al. 2016, section 3.4: of red, of green, of blue). Each group is computed once, from rows of the
weights of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mpcompile.ir import Builder, Value
from mpcompile.ops import build as F

Elements = tuple[int, ...]


@dataclass(frozen=True)
class ChannelGroups:
    """The channel before which each element along one axis of a value is known.

    The number of channels stands for: after the last.
    """

    axis: int
    stage_of: tuple[int, ...]

    def elements(self, stage: int) -> Elements:
        """The elements that become known at a stage."""
        return tuple(i for i, w in enumerate(self.stage_of) if w == stage)

    @property
    def stages(self) -> list[int]:
        return sorted(set(self.stage_of))


def join(b: Builder, groups: ChannelGroups, parts: Mapping[int, Value]) -> Value:
    """Join the parts of all stages to one value, elements in their own order."""
    order = [i for stage in groups.stages for i in groups.elements(stage)]
    pieces = [parts[stage] for stage in groups.stages]
    whole = pieces[0] if len(pieces) == 1 else F.concat(b, pieces, groups.axis)
    return F.take(b, whole, groups.axis, np.argsort(order))
