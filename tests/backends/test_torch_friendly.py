"""What people do with a model of torch once they have it: call it, copy it, cast it, average it, wrap it, export it.

A table of every spec by every such use. What is compared is the loss, which reads all of a model.
"""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from specs_under_test import NAMES, inputs, module, weights
from torch import Tensor, nn

from mpcompile.ir import Module, Symbolic
from mpcompile.ops import Scan
from mpcompile.passes.pipeline import optimise
from mpcompile_torch import BACKEND
from mpcompile_torch.classes import CALLED


@cache
def optimised(name: str) -> Module:
    return optimise(module(name)).module


@cache
def shared(name: str) -> nn.Module:
    return BACKEND.compile(optimised(name), weights(module(name)))


def model(name: str) -> nn.Module:
    return copy.deepcopy(shared(name))


def arguments(name: str, program: str = "loss", batch: int = 3, length: int = 7) -> tuple[Tensor, ...]:
    """Data and noise for a program, floats in single precision."""
    given = inputs(module(name), program, batch, length).values()
    return tuple(torch.from_numpy(np.array(v, np.float32 if v.dtype.kind == "f" else None)) for v in given)


def first(results: Any) -> list[Tensor]:
    return list(results.values()) if isinstance(results, dict) else [results]


class Objective(nn.Module):
    """A module whose `forward` is a program: what data-parallel wrappers and exporters call."""

    def __init__(self, model: nn.Module, program: str) -> None:
        super().__init__()
        self.model, self.program = model, program

    def forward(self, *given: Tensor) -> Any:
        return getattr(self.model, self.program)(*given)


each_spec = pytest.mark.parametrize("name", NAMES)


@each_spec
def test_a_model_can_be_called(name: str) -> None:
    """`model(x)` is its `forward` or else the first of `CALLED` that it has."""
    programs = optimised(name).programs
    program = next(p for p in ("forward", *CALLED) if p in programs)
    m, given = model(name), arguments(name, program)
    for got, wanted in zip(first(m(*given)), first(getattr(m, program)(*given)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)


@each_spec
def test_a_copy_is_another_model(name: str) -> None:
    m, given = model(name), arguments(name)
    before = first(m.loss(*given))[0]
    other = copy.deepcopy(m)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(first(m.loss(*given))[0], before, rtol=0, atol=0)


@each_spec
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_model_can_be_cast(name: str, dtype: torch.dtype) -> None:
    """A determinant has no kernel in half precision."""
    if dtype is torch.bfloat16 and any(
        n.op.name == "log_abs_det" for g in optimised(name).programs.values() for n in g.nodes()
    ):
        dtype = torch.float32
    m = model(name).to(dtype)
    given = (v.to(dtype) if v.is_floating_point() else v for v in arguments(name))
    assert first(m.loss(*given))[0].dtype is dtype


@each_spec
def test_weights_can_be_averaged(name: str) -> None:
    m = model(name)
    averaged = torch.optim.swa_utils.AveragedModel(m, use_buffers=True)
    for _ in range(2):
        averaged.update_parameters(m)
    given = arguments(name)
    for got, wanted in zip(first(averaged.module.loss(*given)), first(m.loss(*given)), strict=True):
        torch.testing.assert_close(got, wanted, equal_nan=True)


@each_spec
@pytest.mark.parametrize("batch", [0, 1])
def test_any_number_of_examples(name: str, batch: int) -> None:
    m = model(name)
    for program in ("log_prob", "forward", "conditionals", "predict", "reconstruct"):
        if program in optimised(name).programs:
            for value in first(getattr(m, program)(*arguments(name, program, batch))):
                assert value.shape[0] == batch


@contextmanager
def one_process() -> Iterator[None]:
    """A group of one process for data-parallel training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    before = {k: os.environ.get(k) for k in environment}
    os.environ |= environment
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def test_data_parallel_training_takes_the_same_steps() -> None:
    """Every spec, two steps: gradients of the wrapper are those of the model."""
    with one_process():
        for name in NAMES:
            alone, given = model(name), arguments(name)
            wrapped = nn.parallel.DistributedDataParallel(
                Objective(model(name), "loss"), find_unused_parameters=True
            )
            pairs = list(zip(alone.named_parameters(), wrapped.parameters(), strict=True))
            steppers = [torch.optim.SGD(m.parameters(), 1e-4) for m in (alone, wrapped)]
            for _ in range(2):
                for loss, stepper in zip((alone.loss, wrapped), steppers, strict=True):
                    stepper.zero_grad()
                    first(loss(*given))[0].backward()
                    stepper.step()
            for (key, ours), theirs in pairs:
                torch.testing.assert_close(theirs, ours, equal_nan=True, msg=f"{name} {key}")


@each_spec
def test_one_graph_compiles(name: str) -> None:
    """torch.compile takes the loss as one graph, with sizes that may change; kernels are not built here."""
    torch._dynamo.reset()
    m = model(name)
    compiled = torch.compile(m.loss, fullgraph=True, dynamic=True, backend="eager")
    for batch in (3, 5):
        given = arguments(name, batch=batch)
        for got, wanted in zip(first(compiled(*given)), first(m.loss(*given)), strict=True):
            torch.testing.assert_close(got, wanted, equal_nan=True)


def dynamic(name: str, program: str) -> tuple[tuple[dict[int, Any], ...]]:
    """Which axes may change: the batch, and the length where no loop runs along it."""
    graph, auto = optimised(name).programs[program], torch.export.Dim.AUTO
    looped = any(isinstance(n.op, Scan) for n in graph.nodes())
    axes = ({i: auto for i, s in enumerate(v.type.shape) if isinstance(s, Symbolic) and (i == 0 or not looped)}
            for v in graph.inputs.values())  # fmt: skip
    return (tuple(axes),)


#: The first of these that a model has reads all that its others do.
PROGRAMS = ("log_prob", "elbo", "predict", "reconstruct")


@each_spec
def test_its_density_is_exported_for_any_batch(name: str) -> None:
    m, programs = model(name), optimised(name).programs
    program = next(p for p in PROGRAMS if p in programs)
    looped = any(isinstance(n.op, Scan) for n in programs[program].nodes())
    shapes = dynamic(name, program)
    exported = torch.export.export(Objective(m, program), arguments(name, program), dynamic_shapes=shapes)
    given = arguments(name, program, 5, 7 if looped else 9)
    for got, wanted in zip(first(exported.module()(*given)), first(getattr(m, program)(*given)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4, equal_nan=True)
