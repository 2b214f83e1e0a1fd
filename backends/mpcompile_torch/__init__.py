"""The torch backend: programs as methods of an `nn.Module` that needs nothing of mpcompile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpcompile.backend import SINGLE, OptimizerSpec, SessionOptions
from mpcompile.diagnostics import error
from mpcompile.ir import Array, Module
from mpcompile_torch.emit import Emitted, emit_module
from mpcompile_torch.verify import SourceRefused, verify_source

if TYPE_CHECKING:
    from torch import nn

    from mpcompile_torch.session import TorchSession


class TorchBackend:
    """See `mpcompile.backend.Backend`."""

    name = "torch"
    packages = ("torch",)

    def emit(
        self,
        module: Module,
        parameters: Mapping[str, Array] | None = None,
        optimizer: OptimizerSpec | None = None,
        *,
        inline: bool = False,
    ) -> dict[str, str | bytes]:
        return emit_module(module).files

    def session(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        options: SessionOptions = SINGLE,
    ) -> TorchSession:
        from mpcompile_torch.session import TorchSession

        if options.group.layout == "sharded" and options.group.size > 1:
            from mpcompile_torch.sharded import ShardedSession as TorchSession

            if optimizer is not None and optimizer.rule.joint:
                raise error("MP511", f"`{optimizer.kind}` reads whole weights, which the layout `sharded` cuts",
                            module.train.place("optimizer"), help="--layout replicated, or adamw")  # fmt: skip
        return TorchSession(module, parameters, optimizer, options)

    def launch(self, command: Sequence[str], count: int, restarts: int = 0) -> int:
        from mpcompile_torch.launch import launch

        return launch(command, count, restarts)

    def compile(self, module: Module, parameters: Mapping[str, Array], *, device: str = "cpu") -> nn.Module:
        from mpcompile_torch.loading import build_model, find_device

        return build_model(emit_module(module), parameters).to(find_device(device))

    def read_weights(self, path: Path) -> dict[str, Array]:
        """Read the tensors of a state dict that `torch.save` wrote; nothing in the file is run.

        A dict under `state_dict` or `model` counts in place of the file's. Raises `ValueError` with one clause.
        """
        from mpcompile_torch.loading import read_state_dict

        return read_state_dict(path)


BACKEND = TorchBackend()

__all__ = [
    "BACKEND",
    "Emitted",
    "SourceRefused",
    "TorchBackend",
    "emit_module",
    "verify_source",
]
