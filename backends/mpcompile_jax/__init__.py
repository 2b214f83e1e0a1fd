"""The JAX backend: programs as pure functions of a dict of parameters; needs nothing of mpcompile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mpcompile.backend import SINGLE, OptimizerSpec, SessionOptions, no_compiler
from mpcompile.ir import Array, Module
from mpcompile_jax.emit import Emitted, emit_module
from mpcompile_jax.verify import SourceRefused, verify_source

if TYPE_CHECKING:
    from mpcompile_jax.loading import CompiledModel
    from mpcompile_jax.session import JaxSession


class JaxBackend:
    """See `mpcompile.backend.Backend`."""

    name = "jax"
    packages = ("jax",)

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
    ) -> JaxSession:
        if options.compiled:
            raise no_compiler("jax", "every step is compiled")
        from mpcompile_jax.session import JaxSession

        return JaxSession(module.with_regions(), parameters, optimizer, options)

    def launch(self, command: Sequence[str], count: int, restarts: int = 0) -> int:
        from mpcompile_jax.launch import launch

        return launch(command, count, restarts)

    def compile(
        self, module: Module, parameters: Mapping[str, Array], *, device: str = "cpu"
    ) -> CompiledModel:
        from mpcompile_jax.loading import CompiledModel, Placement

        return CompiledModel(module.with_regions(), parameters, Placement(device, "float32"))


BACKEND = JaxBackend()

__all__ = [
    "BACKEND",
    "Emitted",
    "JaxBackend",
    "SourceRefused",
    "emit_module",
    "verify_source",
]
