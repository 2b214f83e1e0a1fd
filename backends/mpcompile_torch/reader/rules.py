"""Operations of ATen in primitives: one table, by the operation's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mpcompile.ir import Value
from mpcompile_torch.reader import _normal, _places, _pointwise, _products, _reductions
from mpcompile_torch.reader.tape import Call

Rule = Callable[[Call], Value | tuple[Value, ...]]

#: Operations whose results are drawn, not made of their operands.
DRAWS = frozenset(
    "rand randn randint randperm rand_like randn_like randint_like bernoulli multinomial normal poisson "
    "exponential uniform native_dropout".split()
)
#: Operations whose results have the shape of an operand and none of its elements.
SHAPES = frozenset(
    "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_empty_strided "
    "_fused_sdp_choice sym_size sym_numel sym_stride is_same_size".split()
)

RULES: dict[str, Rule] = {
    **_pointwise.RULES, **_places.RULES, **_products.RULES, **_reductions.RULES, **_normal.RULES,
}  # fmt: skip


def decomposition(func: Any) -> Callable[..., Any] | None:
    """Return what the framework itself makes of an operation, where there is such a thing."""
    from torch._decomp import decomposition_table

    found: Callable[..., Any] | None = decomposition_table.get(func)
    if (
        found is None
        and isinstance(func, torch._ops.OpOverload)
        and func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
    ):
        return func.decompose
    return found


__all__ = ["DRAWS", "RULES", "SHAPES", "decomposition"]
