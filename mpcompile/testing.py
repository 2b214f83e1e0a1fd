"""Assertions for the tests of other projects: `from mpcompile.testing import assert_autoregressive`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def assert_autoregressive(
    model: Any,
    inputs: Mapping[str, Any] | Callable[[int], Mapping[str, Any]],
    output: str = "",
    source: str = "",
    order: int | None = None,
    sees: str = "own",
    lengths: Iterable[int] | None = None,
) -> None:
    """Prove that no output of a model reads a later element of an input, or fail with the place in its code.

    model   a torch module
    inputs  the tensors of one call, by name: `{"input_ids": ids}`, [batch, length]; or a function of a length that
            gives them: then the proof is for every length
    output  name of the output; the first by default. `source` is that of the input, the first by default
    order   the axis along which elements come one after another; by default the only one of the same length in both
    sees    `own`: the output at a place may read it, as logits of the next token do; `before`: it may not
    lengths those that are recorded where inputs are a function of one; by default 11, 13, 17, and 29 to check the fit

    Raises `AssertionError` where that is refuted, and where it is not decided.
    """
    from mpcompile.foreign import LENGTHS, ForeignClaim

    some = tuple(lengths or LENGTHS)
    name = source or next(iter(inputs(some[0]) if callable(inputs) else inputs))
    claim = ForeignClaim("autoregressive", name, output, order, sees == "before")
    assert_claim(model, inputs, str(claim), lengths=some)


def assert_claim(
    model: Any,
    inputs: Mapping[str, Any] | Callable[[int], Mapping[str, Any]],
    *claims: str,
    lengths: Iterable[int] | None = None,
) -> None:
    """Prove claims such as `independent(batch -> logits)` of a model. Raises `AssertionError`.

    Inputs are those of one call, or a function of a length: then claims are proved for every length, where they can be.
    """
    from mpcompile.diagnostics.render import RENDERERS
    from mpcompile.foreign import LENGTHS, ForeignModel, Sized, checked, model_of

    found: ForeignModel | Sized
    if callable(inputs):
        found = Sized(type(model).__name__, lambda n: model_of(model, inputs(n)))
    else:
        found = model_of(model, inputs)
    report = checked(found, claims, LENGTHS if lengths is None else lengths)
    if not report.holds:
        raise AssertionError("\n" + RENDERERS["full"](report, False))
