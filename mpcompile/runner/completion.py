"""The start of a sample: a prompt, the first elements of given data, and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mpcompile.diagnostics import Span, SpecError, error
from mpcompile.distributions.sampling import Sampling
from mpcompile.ir import Array, DType, Field, Module
from mpcompile.passes.incremental.recognise import Reference, recognise
from mpcompile.runner.data.letters import encode
from mpcompile.runner.run import Run
from mpcompile.runner.run_data import data_of, rows_of
from mpcompile.specialize import member

#: How the inputs begin that `Sampling.given` adds to the `sample` program.
CLAMPS = ("given_", "keep_")


@dataclass(frozen=True, slots=True)
class Completion:
    """Elements of a variable that samples keep: `values` `[m, ...]`, where `keep` (an example's shape) is true.

    Sample i has row i modulo m. `beside` are conditions that came with the values, row by row; without a `name` they are
    all that is given. `rows` are the places of the m rows in their data; None of a text that is typed.
    """

    name: str
    values: Array
    keep: Array
    beside: Mapping[str, Array]
    rows: Array | None = None

    def rows_of(self, count: int) -> Array | None:
        """Return the place in the data of the row of each sample."""
        return None if self.rows is None else self.rows[np.arange(count) % len(self.rows)]

    def beside_of(self, count: int) -> dict[str, Array]:
        """Conditions of samples 0 .. count - 1."""
        return {k: v[np.arange(count) % len(v)] for k, v in self.beside.items()}

    def inputs(self, count: int) -> dict[str, Array]:
        """Return the inputs that the `sample` program reads of it, for samples 0 .. count - 1."""
        if not self.name:
            return {}
        rows = np.arange(count) % len(self.values)
        keep = np.broadcast_to(self.keep, (count, *self.keep.shape)).astype(np.float32)
        return {f"given_{self.name}": self.values[rows], f"keep_{self.name}": keep}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for draws: what they begin with, and how the law is changed.

    prompt       a text to go on from
    given        data whose rows are completed, or hold the conditions of draws; `upto` as `given()` takes it, 0 for none
    temperature, top_k   change every conditional, or a flow's base
    """

    prompt: str | None = None
    given: str | None = None
    upto: float | None = None
    temperature: float | None = None
    top_k: int | None = None

    def keeps(self, module: Module) -> bool:
        """Whether draws keep elements of a prompt or of the data, and not only conditions."""
        kept = self.given is not None and self.upto != 0 and completes(module)
        return self.prompt is not None or kept

    def changes(self, module: Module) -> bool:
        """Whether the sampler of the model differs, so that its spec is to be lowered with `sampling`."""
        return self.temperature is not None or self.top_k is not None or self.keeps(module)

    def sampling(self, module: Module) -> Sampling:
        """Return how the law is changed. Raises `ValueError` for a number out of range."""
        return Sampling(1.0 if self.temperature is None else self.temperature, self.top_k, self.keeps(module))

    def start(self, run: Run, module: Module, length: int | None) -> Completion | None:
        """Return what draws begin with; `length` elements follow a prompt (default: as trained).

        Raises `SpecError` (MP542) where the request does not fit the law of the model.
        """
        if self.top_k is not None or self.keeps(module):
            autoregressive(module)
        elif self.temperature is not None:
            tempered(module)
        if self.prompt is not None:
            return prompt(run, module, self.prompt, length or int(run.facts["settings"]["length"]))
        if self.given is None:
            return None
        if self.keeps(module):
            return given(run, module, self.given, self.upto)
        return conditioned(run, module, self.given)


def autoregressive(module: Module) -> tuple[Field, Reference, DType]:
    """Return the variable that a sampler draws element by element, its loop, and the type that it draws.

    Of several orders the first is the one that completes. Raises `SpecError` (MP542) for a model that has none.
    """
    graph = member(module, 0).programs.get("sample")
    for node in graph.nodes() if graph is not None else ():
        reference = recognise(node)
        name = node.scope[0].name if node.scope else ""
        if reference is not None and name in module.fields:
            return module.fields[name], reference, reference.x.dtype
    raise error("MP542", f"model '{module.name}' has no autoregressive sampler", Span.none(),
                help="top-k, prompts and given elements act on one element after the other, a temperature on a "
                "flow as well")  # fmt: skip


def tempered(module: Module) -> None:
    """Check that a temperature has an effect on the sampler of a model. Raises `SpecError` (MP542)."""
    if not ("forward" in module.programs and any(name in module.fields for name in module.flow_steps)):
        autoregressive(module)


def prompt(run: Run, module: Module, text: str, length: int) -> Completion:
    """Begin every sample with a text; `length` more elements follow. Raises `SpecError` (MP505, MP542)."""
    field, _, _ = autoregressive(module)
    letters = run.facts.get("vocabulary")
    if letters is None or field.type.rank != 2:
        raise error(
            "MP542", "a prompt is for a model of text", Span.none(), help="--given takes data of any kind"
        )
    if not text:
        raise error("MP542", "the prompt is empty", Span.none())
    try:
        codes = encode(text, letters)
    except ValueError as problem:
        raise error("MP505", f"the prompt: {problem}", Span.none()) from problem
    size = field.type.shape[1]
    total = size if isinstance(size, int) else len(codes) + length
    if len(codes) > total:
        raise error("MP542", f"the prompt has {len(codes)} elements, '{field.name}' has {total}", Span.none())
    values = np.zeros((1, total), np.int64)
    values[0, : len(codes)] = codes
    return Completion(field.name, values, np.arange(total) < len(codes), {})


def completes(module: Module) -> bool:
    """Return whether a model draws element by element, so that elements of an example can be kept."""
    try:
        autoregressive(module)
    except SpecError:
        return False
    return True


def conditioned(run: Run, module: Module, data: str) -> Completion:
    """Draw under the conditions, or inputs, in the rows of a data set or file (its test part), one after another.

    The data need no more than what the sampler reads.

    Raises `SpecError` as `load_data` does, and MP542 for a sampler that reads none.
    """
    sampler = module.programs.get("sample")
    read = {n: f for n, f in module.fields.items() if sampler is not None and n in sampler.inputs}
    if not read:
        autoregressive(module)
        raise error("MP542", f"the sampler of '{module.name}' reads no condition", Span.none(),
                    help="--upto says how many elements are kept")  # fmt: skip
    part = data_of(run, replace(module, fields=read), data).split("test")
    return Completion("", np.zeros(0), np.zeros(0, bool), part.take(np.arange(len(part))), rows_of(part))


def given(run: Run, module: Module, data: str, upto: float | None) -> Completion:
    """Keep the first elements, in the model's order, of examples of a data set or file (its test part).

    `upto` is a number of elements, or a share of them below one (default: half). Raises `SpecError` as `load_data`
    does, and MP542.
    """
    field, reference, dtype = autoregressive(module)
    try:
        split = data_of(run, module, data)
    except SpecError as problem:
        if problem.diagnostics[0].code != "MP502":
            raise
        alone = replace(module, fields={field.name: field})  # conditions are not there
        split = data_of(run, alone, data)
    part = split.split("test")
    taken = part.take(np.arange(len(part)))
    values = taken.pop(field.name)
    event = values.shape[1:]
    size = event[0] if reference.ranks is None else reference.ranks.size
    first = size // 2 if upto is None else int(upto * size) if upto < 1 else int(upto)
    if not 0 < first <= size:
        raise error(
            "MP542", f"--upto {upto:g} of {size} elements", Span.none(), help="a number, or a share below 1"
        )
    ranks = np.arange(size) if reference.ranks is None else reference.ranks
    keep = ranks.reshape(*ranks.shape, *(1,) * (len(event) - ranks.ndim)) < first
    values = values.astype(np.int64 if dtype is DType.INT else np.float32)
    return Completion(field.name, values, np.broadcast_to(keep, event), taken, rows_of(part))


def conditions(run: Run, module: Module, wanted: Mapping[str, str], count: int) -> dict[str, Array]:
    """Parse conditions of a command line: classes, which samples take one after another, or the numbers of a vector.

    A class may be the word that the run knows it by.

    Raises `SpecError` (MP542).
    """
    out: dict[str, Array] = {}
    for name, text in wanted.items():
        field = module.fields.get(name)
        if field is None or field.role == "target" or name not in module.programs["sample"].inputs:
            known = ", ".join(n for n in module.programs["sample"].inputs if n in module.fields)
            raise error("MP542", f"the sampler reads no condition '{name}'", Span.none(),
                        help=f"it reads {known}" if known else "")  # fmt: skip
        try:
            words = {
                word: field.low + i for i, word in enumerate((run.facts.get("classes") or {}).get(name, []))
            }
            parts = [part.strip() for part in text.split(",")]
            numbers = np.array([float(words.get(part, part)) for part in parts])
            if not np.isfinite(numbers).all():
                raise ValueError
        except ValueError:
            kind = "no class of the run and no number" if words else "no number"
            known = f"its classes are {', '.join(list(words)[:20])}" if words else ""
            raise error("MP542", f"condition {name}={text!r} is {kind}", field.span, help=known) from None
        out[name] = _condition(field, numbers, count)
    return out


def _condition(field: Field, numbers: Array, count: int) -> Array:
    shape, wanted = field.type.shape[1:], tuple(s for s in field.type.shape[1:] if isinstance(s, int))
    if field.classes is not None:
        high = field.low + field.classes - 1
        if (numbers != np.rint(numbers)).any() or numbers.min() < field.low or numbers.max() > high:
            raise error("MP542", f"'{field.name}' takes whole numbers from {field.low} to {high}", field.span)
    if not shape:
        rows = numbers[np.arange(count) % len(numbers)]
    elif len(wanted) == len(shape) and numbers.size == prod(wanted):
        rows = np.broadcast_to(numbers.reshape(wanted), (count, *wanted))
    else:
        raise error(
            "MP542", f"'{field.name}' has shape {list(shape)}, {numbers.size} numbers are given", field.span
        )
    return rows.astype(np.int64 if field.base == "category" else np.float32)
