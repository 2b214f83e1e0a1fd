"""Operators that are functions: those of a file, and those whose body the standard gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import AttributeProto, FunctionProto, NodeProto, helper
from onnx.defs import SchemaError, get_schema

from mpcompile.ir import Array


def standard(node: NodeProto, inputs: Sequence[Array | None], opset: int) -> FunctionProto | None:
    """Return the body that the standard gives an operator, for operands of these types; None where it gives none."""
    try:
        schema: Any = get_schema(node.op_type, opset, node.domain)  # its stubs know nothing of functions
    except SchemaError:
        return None
    if schema.has_function:
        body: FunctionProto = schema.function_body
        return body
    if not schema.has_context_dependent_function:
        return None
    types = []
    for x in inputs:
        kind = helper.np_dtype_to_tensor_dtype(x.dtype) if x is not None else 0
        shape = x.shape if x is not None else ()
        types.append(helper.make_tensor_type_proto(kind, shape).SerializeToString())
    made = schema.get_context_dependent_function(node.SerializeToString(), types)
    found = FunctionProto()
    found.ParseFromString(made)
    return found if found.node else None


def attributes_of(node: NodeProto, function: FunctionProto) -> dict[str, AttributeProto]:
    """Return the attributes of a call: those of the node, defaults of the function, defaults of the standard."""
    found = {a.name: a for a in function.attribute_proto}
    try:
        known = get_schema(node.op_type, node.domain).attributes
        found |= {n: a.default_value for n, a in known.items() if a.default_value.name}
    except SchemaError:
        pass
    return found | {a.name: a for a in node.attribute}


def bound(node: NodeProto, attributes: Mapping[str, AttributeProto], absent: frozenset[str]) -> NodeProto:
    """Return a node of a body with the attributes of the call, and without operands that the call leaves out."""
    refers = any(a.ref_attr_name for a in node.attribute)
    if not refers and absent.isdisjoint(node.input):
        return node
    made = NodeProto()
    made.CopyFrom(node)
    del made.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            made.attribute.append(attribute)
        elif attribute.ref_attr_name in attributes:
            copied = AttributeProto()
            copied.CopyFrom(attributes[attribute.ref_attr_name])
            copied.name = attribute.name
            made.attribute.append(copied)
    names: list[Any] = ["" if name in absent else name for name in node.input]
    del made.input[:]
    made.input.extend(names)
    return made


__all__ = ["attributes_of", "bound", "standard"]
