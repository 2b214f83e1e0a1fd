"""Random models of several variables, as graphs, and faults injected into them: of scope, of support, of statements.

A model is a list of statements over named nodes. Each node reads some of the nodes before it, directly, through a net or
through a block. `faulty` changes one statement so that the whole is no joint density any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

#: Kinds of variables: its type, how another law reads it, its law of features, and the width of these.
KINDS = {
    "bits": ("binary[2]", "{0}", "bernoulli(logits = {0} -> dense(2))"),
    "class": ("category(3)", "{0} -> embedding(2)", "categorical(logits = {0} -> dense(3))"),
    "rows": (
        "binary[2]", "{0}",
        "autoregressive {{ dense(4, mask = up) -> add({0} -> dense(4)) -> tanh -> dense(2, mask = strict(up)) }}",
    ),
    "real": ("real[2]", "{0}", "normal({0} -> dense(4))"),
    "base": ("real[2]", "{0}", "flow(base = normal({0} -> dense(4))) {{ affine }}"),
    "flow": (
        "real[2]", "{0}",
        "flow(base = normal) {{ coupling(mask = checkerboard, condition = {0}, net = dense(4) -> tanh) }}",
    ),
    "count": ("integer(0..)", "{0} -> over_channel", "poisson({0} -> dense(1))"),
}  # fmt: skip
#: Laws that no variable of a kind has.
WRONG = {
    "bits": "normal({0} -> dense(4))", "class": "bernoulli(logits = {0} -> dense(1))", "rows": "poisson({0} -> dense(2))",
    "real": "bernoulli(logits = {0} -> dense(2))", "base": "gamma({0} -> dense(4))", "flow": "poisson({0} -> dense(2))",
}  # fmt: skip
DISCRETE, ALL = ("bits", "class", "rows"), ("bits", "class", "rows", "real", "base", "flow")


@dataclass(frozen=True)
class Node:
    """A modelled variable, or a latent with `posterior`: its parents, and by which way it reads the first of them."""

    name: str
    kind: str
    parents: tuple[str, ...] = ()
    way: str = "direct"  # direct | net | block
    posterior: tuple[str, ...] | None = None
    law: str = ""


@dataclass(frozen=True)
class Graph:
    """A model: its nodes in the order of their statements. `step` puts the last two into a recurrence."""

    nodes: tuple[Node, ...]
    kinds: dict[str, str] = field(default_factory=dict)
    twice: str = ""

    def text(self) -> str:
        """The model as a spec."""
        lines = ["model m", "condition one: real[1]", "mask up = degrees(order = natural)"]
        lines += [f"input {n.name}: {KINDS[n.kind][0]}" for n in self.nodes if n.posterior is None]
        lines += ["block passed on v { yield v -> dense(2) }"]
        lines += [f"net of_{n.name} = {self._first(n)} -> dense(2)" for n in self.nodes if n.way == "net"]
        for n in self.nodes:
            law = (n.law or KINDS[n.kind][2]).format(self._features(n))
            if n.posterior is not None:
                lines.append(f"latent {n.name} ~ normal({self._all(n.posterior)} -> dense(4)) prior {law}")
            else:
                lines.append(f"{n.name} ~ {law}")
            if n.name == self.twice:
                lines.append(f"{n.name} ~ {law}")
        return "\n".join(lines) + "\n"

    def _read(self, name: str) -> str:
        return KINDS[self.kinds[name]][1].format(name)

    def _first(self, n: Node) -> str:
        return self._read(n.parents[0]) if n.parents else "one"

    def _all(self, names: tuple[str, ...]) -> str:
        return f"concat(one, {', '.join(self._read(n) for n in names)})" if names else "one"

    def _features(self, n: Node) -> str:
        if not n.parents:
            return "one"
        first = {"direct": self._first(n), "net": f"of_{n.name}()", "block": f"passed()({self._first(n)})"}[
            n.way
        ]
        return f"concat(one, {', '.join([first, *(self._read(p) for p in n.parents[1:])])})"


def drawn(rng: np.random.Generator, kinds: tuple[str, ...] = ALL, latents: bool = True) -> Graph:
    """A random graph of 2 to 4 variables; with `latents` some of the first are latents."""
    count = int(rng.integers(2, 5))
    names = [f"v{i}" for i in range(count)]
    hidden = {names[i] for i in range(count - 1) if latents and rng.random() < 0.3}
    chosen = {n: "real" if n in hidden else kinds[int(rng.integers(len(kinds)))] for n in names}
    nodes: list[Node] = []
    for i, name in enumerate(names):
        parents = tuple(p for p in names[:i] if rng.random() < 0.6)
        way = ("direct", "net", "block")[int(rng.integers(3))]
        seen = tuple(n for n in names if n != name and n not in hidden) + tuple(
            n for n in names[:i] if n in hidden
        )
        posterior = tuple(n for n in seen if rng.random() < 0.7) or seen[:1] if name in hidden else None
        nodes.append(Node(name, chosen[name], parents, way, posterior))
    return Graph(tuple(nodes), chosen)


def faulty(graph: Graph, rng: np.random.Generator) -> tuple[Graph, str]:
    """The graph with one fault, and which."""
    i = int(rng.integers(len(graph.nodes)))
    node = graph.nodes[i]
    later = [n.name for n in graph.nodes[i + 1 :]]
    options = ["itself", "support", "twice", *(["later"] if later else [])]
    if node.posterior is not None:
        options = ["itself", "posterior", *(["later"] if later else [])]
    fault = options[int(rng.integers(len(options)))]
    if fault == "twice":
        return replace(graph, twice=node.name), fault
    if fault == "support":
        changed = replace(node, law=WRONG[node.kind])
    elif fault == "posterior":
        changed = replace(node, posterior=(*(node.posterior or ()), node.name))
    else:
        wrong = node.name if fault == "itself" else later[int(rng.integers(len(later)))]
        at = int(rng.integers(len(node.parents) + 1))
        changed = replace(node, parents=(*node.parents[:at], wrong, *node.parents[at:]))
    return replace(graph, nodes=(*graph.nodes[:i], changed, *graph.nodes[i + 1 :])), fault
