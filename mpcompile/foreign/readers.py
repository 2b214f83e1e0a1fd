"""Readers are found by an entry point for each framework whose models can be read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from mpcompile.diagnostics import Span, error
from mpcompile.foreign.model import ForeignModel

GROUP = "mpcompile.readers"


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
        help="an nn.Module needs mpcompile[torch], an .onnx file mpcompile[onnx]",
    )


def imported(text: str) -> ForeignModel:
    """Import `package.module:factory`, call the factory, and return what it gives as a `ForeignModel`.

    The factory gives a model and the inputs of a call by name, and a function `call(model, **inputs)` where the call is
    another than `model(**inputs)`. This runs the code: only a user's own command asks for it. Raises `SpecError` (MP700).
    """
    where, _, name = text.partition(":")
    if not where or not name:
        raise error("MP700", f"'{text}' is no factory", Span.none(), help="write package.module:factory")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        factory = getattr(import_module(where), name)
        found = factory()
    except Exception as reason:  # whatever the code of a user raises
        raise error(
            "MP700", f"{text} cannot be imported: {type(reason).__name__}: {reason}", Span.none()
        ) from reason
    finally:
        sys.path.remove(here)
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        raise error("MP700", f"{text} gives {type(found).__name__}: it must give a model and its inputs by name",
                    Span.none(), help="return model, {'input_ids': ids}")  # fmt: skip
    model, inputs, call = (*found, None)[:3]
    return model_of(model, inputs, call, name)
