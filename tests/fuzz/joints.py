"""Random models of two to four variables: their mass, faults of scope and support, the future, and what is missing.

    python tests/fuzz/joints.py [--graphs 300] [--faults 1000] [--seed 5]

- graphs: the probabilities of all states sum to one.
- faults: a statement that makes a model no joint density, or reads what lies ahead in a smoothing model, is refused.
- smoothing: of each model without the fault the factors are proved, and no law has an input that looks ahead.
- fillings: log p of an example with holes is that of the sum over all values that fill them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from joint_models import DISCRETE, KINDS, drawn, faulty

from mpcompile.analysis import prove
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_weights

#: A wide place of a smoothing model, and the ways in which it may read `g`, the state of all later steps.
SMOOTHING = """model m
input x: real[time, 2]
condition length: integer(1..time)
recurrence over time backward {
  carry g[3] = 0
  e = x -> dense(2) -> tanh
  g = gru(e, g)
}
net ahead = g -> dense(2)
block passed on v { yield v -> dense(2) }
recurrence over time {
  carry z[2] = 0
  latent s ~ normal(concat(z, WAY, FIRST) -> dense(4)) prior normal(concat(z, PRIOR) -> dense(4))
  x ~ normal(concat(s, LAW) -> dense(4))
  z = concat(s, STATE) -> dense(2)
}
"""
PLACES, WAYS = (
    ("PRIOR", "LAW", "STATE"),
    ("g", "ahead()", "passed()(g)", "(g -> dense(1))", "concat(z, g)", "2 * g"),
)


def module_of(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


def refused(text: str) -> set[str]:
    """The codes by which a model is refused; empty where it passes."""
    try:
        return {d.code for v in prove(module_of(text)) if v.status == "refuted" for d in v.diagnostics}
    except SpecError as fault:
        return {d.code for d in fault.diagnostics}


def states(module: Module, fixed: dict[str, Array]) -> dict[str, Array]:
    """All values of the modelled variables, `one` among the inputs; those of `fixed` are held."""
    free = [f for f in module.fields.values() if f.role == "input" and f.name not in fixed]
    widths = [2 if f.base == "binary" else 1 for f in free]
    ranges = [range(f.classes or 2) for f, w in zip(free, widths, strict=True) for _ in range(w)]
    rows = np.array(list(itertools.product(*ranges)))
    given, at = {"one": np.ones((len(rows), 1))}, 0
    for f, width in zip(free, widths, strict=True):
        given[f.name] = rows[:, at : at + width].astype(float) if width == 2 else rows[:, at]
        at += width
    return given | {k: np.repeat(v[None], len(rows), 0) for k, v in fixed.items()}


def probability(module: Module, seed: int, given: dict[str, Array]) -> Array:
    weights = {k: np.asarray(v) for k, v in example_weights(module, seed, spread=0.7).items()}
    return np.exp(interpret(module.programs["log_prob"], weights, given)["log_prob"])


def mass(rng: np.random.Generator, seed: int) -> float:
    """The distance from one of the sum over all states of a random graph."""
    module = module_of(drawn(rng, DISCRETE, latents=False).text())
    return abs(float(probability(module, seed, states(module, {})).sum()) - 1)


def fillings(rng: np.random.Generator, seed: int) -> float:
    """The relative distance of p of an example with holes from the sum over what fills them.

    Variables that no law reads have holes: elements of bits, or a class.
    """
    graph = drawn(rng, ("bits", "class"), latents=False)
    read = {p for n in graph.nodes for p in n.parents}
    text = graph.text()
    for n in graph.nodes:
        if n.name not in read:
            text = text.replace(f"input {n.name}: {KINDS[n.kind][0]}", f"input {n.name}: {KINDS[n.kind][0]}?")
    module = module_of(text)
    all_ = states(module, {})
    row = {k: v[int(rng.integers(len(v)))] for k, v in all_.items()}
    holed = {k: np.asarray(v, float if module.fields[k].base != "category" else None) for k, v in row.items()}
    for f in module.fields.values():
        if f.optional:
            hole = rng.random(np.shape(row[f.name])) < 0.7
            holed[f.name] = np.where(hole, -1 if f.base == "category" else np.nan, row[f.name])
    fits = np.ones(len(all_["one"]), bool)
    for name, value in holed.items():
        known = ~(np.isnan(value) if value.dtype.kind == "f" else value < 0)
        same = (all_[name] == value) | ~known
        fits &= same.reshape(len(fits), -1).all(1)
    total = probability(module, seed, {k: v[fits] for k, v in all_.items()}).sum()
    found = probability(module, seed, {k: v[None] for k, v in holed.items()})[0]
    return abs(float(found / total) - 1)


def smoothing(rng: np.random.Generator) -> tuple[str, str]:
    """A model whose posterior reads the future, and the same with a law, a prior or a state that does."""
    text = SMOOTHING.replace("WAY", str(rng.choice(WAYS))).replace(
        "FIRST", str(rng.choice(["x", "z", "ahead()"]))
    )
    place, way = str(rng.choice(PLACES)), str(rng.choice(WAYS))
    sound = dict.fromkeys(PLACES, "z")
    return tuple(_filled(text, reads) for reads in (sound, sound | {place: way}))  # type: ignore[return-value]


def _filled(text: str, reads: dict[str, str]) -> str:
    for place, name in reads.items():
        text = text.replace(place, name)
    return text


def looks_ahead(text: str) -> bool:
    """Whether a factor of a model is not proved, or has what looks ahead among its inputs."""
    module = module_of(text)
    proved = all(v.status == "proved" for v in prove(module) if v.claim.kind == "joint")
    return not proved or any({"g", "e", "x"} & set(f.graph.inputs) for f in module.factors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--graphs", type=int, default=300, help="random models that are summed, and as many with holes"
    )
    parser.add_argument("--faults", type=int, default=1000, help="faults; a fifth of them reads the future")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    start, bad = time.process_time(), 0
    for name, measure in (("mass", mass), ("fillings", fillings)):
        worst = [measure(np.random.default_rng([options.seed, k]), k) for k in range(options.graphs)]
        bad += sum(not w < 1e-9 for w in worst)
        print(f"{name}: {len(worst)} models, at most {max(worst):.1e} off", flush=True)
    passed, seen, ahead = list[str](), Counter[str](), 0
    for k in range(options.faults):
        rng = np.random.default_rng([options.seed, 1, k])
        if k % 5 == 0:
            sound, text = smoothing(rng)
            fault, codes = "future", {"MP127"}
            ahead += looks_ahead(sound)
        else:
            broken, fault = faulty(drawn(rng), rng)
            text = replace(broken).text()
            codes = {"support": {"MP209", "MP411"}, "twice": {"MP105"}}.get(fault, {"MP127"})
        seen[fault] += 1
        found = refused(text)
        if not found or (fault != "itself" and not found <= codes):
            passed.append(text)
            print(f"{fault}: {found or 'passes'}\n{text}", flush=True)
    told = ", ".join(f"{count} {fault}" for fault, count in sorted(seen.items()))
    print(f"faults: {options.faults} ({told}), {len(passed)} pass or are refused for another reason")
    print(f"smoothing: {seen['future']} models, {ahead} with a law that looks ahead")
    print(f"{time.process_time() - start:.0f} s of one core")
    return int(bool(bad or passed or ahead))


if __name__ == "__main__":
    sys.exit(main())
