"""Inputs of one primitive of which some elements are free and the rest is known, and what changes with the free ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mpcompile.ir import Abstract, Array, Domain, Example
from mpcompile.ir.field import Field


def index_range(op: Any, inputs: Sequence[np.ndarray]) -> int | None:
    """How many values an index input of a primitive may take."""
    if op.name in ("gather", "take_along"):
        return int(inputs[0].shape[op.axis])
    if op.name in ("scatter_add", "scatter_along"):
        return int(op.size)
    if op.name in ("slice_at", "update_at"):
        size = op.size if op.name == "slice_at" else inputs[1].shape[op.axis]
        return int(inputs[0].shape[op.axis] - size + 1)
    if op.name == "max_pool_grad":
        return math.prod(op.spatial)
    return int(op.depth) if op.name == "one_hot" else None


#: Rounds that are made at least.
FEW = 8


class Trial:
    """Inputs of one primitive of which some elements are free and the rest is known."""

    def __init__(
        self, example: Example, fixed: Sequence[np.ndarray | None], known: Sequence[np.ndarray | None]
    ) -> None:
        self.op, self.inputs = example.op, example.inputs
        self.fixed = fixed  # per input: the whole constant, or None
        self.known = known  # per input: 0 or -inf where known, NaN elsewhere, or None
        self.free = [
            (i, at)
            for i, x in enumerate(self.inputs)
            if fixed[i] is None
            for at in np.ndindex(x.shape)
            if known[i] is None or np.isnan(known[i][at])  # type: ignore[index]
        ]

    def draw(self, rng: np.random.Generator, like: np.ndarray) -> np.ndarray:
        if like.dtype.kind == "b":
            return rng.random(like.shape) < 0.5
        if like.dtype.kind == "i":
            n = index_range(self.op, self.inputs)
            return rng.integers(-3, 4, like.shape) if n is None else rng.integers(0, n, like.shape)
        if self.op.name in ("equal", "less", "less_equal"):  # equal now and then, and minus infinity
            drawn = rng.integers(-2, 3, like.shape).astype(like.dtype)
            return np.where(rng.random(like.shape) < 0.2, -np.inf, drawn)
        low = 0.1 if self.op.name in ("log", "sqrt") else -3.0
        return rng.uniform(low, 3.0, like.shape)

    def base(self, rng: np.random.Generator) -> list[np.ndarray]:
        out = []
        for x, fixed, known in zip(self.inputs, self.fixed, self.known, strict=True):
            value = self.draw(rng, x) if fixed is None else fixed
            out.append(value if known is None else np.where(np.isnan(known), value, known))
        return out

    def abstract(self, domain: Domain) -> list[Abstract]:
        facts = [np.zeros((*x.shape, domain.words), domain.dtype) for x in self.inputs]
        for bit, (i, at) in enumerate(self.free):
            facts[i][(*at, bit // 64)] = np.uint64(1 << (bit % 64))
        out = []
        for x, fixed, known, f in zip(self.inputs, self.fixed, self.known, facts, strict=True):
            if fixed is not None:
                out.append(domain.constant(fixed))
            else:
                known = np.full(x.shape, np.nan) if known is None else known
                out.append(domain.make(x.shape, f, known == 0, np.isneginf(known)))
        return out

    def over_field(self, field: Field) -> list[Array]:
        """Which outputs change modulo a prime with each free element, [*output, free elements]."""

        def drawn(key: str, like: Array) -> Array:
            if like.dtype.kind == "f":
                return field.draw(key, like.shape)
            return self.draw(np.random.default_rng([len(key), 5, *key.encode()]), like)

        base = []
        for i, (x, fixed, known) in enumerate(zip(self.inputs, self.fixed, self.known, strict=True)):
            value = drawn(f"{i}", x) if fixed is None else field.number(fixed)
            base.append(value if known is None else np.where(np.isnan(known), value, known))
        others = [drawn(f"other {i}", x) for i, x in enumerate(self.inputs)]
        before = self.op.over_field(field, *base)
        changed = [np.zeros((*y.shape, len(self.free)), bool) for y in before]
        for bit, (i, at) in enumerate(self.free):
            moved = base[i].copy()
            moved[at] = not moved[at] if moved.dtype.kind == "b" else others[i][at]
            after = self.op.over_field(field, *base[:i], moved, *base[i + 1 :])
            for k, (p, q) in enumerate(zip(before, after, strict=True)):
                changed[k][..., bit] = (p != q) & ~((p != p) | (q != q))
        return changed

    def support(
        self, rounds: int, claimed: Sequence[np.ndarray] = ()
    ) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        """Which outputs change with each free element, and the outputs that were seen.

        Once all that is claimed was seen to change, after `FEW` rounds, no more are made.
        """
        rng = np.random.default_rng(11)
        changed: list[np.ndarray] = []
        seen: list[list[np.ndarray]] = []
        for n in range(rounds):
            if (
                n >= FEW
                and claimed
                and all(not (c & ~s).any() for c, s in zip(claimed, changed, strict=True))
            ):
                break
            inputs = self.base(rng)
            with np.errstate(all="ignore"):
                before = self.op.evaluate(*inputs)
            seen.append(list(before))
            if not changed:
                changed = [np.zeros((*y.shape, len(self.free)), bool) for y in before]
            for bit, (i, at) in enumerate(self.free):
                moved = inputs[i].copy()
                fresh = self.draw(rng, moved)
                moved[at] = not moved[at] if moved.dtype.kind == "b" else fresh[at]
                with np.errstate(all="ignore"):
                    after = self.op.evaluate(*inputs[:i], moved, *inputs[i + 1 :])
                for k, (p, q) in enumerate(zip(before, after, strict=True)):
                    changed[k][..., bit] |= (p != q) & ~((p != p) & (q != q))
        return changed, seen


def bits_of(x: Abstract, count: int) -> np.ndarray:
    words = np.ascontiguousarray(x.full()).astype("<u8").view(np.uint8)
    return np.unpackbits(words, axis=-1, bitorder="little")[..., :count].astype(bool)


#: Primitives that state what happens at a known minus infinity.
NEGINF = set(
    "exp sigmoid relu softplus softmax log_softmax log_sum_exp max maximum minimum arg_max max_pool equal "
    "stop_gradient all_sum floor reshape transpose broadcast_to slice pad concat flip gather take_along less "
    "less_equal".split()
)


#: Primitives whose value often stays the same when an element changes: they are tried more often.
STEPS = set(
    "sign floor relu maximum minimum less less_equal equal max arg_max max_pool where one_hot cast".split()
)


def rounds(example: Example) -> int:
    if example.op.name in ("scan", "max_pool_grad"):
        return 3 if example.op.name == "scan" else 400
    return 150 if example.op.name in STEPS or any(x.dtype.kind != "f" for x in example.inputs) else 8


def trials(example: Example) -> Iterator[Trial]:
    """All inputs free; one of several constant; some elements known to be zero or minus infinity."""
    rng = np.random.default_rng(3)
    inputs = example.inputs
    nothing: list[np.ndarray | None] = [None] * len(inputs)
    yield Trial(example, nothing, nothing)
    for i, x in enumerate(inputs):
        if len(inputs) > 1:
            constant = (
                x * (rng.random(x.shape) < 0.6) if x.dtype.kind == "f" and example.op.name != "div" else x
            )
            if example.op.name in ("equal", "less", "less_equal"):
                constant = constant.astype(int).clip(-1, 1).astype(x.dtype)
            yield Trial(example, [constant if j == i else None for j in range(len(inputs))], nothing)
    floats = [x.dtype.kind == "f" and not (example.op.name == "div" and i) for i, x in enumerate(inputs)]
    for value in (0.0, -np.inf):
        if any(floats) and (value == 0 or example.op.name in NEGINF):
            known = [
                np.where(rng.random(x.shape) < 0.5, value, np.nan) if f else None
                for x, f in zip(inputs, floats, strict=True)
            ]
            yield Trial(example, nothing, known)
            mixed = [None if k is None else np.where(rng.random(k.shape) < 0.3, 0.0, k) for k in known]
            if value:
                yield Trial(example, nothing, mixed)
