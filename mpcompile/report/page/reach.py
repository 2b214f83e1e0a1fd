"""Exact sets of inputs for the page: what every value of a program reads, and what an order would allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpcompile.analysis.dependence import environment_for, interpret
from mpcompile.analysis.order import ranks_of
from mpcompile.analysis.stencils import axes_of
from mpcompile.ir import Abstract, Array, Claim, Graph, Module, NoRule, Symbolic, Value, availability, bitsets
from mpcompile.ir.axes import Role, role
from mpcompile.report.page.raster import Blobs

#: Sequences of symbolic length are drawn at this length.
LENGTH = 16
#: Supports of more input elements are not drawn.
LARGEST = 1024
#: Bytes of sets kept for one layer, and for all of them.
LAYER_BYTES, ALL_BYTES = 1 << 16, 1 << 19

#: The first of these that a model has is the program that is drawn.
PROGRAMS = ("conditionals", "forward", "predict", "reconstruct", "log_prob", "elbo", "loss")


class Reach:
    """Facts of every value of one program: which elements of `source` each element can read.

    `why_not` says why there are none; constants are known all the same.
    """

    def __init__(self, module: Module, program: str) -> None:
        self.program = program
        self.graph: Graph = module.programs[program].live()
        self.environment = environment_for(self.graph, LENGTH)
        noise = module.noise.get(program, {})
        fields = [n for n in self.graph.inputs if n not in noise]
        claimed = [c.subject for c in module.claims if c.program == program and c.subject in fields]
        self.source = (claimed or fields or [""])[0]
        self.ordered = ordered_sizes(self.graph)
        self.shape: tuple[int, ...] = ()
        self.why_not = ""
        self.memory: Mapping[Value, Abstract] = {}
        if self.source:
            self.shape = self.graph.inputs[self.source].type.concrete(self.environment)[1:]
        self.size = int(np.prod(self.shape)) if self.source else 0
        if not self.source:
            self.why_not = f"{program} reads no data"
        elif self.size > LARGEST:
            self.why_not = (
                f"{self.source} has {self.size:,} elements; sets of more than {LARGEST:,} are not drawn"
            )
        if not self.why_not:
            try:
                self._interpret()
                return
            except NoRule as missing:
                self.why_not = str(missing)
        try:
            self.memory = interpret(self.graph, availability(), {}, self.environment)
        except NoRule:
            self.memory = {}

    def _interpret(self, examples: int = 1) -> None:
        """Compute the sets of every value, of elements of the first example. Raises `NoRule`."""
        domain = bitsets(self.size)
        every = np.packbits(np.eye(domain.words * 64, dtype=bool)[: self.size], axis=-1, bitorder="little")
        seed = np.zeros((examples, *self.shape, domain.words), domain.dtype)
        seed[0] = np.ascontiguousarray(every).view("<u8").reshape(*self.shape, domain.words)
        self.memory = interpret(self.graph, domain, {self.source: seed}, self.environment)

    @property
    def at(self) -> str:
        """The sizes that were chosen, e.g. `time = 16`."""
        return ", ".join(f"{k} = {v}" for k, v in sorted(self.environment.items()) if k != "N")

    def sets(self, value: Value) -> Array:
        """Bool [*shape of one example, source elements]."""
        known = self.memory[value]
        words = np.ascontiguousarray(known.full()).astype("<u8")
        bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
        wide: Array = bits[..., : self.size].astype(bool)
        return wide[0] if self.batched(value) else wide

    def batched(self, value: Value) -> bool:
        return bool(value.shape) and str(value.shape[0]) == "N"

    def places(self, value: Value) -> Array | None:
        """Bool [*places, source elements]: sets joined over channels. None where they were not computed."""
        if self.why_not or not self.batched(value) or value.type.rank < 2:
            return None
        sets = self.sets(value)
        if sets.ndim == 4:
            return np.asarray(sets.any(0))  # [C, H, W]
        if sets.ndim == 3:  # [time, features], or [C, L]
            return np.asarray(sets.any(1 if value.shape[1] in self.ordered else 0))
        return sets if sets.ndim == 2 else sets.reshape(-1, self.size)


def ordered_sizes(graph: Graph) -> set[int | Symbolic]:
    """Return the sizes of ordered axes of a program's inputs."""
    pairs = [
        (axes_of(graph, name), value.shape[1:]) for name, value in graph.inputs.items() if value.type.rank > 1
    ]
    return {
        s for axes, sizes in pairs for n, s in zip(axes, sizes, strict=True) if role(n, s) is Role.ORDERED
    }


def chosen(module: Module) -> str:
    """Choose the program whose dependence is drawn: one with all weights of the loss.

    Only a bound reads a learned prior.
    """
    there = [p for p in PROGRAMS if p in module.programs]
    weights = module.programs["loss"].parameters().keys()
    return next((p for p in there if module.programs[p].parameters().keys() >= weights), there[0])


def layer_reach(reach: Reach, result: Value, blobs: Blobs) -> dict[str, Any] | None:
    """Return what each place of a layer's result reads, or None where that is not known or too large to keep."""
    sets = reach.places(result)
    kept = sum(3 * len(t) // 4 for t in blobs.texts)
    if sets is None or sets.size > 8 * LAYER_BYTES or kept + sets.size // 8 > ALL_BYTES:
        return None
    return {"shape": list(sets.shape[:-1]), "blob": blobs.bits(sets)}


def dependence(module: Module, reach: Reach, blobs: Blobs) -> list[dict[str, Any]]:
    """Return the support and the order for each output of the program, of an autoregressive density for its variable."""
    if reach.why_not:
        return []
    claim = next(
        (c for c in module.claims
         if c.order is not None and c.program == reach.program and c.subject == reach.source),
        None,
    )  # fmt: skip
    base: dict[str, Any] = {
        "source": reach.source, "inputs": list(reach.shape), "program": reach.program, "at": reach.at,
    }  # fmt: skip
    if claim is not None:
        return [base | _ordered(reach, claim, blobs)]
    out: list[dict[str, Any]] = []
    for name, value in reach.graph.outputs.items():
        if reach.batched(value) and value.type.rank >= 2:
            sets = reach.sets(value)
            if sets[..., 0].size <= LARGEST:
                outputs = list(sets.shape[:-1])
                out.append(
                    base | {"output": name, "outputs": outputs, "blob": blobs.bits(sets), "ranks": None}
                )
    return out


def _ordered(reach: Reach, claim: Claim, blobs: Blobs) -> dict[str, Any]:
    ranks = ranks_of(reach.graph, claim, reach.environment)
    axis = claim.ordering.axis
    seen = np.zeros((*reach.shape, reach.size), bool)
    for value in reach.graph.outputs.values():
        sets = reach.sets(value)
        seen |= (sets if axis is None else sets.any(axis - 1)).reshape(seen.shape)
    return {
        "output": f"parameters of {claim.subject}",
        "outputs": list(reach.shape),
        "blob": blobs.bits(seen),
        "ranks": [int(r) for r in ranks.reshape(-1)],
    }


__all__ = ["Reach", "chosen", "dependence", "layer_reach"]
