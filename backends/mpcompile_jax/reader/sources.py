"""The place of an equation: the line of the user's code, and the modules around it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax._src import source_info_util  # the frames of an equation are nowhere else

from mpcompile.diagnostics import Span
from mpcompile.ir import Frame
from mpcompile.ir.graph import Scope

#: Packages whose lines are shown only where a call has none of its caller.
LIBRARIES = ("flax", "equinox", "haiku", "optax", "distrax", "chex", "numpyro", "tensorflow_probability")
_FOLDERS = tuple(f"{os.sep}site-packages{os.sep}{name}{os.sep}" for name in LIBRARIES)
#: The frame that called the function is in this folder, and what called that is nobody's model.
_OWN = str(Path(__file__).parent)
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Around:
    """The equation whose body is read: its modules and its place."""

    scope: Scope = ()
    span: Span = Span.none()  # noqa: RUF009  # spans are frozen


def place(equation: Any, outer: Span) -> Span:
    """Return the innermost place of an equation that is no library's, else the innermost, else `outer`.

    JAX traces its own functions once and shares them, so their equations have no place of their own.
    """
    first = None
    traceback = equation.source_info.traceback
    for frame in source_info_util.user_frames(traceback):
        if frame.file_name.startswith(_OWN):
            break
        if not any(folder in frame.file_name for folder in _FOLDERS):
            return _span(frame)
        first = first or frame
    return _span(first) if first is not None and not outer.path else outer


def _span(frame: Any) -> Span:
    line, column = frame.start_line, frame.start_column + 1
    end = (
        frame.end_column + 1
        if frame.end_line == line and frame.end_column > frame.start_column
        else column + 1
    )
    return Span.of_code(frame.file_name, line, column, end)


def modules(equation: Any) -> tuple[Frame, ...]:
    """Return the named scopes of an equation, which are the modules of libraries that name them."""
    parts = str(equation.source_info.name_stack).split("/")
    return tuple(Frame(p, p, Span.none()) for p in parts if _NAME.fullmatch(p))


__all__ = ["Around", "modules", "place"]
