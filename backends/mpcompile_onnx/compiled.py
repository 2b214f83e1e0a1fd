"""A module as a live object: its programs as methods on numpy arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import numpy as np

from mpcompile.ir import Array, Module
from mpcompile_onnx.emit import emit_graph
from mpcompile_onnx.session import Program

Method = Callable[..., "Array | dict[str, Array]"]


class OnnxModel:
    """Every program of a module as a method. One result comes as an array, several as a dict of them."""

    def __init__(self, module: Module, parameters: Mapping[str, Array]) -> None:
        self.parameters = {name: np.array(parameters[name], np.float32) for name in module.parameters}
        self._module = module
        self._programs: dict[str, Program] = {}
        for name in module.programs:
            method = name if not hasattr(self, name) else f"{name}_program"
            setattr(self, method, self._method(name, method))

    def _method(self, program: str, method: str) -> Method:
        graph = self._module.regions[program]

        def call(*args: Array, **kwargs: Array) -> Array | dict[str, Array]:
            given = signature.bind(*args, **kwargs).arguments
            if program not in self._programs:
                emitted = emit_graph(self._module, graph, self.parameters, kernels=True)
                self._programs[program] = Program(emitted, graph, double=False)
            results = self._programs[program].run(given)
            return results if len(results) > 1 else next(iter(results.values()))

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in graph.inputs])
        call.__name__ = call.__qualname__ = method
        call.__signature__ = signature  # type: ignore[attr-defined]  # what `help` shows
        return call
