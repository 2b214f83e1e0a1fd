"""Emitted text as live functions: what runs is the file that ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

import jax
import numpy as np

from mpcompile.backend import no_device
from mpcompile.emission.files import SAMPLERS
from mpcompile.emission.loading import import_files
from mpcompile.ir import Array, DType, Module, Type
from mpcompile_jax.emit import emit_module

Program = Callable[..., Any]


def import_programs(module: Module) -> dict[str, Program]:
    """Import the function of each program, from the text that would be shipped."""
    emitted = emit_module(module)
    modules = import_files(emitted.files)
    return {
        program: getattr(modules["sampling" if program in SAMPLERS else "model"], name)
        for program, name in emitted.functions.items()
    }


def find_device(name: str) -> jax.Device:
    """Return the device `cpu`, `cuda` or `cuda:1`. Raises `SpecError` (MP511) where there is no such device."""
    platform, _, number = name.partition(":")
    try:
        return jax.local_devices(backend=platform)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as absent:
        raise no_device("jax", name) from absent


class Placement:
    """The device of arrays, and their precision."""

    def __init__(self, device: str, precision: str, mixed: bool = False) -> None:
        self.device = find_device(device)
        self._usual = self.device == jax.local_devices()[0]
        self.double = precision == "float64"
        self.floats = np.dtype(precision)
        self.mixed = mixed

    def active(self) -> AbstractContextManager[Any]:
        """Inside of this, what is traced and run has this precision."""
        now: Any = jax.config  # its attributes are made at run time
        usual = now.jax_enable_x64 == self.double and now.jax_default_matmul_precision is None
        if self.device.platform == "cpu" and not self.mixed and usual:
            return nullcontext()  # a step of a small model would spend a tenth of its time on the contexts
        stack = ExitStack()
        stack.enter_context(jax.enable_x64(self.double))
        # on CUDA the default is tf32, which drops thirteen bits
        stack.enter_context(jax.default_matmul_precision("bfloat16" if self.mixed else "highest"))
        return stack

    def array(self, array: Array) -> jax.Array:
        """A copy on the device."""
        placed: jax.Array = jax.device_put(self.cast(array), self.device)
        return placed

    def cast(self, array: Array) -> Array:
        """A copy in the width of the session."""
        array = np.asarray(array)
        kind = {"f": DType.FLOAT, "b": DType.BOOL}.get(array.dtype.kind, DType.INT)
        return np.array(array, self.width(kind))

    def argument(self, array: Array, type_: Type) -> Any:
        """An array for one call of a compiled function, which takes it to where the weights are.

        On the default device that is left to the call: an array that is put there first is another thread's to copy, and
        the call waits for it, which costs as much as ten small layers.
        """
        given = np.asarray(array, self.width(type_.dtype))
        return given if self._usual else jax.device_put(given, self.device)

    def width(self, kind: DType) -> np.dtype[Any]:
        ints = np.dtype(np.int64 if self.double else np.int32)
        return {DType.FLOAT: self.floats, DType.INT: ints, DType.BOOL: np.dtype(bool)}[kind]

    def numpy(self, array: jax.Array) -> Array:
        """Back across the border."""
        found: Array = np.array(array)
        wide = {"b": np.dtype(bool), "i": np.dtype(np.int64), "u": np.dtype(np.int64)}
        return found.astype(wide.get(found.dtype.kind, self.floats), copy=False)


class CompiledModel:
    """Programs as jitted methods over `params`, a dict of arrays by their dotted names."""

    def __init__(self, module: Module, parameters: Mapping[str, Array], place: Placement) -> None:
        self.place = place
        with place.active():
            self.params = {name: place.array(parameters[name]) for name in module.parameters}
        self.programs = {name: jax.jit(program) for name, program in import_programs(module).items()}

    def __getattr__(self, name: str) -> Program:
        if name == "programs" or name not in self.programs:
            raise AttributeError(name)
        return partial(self._call, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.programs]

    def _call(self, program: str, *args: Any, **kwargs: Any) -> Any:
        return self.programs[program](self.params, *args, **kwargs)
