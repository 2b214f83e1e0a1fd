"""ONNX files, read as graphs: data alone, no code of a model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto

from mpcompile_onnx.reader.model import OnnxModel


class OnnxReader:
    """Reads a file by its path, or a `ModelProto`."""

    name = "onnx"

    def model(
        self, model: Any, inputs: Any, call: Callable[..., Any] | None = None, name: str = ""
    ) -> OnnxModel | None:
        if not isinstance(model, ModelProto | str | Path) or not isinstance(inputs, Mapping):
            return None
        return OnnxModel(model, inputs, name)


READER = OnnxReader()

__all__ = ["READER", "OnnxModel", "OnnxReader"]
