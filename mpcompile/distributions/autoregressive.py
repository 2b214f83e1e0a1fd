"""p(x) = prod_i p(x_i | x_<i), all conditionals from one masked network (notes, chapter 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import lcm, log
from typing import ClassVar

import numpy as np

from mpcompile import ops
from mpcompile.distributions.base import Distribution, Elementwise, noise_of
from mpcompile.distributions.elementwise import Categorical
from mpcompile.distributions.family import Family
from mpcompile.distributions.orders import NATURAL, Order
from mpcompile.distributions.sampling import LAW_ITSELF, Sampling
from mpcompile.distributions.support import BY_LIKELIHOOD, Support
from mpcompile.ir import Array, Builder, Field, Shape, Symbolic, Type, Value, float_type, numbers
from mpcompile.ir.axes import CHANNEL, Role, role
from mpcompile.layers.base import Context
from mpcompile.ops import build as F

#: More orders and sets of masks than this are refused.
MAX_MEMBERS = 256


@dataclass(frozen=True)
class Autoregressive(Distribution):
    """An autoregressive density, or the mixture of several that share their weights.

    net        the network: x -> parameters of every conditional (x as its type says; categories as integers)
    likelihood the law of each element, and `field`, the variable that it is a law of
    ranks      rank of each element of x in the order, flattened; None for a sequence, whose order is time
    options of its sampler
    order      the name of the order: an order is known at every size by its name, never by its ranks at one
    smoothing  of labels in the training loss (`Categorical`)
    mask_sets  how many sets of hidden degrees the masks of the network have

    With several orders `ranks` has a row for each member: member k is the density in order k with the hidden degrees of
    mask set k modulo `mask_sets` (Germain et al. 2015, sections 4.2 and 4.3). Training sees one member a step; the
    density is the mixture of all with equal weights, as in Uria et al. 2014; a draw is one of a member.

    `log_prob` maps x [N, ...] to [N].
    """

    keyword: ClassVar[str] = "autoregressive"
    support: ClassVar[Support] = BY_LIKELIHOOD
    implies: ClassVar[str] = "autoregressive"
    has_mean: ClassVar[bool] = False
    elsewhere: ClassVar[Mapping[str, str]] = {
        "condition": "the network reads it: { (x -> dense(8, mask = degrees)) + (c -> dense(8)) -> relu -> ... }"
    }
    net: Callable[[Context, Value], Value]
    likelihood: Family
    field: Field
    ranks: Array | None
    options: Sampling = LAW_ITSELF
    mask_sets: int = 1
    order: str = "natural"
    smoothing: float = 0.0

    @property
    def members(self) -> int:
        """The number of members of the mixture; 1 where there is none."""
        return 1 if self.ranks is None or self.ranks.ndim == 1 else len(self.ranks)

    def choice(self, ctx: Context) -> Value | None:
        """Return the input that says which member this program is about; None where there is one member."""
        return ctx.choice("member", self.members) if self.members > 1 else None

    def conditionals(self, ctx: Context, x: Value, member: Value | None) -> Elementwise:
        """The law of every element given those before it, by teacher forcing: one pass of the network."""
        before = ctx.order, ctx.ordered, ctx.member, ctx.mask_sets
        ctx.order, ctx.member, ctx.mask_sets = self.ranks, member, self.mask_sets
        ctx.ordered = self.field.axes, self.field.type.shape[1:]
        if self.ranks is not None and self.field.axes == (CHANNEL,):
            ctx.degrees[ctx.b.here(x)] = self.ranks + 1
        try:
            output = self.net(ctx, x)
        finally:
            ctx.order, ctx.ordered, ctx.member, ctx.mask_sets = before
        law = self.likelihood.read(ctx, output, self.field)
        return replace(law, smoothing=self.smoothing) if isinstance(law, Categorical) else law

    def sharpens(self, b: Builder) -> bool:
        return self.likelihood.scaled  # by the network

    def log_prob(self, ctx: Context, x: Value) -> Value:
        if self.members == 1 or ctx.training:
            return self.conditionals(ctx, x, self.choice(ctx)).log_prob(ctx, x)

        def one(state: list[Value], _: list[Value], member: Value) -> tuple[list[Value], list[Value]]:
            here = ctx.b.here(x)
            return [], [self.conditionals(ctx, here, member).log_prob(ctx, here)]

        _, (each,) = ctx.scan(one, [], [], length=self.members)
        return F.sub(ctx.b, ctx.b.emit(ops.LogSumExp((1,), False), each), log(self.members))

    def sample(self, ctx: Context, name: str, shape: Shape) -> Value:
        """The reference sampler: the whole network once per element, in order, each draw from its own noise."""
        dtype = self.likelihood.dtype
        noise = noise_of(ctx, name, shape, self.likelihood.noise)
        given, kept = self._given(ctx, name, Type(dtype, shape))
        start = F.cast(ctx.b, ctx.zeros(shape), dtype)
        event = shape[1:]
        steps = shape[1] if self.ranks is None else int(self.ranks.max()) + 1
        member = self.choice(ctx)

        def step(state: list[Value], _: list[Value], t: Value) -> tuple[list[Value], list[Value]]:
            b, (x,) = ctx.b, state
            law = self.conditionals(ctx, x, member).adjusted(ctx, self.options)
            drawn = F.cast(b, law.draw(ctx, [b.here(n) for n in noise]), dtype)
            if given is not None and kept is not None:
                drawn = F.where(b, b.here(kept), b.here(given), drawn)
            if self.ranks is None:
                now = b.emit(ops.Equal(), b.emit(ops.Iota((shape[1],), 0)), t)
                now = F.reshape(b, now, (1, shape[1], *(1,) * (len(event) - 1)))
            else:
                order = b.constant(self.ranks.reshape(self.members, *numbers(event)))
                if member is not None:
                    order = F.reshape(b, b.emit(ops.Gather(0), order, member), (1, *event))
                now = b.emit(ops.Equal(), order, t)
            return [b.emit(ops.Where(), now, drawn, x)], []

        (x,), _ = ctx.scan(step, [start], [], length=steps)
        return x

    def adjusted(self, ctx: Context, options: Sampling) -> Distribution:
        return replace(self, options=options)

    def _given(self, ctx: Context, name: str, type_: Type) -> tuple[Value | None, Value | None]:
        """Return the given elements of x, and where they are (bool)."""
        if not self.options.given:
            return None, None
        keep = ctx.own_input(f"keep_{name}", float_type(*type_.shape))
        return ctx.own_input(f"given_{name}", type_), F.less(ctx.b, 0.5, keep)


def element_ranks(order: Order, field: Field, seed: int, index: int = 0) -> Array | None:
    """Return the ranks of the elements of one example; None where the order is a length.

    An ordered axis of fixed size is the order as well: all elements of one of its steps have one rank. `index` numbers
    the random orders of one seed. Raises `ValueError` for an order that the variable cannot have.
    """
    axes, event = field.axes, field.type.shape[1:]
    along = [i for i, name in enumerate(axes) if role(name, event[i]) is Role.ORDERED]
    if any(isinstance(size, Symbolic) for size in event):
        if order != NATURAL:
            raise ValueError("a sequence is ordered by time: order=natural")
        return None
    sizes = numbers(event)
    if len(along) == 1 and not order.axes:
        steps = replace(field, type=float_type(event[0], sizes[along[0]]), axes=(axes[along[0]],))
        wide = order.ranks(steps, seed, index).reshape(
            [-1 if i == along[0] else 1 for i in range(len(sizes))]
        )
        return np.broadcast_to(wide, sizes).reshape(-1).copy()
    return order.ranks(field, seed, index)


def member_ranks(order: Order, field: Field, seed: int, orders: int = 1, mask_sets: int = 1) -> Array | None:
    """Return the ranks of the elements for every member of `orders` and `mask_sets`, a row for each.

    As `element_ranks` where there is one member. Raises `ValueError`.
    """
    members = lcm(max(1, orders), max(1, mask_sets))
    if min(orders, mask_sets) < 1 or members > MAX_MEMBERS:
        raise ValueError(f"orders = {orders} and masks = {mask_sets} do not make 1 to {MAX_MEMBERS} members")
    if orders > 1 and order.name != "random":
        raise ValueError("several orders are random ones: order = random")
    rows = [element_ranks(order, field, seed, index) for index in range(orders)]
    if members == 1:
        return rows[0]
    ranks = [r for r in rows if r is not None]
    if not ranks:
        raise ValueError("a sequence has one order, which is time, and no masks of degrees")
    return np.stack([ranks[k % orders] for k in range(members)])
