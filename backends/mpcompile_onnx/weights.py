"""The weights of a graph: inputs of it, arrays in it, or stretches of `weights.safetensors` beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from mpcompile.emission.tensors import WEIGHTS
from mpcompile.ir import Array, DType, Parameter, Stack
from mpcompile_onnx.writer import Writer

#: Where the bytes of each weight begin in the file, and how many they are.
Places = Mapping[str, tuple[int, int]]


class Weights:
    """Makes weights known to a writer, each once.

    parameters  the arrays, or None where weights are inputs
    whole       paths of stacks that are inputs as one array
    places      where they lie in the file, or None where they lie in the graph
    names       the weights that were made known so far
    inputs      of the graph, for weights
    """

    def __init__(
        self, w: Writer, parameters: Mapping[str, Array] | None, places: Places | None, whole: Collection[str]
    ) -> None:
        self.w, self.parameters, self.places, self.whole = w, parameters, places, whole
        self.names: list[str] = []
        self.inputs: list[ValueInfoProto] = []

    def read(self, op: Parameter) -> str:
        """Return the name of a weight or of a stack of weights in the graph.

        Raises `ValueError` where a parameter and an input have one name.
        """
        w = self.w
        if (
            isinstance(op, Stack)
            and op.path not in self.whole
            and (self.parameters is None or self._stretch(op) is None)
        ):
            tall = [
                w.op("Unsqueeze", self._one(Parameter(path, op.each)), w.literal([0])) for path in op.paths
            ]
            return w.op("Concat", *tall, axis=0)
        return self._one(op)

    def _one(self, op: Parameter) -> str:
        w, path = self.w, op.path
        if path in self.names:
            return path
        self.names.append(path)
        if path in w.taken:
            raise ValueError(f"'{path}' is a parameter and an input")
        w.name(path)
        if self.parameters is None:
            self.inputs.append(w.info(path, op.type))
            return path
        stretch = self._stretch(op)
        frame, wanted = w.frames[0], w.element(DType.FLOAT)
        if self.places is None or not stretch or not stretch[1]:
            array = np.asarray(op.value(self.parameters), w.float)
            frame.initializers[path] = numpy_helper.from_array(array, path)
            return path
        sizes = [size for size in op.type.shape if isinstance(size, int)]
        held = helper.np_dtype_to_tensor_dtype(self.parameters[op.names[0]].dtype)
        stored = path if held == wanted else w.name(f"{path}.stored")
        frame.initializers[stored] = outside(stored, held, sizes, *stretch)
        if stored != path:
            w.widened.append(helper.make_node("Cast", [stored], [path], name=path, to=wanted))
        return path

    def _stretch(self, op: Parameter) -> tuple[int, int] | None:
        """Start and length of weights in the file; None where those of a stack do not follow each other there."""
        if self.places is None:
            return 0, 0
        found = [self.places[name] for name in op.names]
        start, length = found[0]
        if any(place != (start + i * length, length) for i, place in enumerate(found)):
            return None
        return start, length * len(found)


def outside(name: str, kind: int, shape: Sequence[int], start: int, length: int) -> TensorProto:
    """Return an array whose bytes lie in `weights.safetensors`, in the folder of the graph."""
    made = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", WEIGHTS), ("offset", str(start)), ("length", str(length))):
        made.external_data.add(key=key, value=value)
    return made
