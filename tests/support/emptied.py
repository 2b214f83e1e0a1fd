"""Programs run on batches of none and sequences of none."""

from __future__ import annotations

import numpy as np

from mpcompile.backend import Session
from mpcompile.interpret import size_environment
from mpcompile.ir import Module, symbol
from mpcompile.runner.examples import example_inputs


def held_to_types(m: Module, session: Session, sizes: tuple[tuple[int, int], ...]) -> None:
    """Every program at (batch, length), its results held to their types; of no steps an error will do."""
    for program, graph in m.programs.items():
        sequences = set(graph.symbols()) - {"N"}
        for batch, length in sizes:
            if (length == 0 and not sequences) or "N" not in graph.symbols():
                continue
            inputs = example_inputs(m, program, batch, length)
            try:
                found = session.run(program, inputs)
            except Exception:  # whatever kernels and frameworks raise for no steps
                if length > 0:
                    raise
                continue
            env = {symbol(s): size for s, size in size_environment(graph, inputs).items()}
            for name, value in graph.outputs.items():
                if name in found and all(isinstance(s, int) or s in env for s in value.shape):
                    wanted = tuple(env.get(s, s) for s in value.shape)  # type: ignore[call-overload]
                    assert np.shape(found[name]) == wanted, (program, name, batch, length)


__all__ = ["held_to_types"]
