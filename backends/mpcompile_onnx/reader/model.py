"""An ONNX file and the inputs of a run, as `mpcompile.foreign` asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from threading import Timer

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from mpcompile.diagnostics import Span
from mpcompile.foreign.recording import Recording, Unrecordable
from mpcompile.ir import Array
from mpcompile_onnx.reader.files import load
from mpcompile_onnx.reader.record import is_weight, read
from mpcompile_onnx.reader.tape import LARGEST

#: Sizes that a file leaves open, when nobody states them: the first axis, and the others.
BATCH, LENGTH = 1, 11
#: Seconds that a run may take: with other inputs a loop may have no end.
LIMIT = 30.0


class OnnxModel:
    """A file, or a model in memory, and inputs by name; those left out are drawn, `length` long where that is open."""

    def __init__(
        self,
        model: ModelProto | str | Path,
        inputs: Mapping[str, Array],
        name: str = "",
        length: int = LENGTH,
    ) -> None:
        self.proto = model if isinstance(model, ModelProto) else load(Path(model))
        self.name = name or (self.proto.graph.name if isinstance(model, ModelProto) else Path(model).name)
        self.given = dict(inputs)
        self.inputs = {**_drawn(self.proto, frozenset(inputs), length), **inputs}
        self._others: dict[int, ModelProto] = {0: self.proto}

    def at(self, length: int) -> OnnxModel:
        """Return the model with inputs of another length. Raises `Unrecordable` where no axis is open but the first."""
        if not any(
            not d.dim_value
            for declared in self.proto.graph.input
            if declared.name not in self.given
            for d in list(declared.type.tensor_type.shape.dim)[1:]
        ):
            raise Unrecordable(f"no axis of an input of {self.name} is open, but for the first", Span.none())
        return OnnxModel(self.proto, self.given, self.name, length)

    def record(self) -> Recording:
        return read(self.proto, self.inputs, self.name)

    def batched(self, count: int) -> OnnxModel | None:
        """Return the file with a call of so many examples, where it leaves the first axes of inputs open."""
        shapes = {i.name: i.type.tensor_type.shape.dim for i in self.proto.graph.input}
        opened = {k for k in self.inputs if k in shapes and len(shapes[k]) and not shapes[k][0].dim_value}
        sizes = {self.inputs[k].shape[0] for k in opened}
        if len(sizes) != 1 or 0 in sizes:
            return None
        rows = np.arange(count) % sizes.pop()
        inputs = {k: x[rows] if k in opened else x for k, x in self.inputs.items()}
        return OnnxModel(self.proto, inputs, self.name)

    def run(self, inputs: Mapping[str, Array], trial: int) -> dict[str, Array]:
        """Run the file in onnxruntime, in its own precision; other weights are drawn at later trials."""
        import onnxruntime as runtime

        options, limit = runtime.SessionOptions(), runtime.RunOptions()
        options.log_severity_level = 4  # what it says is in the error
        given = {k: v for k, v in inputs.items() if k in self.inputs}
        stop = Timer(LIMIT, lambda: setattr(limit, "terminate", True))
        stop.start()
        try:
            session = runtime.InferenceSession(self._other(trial).SerializeToString(), options)
            names = [o.name for o in session.get_outputs()]
            found = session.run(names, given, limit)
        except Exception as reason:  # whatever it says of anyone's file
            what = str(reason).strip().partition("\n")[0]
            raise Unrecordable(f"onnxruntime does not run {self.name}: {what}", Span.none()) from reason
        finally:
            stop.cancel()
        return {n: np.asarray(x, np.float64) for n, x in zip(names, found, strict=True)}

    def _other(self, trial: int) -> ModelProto:
        if trial not in self._others:
            made, rng = ModelProto(), np.random.default_rng(trial)
            made.CopyFrom(self.proto)
            for tensor in made.graph.initializer:
                x = numpy_helper.to_array(tensor)
                if is_weight(x):
                    other = (0.3 * rng.standard_normal(x.shape)).astype(x.dtype)
                    tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
            self._others[trial] = made
        return self._others[trial]


def _drawn(model: ModelProto, given: frozenset[str], length: int) -> dict[str, Array]:
    """Inputs that are not given for a model: normal numbers, whole numbers that every table has rows for, and truth."""
    rng = np.random.default_rng(0)
    fixed = {t.name for t in model.graph.initializer}
    rows = [t.dims[0] for t in model.graph.initializer if len(t.dims) == 2]
    inputs = {}
    for declared in model.graph.input:
        if declared.name in fixed or declared.name in given:
            continue
        tensor = declared.type.tensor_type
        if not tensor.elem_type:
            raise Unrecordable(f"the input {declared.name} is no tensor", Span.none())
        shape = [d.dim_value or (BATCH if i == 0 else length) for i, d in enumerate(tensor.shape.dim)]
        if min(shape, default=0) < 0 or prod(shape) > LARGEST:
            raise Unrecordable(
                f"the input {declared.name} has {shape} elements: more than {LARGEST}", Span.none()
            )
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        if dtype.kind == "f":
            inputs[declared.name] = rng.standard_normal(shape).astype(dtype)
        elif dtype.kind == "b":
            inputs[declared.name] = np.ones(shape, dtype)
        else:
            inputs[declared.name] = rng.integers(0, min(rows, default=2), shape).astype(dtype)
    return inputs


__all__ = ["OnnxModel"]
