"""Train a small model over a mesh of devices and on one device; the first process prints the largest differences.

`python jax_mesh.py SHARDS LAYOUT ...` runs once for each pair, in the processes that the environment tells.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from mpcompile.backend import OptimizerSpec, SessionOptions, find_backend
from mpcompile.diagnostics import Source
from mpcompile.frontend import parse_text
from mpcompile.group import ALONE, Group, Layout, processes
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.examples import example_inputs, example_weights

TEXT = """model m
input x: real[4]
target y: real[3]
y ~ normal(loc = x -> dense(32) -> batch_norm -> relu -> dense(32) -> dropout(0.2) -> dense(3))
"""
SPEC = OptimizerSpec("adam", {}, clip=0.5, ema=0.9, skip=1e3)


def trained(m: Module, group: Group) -> tuple[dict[str, Array], dict[str, float], dict[str, Array], Any]:
    """State and scalars after two steps, a program run by one process alone, and the session."""
    session = find_backend("jax").session(
        m, example_weights(m), SPEC, options=SessionOptions(precision="float64", group=group)
    )
    told: dict[str, float] = {}
    for number in range(2):
        batch = example_inputs(m, "loss", 16, seed=number)
        if number == 0:
            batch["y"] = batch["y"] + 1e6  # a step that is skipped
        own = {k: v[group.rows(16)] for k, v in batch.items()}
        told |= {f"{k} {number}": v for k, v in session.step(own, 0.01).items()}
    session.load_state(session.state())
    return session.state(), told, session.run("log_prob", example_inputs(m, "log_prob", 5)), session


def main() -> None:
    """Compare every group of the command line with one device."""
    rank, size = processes()
    m = optimise(lower(parse_text(TEXT, "m.mp", "mp"), Source("m.mp", TEXT), {})).module
    groups = [
        Group(rank, size, int(shards), layout)
        for shards, layout in zip(sys.argv[1::2], map(_layout, sys.argv[2::2]), strict=True)
    ]
    found = [trained(m, group) for group in groups]
    exchanged = found[0][3].exchange([rank, 0.1])
    if rank == 0:
        want = trained(m, ALONE)
        rows = []
        for state, told, out, session in found:
            differences = [
                max(_difference(mine[k], of_one[k]) for k in of_one)
                for mine, of_one in ((state, want[0]), (told, want[1]), (out, want[2]))
            ]
            parts = [a for a in session.trained.values() if not a.is_fully_replicated]
            rows.append({"differences": differences, "parts": len(parts), "devices": session.place.mesh.size})
        print(json.dumps({"rows": rows, "exchanged": exchanged, "skipped": want[1]["skipped 0"]}))


def _difference(found: Any, want: Any) -> float:
    return float(np.max(np.abs(np.subtract(found, want)) / np.maximum(1, np.abs(want))))


def _layout(name: str) -> Layout:
    return "sharded" if name == "sharded" else "replicated"


if __name__ == "__main__":
    main()
