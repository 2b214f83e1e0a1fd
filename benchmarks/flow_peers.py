"""The same flows in our language and in other libraries, behind one small protocol.

Peers are no dependency of the project. In an environment that has torch and jax:

    pip install --no-deps zuko nflows normflows FrEIA flowjax equinox paramax jaxtyping wadler-lindig lineax tqdm
    pip install optax

`learner(name, shape)` raises `Absent` for one that cannot be imported or has no such flow. All have the same
conditioners, relu networks of two hidden layers, the same masks or halves, and adam; what bounds the scales of an affine
law is each library's own. Torch peers get the fused optimiser, so that what differs is the flow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mpcompile.api import load
from mpcompile.backend import MaskedSession, OptimizerSpec, open_session
from mpcompile.ir import Array
from mpcompile.passes.pipeline import optimise
from mpcompile.runner.initial import initial

BINS, BOUND = 8, 3.0


@dataclass(frozen=True)
class Shape:
    """kind is coupling, maf or nsf; a conditioner has two hidden layers."""

    kind: str
    dims: int
    hidden: int
    layers: int


class Absent(Exception):
    """A library that is not installed, or that has no such flow; the message is for a person."""


class Learner(Protocol):
    """A flow, its optimiser and its weights. Data crosses as float32 arrays [N, dims]."""

    def step(self, x: Array, rate: float) -> float:
        """One update by the gradient of the mean negative log-likelihood; gives that, in nats."""
        ...

    def log_prob(self, x: Array) -> Array: ...

    def sample(self, count: int) -> Array:
        """Draw examples [count, dims]. Raises `Absent` where the library has no way."""
        ...

    def keep(self) -> object: ...

    def restore(self, kept: Any) -> None: ...


class Ours:
    """A spec of this folder on one of our backends."""

    def __init__(self, shape: Shape, backend: str, seed: int = 0, clip: float | None = None) -> None:
        spec = Path(__file__).parent / f"flow_{shape.kind}.mp"
        sizes = {"dims": shape.dims, "hidden": shape.hidden, "layers": shape.layers}
        module = optimise(load(spec, sizes)).module
        self.session = open_session(backend, module, initial(module, seed), OptimizerSpec(clip=clip))
        self.noise, self.dims = np.random.default_rng(seed), shape.dims

    def step(self, x: Array, rate: float) -> float:
        return self.session.step({"x": x}, rate)["loss"]

    def log_prob(self, x: Array) -> Array:
        return self.session.run("log_prob", {"x": x})["log_prob"]

    def sample(self, count: int) -> Array:
        noise = self.noise.standard_normal((count, self.dims), np.float32)
        return self.session.run("sample", {"noise_x": noise})["x"]

    def spread(self) -> None:
        """Draw weights that start at zero as torch draws those of a dense layer, so that no layer is the identity."""
        state = self.session.state()
        for name, array in state.items():
            if name.startswith("parameter/") and array.ndim == 2 and not array.any():
                state[name] = self.noise.uniform(-1, 1, array.shape) / np.sqrt(array.shape[1])
        self.session.load_state(state)

    def keep(self) -> object:
        return self.session.state()

    def restore(self, kept: Any) -> None:
        self.session.load_state(kept)


class Compiled(Ours):
    """Ours in torch under `torch.compile`: each program, or the iteration of a sampler to a fixed point."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__(shape, "torch", seed)
        import torch

        session: Any = self.session.inner if isinstance(self.session, MaskedSession) else self.session
        turning = [(module, "turn") for module in session.model.modules() if hasattr(module, "turn")]
        programs = ("loss", "log_prob") if turning else ("loss", "log_prob", "sample")
        for module, method in [*turning, *((session.model, session.methods[p]) for p in programs)]:
            setattr(module, method, torch.compile(getattr(module, method)))


class TorchPeer:
    """A module of torch with functions that give log densities [N] and draw examples."""

    def __init__(
        self,
        model: Any,
        log_prob: Callable[[Any], Any],
        sample: Callable[[int], Any],
        clip: float | None = None,
    ) -> None:
        import torch

        self.torch, self.model, self.density, self.clip = torch, model, log_prob, clip
        self.draw = sample
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.weights, fused=True)

    def step(self, x: Array, rate: float) -> float:
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss = -self.density(self.torch.from_numpy(x)).mean()
        loss.backward()
        if self.clip is not None:
            self.torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.optimizer.step()
        return float(loss.item())

    def log_prob(self, x: Array) -> Array:
        with self.torch.no_grad():
            return np.asarray(self.density(self.torch.from_numpy(x)).numpy())

    def sample(self, count: int) -> Array:
        with self.torch.no_grad():
            return np.asarray(self.draw(count).numpy())

    def keep(self) -> object:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def restore(self, kept: Any) -> None:
        self.model.load_state_dict(kept)


#: A module, its log density, its sampler.
Peer = tuple[Any, Callable[[Any], Any], Callable[[int], Any]]


def _parity(shape: Shape, layer: int) -> list[int]:
    """1 for the elements that pass in this layer, as in `checkerboard(parity = layer % 2)`."""
    return [(i + layer) % 2 for i in range(shape.dims)]


def _zuko(shape: Shape) -> Peer:
    import torch

    zuko: Any = import_module("zuko")
    sizes = [shape.hidden] * 2
    law: dict[str, Any] = {}
    if shape.kind == "nsf":
        law["univariate"] = partial(zuko.transforms.MonotonicRQSTransform, bound=BOUND)
        law["shapes"] = ((BINS,), (BINS,), (BINS - 1,))
    if shape.kind == "maf":
        flow = zuko.flows.MAF(shape.dims, transforms=shape.layers, hidden_features=sizes)
    else:
        coupling = zuko.flows.coupling.GeneralCouplingTransform
        steps = [
            coupling(shape.dims, mask=torch.tensor(_parity(shape, i)).bool(), hidden_features=sizes, **law)
            for i in range(1, shape.layers + 1)
        ]
        base = zuko.lazy.UnconditionalDistribution(
            zuko.distributions.DiagNormal, torch.zeros(shape.dims), torch.ones(shape.dims), buffer=True
        )
        flow = zuko.lazy.Flow(steps, base)
    return flow, lambda x: flow().log_prob(x), lambda count: flow().sample((count,))


def _nflows(shape: Shape) -> Peer:
    transforms: Any = import_module("nflows.transforms")
    flows: Any = import_module("nflows.flows")
    normal: Any = import_module("nflows.distributions.normal")
    mlp: Any = import_module("nflows.nn.nets")
    steps = []
    for i in range(1, shape.layers + 1):
        moved = [1 - passes for passes in _parity(shape, i)]

        def net(inputs: int, outputs: int) -> Any:
            return _Unconditional(mlp.MLP([inputs], [outputs], [shape.hidden] * 2))

        if shape.kind == "coupling":
            steps.append(transforms.AffineCouplingTransform(moved, net))
        elif shape.kind == "nsf":
            steps.append(
                transforms.PiecewiseRationalQuadraticCouplingTransform(
                    moved, net, num_bins=BINS, tails="linear", tail_bound=BOUND
                )
            )
        else:
            steps.append(
                transforms.MaskedAffineAutoregressiveTransform(
                    shape.dims, shape.hidden, num_blocks=1, use_residual_blocks=False
                )
            )
            steps.append(transforms.ReversePermutation(shape.dims))
    flow = flows.Flow(transforms.CompositeTransform(steps), normal.StandardNormal([shape.dims]))
    return flow, flow.log_prob, flow.sample


def _Unconditional(net: Any) -> Any:
    """A network that is handed a context and has none."""
    from torch import nn

    class Unconditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any, context: Any = None) -> Any:
            return self.net(x)

    return Unconditional()


def _mlp(inputs: int, hidden: int, outputs: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def _normflows(shape: Shape) -> Peer:
    import torch

    nf: Any = import_module("normflows")
    first, second = (shape.dims + 1) // 2, shape.dims // 2
    steps = []
    for i in range(shape.layers):
        if shape.kind == "coupling":
            passes, moved = (first, second) if i % 2 == 0 else (second, first)
            net = _mlp(passes, shape.hidden, 2 * moved)
            # halves take turns by the order in which they are split
            steps.append(
                nf.flows.AffineCouplingBlock(net, split_mode="channel" if i % 2 == 0 else "channel_inv")
            )
        elif shape.kind == "nsf":
            spline: Any = import_module("normflows.flows.neural_spline.coupling")
            moved_mask = torch.tensor([1 - passes for passes in _parity(shape, i + 1)])
            steps.append(
                _Backwards(
                    spline.PiecewiseRationalQuadraticCoupling(
                        moved_mask,
                        lambda inputs, outputs: _Unconditional(_mlp(inputs, shape.hidden, outputs)),
                        num_bins=BINS, tails="linear", tail_bound=BOUND,
                    )
                )
            )  # fmt: skip
        else:
            masked = nf.flows.MaskedAffineAutoregressive(
                shape.dims, shape.hidden, num_blocks=1, use_residual_blocks=False
            )
            steps += [_Backwards(masked), nf.flows.Permute(shape.dims, mode="swap")]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(shape.dims, trainable=False), steps)
    return flow, flow.log_prob, lambda count: flow.sample(count)[0]


def _Backwards(transform: Any) -> Any:
    """A transform run from data to latents by its `forward`: normflows takes D passes of a masked layer there."""
    from torch import nn

    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transform = transform

        def inverse(self, x: Any) -> Any:
            z, log_det = self.transform(x)
            return z, log_det.view(-1)

        def forward(self, z: Any) -> Any:
            x, log_det = self.transform.inverse(z)
            return x, log_det.view(-1)

    return Backwards()


def _freia(shape: Shape) -> Peer:
    if shape.kind != "coupling":
        raise Absent("FrEIA has no such flow")
    import torch

    frames: Any = import_module("FrEIA.framework")
    modules: Any = import_module("FrEIA.modules")
    flow = frames.SequenceINN(shape.dims)
    for _ in range(shape.layers // 2):  # each block is a pair of couplings
        flow.append(
            modules.GLOWCouplingBlock,
            subnet_constructor=lambda inputs, outputs: _mlp(inputs, shape.hidden, outputs),
        )
    constant = 0.5 * shape.dims * float(np.log(2 * np.pi))

    def log_prob(x: Any) -> Any:
        z, log_det = flow(x)
        return log_det - 0.5 * (z**2).sum(1) - constant

    return flow, log_prob, lambda count: flow(torch.randn(count, shape.dims), rev=True)[0]


class FlowJax:
    """flowjax, compiled as its own training loop does it."""

    def __init__(self, shape: Shape, seed: int = 0, clip: float | None = None) -> None:
        jax: Any = import_module("jax")
        eqx: Any = import_module("equinox")
        optax: Any = import_module("optax")
        jnp: Any = import_module("jax.numpy")
        flows: Any = import_module("flowjax.flows")
        bijections: Any = import_module("flowjax.bijections")
        paramax: Any = import_module("paramax")
        base = import_module("flowjax.distributions").Normal(jnp.zeros(shape.dims))
        make = flows.masked_autoregressive_flow if shape.kind == "maf" else flows.coupling_flow
        law = {"transformer": bijections.RationalQuadraticSpline(knots=BINS, interval=BOUND)}
        more = law if shape.kind == "nsf" else {}
        self.flow = make(
            jax.random.key(seed),
            base_dist=base,
            flow_layers=shape.layers,
            nn_width=shape.hidden,
            nn_depth=2,
            **more,
        )
        chain = [optax.clip_by_global_norm(clip)] if clip is not None else []
        trained, self.fixed = eqx.partition(
            self.flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
        )
        optimizer = optax.chain(*chain, optax.inject_hyperparams(optax.adam)(1e-3))

        def loss(trained: Any, fixed: Any, x: Any) -> Any:
            return -paramax.unwrap(eqx.combine(trained, fixed)).log_prob(x).mean()

        @eqx.filter_jit(donate="all-except-first")
        def step(x: Any, trained: Any, state: Any, rate: Any) -> Any:
            state[-1].hyperparams["learning_rate"] = rate
            value, gradient = jax.value_and_grad(loss)(trained, self.fixed, x)
            updates, state = optimizer.update(gradient, state, trained)
            return value, eqx.apply_updates(trained, updates), state

        @eqx.filter_jit
        def log_prob(trained: Any, x: Any) -> Any:
            return paramax.unwrap(eqx.combine(trained, self.fixed)).log_prob(x)

        @eqx.filter_jit
        def sample(trained: Any, key: Any, count: int) -> Any:
            return paramax.unwrap(eqx.combine(trained, self.fixed)).sample(key, (count,))

        self._sample, self._key = sample, jax.random.key(seed)
        self._step, self._log_prob, self.jax, self.jnp = step, log_prob, jax, jnp
        self.trained, self.state = trained, optimizer.init(eqx.filter(trained, eqx.is_inexact_array))

    def step(self, x: Array, rate: float) -> float:
        value, self.trained, self.state = self._step(x, self.trained, self.state, self.jnp.float32(rate))
        return float(value)

    def log_prob(self, x: Array) -> Array:
        return np.asarray(self._log_prob(self.trained, x))

    def sample(self, count: int) -> Array:
        self._key, key = self.jax.random.split(self._key)
        return np.asarray(self._sample(self.trained, key, count))

    def keep(self) -> object:
        return self.jax.tree.map(self.jnp.copy, self.trained)

    def restore(self, kept: Any) -> None:
        self.trained = self.jax.tree.map(self.jnp.copy, kept)


TORCH_PEERS = {"zuko": _zuko, "nflows": _nflows, "normflows": _normflows, "FrEIA": _freia}


def learner(name: str, shape: Shape, seed: int = 0, clip: float | None = None) -> Learner:
    """A flow by library. Ours are `torch`, `torch.compile`, `jax` and `onnx`. Raises `Absent`."""
    if name in ("torch", "jax", "onnx"):
        return Ours(shape, name, seed, clip)
    if name == "torch.compile":
        return Compiled(shape, seed)
    try:
        if name == "flowjax":
            return FlowJax(shape, seed, clip)
        import torch

        torch.manual_seed(seed)
        return TorchPeer(*TORCH_PEERS[name](shape), clip)
    except ImportError as missing:
        raise Absent(f"{name} is not installed ({missing.name})") from missing
