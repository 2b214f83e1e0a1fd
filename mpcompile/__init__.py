"""A compiler from declarative model specifications to PyTorch, JAX and ONNX.

`load(path)` reads a spec, `check(model)` gives its diagnostics, `compile(model)` the live object, `train(model)` a run.
The names of `__all__` are the public interface; every other module of the package may change in any release. They import
no third-party package, so that importing `mpcompile`, or one of its rooms, costs some milliseconds.
"""

from mpcompile.diagnostics import Diagnostic, SpecError
from mpcompile.public.compiled import build, compile
from mpcompile.public.model import Model, Verdict, check, load
from mpcompile.public.run import Figure, Figures, Metrics, Run, evaluate, predict, sample, train

__version__ = "0.2.0"

__all__ = [
    "Diagnostic",
    "Figure",
    "Figures",
    "Metrics",
    "Model",
    "Run",
    "SpecError",
    "Verdict",
    "__version__",
    "build",
    "check",
    "compile",
    "evaluate",
    "load",
    "predict",
    "sample",
    "train",
]
