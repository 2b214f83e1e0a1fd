"""The closed set of primitives: the table of contents. Each family has its file."""

from __future__ import annotations

from mpcompile.ir import Constant, Input, Parameter, Primitive
from mpcompile.ops.arithmetic import Add, Div, Maximum, Minimum, Modulo, Mul, Neg, Sub
from mpcompile.ops.collective import AllSum
from mpcompile.ops.control import LoopBuilder, Scan
from mpcompile.ops.convolution import Conv, ConvTranspose, ConvWeightGrad
from mpcompile.ops.counting import Iota, OneHot
from mpcompile.ops.dynamic import SliceAt, UpdateAt
from mpcompile.ops.elementwise import (
    Abs,
    Cos,
    Erf,
    Exp,
    Floor,
    Log,
    Relu,
    Sigmoid,
    Sign,
    Sin,
    Softplus,
    Sqrt,
    Tanh,
)
from mpcompile.ops.identity import Cast, StopGradient
from mpcompile.ops.indexing import Gather, TakeAlong
from mpcompile.ops.linear import MatMul
from mpcompile.ops.matrix import Inverse, LogAbsDet
from mpcompile.ops.normalisation import LogSoftmax, Softmax
from mpcompile.ops.parts import Concat, Pad, Slice
from mpcompile.ops.pooling import AvgPool, MaxPool, MaxPoolGrad
from mpcompile.ops.reduction import ArgMax, CumSum, LogSumExp, Max, Sum
from mpcompile.ops.repeating import RegionBuilder, Repeat
from mpcompile.ops.scattering import ScatterAdd, ScatterAlong
from mpcompile.ops.structure import BroadcastTo, Flip, Reshape, Transpose
from mpcompile.ops.truth import Equal, Less, LessEqual, LogicalAnd, LogicalNot, LogicalOr, Where
from mpcompile.ops.unrolling import has_repeats, regions, unrolled

_CLASSES: tuple[type[Primitive], ...] = (
    # elementwise, one argument
    Neg, Exp, Log, Tanh, Sigmoid, Relu, Softplus, Sqrt, Abs, Sign, Floor, Erf, Sin, Cos,
    LogicalNot, StopGradient, Cast, Modulo,
    # elementwise, two and three arguments
    Add, Sub, Mul, Div, Maximum, Minimum, Less, LessEqual, Equal, LogicalAnd, LogicalOr, Where,
    # structure
    Reshape, Transpose, BroadcastTo, Slice, Pad, Concat, Flip,
    # indexing
    Gather, TakeAlong, ScatterAdd, ScatterAlong, Iota, OneHot, SliceAt, UpdateAt,
    # reduction
    Sum, Max, LogSumExp, Softmax, LogSoftmax, CumSum, ArgMax,
    # linear, convolution, pooling
    MatMul, Inverse, LogAbsDet, Conv, ConvTranspose, ConvWeightGrad, MaxPool, MaxPoolGrad, AvgPool,
    # several processes
    AllSum,
    # control
    Scan, Repeat,
)  # fmt: skip

#: Every primitive by name. The three leaves (`Input`, `Parameter`, `Constant`) are not among them.
PRIMITIVES: dict[str, type[Primitive]] = {cls.name: cls for cls in _CLASSES}

__all__ = [
    "PRIMITIVES", "Abs", "Add", "AllSum", "ArgMax", "AvgPool", "BroadcastTo", "Cast", "Concat", "Constant", "Conv",
    "ConvTranspose", "ConvWeightGrad", "Cos", "CumSum", "Div", "Equal", "Erf", "Exp", "Flip", "Floor",
    "Gather", "Input", "Inverse", "Iota", "Less", "LessEqual", "Log", "LogAbsDet", "LogSoftmax", "LogSumExp",
    "LogicalAnd", "LogicalNot", "LogicalOr", "LoopBuilder", "MatMul", "Max", "MaxPool", "MaxPoolGrad", "Maximum",
    "Minimum", "Modulo", "Mul", "Neg", "OneHot", "Pad", "Parameter", "RegionBuilder", "Relu", "Repeat", "Reshape", "Scan",
    "ScatterAdd", "ScatterAlong", "Sigmoid", "Sign", "Sin", "Slice", "SliceAt", "Softmax", "Softplus", "Sqrt",
    "StopGradient", "Sub", "Sum", "TakeAlong", "Tanh", "Transpose", "UpdateAt", "Where", "has_repeats", "regions",
    "unrolled",
]  # fmt: skip
