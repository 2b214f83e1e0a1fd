"""Rows of primitives that slide windows over spatial axes, and the helpers that emitted code needs for them."""

from __future__ import annotations

from typing import Any

from mpcompile.emission.text import PRODUCT, Expr
from mpcompile.ir import Node
from mpcompile_jax.rows import RowContext, operand, shape_text, tuples, widths


def _pair(a: RowContext, node: Node, args: list[Expr]) -> str:
    return ", ".join(operand(a, node, args, i).text for i in range(2))


def conv(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell a convolution as a call of the emitted `conv`."""
    op = node.op.attributes()
    window = f"{tuples(op['stride'])}, {widths(op['padding'])}"
    if op["groups"] == 1 and len(op["dilation"]) == 1 and op["dilation"] != (1,):
        (stride,), (padding,), (dilation,) = op["stride"], op["padding"], op["dilation"]
        return Expr(f"conv_dilated({_pair(a, node, args)}, {stride}, {padding}, {dilation})", heavy=True)
    more = "" if all(d == 1 for d in op["dilation"]) else f", dilation={tuples(op['dilation'])}"
    more += "" if op["groups"] == 1 else f", groups={op['groups']}"
    return Expr(f"conv({_pair(a, node, args)}, {window}{more})", heavy=True)


def conv_transpose(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell a transposed convolution as a call of the emitted `conv_transpose`."""
    op = node.op.attributes()
    extra = op["output_padding"] or (0,) * len(op["stride"])
    cut = tuple((lo, hi - e) for (lo, hi), e in zip(op["padding"], extra, strict=True))
    window = f"{tuples(op['stride'])}, {widths(cut)}, {tuples(op['dilation'])}, {op['groups']}"
    return Expr(f"conv_transpose({_pair(a, node, args)}, {window})", heavy=True)


def conv_weight_grad(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell the gradient of a convolution by its weight as a call of the emitted `conv_weight_grad`."""
    op = node.op.attributes()
    kernel: Any = tuples(op["kernel"])
    window = f"{tuples(op['stride'])}, {widths(op['padding'])}, {tuples(op['dilation'])}, {op['groups']}"
    return Expr(f"conv_weight_grad({_pair(a, node, args)}, {kernel}, {window})", heavy=True)


def _pool(a: RowContext, node: Node, args: list[Expr]) -> str:
    op = node.op.attributes()
    window = f"{tuples(op['kernel'])}, {tuples(op['stride'])}, {widths(op['padding'])}"
    return f"{operand(a, node, args).text}, {window}"


def max_pool(a: RowContext, node: Node, args: list[Expr]) -> list[Expr]:
    """Spell max-pooling as a call of the emitted `max_pool`, whose second result are the indices."""
    text = _pool(a, node, args)
    if not a.used(node.outputs[1]):
        return [Expr(f"max_pool({text})[0]", heavy=True), Expr("")]
    return [Expr(f"max_pool({text})", heavy=True)]


def max_pool_grad(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell the gradient of max-pooling as a call of the emitted `max_unpool`."""
    spatial = shape_text(a, node.types[0].shape[2:])
    return Expr(f"max_unpool({_pair(a, node, args)}, {spatial})", heavy=True)


def avg_pool(a: RowContext, node: Node, args: list[Expr]) -> Expr:
    """Spell mean-pooling as a call of the emitted `sum_pool`, over the number of elements of each window."""
    op = node.op.attributes()
    text = f"sum_pool({_pool(a, node, args)})"
    if op["count_padding"] or not any(map(any, op["padding"])):
        count = 1
        for k in op["kernel"]:
            count *= k
        return Expr(f"{text} / {count}", PRODUCT, heavy=True)
    ones = [Expr(f"jnp.ones_like({operand(a, node, args).text})")]
    return Expr(f"{text} / sum_pool({_pool(a, node, ones)})", PRODUCT, heavy=True)


#: Functions that rows call, by name, in the order in which they are written.
HELPERS = {
    "conv": '''def conv(
    x: Array,
    weight: Array,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
    groups: int = 1,
    spread: Sequence[int] | None = None,
) -> Array:
    """Convolve x[N, C, *S], zeros around it and (`spread`) between, with weight[O, C / groups, *K].

    Channels come last inside: on CPUs XLA has no fast code for another order within loops.
    """
    letters = "DHW"[5 - x.ndim :]
    layout = ("N" + letters + "C", letters + "IO", "N" + letters + "C")
    y = lax.conv_general_dilated(
        jnp.moveaxis(x, 1, -1),
        jnp.moveaxis(weight, (0, 1), (-1, -2)),
        stride,
        padding,
        spread,
        dilation,
        layout,
        groups,
    )
    return jnp.moveaxis(y, -1, 1)
''',
    "conv_dilated": '''def conv_dilated(
    x: Array, weight: Array, stride: int, padding: tuple[int, int], dilation: int
) -> Array:
    """Convolve x[N, C, S], zeros around it, with weight[O, C, K], whose taps are `dilation` apart.

    Off the CPU a tap is a product: cuDNN has no fast gradient of a dilated kernel.
    """

    def dilated(x: Array, weight: Array) -> Array:
        return conv(x, weight, (stride,), (padding,), (dilation,))

    def products(x: Array, weight: Array) -> Array:
        x = jnp.pad(x.mT, ((0, 0), padding, (0, 0)))
        count = x.shape[1] - (weight.shape[2] - 1) * dilation
        y = jnp.inner(x[:, :count:stride], weight[:, :, 0])
        for i in range(1, weight.shape[2]):
            start = i * dilation
            y = y + jnp.inner(x[:, start : start + count : stride], weight[:, :, i])
        return y.mT

    y: Array = lax.platform_dependent(x, weight, cpu=dilated, default=products)
    return y
''',
    "conv_transpose": '''def conv_transpose(
    x: Array,
    weight: Array,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Array:
    """Apply the adjoint of a convolution; `padding` is cut off the result."""
    spatial = weight.shape[2:]
    kernel = jnp.flip(weight, range(2, weight.ndim))
    kernel = kernel.reshape(groups, weight.shape[0] // groups, weight.shape[1], *spatial)
    kernel = kernel.swapaxes(1, 2).reshape(-1, weight.shape[0] // groups, *spatial)
    reach = [(k - 1) * d for k, d in zip(spatial, dilation, strict=True)]
    around = [(r - lo, r - hi) for r, (lo, hi) in zip(reach, padding, strict=True)]
    return conv(x, kernel, [1] * len(spatial), around, dilation, groups, spread=stride)
''',
    "conv_weight_grad": '''def conv_weight_grad(
    x: Array,
    dy: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Array:
    """Compute the gradient of a convolution with respect to its kernel."""
    around = []
    for i, (lo, _) in enumerate(padding):
        reach = (kernel[i] - 1) * dilation[i] + (dy.shape[2 + i] - 1) * stride[i] + 1
        around.append((lo, reach - x.shape[2 + i] - lo))
    letters = "DHW"[3 - len(kernel) :]
    layout = ("CN" + letters, "IO" + letters, "CN" + letters)
    return lax.conv_general_dilated(
        x,
        dy,
        dilation,
        around,
        rhs_dilation=stride,
        dimension_numbers=layout,
        batch_group_count=groups,
    )
''',
    "max_pool": '''def max_pool(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> tuple[Array, Array]:
    """Find the largest element of each window and its flat position in x; the first one of equals.

    Axes are cut into blocks of one stride: a tap of all windows is then a slice without steps,
    and its gradient a pad without holes.
    """
    sizes = x.shape[2:]
    counts, around, cut, shape = [], [], [], []
    for s, k, t, (lo, hi) in zip(sizes, kernel, stride, padding, strict=True):
        count = (lo + s + hi - k) // t + 1
        blocks = count + (k - 1) // t
        counts.append(count)
        around.append((lo, max(0, blocks * t - s - lo)))
        cut.append(slice(blocks * t))
        shape.append(blocks)
        shape.append(t)
    position = jnp.arange(math.prod(sizes)).reshape(sizes)
    position = jnp.pad(position, around, constant_values=-1)[*cut].reshape(shape)
    x = jnp.pad(x, [(0, 0), (0, 0), *around], constant_values=-math.inf)[:, :, *cut]
    x = x.reshape(*x.shape[:2], *shape)
    best, index = None, jnp.full((), -1)
    for tap in itertools.product(*(range(k) for k in kernel)):
        starts = zip(tap, counts, stride, strict=True)
        window = [at for i, n, t in starts for at in (slice(i // t, i // t + n), i % t)]
        value, place = x[:, :, *window], position[*window]
        if best is None:
            best, index = value, jnp.broadcast_to(place, value.shape)
            continue
        larger = value > best
        index = jnp.where(larger | ((index < 0) & (place >= 0)), place, index)
        best = jnp.where(larger, value, best)
    assert best is not None
    return best, index
''',
    "max_unpool": '''def max_unpool(dy: Array, index: Array, sizes: Sequence[int]) -> Array:
    """Add dy to zeros at the flat positions that `max_pool` gave."""
    n, c = dy.shape[:2]
    flat = jnp.zeros((n, c, math.prod(sizes)), dy.dtype)
    rows, columns = jnp.arange(n)[:, None, None], jnp.arange(c)[:, None]
    flat = flat.at[rows, columns, index.reshape(n, c, -1)].add(dy.reshape(n, c, -1))
    return flat.reshape(n, c, *sizes)
''',
    "sum_pool": '''def sum_pool(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Array:
    """Sum each window. The zero is a literal: a traced one would leave no gradient."""
    around = ((0, 0), (0, 0), *padding)
    sums: Array = lax.reduce_window(x, 0.0, lax.add, (1, 1, *kernel), (1, 1, *stride), around)
    return sums
''',
}
