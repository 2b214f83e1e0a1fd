"""A compiler from declarative model specifications to PyTorch, JAX and ONNX.

`load(path)` reads a spec, `check(model)` gives its diagnostics, and `compile(model, backend=...)` the live
object. The names arrive on first use, so that importing `mpcompile`, or one of its rooms, costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpcompile.api import check, compile, load

__version__ = "0.1.0"

__all__ = ["__version__", "check", "compile", "load"]


def __getattr__(name: str) -> object:
    if name not in ("check", "compile", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mpcompile import api

    value: object = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
