"""Models of repeated layers, and the same models without regions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

from specs_under_test import ROOT

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import SUFFIXES, parse_text
from mpcompile.ir import Module
from mpcompile.lowering import lower, regions
from mpcompile.passes.pipeline import FEW_LAYERS

HEAD = "model m\ninput x: real[time, 4]\ntarget y: real[4]\n"


def mean(body: str, blocks: str = "") -> str:
    """A model that predicts from a sequence through a pipeline."""
    return f"{HEAD}{blocks}y ~ normal(x -> {body} -> last, 1)\n"


#: name -> (spec, how many iterations are one group, first group of the region); a period of 0 stands for no region.
LAYERED = {
    "plain": (mean("repeat i in 1..5 { dense(4) -> tanh }"), 1, 0),
    "fewest": (mean("repeat i in 1..2 { dense(4) -> tanh }"), 1, 0),
    "residual": (mean("repeat i in 1..5 { residual(dense(8) -> relu -> dense(4)) }"), 1, 0),
    "block": (
        mean("repeat i in 1..4 { deep(8) }", "block deep(n) = residual(layer_norm -> dense(n) -> tanh -> dense(4))\n"),
        1, 0,
    ),
    "twice of one name": (mean("repeat i in 1..4 { dense(6) -> tanh -> dense(4) }"), 1, 0),
    "beside others": (mean("dense(4) -> repeat i in 1..4 { dense(4) -> tanh } -> dense(4)"), 1, 0),
    "two repeats": (mean("repeat i in 1..3 { dense(4) -> tanh } -> repeat i in 1..3 { dense(4) -> relu }"), 1, 0),
    "wider first": (mean("repeat i in 1..5 { dense(6) -> tanh } -> dense(4)"), 1, 1),
    "of a period": (mean("repeat i in 1..6 { dense(4 + i % 2) -> tanh -> dense(4) }"), 2, 0),
    "of a period and a rest": (mean("repeat i in 1..7 { dense(4 + i % 2) -> tanh -> dense(4) }"), 2, 0),
    "of its number": (mean("repeat i in 1..4 { dense(4 + i) -> tanh -> dense(4) }"), 0, 0),
    "a tap from before": (mean("dense(4) as h -> repeat i in 1..4 { dense(4) -> add(h) -> tanh }"), 1, 0),
    "the first is the tap": (mean("repeat i in 1..4 { concat(x) -> dense(4) -> tanh }"), 1, 0),
    "a shared net": (mean("repeat i in 1..4 { f -> tanh }", "net f = dense(4)\n"), 1, 1),
    "loops": (mean("repeat i in 1..4 { gru(4) }"), 1, 0),
    "attention": (mean("repeat i in 1..4 { residual(layer_norm -> attention(2, mask = causal)) }"), 1, 0),
    "of repeats": (mean("repeat i in 1..3 { repeat j in 1..4 { dense(4) -> tanh } }"), 1, 0),
    "no weights": (mean("dense(4) -> repeat i in 1..4 { tanh }"), 1, 0),
    "nearly all of a net": (mean("f", "net f = repeat i in 1..4 { dense(4) -> tanh } -> relu\n"), 1, 0),
}  # fmt: skip


MANY = FEW_LAYERS + 2
#: Models of `LAYERED` with as many layers as are written as a loop; loops within layers stay where they are.
DEEP = {
    name: text.replace("1..3", f"1..{2 * MANY}").replace("1..4", f"1..{2 * MANY}").replace("1..5", f"1..{2 * MANY}")
    .replace("1..6", f"1..{2 * MANY}").replace("1..7", f"1..{2 * MANY + 1}")
    for name, (text, period, _) in LAYERED.items()
    if period and name not in ("fewest", "a shared net", "loops", "no weights", "of repeats")
}  # fmt: skip


def lowered(text: str) -> Module:
    source = Source("m.mp", text)
    return lower(parse_text(text, "m.mp", SUFFIXES[".mp"]), source)


def flat(text: str) -> Module:
    """As `lowered`, with every iteration lowered on its own."""
    with patch.object(regions, "FEWEST", 1 << 30):
        return lowered(text)


def repeating() -> list[Path]:
    """Every spec of the project in which something repeats, wrong ones included."""
    found = [p for suffix in ("mp", "yaml") for p in (ROOT / "specs").rglob(f"*.{suffix}")]
    return sorted(p for p in found if "repeat " in p.read_text(encoding="utf-8"))


def answers(module: Module) -> tuple[object, ...]:
    return api.properties(module), api.warnings(module)


def load_flat(path: Path, overrides: Mapping[str, int] | None = None) -> Module:
    with patch.object(regions, "FEWEST", 1 << 30):
        return api.load(path, overrides)


def deepened(path: Path) -> Mapping[str, int]:
    """Five iterations, two more than are looked at, where a parameter of the model says how many."""
    text = path.read_text(encoding="utf-8")
    stops = re.findall(r"repeat \w+ in \d+\.\.([a-z]\w*)", text)
    try:
        known = (
            {p.name for p in parse_text(text, path.name, SUFFIXES[path.suffix]).params} if stops else set()
        )
    except SpecError:
        return {}
    return {name: 5 for name in stops if name in known}


def transformer(layers: int) -> Module:
    return api.load(ROOT / "specs" / "transformer.mp", {"layers": layers, "width": 8, "heads": 2})


__all__ = [
    "DEEP",
    "LAYERED",
    "MANY",
    "answers",
    "deepened",
    "flat",
    "load_flat",
    "lowered",
    "repeating",
    "transformer",
]
