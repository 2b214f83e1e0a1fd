"""The intermediate representation: sizes, types, primitives, graphs, modules, abstract facts."""

from mpcompile.ir.claims import Allowance, Bound, Claim, Ordering
from mpcompile.ir.facts import Abstract, Domain, availability, bitsets
from mpcompile.ir.graph import Builder, Frame, Graph, Node, Scope, Value
from mpcompile.ir.leaves import Constant, Input, Parameter
from mpcompile.ir.module import EXAMPLES, STATE, Field, FlowStep, Init, Module, NoiseSpec, ParameterSpec
from mpcompile.ir.primitive import Array, Example, NoRule, Primitive
from mpcompile.ir.size import (
    Symbolic,
    broadcast_shapes,
    multiple_of,
    number,
    numbers,
    product,
    substitute,
    symbol,
    symbols,
)
from mpcompile.ir.training import Training
from mpcompile.ir.traits import Along, Falls, Growth, Positivity, Range, Reach, Size, Work
from mpcompile.ir.types import DType, Shape, Type, TypeMismatch, float_type

__all__ = [
    "EXAMPLES",
    "STATE",
    "Abstract",
    "Allowance",
    "Along",
    "Array",
    "Bound",
    "Builder",
    "Claim",
    "Constant",
    "DType",
    "Domain",
    "Example",
    "Falls",
    "Field",
    "FlowStep",
    "Frame",
    "Graph",
    "Growth",
    "Init",
    "Input",
    "Module",
    "NoRule",
    "Node",
    "NoiseSpec",
    "Ordering",
    "Parameter",
    "ParameterSpec",
    "Positivity",
    "Primitive",
    "Range",
    "Reach",
    "Scope",
    "Shape",
    "Size",
    "Symbolic",
    "Training",
    "Type",
    "TypeMismatch",
    "Value",
    "Work",
    "availability",
    "bitsets",
    "broadcast_shapes",
    "float_type",
    "multiple_of",
    "number",
    "numbers",
    "product",
    "substitute",
    "symbol",
    "symbols",
]
