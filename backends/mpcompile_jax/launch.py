"""Local processes that train together: jax has `jax.distributed` to join them, and no program to start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

#: Seconds that processes have to end: when a signal asks them to, and after one of them failed, when no step can end.
_SECONDS_TO_END, _SECONDS_ALONE = 15.0, 3.0
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(command: Sequence[str], count: int, restarts: int = 0) -> int:
    """Run a command in `count` processes; see `mpcompile.backend.Backend.launch`.

    Each computes in one thread unless `OMP_NUM_THREADS` says otherwise. The number of a restart is in
    `TORCHELASTIC_RESTART_COUNT`, as that of torchrun is.
    """
    for attempt in range(restarts + 1):
        status, signalled = _once(command, count, attempt)
        if status == 0 or signalled:
            break
    return status


def _once(command: Sequence[str], count: int, attempt: int) -> tuple[int, bool]:
    """Run the processes once; return the first status that is not 0, or 0, and whether a signal asked them to end."""
    own = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(_free_port()),
           "TORCHELASTIC_RESTART_COUNT": str(attempt)}  # fmt: skip
    processes = [
        subprocess.Popen(
            command, env={"OMP_NUM_THREADS": "1", **os.environ, **own, "RANK": str(r), "LOCAL_RANK": str(r)}
        )
        for r in range(count)
    ]
    with _passing_on(processes) as caught:
        codes: list[int | None] = [None]
        while None in codes and not any(codes):
            time.sleep(0.1)
            codes = [p.poll() for p in processes]
        status = next((code for code in codes if code), 0)
        _end(processes, _SECONDS_TO_END if caught else _SECONDS_ALONE)
    return 128 - status if status < 0 else status, bool(caught)


def _end(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Ask all that still run to end, and end those that do not within some seconds."""
    limit = time.monotonic() + seconds
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _passing_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Pass signals on to processes meanwhile; the list holds those that came."""
    caught: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        caught.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, handle) for number in _PASSED_ON}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


__all__ = ["launch"]
