"""`torch.export` as a second opinion: the program that it traces is not always the one that runs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn

from mpcompile.diagnostics import Span
from mpcompile.foreign.recording import Unrecordable
from mpcompile_torch.reader.record import here

#: A program that runs, and where code of the model asks whether it is being exported.
Exported = tuple[Callable[..., Any], tuple[Span, ...]]
#: Questions that code asks to take another path while it is traced.
_QUESTIONS = (
    "torch.compiler.is_compiling", "torch.compiler.is_exporting", "torch.compiler.is_dynamo_compiling",
    "torch.jit.is_tracing", "torch.jit.is_scripting", "torch.onnx.is_in_onnx_export",
)  # fmt: skip


class _Called(nn.Module):
    """A call of a module by a function, as a module: `torch.export` takes no other."""

    def __init__(self, module: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, **inputs: torch.Tensor) -> Any:
        return self.call(self.module, **inputs)


def exported(
    module: nn.Module, inputs: Mapping[str, torch.Tensor], call: Callable[..., Any] | None = None
) -> Exported:
    """Export a call of a module at these sizes. Raises `Unrecordable` where torch refuses."""
    whole = _Called(module, call) if call else module
    with warnings.catch_warnings(), _quiet(), torch.no_grad():
        warnings.simplefilter("ignore")
        with _questions() as asked:
            whole(**inputs)
        try:
            program = torch.export.export(whole, (), dict(inputs), strict=False)
        except Exception as reason:  # whatever the exporter raises for code that it does not take
            what = str(reason).strip().partition("\n")[0]
            raise Unrecordable(
                f"torch.export refuses the module ({type(reason).__name__}: {what})", Span.none()
            ) from reason
    return program.module(), tuple(dict.fromkeys(asked))


@contextmanager
def _quiet() -> Iterator[None]:
    """Log nothing: a refused export is in the answer."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _questions() -> Iterator[list[Span]]:
    """Collect the places of the model's code that ask whether it is being traced."""
    found: list[Span] = []
    with ExitStack() as held:
        for name in _QUESTIONS:
            owner, _, last = name.rpartition(".")
            truth = getattr(_module(owner), last)

            def ask(truth: Callable[..., bool] = truth) -> bool:
                if (span := here()).path:
                    found.append(span)
                return truth()

            held.enter_context(mock.patch(name, ask))
        yield found


def _module(path: str) -> Any:
    found: Any = torch
    for part in path.split(".")[1:]:
        found = getattr(found, part)
    return found


__all__ = ["Exported", "exported"]
