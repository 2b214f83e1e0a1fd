"""Models with latents on test examples: reconstructions, and decoded points between two codes."""

from __future__ import annotations

from math import isqrt

import numpy as np

from mpcompile.backend import Backend, Session, SessionOptions, open_session
from mpcompile.diagnostics import Span, error
from mpcompile.ir import Array, Module
from mpcompile.runner import flows
from mpcompile.runner.batches import as_precision, complete
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of
from mpcompile.runner.sampling import Samples

#: Decoded points from one code to the next, both included.
STEPS = 8


def reconstruct(
    run: Run, module: Module, count: int, *, backend: Backend | None = None, device: str | None = None
) -> Samples:
    """Return means (draws, of an autoregressive density) of `count` test examples at the means of their codes.

    `values` has an array for each observed variable, images with the reconstruction below the example; `given` has
    the examples. Raises MP543 for a model without latents.
    """
    session, data = _open(run, module, "reconstruct", count, backend, device)
    out = _run(session, run, module, "reconstruct", data)
    values = {name: _beside(data[name], value, axis=-2) for name, value in out.items() if name in data}
    return Samples.of(run, module, values, data)


def interpolate(
    run: Run, module: Module, count: int, *, backend: Backend | None = None, device: str | None = None
) -> Samples:
    """Decode `STEPS` points on the line from the code of each of `count` test examples to that of the next.

    A code is that of a latent variable, or the latents of a flow. `values` has `[count, ...]` for each observed
    variable, the points of an image side by side, else `[count, STEPS, ...]`. Raises MP543 for a model without latents
    in which a whole example has one code.
    """
    if "encode" not in module.programs and "forward" in module.programs:
        points, given = flows.between(run, module, count, STEPS, backend=backend, device=device)
        name = flows.variable(module).name
        return Samples.of(run, module, {name: _beside(*points.swapaxes(0, 1), axis=-1)}, given)
    session, data = _open(run, module, "decode", count + 1, backend, device)
    codes = _run(session, run, module, "encode", data)
    names = [n for n in module.programs["decode"].inputs if n in codes or f"{n}_loc" in codes]
    share = np.linspace(0.0, 1.0, STEPS, dtype=np.float32)
    given = {k: v[:-1].repeat(STEPS, axis=0) for k, v in data.items()}
    for name in names:
        code = codes.get(name, codes.get(f"{name}_loc"))
        assert code is not None
        t = share.reshape(1, STEPS, *(1,) * (code.ndim - 1))
        between = (1 - t) * code[:-1, None] + t * code[1:, None]
        given[name] = between.reshape(-1, *code.shape[1:]).astype(code.dtype)
    out = _run(session, run, module, "decode", given)
    wide = {k: v.reshape(count, STEPS, *v.shape[1:]) for k, v in out.items()}
    values = {k: _beside(*v.swapaxes(0, 1), axis=-1) for k, v in wide.items()}
    return Samples.of(run, module, values, {k: v[:-1] for k, v in data.items()})


def _open(
    run: Run, module: Module, program: str, count: int, backend: Backend | None, device: str | None
) -> tuple[Session, dict[str, Array]]:
    """A session with the best weights, and `count` test examples from all over the part, which may be sorted."""
    if program not in module.programs or "encode" not in module.programs:
        raise error(
            "MP543", f"model '{module.name}' has no program `{program}`: it has no code of an example",
            Span.none(), help="--reconstruct is for a model with `latent z ~ ...`, --interpolate for a flow as well",
        )  # fmt: skip
    facts = run.facts
    test = data_of(run, module).split("test")
    weights, _ = run.parameters(module)
    precision = str(facts["precision"])
    session = open_session(
        backend or str(facts["backend"]),
        module,
        as_precision(weights, precision),
        options=SessionOptions(device=device or str(facts["device"]), precision=precision),
    )
    return session, test.take(np.arange(count) * max(1, len(test) // count) % len(test))


def _run(
    session: Session, run: Run, module: Module, program: str, data: dict[str, Array]
) -> dict[str, Array]:
    inputs = complete(module, program, data, (0, program))
    out = session.run(program, as_precision(inputs, str(run.facts["precision"])))
    return {k: np.asarray(v) for k, v in out.items()}


def _beside(*values: Array, axis: int) -> Array:
    """Images, flat squares among them, joined along their height (-2) or width (-1); other values along a new axis 1."""
    images = [_image(v) for v in values]
    joined = [i for i in images if i is not None]
    return np.concatenate(joined, axis) if len(joined) == len(values) else np.stack(values, 1)


def _image(x: Array) -> Array | None:
    """[n, c, h, w], or None."""
    if x.ndim == 4:
        return x
    side = isqrt(x.shape[1]) if x.ndim == 2 else 0
    return x.reshape(len(x), 1, side, side) if side >= 4 and side * side == x.shape[1] else None
