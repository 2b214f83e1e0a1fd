"""Local processes under torch's own agent, the one that torchrun runs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence


def launch(command: Sequence[str], count: int, restarts: int = 0) -> int:
    """Run a command in `count` processes; see `mpcompile.backend.Backend.launch`.

    Each computes in one thread unless `OMP_NUM_THREADS` says otherwise, as torchrun has it.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=restarts,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        return 128 - first.exitcode if first.exitcode < 0 else first.exitcode
    except SignalException as caught:
        return 128 + caught.sigval
    return 0


__all__ = ["launch"]
