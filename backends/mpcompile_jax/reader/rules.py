"""Primitives of JAX in primitives of the IR: one table, by name."""

from __future__ import annotations

from mpcompile_jax.reader import _indices, _normal, _places, _pointwise, _products, _reductions
from mpcompile_jax.reader.tape import Rule

#: Primitives whose results are drawn, not made of their operands.
DRAWS = frozenset("random_bits rng_uniform rng_bit_generator random_gamma threefry2x32".split())
#: Primitives that are their body, by the parameter that has it.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr",
    "remat": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr", "custom_lin": "call_jaxpr",
    "custom_batching_call": "call", "custom_dce_call": "fun_jaxpr",
}  # fmt: skip

RULES: dict[str, Rule] = {
    **_pointwise.RULES, **_places.RULES, **_indices.RULES, **_products.RULES, **_reductions.RULES, **_normal.RULES,
}  # fmt: skip

__all__ = ["CALLS", "DRAWS", "RULES"]
