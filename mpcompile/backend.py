"""The door to backends: what one must do, and how it is found.

A backend is an object registered under the entry-point group `mpcompile.backends`. The core never imports one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.group import ALONE, Group
from mpcompile.ir import Array, Constant, Module
from mpcompile.ir.training import OptimizerSpec
from mpcompile.passes.packing import Layout, fuse
from mpcompile.passes.pipeline import Optimised, optimise
from mpcompile.passes.recompute import recomputed

GROUP = "mpcompile.backends"


class Scalars(Mapping[str, float]):
    """Named numbers that are fetched, all at once, when the first of them is read.

    fetch  gives the numbers in the order of the names
    """

    def __init__(self, names: Sequence[str], fetch: Callable[[], Sequence[float]]) -> None:
        self._names = tuple(names)
        self._fetch: Callable[[], Sequence[float]] | None = fetch
        self._values: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        if self._fetch is not None:
            self._values = dict(zip(self._names, self._fetch(), strict=True))
            self._fetch = None  # and with it what the numbers are fetched from
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The options of a session, apart from its module, weights and optimiser.

    device     `cpu`, `cuda`, or a device of the framework
    precision  of floats: `float32` or `float64`
    mixed      bfloat16 autocast where it is safe
    group      the processes and shards of a batch; the session is that of one of these processes
    compiled   loss and gradient by the framework's own compiler

    Raises `ValueError` for another precision.
    """

    device: str = "cpu"
    precision: str = "float32"
    mixed: bool = False
    group: Group = ALONE
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {self.precision!r}")


PRECISIONS = ("float32", "float64")
SINGLE, DOUBLE = SessionOptions(), SessionOptions(precision="float64")


class Session(Protocol):
    """A module, live on a device, with its weights and the state of its optimiser.

    Arrays cross this border as numpy: floats as float32 (float64 when the session's precision is), integers as
    int64, booleans as bool. State is a flat dict of arrays, the same keys on every backend:
    `parameter/<name>`, `optimizer/<slot>/<name>` for each slot that the rule keeps (`Optimizer.kept`: `m` and `v` for
    adam), and `optimizer/step` (int64 scalar). A checkpoint of one backend therefore continues on another.

    A session of a `Group` of processes joins the others when it is opened. Every process calls the same methods in the
    same order: `gradients`, `step`, `state`, `load_state` and `exchange` may wait for the others. Inputs of `gradients`
    and `step` are the rows of this process (`Group.rows`), which the session cuts into its shards (`Group.parts`).
    Scalar outputs, those that are written back, and gradients are means over the shards of all processes, summed as
    `group.tree_sum` does. A module whose loss is no mean over shards runs with one shard a process, behind
    `passes.across`. State is that of the whole model on every process, whatever the layout.
    """

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Evaluate a program. `inputs` holds its data and its noise, by name."""
        ...

    def gradients(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Outputs of the `loss` program, and its gradient with respect to every trainable parameter."""
        ...

    def step(self, inputs: Mapping[str, Array], rate: float, norm: bool = True) -> Mapping[str, float]:
        """One optimiser update on `loss`. Gives the program's scalar outputs and `gradient_norm` (before clipping).

        Reading the mapping is what waits for the step: a session may give it before its device is done. With `norm`
        false nobody asks for the norm, and a session for which it is work of its own may leave it out.

        Outputs named `state/<parameter>` are written back to that (untrained) parameter.
        """
        ...

    def state(self) -> dict[str, Array]: ...

    def load_state(self, state: Mapping[str, Array]) -> None: ...

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        """Gather some numbers of all processes: row r of the answer is what process r told, in double precision.

        Each process gives as many numbers. Waits for the others, but not for the device.
        """
        ...


class MaskedSession:
    """A session of a module with masks: elements that masks remove are zero, from whatever state is loaded.

    The weights of the session within are stored as its layout says; in state and gradients they have their own names,
    order and shapes.
    """

    def __init__(self, inner: Session, layout: Layout, supports: Mapping[str, Constant]) -> None:
        self.inner, self.layout, self.supports = inner, layout, supports

    def run(self, program: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self.inner.run(program, inputs)

    def gradients(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        outputs, gradients = self.inner.gradients(inputs)
        return outputs, self.layout.whole(gradients)

    def step(self, inputs: Mapping[str, Array], rate: float, norm: bool = True) -> Mapping[str, float]:
        return self.inner.step(inputs, rate, norm)

    def state(self) -> dict[str, Array]:
        return _grouped(self.inner.state(), self.layout.whole)

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.inner.load_state(
            _grouped(state, lambda arrays: self.layout.packed(without_dead(arrays, self.supports)))
        )

    def exchange(self, values: Sequence[float]) -> list[list[float]]:
        return self.inner.exchange(values)


def without_dead(arrays: Mapping[str, Array], supports: Mapping[str, Constant]) -> dict[str, Array]:
    """Return arrays by the names of weights, with zeros outside of their supports."""
    return {
        name: array if name not in supports else np.where(supports[name].stored, array, array.dtype.type(0))
        for name, array in arrays.items()
    }


def _grouped(
    state: Mapping[str, Array], change: Callable[[Mapping[str, Array]], Mapping[str, Array]]
) -> dict[str, Array]:
    """Change the arrays of state that go by the names of weights: the weights, and each slot of the optimiser."""
    groups: dict[str, dict[str, Array]] = {}
    for key, array in state.items():
        prefix, _, name = key.rpartition("/")
        groups.setdefault(prefix, {})[name] = array
    return {
        f"{prefix}/{name}": array
        for prefix, arrays in groups.items()
        for name, array in (arrays if prefix == "optimizer" else change(arrays)).items()
    }


class Backend(Protocol):
    """Spells modules in one framework.

    `packages` are those that `session` and `compile` import, the first the framework. `emit` writes text or files, and
    loads no framework.
    """

    name: str
    packages: tuple[str, ...]

    def emit(
        self,
        module: Module,
        parameters: Mapping[str, Array] | None = None,
        optimizer: OptimizerSpec | None = None,
        *,
        inline: bool = False,
    ) -> dict[str, str | bytes]:
        """Files of the standalone model (without weights file and manifest), by relative path. Deterministic.

        Files that hold programs with their weights refer to those of `weights.safetensors` beside them, which holds
        `parameters` as `mpcompile.emission.tensors.places` says; with `inline` they hold the weights themselves. A
        training program has the update rule of `optimizer`. The others leave both to their files' users.
        """
        ...

    def session(
        self,
        module: Module,
        parameters: Mapping[str, Array],
        optimizer: OptimizerSpec | None = None,
        options: SessionOptions = SINGLE,
    ) -> Session:
        """A live module. Raises `SpecError` (MP511) for options that the framework does not have."""
        ...

    def launch(self, command: Sequence[str], count: int, restarts: int = 0) -> int:
        """Run a command in `count` processes of this machine, and return the exit status of the first that fails, or 0.

        They find `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR` and `MASTER_PORT` in their environment. When one
        fails, all are ended, and started again at most `restarts` times; a signal ends them, too.
        Raises `SpecError` (MP511) for a framework of one process.
        """
        ...

    def compile(self, module: Module, parameters: Mapping[str, Array], *, device: str = "cpu") -> object:
        """The live object of the framework: for torch an `nn.Module` whose methods are the programs."""
        ...


class BackendMissing(Exception):
    """A backend that is not installed; the message is one line that says what to install."""


def open_session(
    backend: Backend | str,
    module: Module | Optimised,
    parameters: Mapping[str, Array],
    optimizer: OptimizerSpec | None = None,
    options: SessionOptions = SINGLE,
    *,
    blocks: int = 0,
) -> Session:
    """Open a session on a module, which is optimised first unless it is an `Optimised`.

    On the CPU weights under masks are stored without what the masks remove where that pays (`passes/packing`); `blocks`
    states the number of row blocks in place of the costs, for tests and measurements.

    Raises `BackendMissing` for the name of a backend that is not there, and what its `session` raises.
    """
    found = find_backend(backend) if isinstance(backend, str) else backend
    own = recomputed((module if isinstance(module, Optimised) else optimise(module)).module)
    supports = {name: p.support for name, p in own.parameters.items() if p.support is not None}
    if not supports:
        return found.session(own, parameters, optimizer, options=options)
    rule = None if optimizer is None else optimizer.rule
    stored, layout = (
        fuse(own, rule, blocks=blocks)
        if options.device == "cpu" and options.group.layout == "replicated"
        else (own, Layout({}))
    )
    weights = layout.packed(without_dead(parameters, supports))
    return MaskedSession(found.session(stored, weights, optimizer, options=options), layout, supports)


def no_device(framework: str, name: str) -> SpecError:
    """Return the error for a device that the framework does not see (MP511), ready to raise."""
    return error("MP511", f"{framework} sees no device {name!r}", Span.none(),
                 help=f"--device cpu, or --device cuda with a {framework} that is built for CUDA")  # fmt: skip


def lost(reason: str) -> SpecError:
    """Return the error for a process of the group that ended, or never came (MP531), ready to raise."""
    return error("MP531", "another process of this training ended", Span.none(), notes=(reason,),
                 help="read what that process said; --resume goes on from the last checkpoint")  # fmt: skip


def one_process(framework: str, group: Group) -> SpecError:
    """Return the error for a group that a framework does not run (MP511), ready to raise."""
    what = "shards of a batch" if group.size == 1 else "several processes"
    return error("MP511", f"{framework} does not train in {what}", Span.none(),
                 help="--backend torch and jax do; else leave out --processes and --shards")  # fmt: skip


def no_compiler(framework: str, why: str) -> SpecError:
    """Return the error for `compiled` on a framework without a compiler to ask for (MP511), ready to raise."""
    return error("MP511", f"{framework} has no `--compile`: {why}", Span.none(),
                 help="leave it out, or --backend torch")  # fmt: skip


def backends() -> list[str]:
    """Return the names of all registered backends."""
    return sorted({e.name for e in entry_points(group=GROUP)})


def installed() -> list[str]:
    """Return the names of the registered backends whose frameworks can be imported."""
    found = []
    for name in backends():
        try:
            find_backend(name)
        except BackendMissing:
            continue
        found.append(name)
    return found


def _wanting(entry: EntryPoint, missing: Exception) -> str:
    """Say what a backend lacks, and how to install it where it is one of ours."""
    own = entry.dist is None or entry.dist.name == "mpcompile"
    how = f": pip install 'mpcompile[{entry.name}]'" if own else ""
    if isinstance(missing, ModuleNotFoundError) and missing.name:
        return f"needs {missing.name.partition('.')[0]}{how or ', which is not installed'}"
    return f"cannot be imported ({str(missing).partition(chr(10))[0]}){how}"


def find_backend(name: str, live: bool = True) -> Backend:
    """Return the backend of this name. Raises `BackendMissing` where its packages are not installed.

    Without `live` they are not imported, which takes seconds: for a caller that only emits.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                backend: Backend = entry.load()
                for package in backend.packages:
                    if live or find_spec(package) is None:
                        import_module(package)
            except (ImportError, OSError) as missing:  # OSError: a shared library of the framework
                raise BackendMissing(f"backend '{name}' {_wanting(entry, missing)}") from missing
            return backend
    known = ", ".join(backends()) or "none"
    raise BackendMissing(f"no backend is named '{name}' (installed: {known})")


__all__ = [
    "DOUBLE",
    "PRECISIONS",
    "SINGLE",
    "Backend",
    "BackendMissing",
    "MaskedSession",
    "OptimizerSpec",
    "Scalars",
    "Session",
    "SessionOptions",
    "backends",
    "find_backend",
    "installed",
    "lost",
    "no_compiler",
    "no_device",
    "one_process",
    "open_session",
    "without_dead",
]
