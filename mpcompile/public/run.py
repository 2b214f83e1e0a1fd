"""Runs: trained from a model, evaluated, drawn from, and asked for predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from mpcompile import api
from mpcompile.diagnostics import Severity, SpecError
from mpcompile.public.model import Model, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mpcompile.backend import Backend
    from mpcompile.runner import run as runs

    Arrays = dict[str, NDArray[Any]]


class Figure(TypedDict):
    """A figure over examples, with its standard error where there are several examples."""

    mean: float
    standard_error: NotRequired[float]


class Figures(TypedDict):
    """Held-out figures, as `evaluate` computes them.

    quantity   `log_likelihood`, `dequantized_bound`, `bound` (ELBO), `normalizer_bound`, or `objective` (a loss that
               is no likelihood)
    nats       per example, higher is better; `bits_per_dim` of discrete data, lower is better
    loss       in place of nats for an `objective`; it has no unit
    targets    metrics of each target by name
    baselines  the same figures for closed-form densities, each with its `name`
    """

    model: str
    run: str
    step: int
    backend: str
    examples: int
    quantity: str
    dimensions: float
    nats: NotRequired[Figure]
    loss: NotRequired[Figure]
    data: NotRequired[str]
    split: NotRequired[str]
    nats_per_dim: NotRequired[Figure]
    nats_per_step: NotRequired[Figure]
    bits_per_dim: NotRequired[Figure]
    perplexity: NotRequired[dict[str, float]]
    members: NotRequired[int]
    importance_weighted: NotRequired[dict[str, Any]]
    targets: NotRequired[dict[str, dict[str, Any]]]
    by: NotRequired[dict[str, Any]]
    baselines: NotRequired[list[dict[str, Any]]]


class Metrics(TypedDict):
    """A line of the metrics of a run: a step, its split (`train` or `valid`) and its figures."""

    step: int
    split: str
    loss: float
    epoch: float
    seconds: float
    best: NotRequired[float]
    bits_per_dim: NotRequired[float]
    learning_rate: NotRequired[float]
    gradient_norm: NotRequired[float]


class Run:
    """The folder of a training: checkpoints, metrics, the spec. `Run(folder)` opens one.

    Raises `SpecError` (MP520) for a folder that is no run.
    """

    def __init__(self, folder: Path | str) -> None:
        from mpcompile.runner.run import open_run

        self.inner: runs.Run = open_run(Path(folder))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """Return a fragment of HTML without scripts: the model, its data, how far it was trained, and its losses."""
        from mpcompile.report.notebook import training
        from mpcompile.runner.resume import reached

        known, best = self.inner.facts, self.best_loss
        facts = {"data": known["data"] or "none", "trained": reached(known, self.metrics)}
        facts |= {} if best is None else {"best validation loss": f"{best:.6g}"}
        return training(f"{known['model']} in {self.folder}", facts, self.metrics)

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.inner.folder

    @cached_property
    def model(self) -> Model:
        """The model that was trained, read from the copy of its spec in the folder."""
        return load(self.inner.spec, self.inner.overrides)

    @property
    def metrics(self) -> list[Metrics]:
        """The lines of metrics so far, in order."""
        from mpcompile.runner.metrics import read_metrics

        return read_metrics(self.inner.metrics)  # type: ignore[return-value]  # the lines that training writes

    @property
    def best_loss(self) -> float | None:
        """The lowest validation loss; None before the first validation, and where there is nothing to validate on."""
        losses = [line["loss"] for line in self.metrics if line["split"] == "valid"]
        return min(losses, default=None)

    @property
    def step(self) -> int:
        """The number of steps of the newest line of metrics; 0 before the first."""
        return max((line["step"] for line in self.metrics), default=0)

    @property
    def parameters(self) -> Arrays:
        """The weights of the best checkpoint by their dotted names. Raises `SpecError` (MP522) where none is sound."""
        return self.inner.parameters(self.model.module)[0]

    @property
    def words(self) -> dict[str, Any]:
        """The words that numbers of the data stand for: `vocabulary`, and `classes` by variable, where there are some."""
        return {k: self.inner.facts[k] for k in ("vocabulary", "classes") if self.inner.facts.get(k)}


def train(
    model: Model | Path | str,
    out: Path | str | None = None,
    *,
    backend: str | None = None,
    data: Path | str | None = None,
    seed: int | None = None,
    steps: int | None = None,
    resume: bool = False,
    init: Path | str | None = None,
    device: str | None = None,
    precision: str | None = None,
    mixed: bool | None = None,
    checkpoint_every: int | None = None,
    workers: int = 0,
    trackers: Sequence[str] | None = None,
    allow_unproven: bool = False,
    on_metrics: Callable[[Metrics], None] | None = None,
    on_message: Callable[[str], None] | None = None,
) -> Run:
    """Train a model, and return its run.

    out         the folder of the run (default: `runs/<model>`)
    data        a data set by name or a path; otherwise the one that the spec names
    resume      continue the run in `out`, with its settings; an argument replaces one of these
    init        a run, a `.safetensors` file or a state dict whose weights it starts from
    on_metrics  called with each line of metrics; an exception of it ends the training, and what was saved stays
    on_message  called with each note, such as why a step was skipped

    An argument that is None is the setting of the spec's `train` section, or a default of the command line. An interrupt
    (SIGINT) ends the training after the step it is in, saved.

    Raises `SpecError` when a claim does not hold and `allow_unproven` is not set, and for data, settings and folders that
    do not fit (MP5xx); and `mpcompile.backend.BackendMissing`.
    """
    from mpcompile.runner.loop import Options, Report
    from mpcompile.runner.loop import train as trained

    found = model if isinstance(model, Model) else load(model)
    wrong = [d for d in api.check(found.module) if d.severity is Severity.ERROR]
    if wrong and not allow_unproven:
        raise SpecError(wrong)
    options = Options(
        backend, None if data is None else str(data), seed, steps, resume, device, mixed, precision,
        None if trackers is None else list(trackers), checkpoint_every, found.overrides, bool(wrong),
        None if init is None else Path(init), workers=workers,
    )  # fmt: skip

    def watch(report: Report) -> None:
        if on_metrics is not None:
            on_metrics(report.line)  # type: ignore[arg-type]  # a line that training writes

    folder = Path("runs") / found.name if out is None else Path(out)
    result = trained(found.module, folder, options, say=on_message or (lambda text: None), watch=watch)
    return Run(result.folder)


def evaluate(
    run: Run | Path | str,
    *,
    data: Path | str | None = None,
    split: str = "test",
    samples: int | None = None,
    by: str | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> Figures:
    """Compute held-out figures of a run's best checkpoint, beside simple baselines.

    data     other data than the run's own; `split` is their part: `train`, `valid` or `test`
    samples  draws an example, for the importance-weighted bound of latents and the scores of draws
    by       a variable, or a column of the data, of few values: figures for each of them

    Raises `SpecError` (MP5xx).
    """
    from mpcompile.runner.evaluate import evaluate as figures

    opened = _opened(run)
    found = figures(
        opened.inner, opened.model.module, data=None if data is None else str(data), split=split,
        backend=_backend(backend), device=device, samples=samples, by=by,
    )  # fmt: skip
    return found  # type: ignore[return-value]  # as `Figures` declares it


def sample(
    run: Run | Path | str,
    count: int = 64,
    *,
    seed: int = 0,
    length: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    conditions: Mapping[str, object] | None = None,
    prompt: str | None = None,
    given: Path | str | None = None,
    upto: float | None = None,
    batch: int | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> Arrays:
    """Draw from a run's best checkpoint: [count, ...] of each variable; draw i is the same for any `count`.

    length      of sequences (default: as trained)
    temperature, top_k   change every conditional, or a flow's base
    conditions  name -> a class, a word, or several of them separated by commas, which draws take in turn
    prompt      a text to go on from
    given       data whose rows are completed from their first `upto` elements (a number, or a share below 1), or that
                hold the conditions of draws
    batch       the largest number of examples at once

    Raises `SpecError` (MP540, MP542) for a model that has no sampler, or whose law the options do not fit, and
    `ValueError` for options out of their range.
    """
    from mpcompile.runner import completion, sampling

    if prompt is not None and given is not None:
        raise ValueError("a prompt and given data exclude each other")
    opened = _opened(run)
    inner, module = opened.inner, opened.model.module
    asked = completion.Asked(prompt, None if given is None else str(given), upto, temperature, top_k)
    if asked.changes(module):
        module = api.load(inner.spec, inner.overrides, asked.sampling(module))
    start = asked.start(inner, module, length)
    stated = {k: str(v) for k, v in (conditions or {}).items()}
    return sampling.sample(
        inner, module, count, seed=seed, length=length, batch=batch, backend=_backend(backend), device=device,
        completion=start, conditions=stated,
    ).values  # fmt: skip


def predict(
    run: Run | Path | str,
    data: Path | str,
    *,
    split: str | None = None,
    ids: Sequence[str] = (),
    backend: str | None = None,
    device: str | None = None,
) -> Arrays:
    """Predict for every row of some data, and give the log-likelihood of each where the data have all variables.

    Without `split` a file is read whole, and of data with named parts the test part. With it the run's own file has the
    parts that it had in training. `ids` are columns of the data to copy, which the model need not read: `<id>` [n]
    numbers the texts `<id>_classes`.

    The result has the arrays that `mpcompile predict -o FILE.npz` writes: `row` [n], `<target>` [n, ...] (the class,
    or the mean), `<target>_probability` [n, ..., classes], `log_prob` or `elbo` [n] in nats.

    Raises `SpecError` (MP501 to MP507, MP540).
    """
    from mpcompile.runner import prediction

    opened = _opened(run)
    return prediction.collected(
        opened.inner, opened.model.module, str(data), split=split, ids=ids,
        backend=_backend(backend), device=device,
    )  # fmt: skip


def _opened(run: Run | Path | str) -> Run:
    return run if isinstance(run, Run) else Run(run)


def _backend(name: str | None) -> Backend | None:
    from mpcompile.backend import find_backend

    return None if name is None else find_backend(name)


__all__ = ["Figure", "Figures", "Metrics", "Run", "evaluate", "predict", "sample", "train"]
