"""Random specs whose declarations state their axes in any order, and programs that are equal up to that order.

Layers act on axes by name. So a spec whose declarations state their axes in another order is the same model: its programs
have the same values with their axes moved, and its claims the same verdicts. Sizes are mostly alike, so that a layer that
looked at a position would find a size that fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from mpcompile import api
from mpcompile.diagnostics import Source, SpecError
from mpcompile.frontend import parse_text
from mpcompile.interpret import interpret
from mpcompile.ir import Array, Module
from mpcompile.lowering import lower
from mpcompile.runner.examples import example_inputs, example_weights

Axes = dict[str, str]  # sizes by name
SPACE, ORDERED, PLAIN = ("height", "width"), "time", ("token", "node")
LENGTH = "steps"
#: Kinds of steps of a net.
LAYERS = [
    "dense",
    "dense",
    "dense_over",
    "conv",
    "conv1d",
    "recurrent",
    "attention",
    "norm",
    "norm_over",
    "shift",
    "position",
    "other",
    "glu",
    "pool",
    "net",
]
FUNCTIONS = [
    "softmax",
    "cumsum",
    "centre",
    "pointwise",
    "at",
    "slice",
    "product",
    "split",
    "merge",
    "weight",
    "concat",
    "rename",
    "reduce",
    "unit",
    "rotary",
]


@dataclass
class Draft:
    """A spec: its declarations, each with its axes, and the text of its statements.

    `declared` has keyword, name, type and axes; `{name}` in `head` stands for the axes of a weight.
    """

    declared: list[tuple[str, str, str, Axes]] = field(default_factory=list)
    weights: dict[str, Axes] = field(default_factory=dict)
    latents: dict[str, tuple[str, Axes, str]] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)
    nets: list[str] = field(default_factory=list)

    def text(self, orders: Mapping[str, Sequence[int]]) -> str:
        """The spec with the axes of each declaration in an order."""

        def listed(name: str, axes: Axes) -> str:
            items = list(axes.items())
            items = [items[i] for i in orders.get(name, range(len(items)))]
            return f"[{', '.join(f'{a}: {s}' for a, s in items)}]" if items else ""

        lines = ["model m"]
        lines += [f"{role} {name}: {kind}{listed(name, axes)}" for role, name, kind, axes in self.declared]
        lines += [
            f"weight {name}: real{listed(name, axes)} = normal(0.5)" for name, axes in self.weights.items()
        ]
        lines += self.nets
        lines += [
            f"latent {name}: {kind}{listed(name, axes)} ~ {rest}"
            for name, (kind, axes, rest) in self.latents.items()
        ]
        return "\n".join([*lines, *self.body]) + "\n"

    def axes(self) -> dict[str, Axes]:
        found = {name: axes for _, name, _, axes in self.declared} | self.weights
        return found | {name: axes for name, (_, axes, _) in self.latents.items()}


class Writer:
    """One random draft."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.draft = rng, Draft()
        self.made = 0

    def one(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def size(self) -> str:
        return self.one(["2", "2", "2", "3", "4"])

    def some_axes(self) -> Axes:
        """From one to four axes in a random order; a length at most."""
        names = ["channel", *SPACE, ORDERED, *PLAIN]
        count = int(self.rng.integers(1, 5))
        picked = [names[i] for i in self.rng.permutation(len(names))[:count]]
        if "channel" not in picked and self.rng.random() < 0.7:
            picked[0] = "channel"
        return {n: LENGTH if n == ORDERED and self.rng.random() < 0.5 else self.size() for n in picked}

    def pick(self, axes: Axes, fixed: bool = True, but: Sequence[str] = ()) -> str | None:
        found = [a for a, s in axes.items() if a not in but and (not fixed or s != LENGTH)]
        return self.one(found) if found else None

    # --- expressions ---

    def step(self, x: str, axes: Axes) -> tuple[str, Axes] | None:
        """One more layer or function on an expression; None where the drawn one does not fit its axes."""
        kind = self.one(LAYERS + FUNCTIONS)
        return self.layer(kind, x, axes) if kind in LAYERS else self.function(kind, x, axes)

    def layer(self, kind: str, x: str, axes: Axes) -> tuple[str, Axes] | None:
        """A layer behind an expression."""
        channel, space, a = "channel" in axes, [a for a in axes if a in SPACE], self.pick(axes)
        match kind:
            case "dense":
                n = self.size()
                return f"({x} -> dense({n}))", {**axes, "channel": n}
            case "dense_over" if a:
                n = self.size()
                return f"({x} -> dense({n}, over = {a}))", {**axes, a: n}
            case "conv" if space and channel:
                n = self.size()
                over = "" if len(space) == 2 or self.rng.random() < 0.5 else f", over = {self.one(space)}"
                return f"({x} -> conv({n}, 3, pad = same{over}))", {**axes, "channel": n}
            case "conv1d" if ORDERED in axes and channel:
                n = self.size()
                return f"({x} -> conv1d({n}, 2))", {**axes, "channel": n}
            case "recurrent" if ORDERED in axes and channel:
                n = self.size()
                return f"({x} -> {self.one(['gru', 'lstm', 'rnn'])}({n}))", {**axes, "channel": n}
            case "attention" if channel and (b := self.pick(axes, False, ["channel"])):
                mask = ", mask = causal" if b == ORDERED and self.rng.random() < 0.5 else ""
                if len(space) == 2 and self.rng.random() < 0.4:
                    return f"({x} -> attention(1, over = [height, width]))", axes
                return f"({x} -> attention(1, over = {b}{mask}))", axes
            case "norm" if channel:
                return (
                    f"({x} -> {self.one(['layer_norm', 'rms_norm', 'instance_norm', 'group_norm(1)'])})",
                    axes,
                )
            case "norm_over" if a and channel:
                over = list(dict.fromkeys([a, "channel"]))
                self.rng.shuffle(over)
                return f"({x} -> layer_norm(over = [{', '.join(over)}]))", axes
            case "shift" if ORDERED in axes and channel:
                return f"({x} -> shift)", axes
            case "position" if channel and (b := self.pick(axes, True, ["channel"])):
                return f"({x} -> position(8, over = {b}))", axes
            case "other" if len(self.draft.declared) < 4:
                some = {k: v for k, v in axes.items() if self.rng.random() < 0.6}
                if not some or (LENGTH in axes.values() and LENGTH not in some.values()):
                    return None
                return f"({x} + {self.declare('condition', 'real', some)})", axes
            case "glu" if channel and axes["channel"] in ("2", "4"):
                return f"({x} -> {self.one(['glu', 'gate'])})", {
                    **axes,
                    "channel": str(int(axes["channel"]) // 2),
                }
            case "pool" if len(space) == 2 and channel and {axes[s] for s in space} <= {"2", "4"}:
                return f"({x} -> {self.one(['maxpool', 'avgpool'])}(2))", {
                    **axes, **{s: str(int(axes[s]) // 2) for s in space}}  # fmt: skip
            case "net" if channel:
                n = self.size()
                self.made += 1
                self.draft.nets.append(f"net f{self.made} = dense({n}) -> tanh -> layer_norm")
                return f"f{self.made}({x})", {**axes, "channel": n}
        return None

    def function(self, kind: str, x: str, axes: Axes) -> tuple[str, Axes] | None:
        """A function of an expression."""
        channel, a = "channel" in axes, self.pick(axes)
        match kind:
            case "softmax" if a:
                return f"softmax({x}, over = {a})", axes
            case "cumsum" if b := self.pick(axes, False):
                return f"cumsum({x}, over = {b})", axes
            case "centre" if a:
                return (
                    f"({x} - spread({self.one(['mean', 'max', 'logsumexp'])}({x}, over = {a}), {a}, like = {x}))",
                    axes,
                )
            case "pointwise":
                return f"{self.one(['tanh', 'sigmoid', 'softplus', 'square'])}({x})", axes
            case "at" if a and len(axes) > 1:
                return f"at({x}, {a}, {int(axes[a]) - 1})", {k: v for k, v in axes.items() if k != a}
            case "slice" if a:
                return f"slice({x}, {a}, 1, {axes[a]})", {**axes, a: str(int(axes[a]) - 1)}
            case "product" if a:
                other = {a: axes[a], "unit": self.size()}
                if b := self.pick(axes, True, [a]):
                    other[b] = axes[b]
                w = self.weight(other)
                return f"product({x}, {w}, over = {a})", {
                    **{k: v for k, v in axes.items() if k != a},
                    "unit": other["unit"],
                }
            case "split" if a and axes[a] == "4" and "part" not in axes:
                return f"split({x}, {a}, part = 2, {a} = 2)", {**axes, a: "2", "part": "2"}
            case "merge" if a and (b := self.pick(axes, True, [a])):
                left = {k: v for k, v in axes.items() if k not in (a, b)}
                return f"merge({x}, [{a}, {b}], into = {a})", {**left, a: str(int(axes[a]) * int(axes[b]))}
            case "weight" if a:
                some = {k: v for k, v in axes.items() if v != LENGTH and self.rng.random() < 0.6} or {
                    a: axes[a]
                }
                return f"({x} {self.one(['+', '*'])} {self.weight(some)})", axes
            case "concat" if a:
                return f"concat({x}, tanh({x}), over = {a})", {**axes, a: str(2 * int(axes[a]))}
            case "rename" if a and "key" not in axes and a not in ("channel", ORDERED):
                return f"rename({x}, {a} = key)", {("key" if k == a else k): v for k, v in axes.items()}
            case "reduce" if a and len(axes) > 1:
                return f"{self.one(['sum', 'mean', 'max', 'min'])}({x}, over = {a})", {
                    k: v for k, v in axes.items() if k != a
                }
            case "unit" if a:
                return f"unit({x}, over = {a})", axes
            case "rotary" if (
                channel and axes["channel"] in ("2", "4") and (b := self.pick(axes, False, ["channel"]))
            ):
                return f"rotary({x}, over = {b})", axes
        return None

    def weight(self, axes: Axes) -> str:
        name = f"w{len(self.draft.weights)}"
        self.draft.weights[name] = self.shuffled(axes)
        return name

    def shuffled(self, axes: Axes) -> Axes:
        names = list(axes)
        order = sorted(self.rng.permutation(len(names)), key=lambda i: axes[names[i]] != LENGTH)
        return {names[i]: axes[names[i]] for i in order}

    def declare(self, role: str, kind: str, axes: Axes) -> str:
        name = f"{role[0]}{len(self.draft.declared)}"
        self.draft.declared.append((role, name, kind, self.shuffled(axes)))
        return name

    def net(self, x: str, axes: Axes, steps: int) -> tuple[str, Axes]:
        done = 0
        for _ in range(8 * steps):
            found = self.step(x, axes)
            if (
                found is not None
                and len(found[0]) < 900
                and all(int(s) <= 16 for s in found[1].values() if s != LENGTH)
            ):
                (x, axes), done = found, done + 1
            if done == steps:
                break
        return x, axes

    def regression(self) -> None:
        """A target under a law of single elements, given inputs; a class or bits in places of numbers at times."""
        axes = self.some_axes()
        if self.rng.random() < 0.25:
            axes.pop("channel", None)
            axes = axes or {"token": "2"}
            x, axes = (
                f"({self.declare('input', 'category(3)', axes)} -> embedding(2))",
                {**axes, "channel": "2"},
            )
        else:
            x = self.declare("input", "real", axes)
        x, axes = self.net(x, axes, int(self.rng.integers(1, 5)))
        kind = self.one(["real", "binary", "category"])
        if kind == "category" and "channel" in axes and axes["channel"] in ("2", "3", "4"):
            y = self.declare(
                "target", f"category({axes['channel']})", {k: v for k, v in axes.items() if k != "channel"}
            )
            self.draft.body.append(f"{y} ~ categorical(logits = rename({x}, channel = class))")
            return
        y = self.declare("target", "binary" if kind == "binary" else "real", axes)
        law = "bernoulli(logits = {})" if kind == "binary" else "normal(loc = {}, scale = 1)"
        self.draft.body.append(f"{y} ~ {law.format(x)}")

    def density(self) -> None:
        """An autoregressive density of an image or a sequence, in an order by names."""
        image = self.rng.random() < 0.5
        if image:
            axes = {"channel": self.one(["1", "2"]), "height": "2", "width": self.one(["2", "3"])}
            x = self.declare("input", "binary", axes)
            n = axes["channel"]
            net = f"conv(4, 3, mask = causal2d(type = A)) -> tanh -> conv({n}, 3, mask = causal2d(type = B))"
            self.draft.body.append(
                f"{x} ~ autoregressive(order = raster(height, width, channel)) {{ {net} }}"
            )
            self.draft.body.append(f"check {{ autoregressive({x}) }}")
            return
        axes = {"time": LENGTH, "channel": self.size()}
        x = self.declare("input", "binary", axes)
        net = self.one(["gru(4)", "conv1d(4, 2)", "dense(4) -> attention(1, mask = causal)"])
        self.draft.body.append(
            f"{x} ~ autoregressive {{ shift -> {net} -> tanh -> dense({axes['channel']}) }}"
        )
        self.draft.body.append(f"check {{ autoregressive({x}); complete({x}) }}")

    def steps(self) -> None:
        """A recurrence over a length."""
        axes = {"time": LENGTH, "channel": self.size(), **({"token": "2"} if self.rng.random() < 0.5 else {})}
        x = self.declare("input", "binary", axes)
        carried = ", ".join(f"{a}: {s}" for a, s in axes.items() if a != "time")
        self.draft.body.append(
            f"recurrence over {LENGTH} {{\n  carry h[{carried}] = 0\n"
            f"  {x} ~ bernoulli(logits = tanh(h) -> dense({axes['channel']}))\n  h = h + {x}\n}}"
        )

    def counted(self) -> None:
        """Classes at places, summed out."""
        axes = {n: self.size() for n in ("token", "node")[: int(self.rng.integers(1, 3))]}
        x = self.declare("input", "binary", {**axes, "channel": "2"})
        self.draft.latents["k"] = "category(2)", self.shuffled(axes), "exact prior categorical(logits = 0)"
        self.draft.body.append(f"{x} ~ bernoulli(logits = k -> embedding(3) -> tanh -> dense(2))")


def drafted(rng: np.random.Generator) -> Draft:
    """A random spec."""
    writer = Writer(rng)
    kinds = [writer.regression] * 7 + [writer.density, writer.steps, writer.counted]
    kinds[int(rng.integers(len(kinds)))]()
    return writer.draft


def orders(draft: Draft, rng: np.random.Generator) -> dict[str, list[int]]:
    """An order of the axes of each declaration, drawn; a length stays the first one (MP211)."""
    found = {}
    for name, axes in draft.axes().items():
        sizes = list(axes.values())
        found[name] = sorted((int(i) for i in rng.permutation(len(axes))), key=lambda i: sizes[i] != LENGTH)
    return found


def read(text: str) -> Module | str:
    """The module of a spec, or the codes of what refuses it."""
    try:
        return lower(parse_text(text), Source("m.mp", text))
    except SpecError as refused:
        return " ".join(sorted({d.code for d in refused.diagnostics}))


def moved(x: Array, order: Sequence[int], batch: bool = True) -> Array:
    """An array with its axes, but for the batch, in an order."""
    first = 1 if batch else 0
    return np.transpose(x, [*range(first), *(i + first for i in order)])


def disagreements(draft: Draft, given: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """What differs between a spec and the same one with its axes in the given orders."""
    one, other = read(draft.text({})), read(draft.text(given))
    if isinstance(one, str) or isinstance(other, str):
        if one != other and (isinstance(one, str) or isinstance(other, str)):
            yield f"refused: {one if isinstance(one, str) else 'no'}, {other if isinstance(other, str) else 'no'}"
        return
    yield from values(one, other, draft, given)
    said, others = (
        sorted((v.claim.kind, v.claim.subject, str(v.status), str(v.scope)) for v in api.verdicts(m))
        for m in (one, other)
    )
    if said != others:
        yield f"verdicts: {said} and {others}"


def values(one: Module, other: Module, draft: Draft, given: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Programs whose values differ."""
    weights = {k: np.asarray(v) for k, v in example_weights(one, 1, spread=0.5).items()}
    named = {k: k.removesuffix(".weight") for k in weights}
    own = {k: moved(v, given[named[k]], batch=False) if named[k] in given else v for k, v in weights.items()}
    if {k: v.shape for k, v in own.items()} != {k: p.shape for k, p in other.parameters.items()}:
        yield "weights have other shapes"
        return
    if set(one.programs) != set(other.programs):
        yield f"programs: {sorted(one.programs)} and {sorted(other.programs)}"
        return
    for name, graph in one.programs.items():
        inputs = example_inputs(one, name, 2, length=3)
        ours = {}
        for key, value in inputs.items():
            of = key.removeprefix("noise_")
            same = of in given and value.ndim == len(given[of]) + 1
            ours[key] = moved(value, given[of]) if same else value
        wanted = {k: v.type.concrete(sizes) for k, v in other.programs[name].inputs.items()} if (
            sizes := {"N": 2, LENGTH: 3}) else {}  # fmt: skip
        if {k: v.shape for k, v in ours.items()} != wanted:
            if any(k.startswith("noise") for k in ours):
                continue  # noise of other axes than its variable has
            yield f"{name}: other inputs"
            continue
        first, second = interpret(graph, weights, inputs), interpret(other.programs[name], own, ours)
        for key in sorted({*first, *second}):
            if key not in first or key not in second:
                yield f"{name}: no {key}"
            elif not alike(first[key], second[key], given.get(key)):
                yield f"{name}: {key} differs"


def alike(a: Array, b: Array, order: Sequence[int] | None) -> bool:
    """Whether two results are equal in a given order, or in some order where none is known."""
    tries = (
        [order] if order is not None and a.ndim == len(order) + 1 else permutations(range(max(a.ndim - 1, 0)))
    )
    for i in tries:
        turned = moved(a, i) if a.ndim else a
        if turned.shape == b.shape and np.allclose(turned, b, rtol=1e-9, atol=1e-11):
            return True
    return False
