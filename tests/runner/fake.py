"""A backend in a page of numpy: linear regression with noise on the inputs, sgd with momentum or adam."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpcompile import ops
from mpcompile.backend import SINGLE, OptimizerSpec, SessionOptions
from mpcompile.diagnostics import Source, Span
from mpcompile.ir import (
    Builder,
    DType,
    Field,
    Graph,
    Init,
    Module,
    NoiseSpec,
    Parameter,
    ParameterSpec,
    Training,
    Type,
    symbol,
)

Array = np.ndarray[Any, Any]
N = symbol("N")
TEXT = "model: line\ninput: {x: 'real[3]'}\ntrain: {optimizer: sgd(0.05), batch: 32, data: line}\n"


def graph(name: str, outputs: Mapping[str, tuple[int, ...]], **inputs: Type) -> Graph:
    """A signature: the fake session knows what the programs mean."""
    g = Graph(name)
    b = Builder(g)
    for key, type_ in inputs.items():
        b.input(key, type_)
    for key in outputs:
        g.outputs[key] = b.constant(np.zeros(outputs[key]))
    return g


def sampler(x: Type) -> Graph:
    """`x w + b + epsilon`, which a module for inference keeps with its weights."""
    g = Graph("sample")
    b = Builder(g)
    w, offset = (
        b.emit(Parameter(name, Type(DType.FLOAT, shape))) for name, shape in (("w", (3, 1)), ("b", (1,)))
    )
    mean = ops.build.add(b, b.emit(ops.MatMul(), b.input("x", x), w), offset)
    g.outputs["y"] = ops.build.add(b, mean, b.input("epsilon", Type(DType.FLOAT, (N, 1))))
    return g


def field(name: str, role: str, base: str, *shape: Any, classes: int | None = None, low: int = 0) -> Field:
    dtype = DType.FLOAT if base in ("real", "binary") else DType.INT
    return Field(name, role, base, Type(dtype, (N, *shape)), Span("spec.yaml", 2, 1, 2, 6), low, classes)


def module(text: str = TEXT, **train: Any) -> Module:
    """`y = w x + b` on three inputs, with noise that the loss reads."""
    x, y, epsilon = (Type(DType.FLOAT, (N, k)) for k in (3, 1, 3))
    made = Module("line", Source("spec.yaml", text))
    made.programs["loss"] = graph("loss", {"loss": ()}, x=x, y=y, epsilon=epsilon)
    made.programs["log_prob"] = graph("log_prob", {"log_prob": (1,)}, x=x, y=y)
    made.programs["predict"] = graph("predict", {"y": (1, 1)}, x=x)
    made.programs["sample"] = sampler(x)
    made.noise = {"loss": {"epsilon": NoiseSpec("normal")}, "sample": {"epsilon": NoiseSpec("normal")}}
    for name, shape, init in (("w", (3, 1), Init("normal", 0.1)), ("b", (1,), Init("zeros"))):
        made.parameters[name] = ParameterSpec(name, shape, init, Span.none())
    made.fields = {"x": field("x", "input", "real", 3), "y": field("y", "target", "real", 1)}
    made.train = Training().changed(
        **{"optimizer": {"kind": "sgd", "rate": 0.05}, "batch": 32, "data": "line", **train}
    )
    return made


class FakeSession:
    """Keeps the last batch that it saw; `pause` makes a step take as long as a real one."""

    def __init__(
        self, parameters: Mapping[str, Array], optimizer: OptimizerSpec | None, pause: float
    ) -> None:
        self.values = {k: np.array(v) for k, v in parameters.items()}
        self.optimizer = optimizer or OptimizerSpec("sgd")
        self.momentum = {k: np.zeros_like(v) for k, v in self.values.items()}
        self.count = 0
        self.pause = pause
        self.seen: list[dict[str, Array]] = []

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        mean = inputs["x"] @ self.values["w"] + self.values["b"]
        if program == "predict":
            return {"y": mean}
        if program == "sample":
            return {"y": mean + inputs["epsilon"]}
        log_prob = -0.5 * ((inputs["y"] - mean) ** 2 + np.log(2 * np.pi)).sum(1)
        return {"log_prob": log_prob} if program == "log_prob" else {"loss": -log_prob.mean()}

    def gradients(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        x = inputs["x"] + np.float32(0.01) * inputs["epsilon"]
        error = x @ self.values["w"] + self.values["b"] - inputs["y"]
        loss = 0.5 * (error**2).mean() + np.float32(0.5 * np.log(2 * np.pi))
        return {"loss": loss}, {"w": x.T @ error / len(x), "b": error.mean(0)}

    def step(self, inputs: Mapping[str, Array], rate: float, norm: bool = True) -> dict[str, float]:
        time.sleep(self.pause)
        self.seen.append(dict(inputs))
        out, gradients = self.gradients(inputs)
        norm = float(np.sqrt(sum((g**2).sum() for g in gradients.values())))
        for k, g in gradients.items():
            self.momentum[k] = np.float32(0.9) * self.momentum[k] + g
            self.values[k] = self.values[k] - np.float32(rate) * self.momentum[k]
        self.count += 1
        return {"loss": float(out["loss"]), "gradient_norm": norm}

    def state(self) -> dict[str, Array]:
        slots = {f"optimizer/momentum/{k}": v for k, v in self.momentum.items()}
        weights = {f"parameter/{k}": v for k, v in self.values.items()}
        return {**weights, **slots, "optimizer/step": np.array(self.count, np.int64)}

    def load_state(self, state: Mapping[str, Array]) -> None:
        for k in self.values:
            self.values[k] = np.array(state[f"parameter/{k}"])
            self.momentum[k] = np.array(state[f"optimizer/momentum/{k}"])
        self.count = int(state["optimizer/step"])


class FakeBackend:
    """Hands out sessions and keeps them, for tests to look into."""

    name = "fake"
    packages = ("numpy",)

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.sessions: list[FakeSession] = []

    def emit(self, module: Module) -> dict[str, str | bytes]:
        return {}

    def session(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        options: SessionOptions = SINGLE,
    ) -> FakeSession:
        self.sessions.append(FakeSession(parameters, optimizer, self.pause))
        return self.sessions[-1]

    def compile(self, module: Module, parameters: Mapping[str, Array], *, device: str = "cpu") -> object:
        return None
