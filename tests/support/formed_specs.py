"""Random predictions with the claims `linear`, `equivariant` and `symmetric`, and what numbers say of their verdicts.

A prediction is an expression over named axes: layers, sums and products along any axis, places told apart (`position`,
`at`, `cumsum`, loops), axes that change their names, constants beside what moves, two inputs, examples that state how
many are real. `judge` runs it in float64: sums of inputs, inputs a place farther along, inputs permuted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from mpcompile.analysis import Status, Verdict
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, DType, Graph, Module, Symbolic, symbols
from mpcompile.ir.axes import Axes
from mpcompile.lowering import lower

#: Differences that are more than rounding, relative to the largest value.
OFF = 1e-8
#: Sizes of moving axes at which a place is compared with the one before it, and how many of them count as the border.
WIDE, BORDER = 40, 17
#: Lengths at which sums and permutations are tried.
LENGTHS = (1, 2, 3, 5)


def lowered(text: str) -> Module:
    return lower(parse_text(text), Source("m.mp", text))


@dataclass(frozen=True)
class Formed:
    """A spec but for its sizes: `head` states the inputs, `net` the prediction, and `claims` what is said of y."""

    head: str
    net: str
    claims: str
    sizes: tuple[tuple[str, int], ...]

    def wide(self) -> Formed:
        """The same at sizes that have an inside."""
        return replace(self, sizes=tuple((k, WIDE) for k, _ in self.sizes))

    def text(self) -> str:
        """The spec. Raises `SpecError` where it is none."""
        head = self.head
        for name, size in self.sizes:
            head = head.replace(f"{{{name}}}", str(size))
        body = f"model m\n{head}target y: real[{{}}]\ny ~ normal(loc = {self.net}, scale = 1)\n"
        shape = "odd: 3, strange: 1"
        try:
            lowered(body.replace("{}", shape))
        except SpecError as refused:
            found = re.search(r"the parameter has the axes \[(.*?)\], y has", str(refused))
            if found is None:
                raise
            shape = found[1]
        return body.replace("{}", shape) + f"check {{ {self.claims} }}\n"


def formed(seed: int, n: int) -> Formed:
    """The n-th spec of a seed."""
    return _Draft(np.random.default_rng([seed, n])).spec()


_Value = tuple[str, tuple[str, ...]]


class _Draft:
    """Draws one prediction: an expression, and the names of its axes."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.more: tuple[str, ...] = ()

    def one(self, *of: str) -> str:
        return of[int(self.rng.integers(len(of)))]

    def spec(self) -> Formed:
        kind = self.one("sequence", "image", "image", "nodes", "nodes", "nodes")
        sizes: dict[str, int] = {}
        claims = ["linear(y)"]
        if kind == "sequence":
            size = self.one("time", "{n}")
            head = f"input x: real[time: {size}, channel: 2]\n" + self.one(
                "", f"input z: real[time: {size}, channel: 2]\n"
            )
            leaves: list[_Value] = [("x", ("time", "channel"))] + [("z", ("time", "channel"))] * (
                "z:" in head
            )
            claims += ["equivariant(y)"] + ["symmetric(y, time)"] * (self.rng.random() < 0.5)
        elif kind == "image":
            square = self.one("{n}", "{k}")
            head = f"input x: real[channel: 2, height: {{n}}, width: {square}]\n"
            leaves = [("x", ("channel", "height", "width"))]
            if self.rng.random() < 0.3:
                head += "input z: real[channel: 2, height: {n}]\n"
                leaves.append(("z", ("channel", "height")))
            claims += ["equivariant(y)"] + ["symmetric(y, height)"] * (self.rng.random() < 0.3)
        else:
            size = self.one("nodes", "nodes", "{n}")
            head = f"input x: real[node: {size}, channel: 2]\ninput e: binary[node: {size}, other: {size}]\n"
            if size == "nodes" and self.rng.random() < 0.4:
                head += "condition count: integer(1..nodes)\n"
            leaves = [("x", ("node", "channel")), ("x", ("node", "channel")), ("e", ("node", "other"))]
            if self.rng.random() < 0.3:
                head += f"input c: category(3)[node: {size}]\n"
                leaves.append(("(c -> embedding(2))", ("node", "channel")))
            claims += ["symmetric(y, node)"] + ["equivariant(y)"] * (self.rng.random() < 0.2)
        for name in ("n", "k"):
            if f"{{{name}}}" in head:
                sizes[name] = int(self.rng.integers(1, 6))
        if self.rng.random() < 0.3:
            head += f"net f = {self.kept('channel', leaves[0][1])} -> {self.kept('channel', leaves[0][1])}\n"
            self.more = ("f", "f", "f")
        net, _ = self.value(leaves, 2)
        return Formed(head, net, "; ".join(claims), tuple(sizes.items()))

    def value(self, leaves: list[_Value], depth: int) -> _Value:
        """An expression of the leaves."""
        if depth == 0 or self.rng.random() < 0.45:
            found = leaves[int(self.rng.integers(len(leaves)))]
        else:
            (a, of_a), (b, of_b) = self.value(leaves, depth - 1), self.value(leaves, depth - 1)
            shared = [n for n in of_a if n in of_b]
            both = tuple(dict.fromkeys((*of_a, *of_b)))
            if shared and self.rng.random() < 0.25:
                over = self.one(*shared)
                found = f"product({a}, {b}, over = {over})", tuple(n for n in both if n != over)
            elif self.rng.random() < 0.2:
                found = f"where({a} -> step, {b}, {self.one('0', a, b + ' * 2')})", both
            else:
                found = f"({a} {self.one('+', '+', '-', '*')} {b})", both
        for _ in range(int(self.rng.integers(0, 4))):
            found = self.step(found, leaves)
        return found

    def step(self, given: _Value, leaves: list[_Value]) -> _Value:
        """A layer or a function behind an expression."""
        text, axes = given
        axis = self.one(*axes) if axes else "channel"
        kept, lost = self.kept(axis, axes), self.one("mean", "sum", "max", "min", "logsumexp")
        roll = self.rng.random()
        if roll < 0.55 or not axes:
            return f"({text} -> {kept})", axes
        if roll < 0.75:
            less = tuple(n for n in axes if n != axis)
            layer = self.one(f"{lost}(over = {axis})", f"{lost}(over = {axis})", f"at({axis}, 0)")
            source = next(((t, a) for t, a in leaves if axis in a), None)
            if source is not None and self.rng.random() < 0.6:
                return f"({text} -> {layer} -> spread({axis}, like = {source[0]}))", (axis, *less)
            return f"({text} -> {layer})", less
        if roll < 0.85 and len(axes) > 1:
            first, second = axis, self.one(*(n for n in axes if n != axis))
            swap = f"rename({first} = spare) -> rename({second} = {first}) -> rename(spare = {second})"
            return f"({text} -> {swap})", axes
        return f"({text} -> {kept})", axes

    def kept(self, axis: str, axes: tuple[str, ...]) -> str:
        """A layer that leaves axes as they are, most of them."""
        of = [*EVERYWHERE, *EVERYWHERE, *self.more]
        along = [n for n in axes if n != "channel"]
        of += [layer.format(axis) for layer in ALONG] if axis in along else []
        of += OF_IMAGES if "width" in axes else []
        of += OF_SEQUENCES if "time" in axes else []
        return self.one(*of)


EVERYWHERE = (
    "dense(2)", "dense(2, bias = false)", "relu", "tanh", "layer_norm", "square", "prelu", "glu", "abs", "rms_norm",
    "batch_norm", "stochastic_depth(0.1)", "flatten", "reshape([4])", "rename(other = node)", "rename(node = other)",
)  # fmt: skip
ALONG = (
    "conv(2, 3, pad = same, over = {0})", "conv(2, 2, over = {0}, bias = false)", "softmax(over = {0})",
    "cumsum(over = {0})",
    "position(64, over = {0})", "sinusoid(over = {0})", "attention(1, over = {0})", "gru(2, over = {0})",
    "slice({0}, 0, 1)", "unit(over = {0})", "sum(over = {0})", "mean(over = {0})", "softmax(over = channel)",
)  # fmt: skip
OF_IMAGES = (
    "conv(2, 3, pad = same)", "conv(2, 3, pad = same, bias = false, dilation = 2)", "avgpool(3, stride = 1)",
    "maxpool(2)", "upsample(2)", "conv_transpose(2, 3)", "conv_transpose(2, 2, stride = 2)", "instance_norm",
    "space_to_depth(1)",
    "shift_down", "conv(2, 2, stride = 2)", "global_avgpool", "group_norm(1)", "conv(2, [1, 3], pad = same)",
    "maxpool(3, stride = 1, pad = 1)", "upsample(2, bilinear)", "conv(4, 3, pad = same, groups = 2)",
)  # fmt: skip
OF_SEQUENCES = (
    "shift", "stretch(2)", "conv1d(2, 3)", "conv1d(2, 3, pad = same, bias = false)", "last", "shift(3)", "sinusoid",
    "gru(2, bidirectional = true)", "attention(1, mask = causal)", "conv1d(2, 2, dilation = 3)",
)  # fmt: skip


# --- numbers ---

Inputs = dict[str, Array]


@dataclass
class _Run:
    """The prediction of a model at random weights."""

    module: Module
    trial: int

    @property
    def graph(self) -> Graph:
        return self.module.programs["predict"]

    def given(self, sizes: dict[str, int], more: dict[tuple[str, int], int] | None = None) -> Inputs:
        """Random inputs; `more` makes axes of some longer."""
        rng, found = np.random.default_rng(self.trial), {}
        for name, value in self.graph.inputs.items():
            shape = list(value.type.concrete(sizes))
            for (owner, axis), extra in (more or {}).items():
                if owner == name:
                    shape[axis] += extra
            field = self.module.fields[name]
            if field.counts:
                found[name] = rng.integers(1, sizes[field.counts] + 1, shape)
            elif field.base != "real":
                drawn = rng.integers(0, 2 if field.base == "binary" else field.classes or 2, shape)
                found[name] = drawn.astype(float if value.dtype is DType.FLOAT else int)
            else:
                found[name] = rng.normal(size=shape)
        return found

    def __call__(self, given: Inputs) -> Array:
        rng = np.random.default_rng(99 + self.trial)
        weights = {k: np.abs(rng.normal(size=p.shape)) + 0.1 for k, p in self.module.parameters.items()}
        weights |= {k: rng.normal(size=p.shape) for k, p in self.module.parameters.items() if p.trainable}
        with np.errstate(all="ignore"):
            return interpret(self.graph, weights, given)["y"]

    def sizes(self, length: int) -> dict[str, int]:
        return {s: 2 if s == "N" else length for s in {"N", *self.graph.symbols()}}


def _lengths(graph: Graph) -> list[int]:
    """The lengths at which no value is empty."""
    symbols_ = graph.symbols()
    return [
        n for n in LENGTHS
        if all(d > 0 for node in graph.nodes() for t in node.types for d in t.concrete(dict.fromkeys(symbols_, n)))
    ]  # fmt: skip


def _differ(a: Array, b: Array) -> bool:
    if not a.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return bool(np.abs(a - b).max() > OFF * max(1.0, np.abs(a).max()))


def linear(module: Module, verdict: Verdict, trial: int) -> Iterator[str]:
    """The prediction of a sum is the sum of predictions; refuted, it is not."""
    run = _Run(module, trial)
    if any(v.dtype is not DType.FLOAT for v in run.graph.inputs.values()):
        return
    broken = []
    for length in _lengths(run.graph):
        x, z = (_Run(module, t).given(run.sizes(length)) for t in (trial, trial + 1))
        whole = run({k: 0.7 * x[k] - 1.3 * z[k] for k in x})
        if _differ(whole, 0.7 * run(x) - 1.3 * run(z)):
            broken.append(length)
    if verdict.status is Status.PROVED and broken:
        yield f"proved, and the prediction of a sum is another at length {broken[0]}"
    if verdict.status is Status.REFUTED and not broken:
        yield "refuted, and the prediction of each sum is the sum of predictions"


def equivariant(wide: Module, verdict: Verdict, trial: int) -> Iterator[str]:
    """Two windows of wide inputs, a place apart, have predictions a place apart, away from borders."""
    if verdict.status is not Status.PROVED:
        return
    run = _Run(wide, trial)
    sizes, names = run.sizes(WIDE), {k: wide.fields[k].axes for k in run.graph.inputs}
    long = {(k, a): n for k, axes in names.items() for a, n in enumerate(axes, 1)
            if run.graph.inputs[k].type.concrete(sizes)[a] == WIDE}  # fmt: skip
    for name in sorted(set(long.values())):
        mine = [place for place, n in long.items() if n == name]
        whole = run.given(sizes, dict.fromkeys(mine, 1))
        axis = dict(mine)
        here, there = (
            run({k: v.take(range(s, s + WIDE), axis[k]) if k in axis else v for k, v in whole.items()})
            for s in (0, 1)
        )
        own = wide.fields["y"].axes
        if name not in own:
            yield f"proved, and y has no axis {name}"
            continue
        at = own.index(name) + 1
        inside = range(BORDER, here.shape[at] - BORDER)
        for other in {n for n in long.values() if n in own} - {name}:
            b = own.index(other) + 1
            here, there = (v.take(range(BORDER, v.shape[b] - BORDER), b) for v in (here, there))
        if _differ(here.take([i + 1 for i in inside], at), there.take(inside, at)):
            yield f"proved, and does not move along {name}"


def symmetric(module: Module, verdict: Verdict, trial: int) -> Iterator[str]:
    """Inputs whose places are permuted have the same prediction, permuted alike."""
    if verdict.status is not Status.PROVED:
        return
    run, rng, own = _Run(module, trial), np.random.default_rng(trial), module.fields["y"].axes
    name = verdict.claim.axis
    for length in _lengths(run.graph):
        sizes = run.sizes(length)
        given = run.given(sizes)
        free = {k: _axes_of(module, k, name) for k in run.graph.inputs}
        count = next((k for k, f in module.fields.items() if f.counts and k in given), None)
        places = next(given[k].shape[a] for k, axes in free.items() for a in axes)
        real = places
        if count is not None:
            real = int(rng.integers(1, places + 1))
            given[count] = np.full_like(given[count], real)
        order = np.array([*rng.permutation(real), *range(real, places)])
        moved = {k: _permuted(v, free[k], order) for k, v in given.items()}
        wanted = _permuted(run(given), _named(module, own, name), order)
        if _differ(wanted, run(moved)):
            yield f"proved, and knows the order of {name} at length {length}"


def _axes_of(module: Module, field: str, name: str) -> list[int]:
    return _named(module, module.fields[field].axes, name, module.fields[field].type.shape)


def _named(module: Module, axes: Axes, name: str, shape: tuple[int | Symbolic, ...] = ()) -> list[int]:
    """The axes that the claim permutes: of the same length, or of a fixed size those of the name."""
    lengths = {
        s for f in module.fields.values() for n, s in zip(f.axes, f.type.shape[1:], strict=True) if n == name
    }
    shape = shape or module.fields["y"].type.shape
    fixed = all(isinstance(s, int) for s in lengths)
    return [
        a
        for a, n in enumerate(axes, 1)
        if (n == name if fixed else shape[a] in lengths and symbols(shape[a]))
    ]


def _permuted(x: Array, axes: list[int], order: Array) -> Array:
    for axis in axes:
        x = x.take(order, axis)
    return x


Judge = Callable[[Module, Verdict, int], Iterator[str]]
JUDGES: dict[str, Judge] = {"linear": linear, "symmetric": symmetric}


def judge(spec: Formed, module: Module, verdict: Verdict, trials: int = 2) -> list[str]:
    """Disagreements of one verdict with numbers."""
    kind = verdict.claim.kind
    if kind == "equivariant" and str(verdict.scope) == "every size":
        wide = lowered(spec.wide().text())
        return [w for t in range(trials) for w in equivariant(wide, verdict, t)]
    rule = JUDGES.get(kind)
    if rule is None:
        return []
    found = [list(rule(module, verdict, t)) for t in range(8 if verdict.status is Status.REFUTED else trials)]
    if verdict.status is Status.REFUTED:  # some trial shows it
        return found[0] if all(found) else []
    return [w for each in found for w in each]


__all__ = ["Formed", "formed", "judge", "lowered"]
