"""Readers are found by an entry point for each framework whose models can be read."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.foreign.model import ForeignModel, Sized

GROUP = "mpcompile.readers"


class Unimportable(SpecError):
    """A factory that cannot be found (MP700): wrong usage, for nothing of a model was read."""


class Reader(Protocol):
    """Reads the models of one framework."""

    name: str

    def model(
        self, model: Any, inputs: Any, call: Callable[..., Any] | None = None, name: str = ""
    ) -> ForeignModel | None:
        """Return a call as a `ForeignModel`; None for a model of another framework."""
        ...


def model_of(model: Any, inputs: Any, call: Callable[..., Any] | None = None, name: str = "") -> ForeignModel:
    """Return a model and the inputs of a call as a `ForeignModel`, by the first reader that knows it.

    Raises `SpecError` (MP700) where none does.
    """
    if inputs is not None and not isinstance(inputs, Mapping):
        raise error("MP700", f"the inputs of a call are given by name, not as {type(inputs).__name__}", Span.none(),
                    help="return model, {'input_ids': ids}")  # fmt: skip
    missing = []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            reader: Reader = entry.load()
        except ImportError as reason:
            missing.append(f"{entry.name} ({reason})")
            continue
        if (found := reader.model(model, inputs, call, name)) is not None:
            return found
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    note = f"; not loaded: {', '.join(missing)}" if missing else ""
    raise error(
        "MP700",
        f"no reader knows a {kind}{note}",
        Span.none(),
        help="an nn.Module needs mpcompile[torch], a function of JAX mpcompile[jax], an .onnx file mpcompile[onnx]",
    )


def imported(text: str) -> ForeignModel | Sized:
    """Import `package.module:factory`, call the factory, and return what it gives as a `ForeignModel`.

    The factory gives a model and the inputs of a call by name, and a function `call(model, **inputs)` where the call is
    another than `model(**inputs)`. A factory that takes `length` is called for each length that is asked for. This runs
    the code: only a user's own command asks for it. Raises `SpecError` (MP700), and `Unimportable` where there is no such
    factory.
    """
    where, _, name = text.partition(":")
    if not where or not name:
        raise Unimportable(
            error(
                "MP700", f"'{text}' is no factory", Span.none(), help="write package.module:factory"
            ).diagnostics
        )
    with _beside():
        try:
            factory = getattr(import_module(where), name)
            sized = "length" in signature(factory).parameters
        except Exception as reason:  # whatever the code of a user raises
            raise _failed(text, reason) from reason
    if not sized:
        return _made(text, factory, {}, name)
    return Sized(name, lambda length: _made(text, factory, {"length": length}, name))


@contextmanager
def _beside() -> Iterator[None]:
    """Look for modules in the folder where the command runs, too."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _made(text: str, factory: Callable[..., Any], arguments: Mapping[str, int], name: str) -> ForeignModel:
    """The model that a factory gives."""
    with _beside():
        try:
            found = factory(**arguments)
        except Exception as reason:  # whatever the code of a user raises
            place = traceback.extract_tb(reason.__traceback__)[-1]
            line = place.lineno or 1
            what = f"the factory {text} fails: {type(reason).__name__}: {reason}"
            raise error("MP700", what, Span.of_code(place.filename, line)) from reason
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        raise error("MP700", f"{text} gives {type(found).__name__}: it must give a model and its inputs by name",
                    Span.none(), help="return model, {'input_ids': ids}")  # fmt: skip
    model, inputs, call = (*found, None)[:3]
    return model_of(model, inputs, call, name)


def _failed(text: str, reason: Exception) -> Unimportable:
    what, help_ = f"{text} cannot be imported: {type(reason).__name__}: {reason}", ""
    if isinstance(reason, ModuleNotFoundError):
        what = f"{text} cannot be imported: there is no module `{reason.name}`"
        help_ = "modules are looked for in the current folder, on PYTHONPATH, and among installed packages"
    return Unimportable(error("MP700", what, Span.none(), help=help_).diagnostics)
