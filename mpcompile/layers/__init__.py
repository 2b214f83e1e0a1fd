"""Layers: compositions of primitives that a spec can name. This file is the table of contents."""

from __future__ import annotations

from mpcompile.layers.activations import (
    Dropout,
    Gate,
    Gelu,
    LayerNorm,
    LeakyRelu,
    Relu,
    Sigmoid,
    Silu,
    Softplus,
    Step,
    Tanh,
)
from mpcompile.layers.base import Context, Layer, Mask, MaskUse, Net
from mpcompile.layers.convolution import (
    AvgPool,
    Conv,
    Conv1d,
    ConvTranspose,
    GlobalAvgPool,
    MaxPool,
    ShiftDown,
    Squeeze,
    Upsample,
)
from mpcompile.layers.dense import Dense, Embedding, Flatten, Reshape
from mpcompile.layers.sequence import Attention, Last, Lstm, Position, Rnn, Shift
from mpcompile.layers.structure import Add, Concat, Residual, Resnet

LAYERS: dict[str, type[Layer]] = {
    c.keyword: c
    for c in (
        Dense, Embedding, Flatten, Reshape,
        Relu, Tanh, Sigmoid, Softplus, Silu, Gelu, LeakyRelu, Step, Gate, LayerNorm, Dropout,
        Conv, Conv1d, ConvTranspose, MaxPool, AvgPool, GlobalAvgPool, Upsample, ShiftDown, Squeeze,
        Shift, Position, Rnn, Lstm, Attention, Last,
        Concat, Add, Residual, Resnet,
    )
}  # fmt: skip

__all__ = ["LAYERS", "Context", "Layer", "Mask", "MaskUse", "Net"]
