"""Abstract values of the dependence analyses, and the joins their rules are written in.

A `Domain` is a join-semilattice of facts about one element. Two are used: *availability* (tau, `numpy.maximum`
over int32) and *bitsets* of input elements (`numpy.bitwise_or` over uint64 words). A rule is written once, over
either.

Facts of a value of shape S are an array that broadcasts to S, plus one trailing axis of words: an axis of length
one says that the facts are the same all along it (channels of an unmasked convolution, the batch). A side lattice
keeps what is known about the elements themselves: exactly zero, exactly minus infinity, or a whole constant array.
An element that is known is bottom: it depends on nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mpcompile.budget import reserve, tick

Array = np.ndarray[Any, Any]

#: Matrices of at least this many elements are tried as staircases.
SORTED = 1 << 10


@dataclass(frozen=True, slots=True)
class Abstract:
    """The facts of a value of concrete `shape`.

    facts    broadcastable to `shape` + (words,)
    zero     bool, broadcastable to `shape`: elements that are exactly 0 whatever the weights and inputs are
    neginf   bool, broadcastable to `shape`: elements that are exactly -inf
    constant the value itself, when nothing in it is unknown (shape broadcastable to `shape`)
    """

    shape: tuple[int, ...]
    facts: Array
    zero: Array
    neginf: Array
    constant: Array | None = None

    @property
    def live(self) -> Array:
        """Elements that are not known to be zero (broadcastable to `shape`)."""
        return np.logical_not(self.zero)

    def full(self) -> Array:
        """Facts at full size: `shape` + (words,)."""
        return np.broadcast_to(self.facts, (*self.shape, self.facts.shape[-1]))


def same(x: Abstract, y: Abstract) -> bool:
    """Return whether two abstract values of one shape state the same facts."""
    if x is y:
        return True
    if x.constant is not None or y.constant is not None:
        return x.constant is not None and y.constant is not None and np.array_equal(x.constant, y.constant)
    pairs = ((x.facts, y.facts), (x.zero, y.zero), (x.neginf, y.neginf))
    return all(np.array_equal(p, q) for p, q in pairs)


def shrink(array: Array, axes: int) -> Array:
    """Replace each of the first `axes` axes along which nothing changes by length one."""
    for axis in range(axes):
        if array.shape[axis] > 1:
            before = (slice(None),) * axis
            first, last = array[(*before, slice(0, 1))], array[(*before, slice(-1, None))]
            if np.array_equal(first, last) and bool((array == first).all()):
                array = first
    return array


def staircase(live: Array) -> tuple[Array, Array] | None:
    """Return the rows of a bool matrix by falling sum, and how many of them each column has, or None.

    There is an answer when the columns are nested sets of rows, as in a triangular mask and in MADE's masks of
    degrees. They are just when the column sums are the conjugate partition of the row sums, because only one matrix
    has such sums (Ryser 1957, Combinatorial properties of matrices of zeros and ones); so sums are all it takes.
    """
    ones = live.view(np.uint8)
    rows, columns = (np.add.reduce(ones, axis=axis, dtype=np.uint32) for axis in (1, 0))
    at_least = np.cumsum(np.bincount(rows, minlength=live.shape[1] + 1)[::-1])[::-1]
    if not np.array_equal(np.sort(columns)[::-1], at_least[1:]):
        return None
    return np.argsort(-rows.astype(np.int64), kind="stable"), columns


@dataclass(frozen=True)
class Domain:
    """A semilattice over `words` machine words an element, with bottom 0."""

    join: np.ufunc
    dtype: np.dtype[Any]
    words: int

    # --- making abstract values ---

    def make(
        self,
        shape: Sequence[int],
        facts: Array | None = None,
        zero: Array | None = None,
        neginf: Array | None = None,
        constant: Array | None = None,
    ) -> Abstract:
        """An abstract value; what is not said is bottom, respectively not known. Facts of known elements are cleared."""
        tick()  # every rule of every interpreter comes by here
        shape = tuple(int(s) for s in shape)
        rank = len(shape)
        ones = (1,) * rank
        no = np.zeros(ones, bool)
        zero = no if zero is None else shrink(_lift(zero, rank), rank)
        neginf = no if neginf is None else shrink(_lift(neginf, rank), rank)
        if facts is None:
            facts = np.zeros((*ones, self.words), self.dtype)
        else:
            facts = _lift(facts, rank + 1)
            if (zero.any() or neginf.any()) and facts.any():
                known: Array = np.logical_or(zero, neginf)
                whole = np.broadcast_shapes(facts.shape, (*known.shape, self.words))
                reserve(prod(whole) * self.dtype.itemsize)
                facts = np.where(known[..., None], self.dtype.type(0), facts)
        return Abstract(shape, shrink(facts, rank), zero, neginf, constant)

    def constant(self, array: Array) -> Abstract:
        """A value that is known completely."""
        number = array.dtype.kind == "f"
        return self.make(array.shape, None, array == 0, np.isneginf(array) if number else None, array)

    def unknown(self, shape: Sequence[int]) -> Abstract:
        """A value that depends on no input but may be anything, such as a weight."""
        return self.make(shape)

    # --- joins ---

    def union(self, *facts: Array) -> Array:
        """Element-wise join of facts that broadcast against each other."""
        shape = np.broadcast_shapes(*(f.shape for f in facts))
        some = [f for f in facts if f.size > self.words or f.any()]  # bottom joins nothing
        if len(some) > 1:
            reserve(prod(shape) * self.dtype.itemsize)
        out = some[0] if some else facts[0]
        for f in some[1:]:
            out = self.join(out, f)
        return out if out.shape == shape else np.broadcast_to(out, shape)

    def reduce(self, x: Abstract, axes: Sequence[int]) -> Array:
        """Join over axes (kept with length one)."""
        out = x.facts
        for axis in axes:
            out = self.join.reduce(out, axis=axis, keepdims=True) if out.shape[axis] > 1 else out
        return out

    def contract(self, facts: Array, live: Array) -> Array:
        """Join over k of `facts[..., k, w]` where `live[..., k, j]`: gives `[..., j, w]`.

        Leading axes broadcast. This is the boolean matrix product that dense layers, convolutions and attention
        are made of.
        """
        if facts.shape[-2] == 1 and live.shape[-2] > 1:
            live = np.any(live, axis=-2, keepdims=True)  # the same fact for every k: any live k brings it
        if not facts.any():
            lead = np.broadcast_shapes(facts.shape[:-2], live.shape[:-2])
            return np.zeros((*(1,) * len(lead), 1, self.words), self.dtype)
        if live.shape[-2] == 1 or live.all():
            whole = self.join.reduce(facts, axis=-2, keepdims=True)
            spread: Array = np.where(np.swapaxes(live[..., :1, :], -1, -2), whole, self.dtype.type(0))
            return spread
        if live.size == live.shape[-2] * live.shape[-1] >= SORTED:
            steps = staircase(live.reshape(live.shape[-2:]))
            if steps is not None:
                return self._contract_steps(facts, *steps)
        if self.words == 1:
            return self._contract_single(facts, live)
        return self._contract_words(facts, live)

    def _contract_steps(self, facts: Array, order: Array, counts: Array) -> Array:
        """A staircase needs one running join over k: column j has the first `counts[j]` of `order`."""
        none = np.zeros((*facts.shape[:-2], 1, self.words), self.dtype)
        running = self.join.accumulate(facts.take(order, -2), axis=-2)
        return np.concatenate([none, running], -2).take(counts, -2)

    def _contract_single(self, facts: Array, live: Array) -> Array:
        """One word an element: take the join over k in slabs that stay in cache."""
        column = facts[..., 0]
        j = live.shape[-1]
        slab = max(1, (1 << 22) // max(1, live.shape[-2] * int(np.prod(column.shape[:-1]))))
        parts = [
            self.join.reduce(
                np.where(live[..., s : s + slab], column[..., :, None], self.dtype.type(0)), axis=-2
            )
            for s in range(0, j, slab)
        ]
        return np.concatenate(parts, -1)[..., None]

    def _contract_words(self, facts: Array, live: Array) -> Array:
        """Many words: one float matrix product over unpacked bits."""
        little = facts.astype("<u8", copy=False)
        bits = np.unpackbits(np.ascontiguousarray(little).view(np.uint8), axis=-1, bitorder="little")
        hit = np.swapaxes(live, -1, -2).astype(np.float32) @ bits.astype(np.float32) > 0
        packed = np.packbits(hit, axis=-1, bitorder="little")
        return np.ascontiguousarray(packed).view("<u8").astype(self.dtype)


def _lift(array: Array, rank: int) -> Array:
    """Prepend axes of length one up to a rank."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim < rank else array


def availability() -> Domain:
    """Return the domain of availability: the fact of an element is the first step after which it can be computed."""
    return Domain(np.maximum, np.dtype(np.int32), 1)


def bitsets(elements: int) -> Domain:
    """Return the domain of exact sets of input elements, packed 64 to a word."""
    return Domain(np.bitwise_or, np.dtype(np.uint64), max(1, -(-elements // 64)))
