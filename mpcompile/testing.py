"""Assertions for the tests of other projects: `from mpcompile.testing import assert_autoregressive`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def assert_autoregressive(
    model: Any,
    inputs: Mapping[str, Any],
    output: str = "",
    source: str = "",
    order: int | None = None,
    sees: str = "own",
) -> None:
    """Prove that no output of a model reads a later element of an input, or fail with the place in its code.

    model   a torch module
    inputs  the tensors of one call, by name: `{"input_ids": ids}`, [batch, length]
    output  name of the output; the first by default. `source` is that of the input, the first by default
    order   the axis along which elements come one after another; by default the only one of the same length in both
    sees    `own`: the output at a place may read it, as logits of the next token do; `before`: it may not

    Raises `AssertionError` where that is refuted, and where it is not decided.
    """
    from mpcompile.foreign import ForeignClaim

    name = source or next(iter(inputs))
    claim = ForeignClaim("autoregressive", name, output, order, sees == "before")
    assert_claim(model, inputs, str(claim))


def assert_claim(model: Any, inputs: Mapping[str, Any], *claims: str) -> None:
    """Prove claims such as `independent(batch -> logits)` of one call of a model. Raises `AssertionError`."""
    from mpcompile.diagnostics.render import RENDERERS
    from mpcompile.foreign import checked, model_of

    report = checked(model_of(model, inputs), claims)
    if not report.holds:
        raise AssertionError("\n" + RENDERERS["full"](report, False))
