"""The ONNX backend: one file for each program, and training, in stock onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mpcompile.backend import SINGLE, OptimizerSpec, SessionOptions, no_compiler, one_process
from mpcompile.emission import tensors
from mpcompile.group import ALONE, Group
from mpcompile.ir import Array, Module
from mpcompile.passes.train_step import stacks, train_step
from mpcompile_onnx.emit import Emitted, emit_graph, stated_optimizer

if TYPE_CHECKING:
    from mpcompile_onnx.compiled import OnnxModel
    from mpcompile_onnx.session import OnnxSession


class OnnxBackend:
    """See `mpcompile.backend.Backend`."""

    name = "onnx"
    packages = ("onnx", "onnxruntime")

    def emit(
        self,
        module: Module,
        parameters: Mapping[str, Array] | None = None,
        optimizer: OptimizerSpec | None = None,
        *,
        inline: bool = False,
    ) -> dict[str, str | bytes]:
        """`<program>.onnx` for each program, and `train_step.onnx` where there is a loss.

        With `parameters` programs read their weights from weights.safetensors beside them, or (`inline`) hold them;
        without, weights are inputs by their dotted names, as they always are in `train_step.onnx`, where those of a
        region are one input, stacked. The update rule is `optimizer`, or what the spec says.
        """
        outside = parameters is not None and not inline
        where = tensors.places(parameters, tensors.neighbours(module)) if outside and parameters else None
        files: dict[str, str | bytes] = {
            f"{name}.onnx": emit_graph(module, graph, parameters, kernels=True, places=where).data
            for name, graph in module.regions.items()
        }
        if "loss" in module.regions:
            step = train_step(module, optimizer or stated_optimizer(module))
            files["train_step.onnx"] = emit_graph(module, step, whole=stacks(module, optimizer)).data
        return files

    def session(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        options: SessionOptions = SINGLE,
    ) -> OnnxSession:
        if options.compiled:
            raise no_compiler("onnxruntime", "a session runs a compiled graph")
        if options.group != ALONE:
            raise one_process("onnxruntime", options.group)
        from mpcompile_onnx.session import OnnxSession

        return OnnxSession(module, parameters, optimizer, options)

    def launch(self, command: Sequence[str], count: int, restarts: int = 0) -> int:
        raise one_process("onnxruntime", Group(0, 2, 2))

    def compile(self, module: Module, parameters: Mapping[str, Array], *, device: str = "cpu") -> OnnxModel:
        from mpcompile_onnx.compiled import OnnxModel
        from mpcompile_onnx.session import require_plain

        require_plain(device)
        return OnnxModel(module, parameters)


BACKEND = OnnxBackend()

__all__ = ["BACKEND", "Emitted", "OnnxBackend", "emit_graph"]
