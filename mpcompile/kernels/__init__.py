"""Operations of libraries that stand in a graph as primitives: layer normalisation, attention, cross entropy, ...

A *kernel* is recognised where code is written, from the primitives and nothing else, so it cannot mean something other
than they do. `find_kernels` names the kernels of a function by a table of rules, each a formula and its conditions; a
backend has a row for each kernel that it spells, and leaves the others as primitives (decision 34). A loop that is a
whole recurrent layer is found by `find_recurrent_layers` (decision 13).
"""

from mpcompile.kernels.activations import (
    Elu,
    Gelu,
    GeluTanh,
    Glu,
    HardSigmoid,
    HardSwish,
    Mish,
    Prelu,
    Relu6,
    Selu,
    Silu,
)
from mpcompile.kernels.attention import Attention
from mpcompile.kernels.base import Kernel, Rule, Site
from mpcompile.kernels.find import KERNELS, RULES, find_kernels, read_by
from mpcompile.kernels.loops import RecurrentLayer, find_recurrent_layers, is_recurrent_layer
from mpcompile.kernels.losses import BinaryLogProb, ClassLogProb
from mpcompile.kernels.masks import find_started
from mpcompile.kernels.norms import LayerNorm, RmsNorm
from mpcompile.kernels.parts import Split, Unbind
from mpcompile.kernels.phases import Phase
from mpcompile.kernels.products import Convolution, Linear

__all__ = [
    "KERNELS",
    "RULES",
    "Attention",
    "BinaryLogProb",
    "ClassLogProb",
    "Convolution",
    "Elu",
    "Gelu",
    "GeluTanh",
    "Glu",
    "HardSigmoid",
    "HardSwish",
    "Kernel",
    "LayerNorm",
    "Linear",
    "Mish",
    "Phase",
    "Prelu",
    "RecurrentLayer",
    "Relu6",
    "RmsNorm",
    "Rule",
    "Selu",
    "Silu",
    "Site",
    "Split",
    "Unbind",
    "find_kernels",
    "find_recurrent_layers",
    "find_started",
    "is_recurrent_layer",
    "read_by",
]
