"""A whole step of training as one graph: loss, gradients, clipping and the optimiser's update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from mpcompile.ir import (
    STATE,
    Builder,
    DType,
    Graph,
    Module,
    Parameter,
    Stack,
    Type,
    Value,
    float_type,
    numbers,
)
from mpcompile.ir.optimizers import Term
from mpcompile.ir.training import OptimizerSpec
from mpcompile.ops import (
    Abs,
    Add,
    Cast,
    Div,
    LessEqual,
    LogicalAnd,
    LogicalNot,
    Minimum,
    Mul,
    Sqrt,
    Sum,
    Where,
)
from mpcompile.passes.gradient import gradient_name, loss_gradient
from mpcompile.passes.pipeline import SIMPLIFYING
from mpcompile.passes.update import Arithmetic, frame
from mpcompile.ranges import HUGE

#: Inputs beside the program's own: the rate of this step, and its number, counted from one.
RATE, STEP = "optimizer/rate", "optimizer/step"
#: Prefixes of a parameter in state, and of a value that replaces what was read.
PARAMETER, NEXT = "parameter/", "next/"
NORM, SKIPPED = "gradient_norm", "skipped"


def slot_name(slot: str, parameter: str) -> str:
    """Return the key of an optimiser's array in state, and its input in the step."""
    return f"optimizer/{slot}/{parameter}"


def loss_name(program: Graph) -> str:
    """Return the name of the output that training minimises."""
    return "loss" if "loss" in program.outputs else next(iter(program.outputs))


def stacks(module: Module, spec: OptimizerSpec | None = None) -> dict[str, Stack]:
    """Return the stacks of weights that a step of training takes and gives as one array each, by their paths.

    An element-wise optimiser updates a stack as its weights; for one that is `joint` there are none. A weight that the
    loss reads elsewhere too, or without its mask, stays by itself.
    """
    if spec is not None and spec.rule.joint:
        return {}
    leaves = [n.op for n in module.regions["loss"].nodes() if isinstance(n.op, Parameter)]
    found = {op.path: op for op in leaves if isinstance(op, Stack)}
    read = Counter(name for op in {op.path: op for op in leaves}.values() for name in op.names)
    specs = module.parameters
    return {
        path: op
        for path, op in found.items()
        if all(read[n] == 1 and specs[n].trained and not specs[n].fused for n in op.names)
    }


def units(module: Module, spec: OptimizerSpec | None = None) -> list[str]:
    """Return the names under which a step of training updates weights, stacks in the places of their first ones."""
    paths = {name: path for path, op in stacks(module, spec).items() for name in op.names}
    return list(dict.fromkeys(paths.get(name, name) for name, s in module.parameters.items() if s.trained))


def decaying(module: Module, spec: OptimizerSpec | None = None) -> dict[str, bool]:
    """Return for each unit of training (`units`) whether weight decay acts on it (`ParameterSpec.decays`)."""
    first = {path: op.names[0] for path, op in stacks(module, spec).items()}
    return {name: module.parameters[first.get(name, name)].decays for name in units(module, spec)}


def train_step(module: Module, spec: OptimizerSpec) -> Graph:
    """Build one update of every trainable parameter on the `loss` program.

    Inputs    those of `loss`; `optimizer/rate`; `optimizer/step`; `optimizer/<slot>/<parameter>`; parameters
              are leaves, as everywhere
    Outputs   the scalars of `loss`; `gradient_norm`, before clipping; `skipped` (0 or 1) where `spec.skip` is set;
              `next/parameter/<name>` and `next/optimizer/<slot>/<name>`, under which what was read is replaced

    The weights of a region are one array, under the path of its `Stack`, and so are their slots (`stacks`).
    """
    program = module.regions["loss"]
    trained = units(module, spec)
    read = {*program.parameters(), *stacks(module, spec)}
    layered = module.with_regions()
    graph = loss_gradient(layered, loss_name(program), [name for name in trained if name in read])
    graph.name = "train_step"
    b = Builder(graph)
    leaves = {
        n.op.path: n.outputs[0]
        for n in graph.nodes()
        if isinstance(n.op, Parameter) and (not isinstance(n.op, Stack) or n.op.path in trained)
    }
    for name in trained:
        if name not in leaves:
            leaves[name] = b.emit(Parameter(name, float_type(*module.parameters[name].shape)))
    gradients: dict[str, Value] = {}
    for name in trained:
        missing = b.constant(np.zeros(module.parameters[name].shape)) if name not in read else None
        gradients[name] = graph.outputs[gradient_name(name)] if missing is None else missing
    written = {name: graph.outputs[output] for name, output in module.updates("loss").items()}
    reported = {n: v for n, v in program.outputs.items() if not n.startswith(STATE) and not v.shape}
    loss = graph.outputs[loss_name(program)]
    graph.outputs = {n: graph.outputs[n] for n in reported}
    before = _update(b, spec, leaves, gradients, decaying(module, spec))
    for name, value in written.items():
        graph.outputs[f"{NEXT}{PARAMETER}{name}"] = value
        before[f"{NEXT}{PARAMETER}{name}"] = leaves.get(name) or b.emit(Parameter(name, value.type))
    if spec.skip is not None:
        _skip(b, spec.skip, loss, before)
    return SIMPLIFYING.run(graph).graph


def _update(
    b: Builder,
    spec: OptimizerSpec,
    weights: Mapping[str, Value],
    gradients: Mapping[str, Value],
    decays: Mapping[str, bool],
) -> dict[str, Value]:
    """Append the gradient's norm, clipping, and the update rule, parameter by parameter.

    Returns what each output of these replaces.
    """
    before: dict[str, Value] = {}
    a = Arithmetic(b, b.input(RATE, float_type()), b.input(STEP, Type(DType.INT, ())))
    outputs = b.graph.outputs
    scale: Term = a.term(1.0)
    with b.frame(frame("gradient_norm")):
        total = b.constant(0.0)
        for gradient in gradients.values():
            square = a.emit(Mul(), gradient, gradient)  # which the rule may read, too
            total = b.emit(Add(), total, b.emit(Sum(tuple(range(square.type.rank))), square))
        outputs[NORM] = norm = b.emit(Sqrt(), total)
        if spec.clip is not None:
            part = b.emit(Div(), b.constant(spec.clip), norm)
            scale = a.scalar(b.emit(Minimum(), part, b.constant(1.0)))
    for name, gradient in gradients.items():
        kept = {s: b.input(slot_name(s, name), gradient.type) for s in spec.kept_for(numbers(gradient.shape))}
        with b.frame(frame(f"update.{name}")):
            new, changed = a.updated(spec, weights[name], a.array(gradient) * scale, kept, decays[name])
        outputs[f"{NEXT}{PARAMETER}{name}"] = new
        before[f"{NEXT}{PARAMETER}{name}"] = weights[name]
        for slot, value in changed.items():
            outputs[f"{NEXT}{slot_name(slot, name)}"] = value
            before[f"{NEXT}{slot_name(slot, name)}"] = kept[slot]
    return before


def _skip(b: Builder, limit: float, loss: Value, before: Mapping[str, Value]) -> None:
    """Make each output what it was `before`, unless loss and gradient are finite and its norm is within a limit.

    A comparison with NaN is false.
    """
    outputs = b.graph.outputs
    with b.frame(frame("skip")):
        small = b.emit(LessEqual(), outputs[NORM], b.constant(limit))
        finite = b.emit(LessEqual(), b.emit(Abs(), loss), b.constant(HUGE))
        taken = b.emit(LogicalAnd(), small, finite)
        for name, old in before.items():
            outputs[name] = b.emit(Where(), taken, outputs[name], old)
        outputs[SKIPPED] = b.emit(Cast(DType.FLOAT), b.emit(LogicalNot(), taken))
