"""Processes that train together over torch.distributed: joining, the mean of gradients in a fixed tree, exchange.

The first process listens at `MASTER_ADDR`:`MASTER_PORT`, or torchrun's agent does. The processes of a restart meet under
names of their own in that store, since the addresses that those before them left there are of no use any more.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread

import torch
import torch.distributed as dist
from torch import Tensor

from mpcompile.backend import lost, no_device
from mpcompile.diagnostics.render import render
from mpcompile.group import Group, tree_sum


def join(group: Group, device: str) -> str:
    """Join the other processes of a group, and return the device of this one.

    A process of a group on `cuda` has the device of its number on its machine (`LOCAL_RANK`). With several shards on the
    CPU torch computes in one thread, unless `OMP_NUM_THREADS` says otherwise: sums in other numbers of threads have other
    bits. Raises `SpecError` (MP511) where torch cannot exchange, or misses the device, and MP531 where a process does not
    come.
    """
    if group.shards > 1 and device == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    if group.size == 1:
        return device
    if not dist.is_available():
        raise no_device("torch", "torch.distributed")
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if not dist.is_initialized():
        with waiting():
            _meet(group, "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
        atexit.register(_part)
    return device


def _meet(group: Group, backend: str) -> None:
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.TCPStore(  # type: ignore[attr-defined]  # public all the same
        os.environ.get("MASTER_ADDR", "localhost"),
        int(os.environ["MASTER_PORT"]),
        is_master=group.rank == 0 and not agent,
    )
    own = dist.PrefixStore(f"attempt_{attempt}", store)  # type: ignore[attr-defined]  # public all the same
    dist.init_process_group(backend, store=own, rank=group.rank, world_size=group.size)
    host = socket.gethostname()
    own.set(f"process_{group.rank}", f"{host} {os.getpid()}")
    told = [own.get(f"process_{rank}").decode().rsplit(" ", 1) for rank in range(group.size)]
    here = [int(pid) for name, pid in told if name == host and int(pid) != os.getpid()]
    Thread(target=_watch, args=(here,), daemon=True, name="processes").start()


def _part() -> None:
    """Leave the group; a process that lost another one leaves it to the system, since others may never answer."""
    if dist.is_initialized() and not _wait.lost:
        dist.destroy_process_group()


class _Wait:
    """Since when this process waits for others, and whether it lost one."""

    since: float | None = None
    lost = False


_wait = _Wait()
#: Seconds between two looks at other processes, and of waiting before the first one.
_LOOK = 1.0


@contextmanager
def waiting() -> Iterator[None]:
    """Turn the error of a connection to a process that is gone into a finding (MP531)."""
    before, _wait.since = _wait.since, time.monotonic()
    try:
        yield
    except (dist.DistError, RuntimeError) as fault:
        _wait.lost = True
        raise lost(str(fault)) from fault
    finally:
        _wait.since = before


def gone(processes: Sequence[int]) -> list[int]:
    """Return those processes of this machine that have ended."""
    found = []
    for pid in processes:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            found.append(pid)
        except PermissionError:  # somebody else's
            pass
    return found


def _watch(processes: Sequence[int]) -> None:
    """End this process where it waits for another one of this machine that has ended.

    Gloo sees most ends by the connection, and misses some; torchrun would then wait 30 s before it kills.
    """
    seen: float | None = None
    while True:
        time.sleep(_LOOK)
        if _wait.since is not None and _wait.since == seen and (ended := gone(processes)):
            found = lost(f"process {ended[0]} of this machine has ended").diagnostics
            sys.stderr.write(render(found, [], colour=False) + "\n")
            sys.stderr.flush()
            os._exit(1)
        seen = _wait.since


def mean(group: Group, shards: Iterable[Tensor]) -> Tensor:
    """Return the mean of one vector [n] a shard over the shards of all processes; `shards` are those of this one.

    Raises `SpecError` (MP531) where another process ends meanwhile.
    """
    total = tree_sum(shards, Tensor.add_)
    if group.size > 1:
        with waiting():
            total = _tree_across(total, group.size)
    return total.mul_(1.0 / group.shards)


def _tree_across(part: Tensor, size: int) -> Tensor:
    """Sum a vector over the processes in the tree of their numbers.

    Each process sums one piece of the vector, of which it gets every process's part, and all of them get the sums: as
    many bytes move as in a ring.
    """
    each = -(-part.numel() // size)
    sent = torch.nn.functional.pad(part, (0, each * size - part.numel()))
    parts = torch.empty_like(sent)
    dist.all_to_all_single(parts, sent)
    own = tree_sum(parts.chunk(size), Tensor.add)
    dist.all_gather(list(sent.chunk(size)), own)
    return sent[: part.numel()]


def exchange(group: Group, values: Sequence[float]) -> list[list[float]]:
    """Gather numbers of all processes; see `mpcompile.backend.Session.exchange`."""
    if group.size == 1:
        return [list(values)]
    mine = torch.tensor(list(values), dtype=torch.float64)
    found = torch.empty(group.size, len(mine), dtype=torch.float64)
    with waiting():
        dist.all_gather(list(found.unbind()), mine)
    rows: list[list[float]] = found.tolist()
    return rows


__all__ = ["exchange", "join", "mean", "waiting"]
