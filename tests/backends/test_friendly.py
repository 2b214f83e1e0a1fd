"""What people do with a model once they have it: call it, copy it, cast it, average it, wrap it, export it, quantise it.

A table of specs by uses. The suite has cheap uses of every spec, and the others of one spec of each family;
`python benchmarks/friendly.py` runs and prints the whole table. What is compared is the loss, which reads all of a
model, or the density.
"""

from __future__ import annotations

import copy
import io
import os
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16
from specs_under_test import KINDS, NAMES, inputs, module, optimised, weights
from torch import Tensor, nn

import mpcompile_jax
import mpcompile_onnx
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Graph, Symbolic
from mpcompile.ops import Scan
from mpcompile.passes.pipeline import optimise
from mpcompile_torch import Emitted, emit_module
from mpcompile_torch.classes import CALLED
from mpcompile_torch.loading import build_model

#: The first of these that a model has reads all that its others do.
PROGRAMS = ("log_prob", "elbo", "predict", "reconstruct")


@cache
def emitted(name: str) -> Emitted:
    return emit_module(optimised(name))


@cache
def shared(name: str) -> nn.Module:
    return build_model(emitted(name), weights(module(name)))


def model(name: str) -> nn.Module:
    return copy.deepcopy(shared(name))


def density(name: str) -> str:
    return next(p for p in PROGRAMS if p in optimised(name).programs)


def narrow(given: Mapping[str, Array], whole: type[np.generic] = np.int64) -> dict[str, Array]:
    """Floats in single precision, and whole numbers of a type."""
    widths = {"f": np.float32, "i": whole}
    return {k: np.asarray(v, widths.get(v.dtype.kind)) for k, v in given.items()}


def arguments(name: str, program: str = "loss", batch: int = 3, length: int = 7) -> tuple[Tensor, ...]:
    """Data and noise for a program."""
    given = narrow(inputs(module(name), program, batch, length))
    return tuple(torch.from_numpy(np.array(v)) for v in given.values())


def first(results: Any) -> list[Any]:
    return list(results.values()) if isinstance(results, dict) else [results]


def close(got: Any, wanted: Any, rtol: float | None = None, atol: float | None = None) -> None:
    for a, b in zip(first(got), first(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=True)


class Objective(nn.Module):
    """A module whose `forward` is a program: what data-parallel wrappers and exporters call."""

    def __init__(self, model: nn.Module, program: str) -> None:
        super().__init__()
        self.model, self.program = model, program

    def forward(self, *given: Tensor) -> Any:
        return getattr(self.model, self.program)(*given)


# --- a model of torch ---


def call(name: str) -> None:
    """`model(x)` is its `forward` or else the first of `CALLED` that it has; a diffusion has none."""
    program = next((p for p in ("forward", *CALLED) if p in optimised(name).programs), None)
    if program is None:
        assert "def forward" not in emitted(name).text.rpartition("\nclass ")[2]
        return
    m, given = shared(name), arguments(name, program)
    close(m(*given), getattr(m, program)(*given), 0, 0)
    # the length of a tensor fixes its batch in an exported model, and `x.shape[0]` does not
    assert not re.search(r"\blen\((?!kernel\))", emitted(name).text)


def copied(name: str) -> None:
    """A copy shares nothing."""
    m, given = shared(name), arguments(name)
    before = first(m.loss(*given))[0]
    other = copy.deepcopy(m)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    close(first(m.loss(*given))[0], before, 0, 0)


def saved(name: str) -> None:
    """`torch.save` takes the whole model, and a strict `load_state_dict` its own state."""
    m, given, file = shared(name), arguments(name), io.BytesIO()
    torch.save(m, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    again.load_state_dict({k: v.clone() for k, v in m.state_dict().items()})
    close(again.loss(*given), m.loss(*given), 0, 0)


def cast(name: str) -> None:
    """The loss is in the type of the model; a determinant has no kernel in half precision."""
    whole = any(n.op.name == "log_abs_det" for g in optimised(name).programs.values() for n in g.nodes())
    for dtype in (torch.float64, torch.float32 if whole else torch.bfloat16):
        given = (v.to(dtype) if v.is_floating_point() else v for v in arguments(name))
        assert first(model(name).to(dtype).loss(*given))[0].dtype is dtype


def averaged(name: str) -> None:
    m = shared(name)
    mean = torch.optim.swa_utils.AveragedModel(m, use_buffers=True)
    for _ in range(2):
        mean.update_parameters(m)
    close(mean.module.loss(*arguments(name)), m.loss(*arguments(name)))


def same_steps(name: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """Two steps around a wrapper leave the weights of two steps of the bare model."""
    alone, given = model(name), arguments(name)
    wrapped = wrap(Objective(model(name), "loss"))
    steppers = [torch.optim.SGD(m.parameters(), 1e-4) for m in (alone, wrapped)]
    for _ in range(2):
        for loss, stepper in zip((alone.loss, wrapped), steppers, strict=True):
            stepper.zero_grad()
            first(loss(*given))[0].backward()
            stepper.step()
    for ours, theirs in zip(alone.parameters(), wrapped.parameters(), strict=True):
        whole = theirs.full_tensor() if hasattr(theirs, "full_tensor") else theirs
        close(whole, ours)


def replicated(name: str) -> None:
    same_steps(name, lambda m: nn.parallel.DistributedDataParallel(m, find_unused_parameters=True))


def sharded(name: str) -> None:
    same_steps(name, torch.distributed.fsdp.fully_shard)


def ensemble(name: str) -> None:
    """`vmap` over the weights of two models is the loss of each."""
    from torch.func import functional_call, stack_module_state, vmap

    members, given = [model(name) for _ in range(2)], arguments(name)
    with torch.no_grad():
        for parameter in members[1].parameters():
            parameter.mul_(1.1)
    losses = [Objective(m, "loss") for m in members]
    stacked = stack_module_state(losses)
    found = vmap(lambda *state: first(functional_call(losses[0], state, given))[0])(*stacked)
    close(found, torch.stack([first(m.loss(*given))[0] for m in members]), 1e-4, 1e-4)


def compiled(name: str) -> None:
    """torch.compile takes the loss as one graph, with sizes that may change; kernels are not built here."""
    torch._dynamo.reset()
    m = model(name)
    graph = torch.compile(m.loss, fullgraph=True, dynamic=True, backend="eager")
    for batch in (3, 5):
        close(graph(*arguments(name, batch=batch)), m.loss(*arguments(name, batch=batch)))


def exported(name: str, lengths: bool = False) -> None:
    """The density is exported for any batch, and with `lengths` for any length."""
    m, program = model(name), density(name)
    graph, auto = optimised(name).programs[program], torch.export.Dim.AUTO
    axes = ({i: auto for i, s in enumerate(v.type.shape) if isinstance(s, Symbolic) and (i == 0 or lengths)}
            for v in graph.inputs.values())  # fmt: skip
    made = torch.export.export(
        Objective(m, program), arguments(name, program), dynamic_shapes=(tuple(axes),)
    ).module()
    for batch, length in ((5, 9 if lengths else 7), (2, 2 if lengths else 7)):
        given = arguments(name, program, batch, length)
        close(made(*given), getattr(m, program)(*given), 1e-4, 1e-4)


def exported_at_any_length(name: str) -> None:
    exported(name, lengths=True)


# --- sizes, on every backend ---


def on(backend: str, name: str) -> Callable[[str, Mapping[str, Array]], Any]:
    """How to call a program of a spec on a backend."""
    if backend == "torch":
        m = shared(name)
        return lambda program, given: getattr(m, program)(
            *(torch.from_numpy(np.array(v)) for v in given.values())
        )
    from mpcompile.backend import find_backend

    live = find_backend(backend).compile(optimised(name), weights(module(name)))
    return lambda program, given: getattr(live, program)(*given.values())


def sizes(backend: str, name: str) -> None:
    """Batches of none and one, lengths of none and one, as the oracle has them; of length none also an error."""
    program, run = density(name), on(backend, name)
    graph = optimised(name).programs[program]
    for batch, length in ((0, 3), (1, 3), (2, 1), (2, 0)) if has_length(name) else ((0, 3), (1, 3)):
        given = narrow(inputs(module(name), program, batch, length))
        wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in given.items()}
        try:
            wanted = interpret(graph, weights(module(name)), wide)
            found = run(program, given)
        except Exception:  # of no steps, whatever numpy and frameworks raise
            if length:
                raise
            continue
        for key, want in wanted.items():
            got = found[key] if isinstance(found, dict) else found
            got = got.detach().numpy() if isinstance(got, Tensor) else np.asarray(got)
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


# --- files of jax and onnx ---


def exported_from_jax(name: str) -> None:
    """The density with a symbol for the batch and the length, serialised and run again."""
    live, program = mpcompile_jax.BACKEND.compile(optimised(name), weights(module(name))), density(name)
    types = {"float": np.float32, "int": np.int32, "bool": np.bool_}
    scope = jax.export.SymbolicScope()
    given = [
        jax.ShapeDtypeStruct(
            jax.export.symbolic_shape(", ".join(map(str, v.shape)), scope=scope), types[str(v.dtype)]
        )
        for v in optimised(name).programs[program].inputs.values()
    ]
    made = jax.export.export(live.programs[program])(live.params, *given)
    again = jax.export.deserialize(made.serialize())
    arrays = narrow(inputs(module(name), program, 2, 5), np.int32).values()
    wanted = jax.tree.leaves(live.programs[program](live.params, *arrays))
    for a, b in zip(jax.tree.leaves(again.call(live.params, *arrays)), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@cache
def for_inference(name: str) -> bytes:
    """The file of a density that is built for inference."""
    fast = optimise(module(name), weights(module(name)))
    graph = fast.module.regions[density(name)]
    return mpcompile_onnx.emit_graph(fast.module, graph, fast.weights, kernels=True).data


def quantised(name: str) -> str:
    """Each product with weights is one of 8-bit numbers, and the density close to its own; `-` where there is none."""
    plain = onnx.load_from_string(for_inference(name))
    stored = {i.name for i in plain.graph.initializer}
    wanted = sum(n.op_type in ("Gemm", "MatMul") and n.input[1] in stored for n in bodies(plain.graph))
    with tempfile.TemporaryDirectory() as folder:
        quantize_dynamic(
            plain, f"{folder}/small.onnx", weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"], extra_options={"EnableSubgraph": True},
        )  # fmt: skip
        small = Path(folder, "small.onnx").read_bytes()
    kinds = Counter(n.op_type for n in bodies(onnx.load_from_string(small).graph))
    assert kinds["MatMulInteger"] == wanted
    near(name, small, 0.05)
    return "ok" if wanted else "-"


def halved(name: str) -> None:
    """In half precision inside the density is close to its own."""
    half = convert_float_to_float16(onnx.load_from_string(for_inference(name)), keep_io_types=True)
    near(name, half.SerializeToString(), 0.01)


def near(name: str, data: bytes, share: float) -> None:
    """A file gives what the one of single precision gives, up to a share of it."""
    given = narrow(inputs(module(name), density(name), 3, 7))
    for a, b in zip(*(results(d, given) for d in (for_inference(name), data)), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=share * (1 + np.abs(a).max()))


def results(data: bytes, given: Mapping[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    found: list[Array] = ort.InferenceSession(data, options).run(None, dict(given))
    return found


def bodies(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of its loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from bodies(attribute.g)


# --- the table ---

#: Uses that cost little beside the model itself.
CHEAP: dict[str, Callable[[str], str | None]] = {
    "call": call, "copy": copied, "save": saved, "cast": cast, "average": averaged, "DDP": replicated,
}  # fmt: skip
COSTLY: dict[str, Callable[[str], str | None]] = {
    "FSDP": sharded, "vmap": ensemble, "compile": compiled, "export": exported, "length": exported_at_any_length,
    "sizes torch": lambda name: sizes("torch", name), "sizes jax": lambda name: sizes("jax", name),
    "sizes onnx": lambda name: sizes("onnx", name), "jax.export": exported_from_jax, "int8": quantised, "fp16": halved,
}  # fmt: skip
USES = CHEAP | COSTLY
EVERY = os.environ.get("MPCOMPILE_EVERY_SPEC") == "1"


def has_length(name: str) -> bool:
    graph = optimised(name).programs[density(name)]
    return any(isinstance(s, Symbolic) for v in graph.inputs.values() for s in v.shape[1:])


def loops(graph: Graph) -> bool:
    return any(isinstance(n.op, Scan) for n in graph.nodes())


def limit(use: str, name: str) -> str:
    """Why a use is not possible, in a word of `docs/backends.md`; nothing where it is."""
    if use == "length" and loops(optimised(name).programs[density(name)]):
        return "unrolled"
    if use == "vmap":
        if re.search(r"torch\.(lstm|gru|rnn_tanh)\(", emitted(name).text):
            return "kernel"
        if any(
            isinstance(n.op, Scan) and n.op.until_fixed_point
            for n in optimised(name).programs["loss"].nodes()
        ):
            return "fixed point"
    return ""


@pytest.fixture(scope="module")
def one_process() -> Iterator[None]:
    """A group of one process for data-parallel training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, init_method=f"tcp://127.0.0.1:{port}")
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("name", "use"),
    [(name, use) for name in NAMES for use in USES if EVERY or use in CHEAP or name in KINDS],
)
def test_use(name: str, use: str, one_process: None, record_property: Callable[[str, object], None]) -> None:
    """A use is possible, or it is not for the reason that the table gives."""
    if use == "length" and not has_length(name):
        record_property("answer", "-")
    elif why := limit(use, name):
        with pytest.raises((RuntimeError, AssertionError)):
            USES[use](name)
        record_property("answer", why)
    else:
        record_property("answer", USES[use](name) or "ok")
