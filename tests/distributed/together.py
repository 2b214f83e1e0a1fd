"""Processes that train together, forked from one that has lowered the specs: `python together.py FOLDER PLAN`.

PLAN is JSON, a list of `[size, jobs]`: groups of processes that run one after another. A job is a function of this file
with its arguments. Process r of group g writes its answers to `FOLDER/g-r.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from specs_under_test import inputs, optimised, weights

from mpcompile import api
from mpcompile.backend import OptimizerSpec, Session, SessionOptions, open_session
from mpcompile.diagnostics import SpecError
from mpcompile.group import ALONE, Group
from mpcompile.ir import Array, Module
from mpcompile.passes import across as passes
from mpcompile.runner.loop import Options, train

BATCH = 16


def session(module: Module, group: Group, precision: str) -> Session:
    spec = OptimizerSpec.of(module.train)
    return open_session(
        "torch", module, weights(module), spec, options=SessionOptions(precision=precision, group=group)
    )


def rows(module: Module, group: Group, step: int) -> dict[str, Array]:
    """The rows of this process in the batch of a step."""
    batch = inputs(module, "loss", BATCH, 4, seed=step)
    part = group.rows(BATCH)
    types = module.programs["loss"].inputs
    return {n: a[part] if types[n].shape and str(types[n].shape[0]) == "N" else a for n, a in batch.items()}


def digest(state: Mapping[str, Array]) -> str:
    found = hashlib.sha256()
    for name, array in state.items():
        found.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def equal(rank: int, size: int, names: list[str], steps: int, layout: str = "replicated") -> dict[str, float]:
    """The largest difference of any weight or slot from one process, in float64, after some steps."""
    found = {}
    for name in names:
        module = optimised(name)
        group = Group(rank, size, size, "sharded" if layout == "sharded" else "replicated")
        together, alone = session(module, group, "float64"), session(module, ALONE, "float64")
        for step in range(steps):
            told = together.step(rows(module, group, step), 1e-3)
            want = alone.step(rows(module, ALONE, step), 1e-3)
        mine, whole = together.state(), alone.state()
        off = [float(np.abs(mine[k] - whole[k]).max(initial=0.0)) for k in whole]
        found[name] = max(*off, abs(told["loss"] - want["loss"]))
    return found


def bits(
    rank: int, size: int, names: list[str], steps: int, shards: int = 4, swap: bool = False
) -> dict[str, str]:
    """The hash of the state and the last scalars after some steps in float32; `swap` exchanges two shards."""
    found = {}
    for name in names:
        module = optimised(name)
        group = Group(rank, size, shards)
        together = session(module, group, "float32")
        for step in range(steps):
            mine = rows(module, group, step)
            if swap:
                order = np.arange(BATCH).reshape(shards, -1)[[0, 2, 1, *range(3, shards)]].reshape(-1)
                mine = {n: a[order] if a.ndim and len(a) == BATCH else a for n, a in mine.items()}
            told = dict(together.step(mine, 1e-3))
        found[name] = digest({**together.state(), "told": np.array(list(told.values()))})
    return found


def without_one_sum(rank: int, size: int, name: str) -> dict[str, float]:
    """What `equal` finds where one sum over the batch stays that of a process."""
    whole = passes.mixing

    def lacking(graph: Any) -> list[Any]:
        return list(whole(graph))[1:]

    passes.mixing = lacking  # type: ignore[assignment]  # what the pass reads of a graph
    try:
        return equal(rank, size, [name], 2)
    finally:
        passes.mixing = whole


def run(rank: int, size: int, spec: str, out: str, options: dict[str, Any], end: str = "") -> dict[str, Any]:
    """A training in `out`; `end` names a signal that the last process gets once there is a checkpoint of step 20."""
    if end and rank == size - 1:
        Thread(target=_end, args=(Path(out), getattr(signal, end)), daemon=True).start()
    try:
        result = train(api.load(Path(spec)), Path(out), Options(**options))
    except SpecError as fault:
        return {"code": fault.diagnostics[0].code}
    return {"reason": result.reason, "step": result.step, "signal": result.signal}


def differ(
    rank: int, size: int, spec: str, out: str, options: dict[str, Any], end: str = ""
) -> dict[str, Any]:
    """A training whose processes were given different seeds."""
    return run(rank, size, spec, out, {**options, "seed": rank})


def _end(out: Path, number: int) -> None:
    while not (out / "checkpoints" / "last-000000020").exists():
        time.sleep(0.005)
    os.kill(os.getpid(), number)


JOBS = {f.__name__: f for f in (equal, bits, without_one_sum, run, differ)}


def work(rank: int, size: int, jobs: list[Any], answers: Path, port: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    answers.write_text(json.dumps([JOBS[job](rank, size, **arguments) for job, arguments in jobs]))


def main(folder: Path, plan: list[tuple[int, list[Any]]]) -> None:
    torch.set_num_threads(1)
    given = [arguments for _, jobs in plan for _, arguments in jobs]
    for name in sorted(
        {n for a in given for n in (*a.get("names", ()), *([a["name"]] if "name" in a else []))}
    ):
        optimised(name)
    for number, (size, jobs) in enumerate(plan):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(size):
            child = os.fork()
            if child == 0:
                try:
                    work(rank, size, jobs, folder / f"{number}-{rank}.json", port)
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
