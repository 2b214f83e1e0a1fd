"""Operations of ATen in primitives: one table, by the operation's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import torch
from torch._ops import HigherOrderOperator

from mpcompile.ir import Value
from mpcompile_torch.reader import _normal, _places, _pointwise, _products, _reductions
from mpcompile_torch.reader._complex import paired
from mpcompile_torch.reader.tape import Call, tensors_in

Rule = Callable[[Call], Value | tuple[Value, ...]]

#: Operations whose results are drawn, not made of their operands.
DRAWS = frozenset(
    "rand randn randint randperm rand_like randn_like randint_like bernoulli multinomial normal poisson "
    "exponential uniform native_dropout".split()
)
#: Operations whose results have the shape of an operand and none of its elements.
SHAPES = frozenset(
    "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_empty_strided "
    "_fused_sdp_choice sym_size sym_numel sym_stride is_same_size _has_same_storage_numel".split()
)

RULES: dict[str, Rule] = paired({
    **_pointwise.RULES, **_places.RULES, **_products.RULES, **_reductions.RULES, **_normal.RULES,
})  # fmt: skip


def anything(c: Call) -> tuple[Value, ...]:
    """Bound an operation without a rule: every element of a result may read every element of every operand."""
    return c.observe(None)


def plain(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], results: tuple[torch.Tensor, ...]
) -> bool:
    """Return whether an operation is the framework's and takes and gives dense tensors alone: `anything` bounds it.

    One on a storage, a packed weight, or a sparse, nested or quantised tensor reads what is no operand.
    """
    given = [*tensors_in((args, kwargs)), *results]
    dense = all(x.layout is torch.strided and not x.is_nested and not x.is_quantized for x in given)
    kinds = {re.sub(r"(Optional|List)\[|\]", "", str(a.type)) for a in func._schema.arguments}
    drawn = torch.Tag.nondeterministic_seeded in func.tags
    return dense and kinds <= _ARGUMENTS and not drawn and func.namespace in ("aten", "prims")


#: Types of arguments that hold nothing but tensors and numbers.
_ARGUMENTS = frozenset("Tensor number float int bool complex str Device".split())


def counted(c: Call) -> bool:
    """Return whether unknown numbers decide how many elements an operation gives, as of `nonzero`."""
    asked = {"index": "indices", "masked_select": "mask"}.get(c.name)
    deciding = c.tensors() if asked is None else tensors_in(c[asked])
    return any(
        c.tape.unknown(x) and (asked is None or x.dtype in (torch.bool, torch.uint8)) for x in deciding
    )


def eager(func: HigherOrderOperator) -> Callable[..., Any] | None:
    """Return what an operator that takes functions runs without a compiler, where there is such a thing."""
    found: Any = func.py_kernels.get(torch._C.DispatchKey.CompositeExplicitAutograd)
    if found is None:
        return None

    def body(*args: Any, **kwargs: Any) -> Any:
        # it refuses to run where a mode is on, as one is that records
        with mock.patch.dict(found.__globals__, {"_get_current_dispatch_mode": lambda: None}):
            return found(*args, **kwargs)

    return body


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


__all__ = ["DRAWS", "RULES", "SHAPES", "anything", "counted", "decomposition", "eager", "plain"]
