"""What every primitive is in torch, written without the compiler's own rules; and its gradient rule, run.

Shared by the laws on the examples (`tests/conformance/test_primitives.py`) and on random shapes
(`tests/conformance/test_gradient_fuzz.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from one_node import one_node

from mpcompile.interpret import interpret
from mpcompile.ir import Builder, Constant, DType, Example, Graph, Input, Primitive
from mpcompile.ops import Scan
from mpcompile.ops._base import type_of
from mpcompile_torch.emit import emit_module
from mpcompile_torch.loading import build_model


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [p for pair in reversed(padding) for p in pair]


def conv(op: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    f = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    return f(F.pad(x, _pads(op.padding)), w, None, op.stride, 0, op.dilation, op.groups)


def _conv_transpose(op: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    f = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[x.ndim - 3]
    # torch wants output padding below the stride or the dilation; widen by hand, then cut the padding off.
    y = f(x, w, None, op.stride, 0, 0, op.groups, op.dilation)
    y = F.pad(y, _pads([(0, e) for e in op.output_padding or (0,) * len(op.stride)]))
    return F.pad(y, _pads([(-lo, -hi) for lo, hi in op.padding]))


def _conv_weight_grad(op: Any, x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    w = torch.zeros((dy.shape[1], x.shape[1] // op.groups, *op.kernel), dtype=x.dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(conv(op, x, w), w, dy, create_graph=True)
    return grad


def _max_pool(op: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    f = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    wide = F.pad(x, _pads(op.padding), value=-math.inf)
    values, places = f(wide, op.kernel, op.stride, return_indices=True)
    at = np.unravel_index(places.numpy(), wide.shape[2:])
    inner = [i - lo for i, (lo, _) in zip(at, op.padding, strict=True)]
    return values, torch.as_tensor(np.ravel_multi_index(inner, x.shape[2:]))


def _max_pool_grad(op: Any, dy: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    out = torch.zeros((*dy.shape[:2], math.prod(op.spatial)), dtype=dy.dtype)
    return out.scatter_add(2, indices.flatten(2), dy.flatten(2)).reshape(*dy.shape[:2], *op.spatial)


def _avg_pool(op: Any, x: torch.Tensor) -> torch.Tensor:
    f = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    y = f(F.pad(x, _pads(op.padding)), op.kernel, op.stride)
    return (
        y if op.count_padding else y / f(F.pad(torch.ones_like(x), _pads(op.padding)), op.kernel, op.stride)
    )


def _gather(op: Any, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    shape = (*x.shape[: op.axis], *i.shape, *x.shape[op.axis + 1 :])
    return x.index_select(op.axis, i.flatten()).reshape(shape)


def _take_along(op: Any, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    return torch.take_along_dim(x, i, op.axis)


def _scatter_add(op: Any, u: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    shape = (*u.shape[: op.axis], i.numel(), *u.shape[op.axis + i.ndim :])
    out = torch.zeros((*shape[: op.axis], op.size, *shape[op.axis + 1 :]), dtype=u.dtype)
    return out.index_add(op.axis, i.flatten(), u.reshape(shape))


def _scatter_along(op: Any, u: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    u, i = torch.broadcast_tensors(u, i)
    shape = (*u.shape[: op.axis], op.size, *u.shape[op.axis + 1 :])
    return torch.zeros(shape, dtype=u.dtype).scatter_add(op.axis, i, u)


def _cum_sum(op: Any, x: torch.Tensor) -> torch.Tensor:
    x = x.flip(op.axis) if op.reverse else x
    y = x.cumsum(op.axis) - x if op.exclusive else x.cumsum(op.axis)
    return y.flip(op.axis) if op.reverse else y


def _reduce(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda op, x: f(x, dim=op.axes, keepdim=op.keepdims) if op.axes else x


def _pad(op: Any, x: torch.Tensor) -> torch.Tensor:
    return F.pad(x, _pads(list(zip(op.before, op.after, strict=True))), value=op.value)


def _slice(op: Any, x: torch.Tensor) -> torch.Tensor:
    return x.index_select(op.axis, torch.arange(op.start, op.stop, op.step))


def _scan(op: Scan, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The recurrence as a plain loop over tensors, each primitive of the body by its row of `ORACLE`."""
    first_scanned, first_captured = op.carries, op.carries + op.scanned
    carries, captured = list(values[:first_scanned]), list(values[first_captured:])
    scanned = values[first_scanned:first_captured]
    length = scanned[0].shape[op.axis] if scanned else op.length
    assert isinstance(length, int)
    rows: dict[int, list[torch.Tensor]] = {}
    for t in range(length - 1, -1, -1) if op.reverse else range(length):
        given = [*carries, *(x.select(op.axis, t) for x in scanned), *captured, torch.tensor(t)]
        made = _run(op.body, given)
        carries, rows[t] = made[: op.carries], made[op.carries :]
    ys = zip(*(rows[t] for t in range(length)), strict=True)
    return (*carries, *(torch.stack(y, op.axis) for y in ys))


def _run(body: Graph, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    memory = dict(zip(body.inputs.values(), given, strict=True))
    for node in body.nodes():
        if isinstance(node.op, Constant):
            memory[node.outputs[0]] = torch.tensor(node.op.evaluate()[0])
        elif not isinstance(node.op, Input):
            made = oracle(node.op)(node.op, *(memory[v] for v in node.inputs))
            made = made if isinstance(made, tuple) else (made,)
            memory.update(zip(node.outputs, made, strict=True))
    return [memory[v] for v in body.outputs.values()]


def _cast(op: Any, x: torch.Tensor) -> torch.Tensor:
    return x.to({DType.FLOAT: torch.float64, DType.INT: torch.int64, DType.BOOL: torch.bool}[op.dtype])


def _plain(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda op, *xs: f(*xs)


ORACLE: dict[str, Callable[..., Any]] = {
    **{
        name: _plain(f)
        for name, f in {
            "neg": torch.neg, "exp": torch.exp, "log": torch.log, "tanh": torch.tanh,
            "sigmoid": torch.sigmoid, "relu": torch.relu, "softplus": F.softplus,
            "sqrt": torch.sqrt, "abs": torch.abs, "sign": torch.sign,
            "floor": torch.floor, "erf": torch.erf, "sin": torch.sin, "cos": torch.cos,
            "logical_not": torch.logical_not, "stop_gradient": torch.clone, "all_sum": torch.clone,
            "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
            "minimum": torch.minimum, "less": torch.lt, "less_equal": torch.le, "equal": torch.eq,
            "logical_and": torch.logical_and, "logical_or": torch.logical_or, "where": torch.where,
            "mat_mul": torch.matmul, "inverse": torch.linalg.inv,
            "log_abs_det": lambda w: torch.linalg.slogdet(w)[1],
        }.items()
    },
    "cast": _cast,
    "reshape": lambda op, x: x.reshape(op.shape),
    "transpose": lambda op, x: x.permute(op.permutation),
    "broadcast_to": lambda op, x: x.expand(op.shape),
    "slice": _slice,
    "pad": _pad,
    "concat": lambda op, *xs: torch.cat(xs, op.axis),
    "flip": lambda op, x: x.flip(op.axis),
    "gather": _gather,
    "take_along": _take_along,
    "slice_at": lambda op, x, i: x.narrow(op.axis, int(i), op.size),
    "update_at": lambda op, x, u, i: torch.slice_scatter(x, u, op.axis, int(i), int(i) + u.shape[op.axis]),
    "scatter_add": _scatter_add,
    "scatter_along": _scatter_along,
    "iota": lambda op: torch.arange(op.shape[op.axis])
    .reshape([-1 if i == op.axis else 1 for i in range(len(op.shape))])
    .expand(op.shape),
    "one_hot": lambda op, i: F.one_hot(i, op.depth).to(torch.float64),
    "sum": _reduce(torch.sum),
    "max": _reduce(torch.amax),
    "log_sum_exp": _reduce(torch.logsumexp),
    "softmax": lambda op, x: torch.softmax(x, op.axis),
    "log_softmax": lambda op, x: torch.log_softmax(x, op.axis),
    "cum_sum": _cum_sum,
    "arg_max": lambda op, x: torch.as_tensor(x.argmax(op.axis, op.keepdims)),
    "conv": conv,
    "conv_transpose": _conv_transpose,
    "conv_weight_grad": _conv_weight_grad,
    "max_pool": _max_pool,
    "max_pool_grad": _max_pool_grad,
    "avg_pool": _avg_pool,
    "scan": _scan,
    "repeat": _scan,
}  # fmt: skip


def oracle(op: Primitive) -> Callable[..., Any]:
    """What a primitive is in torch: its row of `ORACLE`, or else the code that the torch backend writes for it."""
    return ORACLE.get(op.name, _emitted)


def _emitted(op: Primitive, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    module, _, _ = one_node(Example(op, tuple(v.detach().numpy() for v in values)))
    model: Any = build_model(emit_module(module), {}, torch.float64)
    given = {f"x{i}": v for i, v in enumerate(values)}
    made = model.apply_program(reference=torch.ones(1, dtype=torch.float64), **given)
    return tuple(made[f"y{i}"] for i in range(len(made) - 1))


def pullback(
    op: Primitive, inputs: Sequence[np.ndarray], cotangents: Sequence[np.ndarray | None]
) -> list[np.ndarray | None]:
    """What the gradient rule gives, run by the interpreter; a cotangent of None is that of an unused result."""
    g = Graph("vjp")
    b = Builder(g)
    values = [b.input(f"x{i}", type_of(x)) for i, x in enumerate(inputs)]
    outputs = b.emit_all(op, *values)
    cts = [
        b.input(f"ct{i}", v.type) if v.dtype is DType.FLOAT and c is not None else None
        for i, (v, c) in enumerate(zip(outputs, cotangents, strict=True))
    ]
    grads = op.vjp(b, values, outputs, cts)
    assert len(grads) == len(inputs)
    for i, (x, grad) in enumerate(zip(values, grads, strict=True)):
        if grad is not None:
            assert grad.type == x.type
            g.outputs[str(i)] = grad
    feed = {f"x{i}": x for i, x in enumerate(inputs)}
    feed |= {f"ct{i}": c for i, c in enumerate(cotangents) if c is not None}
    found = interpret(g, {}, feed)
    return [found.get(str(i)) for i in range(len(inputs))]
