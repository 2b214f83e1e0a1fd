"""Layers, and masks: compositions of primitives that a spec can name. This file is the table of contents."""

from __future__ import annotations

from mpcompile.layers.activations import (
    Dropout,
    Elu,
    Gate,
    Gelu,
    Glu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mish,
    Prelu,
    Relu,
    Relu6,
    Selu,
    Sigmoid,
    Silu,
    Softplus,
    Step,
    StochasticDepth,
    Tanh,
)
from mpcompile.layers.attention import Attention, Sinusoid
from mpcompile.layers.base import Context, Layer, Mask, MaskUse, Net
from mpcompile.layers.colours import ColourMixture
from mpcompile.layers.convolution import Conv, Conv1d, ConvTranspose
from mpcompile.layers.corruption import GaussianNoise, MaskOut
from mpcompile.layers.dense import Dense, Embedding, Flatten, Reshape
from mpcompile.layers.elementwise import Abs, Clip, Cos, Exp, Log, Sin, Sqrt, Square
from mpcompile.layers.masks import Band, Causal2d, Channel, Checkerboard, Degrees
from mpcompile.layers.nade import Nade
from mpcompile.layers.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RmsNorm
from mpcompile.layers.pixel_recurrent import DiagonalBilstm, RowLstm
from mpcompile.layers.pooling import AvgPool, GlobalAvgPool, MaxPool, Unpool
from mpcompile.layers.recurrent import Gru, Lstm, Recurrent, Rnn
from mpcompile.layers.resampling import Crop, ShiftDown, Squeeze, Unsqueeze, Upsample
from mpcompile.layers.sequence import Last, Over, Position, Shift, Stretch
from mpcompile.layers.standardise import Standardise
from mpcompile.layers.structure import Add, Concat, Residual, Resnet

LAYERS: dict[str, type[Layer]] = {
    c.keyword: c
    for c in (
        Dense, Embedding, Flatten, Reshape,
        Relu, Tanh, Sigmoid, Softplus, Silu, Gelu, LeakyRelu, Prelu, Elu, Selu, Mish, Relu6, HardSigmoid, HardSwish, Step,
        Exp, Log, Sqrt, Square, Abs, Sin, Cos, Clip, Gate, Glu, Dropout, StochasticDepth, GaussianNoise, MaskOut,
        LayerNorm, RmsNorm, BatchNorm, GroupNorm, InstanceNorm, Standardise,
        Conv, Conv1d, ConvTranspose, MaxPool, AvgPool, GlobalAvgPool, Unpool,
        Upsample, Crop, ShiftDown, Squeeze, Unsqueeze,
        Shift, Stretch, Position, Sinusoid, Rnn, Lstm, Gru, Attention, Last, Over,
        Nade, RowLstm, DiagonalBilstm, ColourMixture,
        Concat, Add, Residual, Resnet,
    )
}  # fmt: skip

#: Layers without trained weights that are functions of values as well: `relu(x + 3)`.
ACTIVATIONS = frozenset(
    c.keyword
    for c in (
        Relu, Tanh, Sigmoid, Softplus, Silu, Gelu, LeakyRelu, Elu, Selu, Mish, Relu6, HardSigmoid, HardSwish, Step, Gate,
        Glu, Exp, Log, Sqrt, Square, Abs, Sin, Cos, Clip, Standardise,
    )
)  # fmt: skip

#: Masks that a spec names; `strict` and `transpose` take another one, and stand in `lowering/scope.py`.
MASKS: dict[str, type] = {
    "degrees": Degrees, "causal2d": Causal2d, "checkerboard": Checkerboard, "channel": Channel, "band": Band,
}  # fmt: skip

__all__ = ["ACTIVATIONS", "LAYERS", "MASKS", "Context", "Layer", "Mask", "MaskUse", "Net", "Recurrent"]
