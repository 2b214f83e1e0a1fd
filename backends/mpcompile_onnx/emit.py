"""A module as ONNX files: one for each program, and one for a step of training."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, StringStringEntryProto, helper

from mpcompile.backend import OptimizerSpec
from mpcompile.ir import Array, DType, Graph, Module, Parameter, Value
from mpcompile_onnx.kernels import KERNELS
from mpcompile_onnx.spelling import SPELLINGS
from mpcompile_onnx.weights import Places, Weights
from mpcompile_onnx.writer import Writer

#: The version of the format that came with an opset.
IR_VERSIONS = {21: 10, 23: 11}

#: Looked up once: reading the metadata of a distribution takes as long as writing a small graph.
VERSION = version("mpcompile")


@dataclass(frozen=True, slots=True)
class Emitted:
    """One program. `parameters` are inputs, too, and empty where the weights lie in the file.

    `outputs` maps names of the program to names in the file, which differ where an input has the same.
    """

    model: ModelProto
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    outputs: Mapping[str, str]

    @property
    def data(self) -> bytes:
        data: bytes = self.model.SerializeToString(deterministic=True)
        return data


def emit_graph(
    module: Module,
    graph: Graph,
    parameters: Mapping[str, Array] | None = None,
    *,
    double: bool = False,
    kernels: bool = False,
    places: Places | None = None,
    whole: Collection[str] = (),
) -> Emitted:
    """Emit one graph. Weights lie in the file when they are given; else they are inputs, by their dotted names.

    Stacks of weights whose paths are in `whole` are one input each.

    With `places` they lie in weights.safetensors beside it, a stack as one array where its weights follow each other.
    With `kernels` operations are written by their operators (`KERNELS`), which have no gradients; in single precision.
    Raises `ValueError` where a parameter and an input have one name.
    """
    rows = KERNELS if kernels and not double else {}
    w = Writer(Path(module.source.path).name, SPELLINGS, double, rows)
    env: dict[Value, str] = {}
    inputs, weights = [], Weights(w, parameters, places, whole)
    live = _live(graph)
    for name, value in graph.inputs.items():
        env[value] = w.name(name)
        inputs.append(w.info(env[value], value.type))
    for node in graph.nodes():
        if not isinstance(node.op, Parameter) or node.id not in live:
            continue
        env[node.outputs[0]] = weights.read(node.op)
    for symbol, (source, axis, times) in graph.symbols().items():
        w.declare(symbol, env[graph.inputs[source]], axis, times)
    outputs: dict[str, Value] = {}
    names: dict[str, str] = {}
    results: dict[Value, str] = {}
    for name, value in graph.outputs.items():
        names[name] = w.name(name if name not in w.taken else f"{name}_out")
        outputs[names[name]] = value
        results.setdefault(value, names[name])
    w.write(graph, env, results)
    infos = w.results(outputs, env)
    given = [*inputs, *weights.inputs]
    made = w.finish(f"{module.name}.{graph.name}", given, infos, f"{w.source}: {module.name}.{graph.name}")
    read = tuple(weights.names) if parameters is None else ()
    return Emitted(_model(module, graph, made, w), tuple(graph.inputs), read, names)


def _model(module: Module, graph: Graph, made: GraphProto, w: Writer) -> ModelProto:
    """Return a file of one graph: versions, and what it was made from."""
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", w.opset)], ir_version=IR_VERSIONS[w.opset],
        producer_name="mpcompile", producer_version=VERSION, domain="", model_version=1,
    )  # fmt: skip
    facts = {
        "model": module.name,
        "program": graph.name,
        "spec": w.source,
        "spec_sha256": sha256(module.source.text.encode()).hexdigest(),
        "mpcompile": VERSION,
    }
    noise = module.noise.get(graph.name, {})
    facts |= {f"noise/{name}": spec.kind for name, spec in noise.items()}
    model.metadata_props.extend(StringStringEntryProto(key=k, value=v) for k, v in facts.items())
    return model


def _live(graph: Graph) -> set[int]:
    """Nodes that some output needs."""
    found = {v.node for v in graph.outputs.values()}
    for node in reversed(graph.nodes()):
        if node.id in found:
            found.update(v.node for v in node.inputs)
    return found


def numpy_type(dtype: DType, double: bool) -> type[np.generic]:
    """Return the numpy type in which values of a kind enter and leave onnxruntime."""
    kinds: dict[DType, type[np.generic]] = {DType.INT: np.int64, DType.BOOL: np.bool_}
    return kinds.get(dtype) or (np.float64 if double else np.float32)


def stated_optimizer(module: Module) -> OptimizerSpec:
    """Return the update rule of a spec's `train` section; adam where it says nothing."""
    return OptimizerSpec.of(module.train)
