"""Trained flows on data: latents and back, the points between two examples, a density in the plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpcompile.backend import Backend, Session, SessionOptions, open_session
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Field, Module
from mpcompile.runner.batches import as_precision, chunks, complete
from mpcompile.runner.completion import conditions as stated_conditions
from mpcompile.runner.data import Split
from mpcompile.runner.data.arrays import npy, npz
from mpcompile.runner.data.opening import Unreadable
from mpcompile.runner.divergence import require_finite
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of
from mpcompile.runner.sampling import Samples

#: Examples of one call.
BATCH = 1024
#: Points of the density's grid along each axis, lines of the warped grid along each axis, and points of a line.
SIDE, LINES, ALONG = 240, 17, 600
#: Latents that the warped grid covers: a normal has all but 0.3 % of each coordinate there.
REACH = 3.0


class Opened:
    """A session with a run's best weights: `call` runs a program on data, noise under a key of its own."""

    def __init__(self, run: Run, module: Module, backend: Backend | None, device: str | None) -> None:
        self.module, self.precision = module, str(run.facts["precision"])
        weights, _ = run.parameters(module)
        self.session: Session = open_session(
            backend or str(run.facts["backend"]), module, as_precision(weights, self.precision),
            options=SessionOptions(device=device or str(run.facts["device"]), precision=self.precision),
        )  # fmt: skip

    def call(self, program: str, data: Mapping[str, Array], number: int = 0) -> dict[str, Array]:
        inputs = complete(self.module, program, data, (0, program, number))
        out = self.session.run(program, as_precision(inputs, self.precision))
        return {k: np.asarray(v) for k, v in out.items()}

    def all(self, program: str, split: Split) -> dict[str, Array]:
        """Outputs for every example of a split."""
        parts = [self.call(program, data, number) for number, data in chunks(split, BATCH)]
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def variable(module: Module) -> Field:
    """Return the variable of a module's flow. Raises `SpecError` (MP543) for a model that has none."""
    name = next((n for n in module.flow_steps if n in module.fields), None)
    if name is None or "forward" not in module.programs:
        raise error(
            "MP543", f"model '{module.name}' has no flow over its data: an example has no latents", Span.none(),
            help="--forward and --inverse are for a model with `x ~ flow { ... }`",
        )  # fmt: skip
    return module.fields[name]


def forward(
    run: Run, module: Module, data: str, *, backend: Backend | None = None, device: str | None = None
) -> Samples:
    """Map every example of a data set (its test part) or file to its latents, and return them with their densities.

    `values` has z [n, D], log_det and log_prob [n] in nats, and the data under its own name. Raises what `load_data`
    raises, and MP543.
    """
    name, opened = variable(module).name, Opened(run, module, backend, device)
    split = data_of(run, module, data).split("test")
    taken = split.take(np.arange(len(split)))
    values = opened.all("forward", split) | opened.all("log_prob", split) | {name: taken.pop(name)}
    return Samples.of(run, module, values, taken)


def inverse(
    run: Run, module: Module, file: Path, *, backend: Backend | None = None, device: str | None = None
) -> Samples:
    """Map latents to data: the array `z` [n, D] in an .npz (or a lone .npy), with the conditions that lie beside it.

    Raises `SpecError` (MP506) for a file without latents of the model's size or without its conditions.
    """
    field, opened = variable(module), Opened(run, module, backend, device)
    wanted = {k: v for k, v in module.programs["inverse"].inputs.items() if k != "z"}
    size = module.programs["inverse"].inputs["z"].shape[1]
    found = _arrays(file)
    z = found.get("z")
    if z is None or z.ndim != 2 or z.shape[1] != size or z.dtype.kind not in "fiu":
        shown = "it has " + (", ".join(f"{k} {list(v.shape)}" for k, v in found.items()) or "no arrays")
        raise error("MP506", f"'{file}' holds no latents z [n, {size}]: {shown}", Span.none(),
                    help="`sample RUN --forward DATA -o latents.npz` writes them")  # fmt: skip
    given = {}
    for name, value in wanted.items():
        beside = found.get(f"given_{name}", found.get(name))
        if beside is None or beside.shape != (len(z), *value.shape[1:]):
            raise error(
                "MP506", f"'{file}' holds no condition {name} for each of its {len(z)} latents", Span.none()
            )
        given[name] = beside
    parts = []
    for start in range(0, len(z), BATCH):
        rows = {"z": z.astype(np.float32), **given}
        parts.append(opened.call("inverse", {k: v[start : start + BATCH] for k, v in rows.items()}))
    values = {field.name: np.concatenate([p[field.name] for p in parts])}
    return Samples.of(run, module, values, given)


def between(
    run: Run,
    module: Module,
    count: int,
    steps: int,
    *,
    backend: Backend | None = None,
    device: str | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Map points on the lines between the latents of test examples i and i + 1 back to data: [count, steps, ...].

    Both ends are examples (Dinh et al. 2017, section 4.1 and Kingma and Dhariwal 2018, figure 5 show such lines);
    the condition is that of example i. The second result has the examples.
    """
    field, opened = variable(module), Opened(run, module, backend, device)
    test = data_of(run, module).split("test")
    data = test.take(np.arange(count + 1) % len(test))
    z = opened.call("forward", data)["z"]
    require_finite(z, "latent")
    t = np.linspace(0.0, 1.0, steps, dtype=z.dtype).reshape(1, steps, 1)
    line = (1 - t) * z[:-1, None] + t * z[1:, None]
    given = {k: v[:-1].repeat(steps, 0) for k, v in data.items() if k != field.name}
    x = opened.call("inverse", {"z": line.reshape(-1, z.shape[1]), **given})[field.name]
    return x.reshape(count, steps, *x.shape[1:]), {k: v[:-1] for k, v in data.items()}


@dataclass(frozen=True, slots=True)
class Density:
    """A density in the plane.

    box     (left, right, bottom, top) of the grid
    log_p   in nats, [SIDE, SIDE], row 0 at the bottom
    points  training data within the box, [n, 2]
    lines   of a regular grid of latents, carried into the plane: [k, ALONG, 2]; none for what is no flow
    """

    name: str
    box: tuple[float, float, float, float]
    log_p: Array
    points: Array
    lines: Array | None

    @property
    def mass(self) -> float:
        """The probability of the box, by the rectangle rule."""
        left, right, bottom, top = self.box
        cell = (right - left) * (top - bottom) / (SIDE - 1) ** 2
        return float(np.exp(self.log_p.astype(np.float64)).sum() * cell)


def density(
    run: Run,
    module: Module,
    *,
    conditions: Mapping[str, str] | None = None,
    backend: Backend | None = None,
    device: str | None = None,
) -> Density:
    """Compute log p over the box of the training data, and a grid of latents as the flow bends it.

    `conditions` as for `sample`; a category that is not stated is its first class, other conditions are those of
    the first test example. Raises `SpecError` (MP542) where there is no density of one pair of real numbers.
    """
    drawn = module.programs["sample"].outputs if "sample" in module.programs else {}
    field = next((f for name, f in module.fields.items() if name in drawn), None)
    plane = field is not None and field.base == "real" and field.type.shape[1:] == (2,)
    if not plane or "log_prob" not in module.programs:
        raise error("MP542", f"model '{module.name}' has no density in the plane", Span.none(),
                    help="--density draws log_prob of one variable of type real[2]")  # fmt: skip
    assert field is not None
    opened, data = Opened(run, module, backend, device), data_of(run, module)
    points = data.split("train").take(np.arange(min(2000, len(data.split("train")))))[field.name]
    low, high = points.min(0), points.max(0)
    margin = 0.15 * (high - low).max() or 1.0
    (left, bottom), (right, top) = low - margin, high + margin
    across = np.meshgrid(np.linspace(left, right, SIDE), np.linspace(bottom, top, SIDE))
    grid = np.stack(across, -1).reshape(-1, 2).astype(np.float32)
    given = _stated(run, module, field, data.split("test"), conditions or {})

    def run_on(program: str, name: str, rows: Array) -> Array:
        """A program's one output on rows of its input `name`, under the same conditions."""
        parts = []
        for start in range(0, len(rows), BATCH * 8):
            part = rows[start : start + BATCH * 8]
            wide = {k: np.repeat(v, len(part), 0) for k, v in given.items()}
            parts.append(next(iter(opened.call(program, {name: part, **wide}).values())))
        return np.concatenate(parts)

    log_p = run_on("log_prob", field.name, grid)
    if not np.isfinite(log_p.max()):  # outside of its support a density is zero
        require_finite(log_p, "log density")
    log_p = log_p.reshape(SIDE, SIDE)
    lines = None
    if "inverse" in module.programs:
        at, along = np.linspace(-REACH, REACH, LINES), np.linspace(-REACH, REACH, ALONG)
        one = np.stack(np.meshgrid(along, at), -1)
        z = np.concatenate([one, one[..., ::-1]]).astype(np.float32)
        lines = run_on("inverse", "z", z.reshape(-1, 2)).reshape(z.shape)
    return Density(field.name, (float(left), float(right), float(bottom), float(top)), log_p, points, lines)


def _stated(
    run: Run, module: Module, field: Field, test: Split, wanted: Mapping[str, str]
) -> dict[str, Array]:
    """One row of every condition."""
    given = dict(stated_conditions(run, module, wanted, 1)) if wanted else {}
    first = test.take(np.arange(1))
    for name in module.programs["log_prob"].inputs:
        known = module.fields.get(name)
        if known is None or name in given or name == field.name:
            continue
        category = known.base == "category" and known.type.rank == 1
        given[name] = np.zeros(1, np.int64) if category else first[name]
    return given


def _arrays(file: Path) -> dict[str, Array]:
    """Arrays of an .npz or .npy file; nothing is unpickled."""
    try:
        return npz(file) if file.suffix.lower() == ".npz" else {"z": npy(file)}
    except Unreadable as bad:
        raise error("MP506", str(bad), Span.none(), help=bad.help) from bad
