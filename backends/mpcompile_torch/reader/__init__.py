"""Models written in torch, read as graphs: one call is recorded, nothing of the model is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpcompile_torch.reader.model import TorchModel
from mpcompile_torch.reader.record import record


class TorchReader:
    """Reads an `nn.Module` and the tensors of a call by name."""

    name = "torch"

    def model(
        self, model: Any, inputs: Any, call: Callable[..., Any] | None = None, name: str = ""
    ) -> TorchModel | None:
        from torch import nn

        if not isinstance(model, nn.Module) or not isinstance(inputs, Mapping):
            return None
        return TorchModel(model, inputs, call, name)


READER = TorchReader()

__all__ = ["READER", "TorchModel", "TorchReader", "record"]
