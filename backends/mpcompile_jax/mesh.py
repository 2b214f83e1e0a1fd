"""Devices of several processes, or several devices of one, as one mesh over which jax partitions what it compiles.

A program over a mesh has the meaning that it has on one device: sums over the batch, statistics of batches, clipping and
norms are those of the whole batch. Results are exact up to the order in which XLA reduces. The shards of a process lie on
as many of its devices as divide their number, and the rest follow one another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mpcompile.analysis.batch import batch_axis
from mpcompile.backend import lost
from mpcompile.group import Group
from mpcompile.ir import Array, Type
from mpcompile_jax.loading import Placement

AXIS = "shard"
#: Arrays of fewer elements are whole on every device.
_SMALL = 256
_JOINED: list[Group] = []


def join(group: Group) -> None:
    """Join the other processes of a group, once in a process and before its first array.

    The first process listens at `JAX_COORDINATOR_ADDRESS`, or else at `MASTER_ADDR`:`MASTER_PORT`; where torchrun's agent
    has that port, at the next one. Raises `SpecError` (MP531) where a process does not come.
    """
    if group.size == 1 or _JOINED:
        return
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    port = int(os.environ.get("MASTER_PORT", "29500")) + agent
    place = (
        os.environ.get("JAX_COORDINATOR_ADDRESS") or f"{os.environ.get('MASTER_ADDR', 'localhost')}:{port}"
    )
    config: Any = jax.config
    config.update("jax_cpu_collectives_implementation", "gloo")
    config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from the runner
    try:
        jax.distributed.initialize(place, group.size, group.rank)
    except RuntimeError as fault:
        raise lost(str(fault)) from fault
    _JOINED.append(group)


@contextmanager
def waiting() -> Iterator[None]:
    """Turn the error of a connection to a process that is gone into a finding (MP531)."""
    try:
        yield
    except (RuntimeError, ValueError) as fault:
        text = str(fault)
        if not any(word in text for word in ("Gloo", "gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED")):
            raise
        raise lost(text.partition("\n")[0]) from fault


def _along(axis: int | None) -> PartitionSpec:
    """Return the partition in parts along one axis, or whole."""
    spec: Any = PartitionSpec
    made: PartitionSpec = spec() if axis is None else spec(*[None] * axis, AXIS)
    return made


class MeshPlacement(Placement):
    """Arrays on the devices of a group: weights whole or in parts as its layout says, batches by their rows."""

    def __init__(self, device: str, precision: str, mixed: bool, group: Group) -> None:
        join(group)
        super().__init__(device, precision, mixed)
        self.group = group
        platform = self.device.platform
        there = jax.local_device_count(platform)
        each = max(n for n in range(1, group.own + 1) if group.own % n == 0 and n <= there)
        #: Shards of this process that follow one another.
        self.turns = group.own // each
        of = {
            rank: [d for d in jax.devices(platform) if d.process_index == rank][:each]
            for rank in range(group.size)
        }
        devices = np.array([d for rank in sorted(of) for d in of[rank]])
        self.mesh = Mesh(devices, (AXIS,), axis_types=(AxisType.Auto,))
        self.whole = NamedSharding(self.mesh, _along(None))
        self._gather = jax.jit(lambda x: x, out_shardings=self.whole)

    def sharding(self, shape: Sequence[int]) -> NamedSharding:
        """Return how an array of weights lies: in parts along its largest axis that the devices divide, or whole."""
        count = self.mesh.size
        axes = [i for i, size in enumerate(shape) if size % count == 0 and size]
        if self.group.layout == "replicated" or not axes or np.prod(shape) < _SMALL:
            return self.whole
        along = max(axes, key=lambda i: shape[i])
        return NamedSharding(self.mesh, _along(along))

    def array(self, array: Array) -> jax.Array:
        return self._placed(self.cast(array), self.sharding(np.shape(array)))

    def _placed(self, full: Array, sharding: NamedSharding) -> jax.Array:
        part: Callable[[Any], Array] = full.__getitem__
        return jax.make_array_from_callback(full.shape, sharding, part)

    def argument(self, array: Array, type_: Type) -> Any:
        """Rows of this process as their part of the batch of all; what has no batch as it is."""
        given, at = np.asarray(array, self.width(type_.dtype)), batch_axis(type_)
        if at is None:
            return self._placed(given, self.whole)
        rows = NamedSharding(self.mesh, _along(at))
        made: Any = jax.make_array_from_process_local_data
        return made(rows, given)

    def local(self, array: jax.Array) -> jax.Array:
        """The whole array on the first device of this process; all processes ask for one that lies in parts."""
        full = array if array.is_fully_replicated else self._gather(array)
        return full.addressable_data(0)

    def numpy(self, array: jax.Array) -> Array:
        with waiting():
            return super().numpy(self.local(array))

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        """Gather numbers of all processes; see `mpcompile.backend.Session.exchange`."""
        with waiting(), jax.enable_x64(True):
            found = np.asarray(multihost_utils.process_allgather(np.asarray(values, np.float64)), np.float64)
        rows: list[list[float]] = found.reshape(self.group.size, len(values)).tolist()
        return rows


__all__ = ["MeshPlacement", "join", "waiting"]
