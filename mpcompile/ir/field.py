"""Numbers modulo a prime: the arithmetic in which a dependence that shows is certainly there.

A float is a whole number modulo `PRIME`, held in a float64 array, so that sums and products are exact. Minus infinity
and NaN stay themselves. Whole numbers and truth values are ordinary ones. A function of one number is a random table
that keeps the identities by which programs cancel:

* exp(0) = 1, exp(-v) exp(v) = 1, log is the inverse of exp; sigmoid, tanh and softplus are built from exp;
* |v| is even, relu(v) = (v + |v|) / 2, max(x, y) = (x + y + |x - y|) / 2; erf and sine are odd, cosine is even, and
  sine and cosine come from one parameter (sin^2 + cos^2 = 1);
* whole numbers and fractions that are small have their true order, size, square root and floor.

The tables do not keep exp(a + b) = exp(a) exp(b), sqrt(v)^2 = v, log(u v) = log u + log v, or an order of three numbers.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property, lru_cache
from math import gcd, isqrt

import numpy as np

from mpcompile.ir.primitive import Array

#: The largest prime below 2^16 of the form 4 k + 3: 2^20 products fit float64, and 1 + t^2 is never zero.
PRIME = 65519
#: Most products that one sum may have and stay exact.
TERMS = 1 << 20
#: Whole numbers of at most this size are compared as what they are; half of all numbers are, in effect, beyond it.
ORDERED = 1 << 12
#: Numerators and denominators of fractions whose true order, size, root and floor the tables have.
SMALL = 16
#: Constants of an array with more different numbers than this are read as binary fractions.
FRACTIONS = 256

_HALF = float((PRIME + 1) // 2)


@lru_cache(maxsize=1)
def inverses() -> Array:
    """Compute 1 / v for every v by Fermat, v^(PRIME - 2), and 0 for 0: [PRIME]."""
    base, out, power = np.arange(PRIME), np.ones(PRIME, np.int64), PRIME - 2
    while power:
        if power & 1:
            out = out * base % PRIME
        base, power = base * base % PRIME, power >> 1
    return out.astype(np.float64)


@lru_cache(maxsize=1)
def _small() -> tuple[tuple[int, Fraction], ...]:
    """The small fractions with their numbers, zero left out; the simplest last, for those that share a number."""
    found = [Fraction(a, b) for b in range(1, SMALL + 1) for a in range(1, SMALL + 1) if gcd(a, b) == 1]
    found.sort(key=lambda f: -(f.numerator + f.denominator))
    return tuple((_residue(f), f) for f in found)


def _residue(f: Fraction) -> int:
    return f.numerator * pow(f.denominator, -1, PRIME) % PRIME


def generator(seed: int, name: str) -> np.random.Generator:
    """Return a random generator of its own for each name."""
    return np.random.default_rng([seed, *name.encode()])


class Tables:
    """Random functions of one number, each a table of `PRIME` results, made when it is first asked for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @cached_property
    def exponential(self) -> tuple[Array, Array, int]:
        """exp, log, and the number whose exponential, like that of its negative, is -1."""
        rng, inverse = generator(self.seed, "exp"), inverses().astype(np.int64)
        first = np.arange(2, PRIME - 1)
        first = rng.permutation(first[first < inverse[first]])
        at = rng.permutation(np.arange(1, (PRIME + 1) // 2))
        at = np.where(rng.random(len(at)) < 0.5, at, PRIME - at)
        odd, at = int(at[-1]), at[:-1]
        exp, log = np.ones(PRIME), np.zeros(PRIME)
        exp[at], exp[PRIME - at] = first, inverse[first]
        exp[odd] = exp[PRIME - odd] = PRIME - 1
        log[first], log[inverse[first]] = at, PRIME - at
        log[0], log[PRIME - 1] = -np.inf, odd
        return exp, log, odd

    @cached_property
    def erf(self) -> Array:
        return self._odd("erf")

    @cached_property
    def tangent(self) -> Array:
        return self._odd("tangent")

    def _odd(self, name: str) -> Array:
        """A random odd function that is zero at zero."""
        half = generator(self.seed, name).integers(1, PRIME, PRIME // 2)
        return np.concatenate([[0], half, PRIME - half[::-1]]).astype(np.float64)

    @cached_property
    def absolute(self) -> Array:
        half = generator(self.seed, "abs").integers(1, PRIME, PRIME // 2)
        table = np.concatenate([[0], half, half[::-1]]).astype(np.float64)
        for v, _ in _small():
            table[v] = table[PRIME - v] = v
        return table

    @cached_property
    def signs(self) -> Array:
        half = np.where(generator(self.seed, "sign").random(PRIME // 2) < 0.5, 1.0, -1.0)
        table = np.concatenate([[0.0], half, -half[::-1]])
        for v, _ in _small():
            table[v], table[PRIME - v] = 1.0, -1.0
        table[1 : ORDERED + 1], table[-ORDERED:] = 1.0, -1.0
        return table

    @cached_property
    def roots(self) -> Array:
        table = generator(self.seed, "sqrt").integers(0, PRIME, PRIME).astype(np.float64)
        table[0] = 0.0
        for v, f in _small():
            table[v * v % PRIME] = v
            root = Fraction(isqrt(f.numerator), isqrt(f.denominator))
            if root * root == f:
                table[v] = _residue(root)
        return table

    @cached_property
    def floors(self) -> Array:
        table = generator(self.seed, "floor").integers(0, PRIME, PRIME).astype(np.float64)
        for v, f in _small():
            below = f.numerator // f.denominator
            table[v], table[PRIME - v] = below, (PRIME - below - (f.denominator > 1)) % PRIME
        n = np.arange(-ORDERED, ORDERED + 1)
        table[n % PRIME] = n % PRIME
        return table

    @cached_property
    def wholes(self) -> Array:
        table = generator(self.seed, "whole").integers(0, ORDERED, PRIME).astype(np.float64)
        for v, f in _small():
            cut = f.numerator // f.denominator
            table[v], table[PRIME - v] = cut, -cut
        n = np.arange(-ORDERED, ORDERED + 1)
        table[n % PRIME] = n
        return table


tables = lru_cache(maxsize=6)(Tables)


class Field:
    """One draw of the tables. Arrays go in and come out with floats below `PRIME`.

    `accidents` counts results for which the identities do not hold: 1 / 0, and the one pair of numbers whose exponential
    is -1. A run without any needs no second one to be believed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.accidents = 0
        self._tables = tables(seed)

    # --- arithmetic ---

    def canon(self, x: Array) -> Array:
        """The representative of every float below `PRIME`. Whole numbers and truth values pass."""
        if x.dtype.kind != "f":
            return x
        with np.errstate(invalid="ignore"):
            out = x - np.floor(x / PRIME) * PRIME
        finite = np.isfinite(out)
        return np.asarray(out) if finite.all() else np.where(np.isfinite(x), out, x)

    def number(self, x: Array) -> Array:
        """Floats of a program as elements of the field, small fractions exactly."""
        if x.dtype.kind != "f":
            return x
        finite = np.isfinite(x)
        whole = np.where(finite, x, 0.0)
        out = self.canon(np.trunc(whole))
        broken = whole != np.trunc(whole)
        if broken.any():
            each, at = np.unique(whole[broken], return_inverse=True)
            made = _binary(each) if len(each) > FRACTIONS else np.array([_fraction(float(c)) for c in each])
            out = np.array(out)
            out[broken] = made[at.reshape(-1)]
        return np.asarray(out) if finite.all() else np.where(finite, out, x)

    def draw(self, name: str, shape: tuple[int, ...]) -> Array:
        """Random elements; the same for the same name."""
        return self.draw_small(name, shape).astype(np.float64)

    def draw_small(self, name: str, shape: tuple[int, ...]) -> Array:
        """Draw the numbers of `draw` as 16-bit integers, which take a quarter of the memory."""
        return generator(self.seed, f"draw {name}").integers(0, PRIME, shape, np.uint16)

    def same(self, x: Array) -> Array:
        return x

    def neg(self, x: Array) -> Array:
        return self.canon(-x)

    def add(self, x: Array, y: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return self.canon(np.add(x, y))

    def sub(self, x: Array, y: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return self.canon(np.subtract(x, y))

    def mul(self, x: Array, y: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return self.canon(np.multiply(x, y))

    def inverse(self, x: Array) -> Array:
        """1 / x; 1 / 0 is 0, and an accident."""
        return self._look(inverses(), x, 0.0, unlike=(0,))

    def div(self, x: Array, y: Array) -> Array:
        return self.mul(x, self.inverse(y))

    # --- functions of one number ---

    def _look(
        self, table: Array, x: Array, below: float, above: float = np.nan, unlike: tuple[int, ...] = ()
    ) -> Array:
        """A table at x, with what it gives at minus and plus infinity; NaN stays NaN."""
        finite = np.isfinite(x)
        if finite.all():
            index = np.asarray(x, np.int64)
            out = table[index]
        else:
            index = np.where(finite, x, 1.0).astype(np.int64)
            out = np.where(
                finite, table[index], np.where(np.isneginf(x), below, np.where(np.isnan(x), x, above))
            )
        self.accidents += sum(int(np.count_nonzero(index == v)) for v in unlike)
        return np.asarray(out)

    def exp(self, x: Array) -> Array:
        table, _, odd = self._tables.exponential
        return self._look(table, x, 0.0, np.inf, unlike=(odd, PRIME - odd))

    def log(self, x: Array) -> Array:
        return self._look(self._tables.exponential[1], x, np.nan, np.inf)

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x))"""
        return self.inverse(self.canon(1.0 + self.exp(self.canon(-x))))

    def tanh(self, x: Array) -> Array:
        """2 sigmoid(2 x) - 1"""
        return self.canon(2.0 * self.sigmoid(self.canon(2.0 * x)) - 1.0)

    def softplus(self, x: Array) -> Array:
        """log(1 + exp(x))"""
        return self.log(self.canon(1.0 + self.exp(x)))

    def abs(self, x: Array) -> Array:
        return self._look(self._tables.absolute, x, np.inf, np.inf)

    def relu(self, x: Array) -> Array:
        """(x + |x|) / 2"""
        out = self.mul(np.where(np.isneginf(x), 0.0, x) + self.abs(x), np.asarray(_HALF))
        return np.where(np.isneginf(x), 0.0, out)

    def sign(self, x: Array) -> Array:
        """-1, 0 or 1 as a float that is no element of the field: what comparisons ask."""
        return self._look(self._tables.signs, x, -1.0, 1.0)

    def signs(self, x: Array) -> Array:
        """The sign as an element of the field."""
        return self.canon(self.sign(x))

    def sqrt(self, x: Array) -> Array:
        return self._look(self._tables.roots, x, np.nan, np.inf)

    def erf(self, x: Array) -> Array:
        return self._look(self._tables.erf, x, PRIME - 1.0, 1.0)

    def sin(self, x: Array) -> Array:
        """2 t / (1 + t^2) of t, an odd function of x"""
        t = self._look(self._tables.tangent, x, np.nan)
        return self.mul(2.0 * t, self.inverse(self.canon(1.0 + t * t)))

    def cos(self, x: Array) -> Array:
        """(1 - t^2) / (1 + t^2) of the same t"""
        t = self._look(self._tables.tangent, x, np.nan)
        return self.mul(self.canon(1.0 - t * t), self.inverse(self.canon(1.0 + t * t)))

    def floor(self, x: Array) -> Array:
        return self._look(self._tables.floors, x, -np.inf, np.inf)

    def whole(self, x: Array) -> Array:
        """Floats as whole numbers: what is small is cut, all else is a random number from 0 on."""
        return np.asarray(self._look(self._tables.wholes, x, 0.0, 0.0), np.int64)

    # --- functions of several ---

    def order(self, x: Array, y: Array) -> Array:
        """-1, 0 or 1: the sign of x - y, or the true one where either is infinite."""
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(x) & np.isfinite(y)
            signs = self.sign(self.canon(np.where(finite, x, 0.0) - np.where(finite, y, 0.0)))
            return np.where(finite, signs, np.sign(np.where(np.equal(x, y), 0.0, np.subtract(x, y))))

    def maximum(self, x: Array, y: Array) -> Array:
        """(x + y + |x - y|) / 2"""
        finite = np.isfinite(x) & np.isfinite(y)
        u, v = np.where(finite, x, 0.0), np.where(finite, y, 0.0)
        out = self.mul(u + v + self.abs(self.canon(u - v)), np.asarray(_HALF))
        return np.where(finite, out, np.maximum(x, y))

    def minimum(self, x: Array, y: Array) -> Array:
        """(x + y - |x - y|) / 2"""
        return self.neg(self.maximum(self.neg(x), self.neg(y)))

    def less(self, x: Array, y: Array) -> Array:
        return np.asarray(self.order(x, y) < 0)

    def less_equal(self, x: Array, y: Array) -> Array:
        return np.asarray(self.order(x, y) <= 0)

    def equal(self, x: Array, y: Array) -> Array:
        return np.asarray(self.order(x, y) == 0)

    def largest(self, x: Array, axis: int) -> Array:
        """The maximum along an axis, by halves; the axis is kept, of length one."""
        x = np.moveaxis(x, axis, 0)
        while len(x) > 1:
            half = len(x) // 2
            x = np.concatenate([self.maximum(x[:half], x[half : 2 * half]), x[2 * half :]])
        return np.moveaxis(x, 0, axis)

    def reference(self, x: Array, axis: int) -> Array:
        """The first element along an axis that is not minus infinity; the axis is kept, of length one."""
        first = np.argmax(~np.isneginf(x), axis=axis, keepdims=True)
        return np.take_along_axis(x, first, axis)

    def exponentials(self, x: Array, axis: int) -> tuple[Array, Array, Array]:
        """x less its reference, the exponentials of that, and their sum (kept)."""
        with np.errstate(invalid="ignore"):
            away = self.canon(x - self.reference(x, axis))
        e = self.exp(away)
        return away, e, self.canon(np.sum(e, axis=axis, keepdims=True))

    def eliminate(self, w: Array) -> tuple[Array, int]:
        """The inverse and the determinant of a matrix, by Gauss and Jordan; NaN and 0 for a singular one."""
        n, det = len(w), 1
        table = np.concatenate([np.asarray(w, np.int64), np.eye(n, dtype=np.int64)], 1)
        for k in range(n):
            pivots = np.flatnonzero(table[k:, k])
            if not pivots.size:
                return np.full((n, n), np.nan), 0
            at = k + int(pivots[0])
            if at != k:
                table[[k, at]], det = table[[at, k]], -det
            det = det * int(table[k, k]) % PRIME
            table[k] = table[k] * pow(int(table[k, k]), -1, PRIME) % PRIME
            others = np.array(table[:, k])
            others[k] = 0
            table = (table - others[:, None] * table[k][None]) % PRIME
        return table[:, n:].astype(np.float64), det


def _fraction(c: float) -> float:
    """A float as the fraction of a small denominator that it is the nearest float to, else as the binary one it is."""
    f = Fraction(c).limit_denominator(1 << 20)
    if float(f) != c or f.denominator % PRIME == 0:
        return float(_binary(np.array([c]))[0])
    return float(_residue(f))


def _binary(x: Array) -> Array:
    """m 2^e for floats that are m 2^e."""
    mantissa, exponent = np.frexp(x)
    whole = (mantissa * float(1 << 53)).astype(np.int64) % PRIME
    each, at = np.unique(exponent, return_inverse=True)
    powers = np.array([pow(2, (int(e) - 53) % (PRIME - 1), PRIME) for e in each], np.int64)
    return (whole * powers[at.reshape(-1)] % PRIME).astype(np.float64)
