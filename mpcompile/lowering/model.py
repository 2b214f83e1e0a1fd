"""AST -> Module: declares the variables, states the densities and derives the programs of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from mpcompile.diagnostics import Source, SpecError, error
from mpcompile.distributions import Autoregressive, Distribution, Elementwise, Flow, Normal
from mpcompile.distributions.elementwise import Bernoulli, Perceptron
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.ir import (
    STATE,
    Builder,
    DType,
    Field,
    Graph,
    Module,
    Piece,
    Shape,
    Type,
    Value,
    float_type,
    product,
    symbol,
)
from mpcompile.layers import Context
from mpcompile.layers import functional as F
from mpcompile.lowering.claims import claims_of
from mpcompile.lowering.densities import distribution
from mpcompile.lowering.scope import Scope, unknown
from mpcompile.lowering.training import training_options

BATCH = symbol("N")
#: More elements than this in one variable are refused before anything is allocated.
MAX_ELEMENTS = 1 << 22


def lower(model: ast.Model, source: Source, overrides: Mapping[str, int | float] | None = None) -> Module:
    """The programs, parameters and claims of a model. Raises `SpecError` with every independent fault found."""
    lowering = _Lowering(model, source, dict(overrides or {}))
    return lowering.module()


@dataclass
class _Program:
    """One program while it is built."""

    ctx: Context
    scope: Scope
    laws: dict[str, Distribution] = field(default_factory=dict)

    @property
    def b(self) -> Builder:
        return self.ctx.b


class _Lowering:
    def __init__(self, model: ast.Model, source: Source, overrides: dict[str, int | float]) -> None:
        self.model, self.source = model, source
        self.numbers = self._numbers(overrides)
        self.fields = {d.name: self._field(d) for d in model.declarations}
        self.out = Module(model.name, source, fields=self.fields, params=dict(self.numbers))
        self.observed = [s for s in model.density if isinstance(s, ast.Density) and s.role == "observed"]
        self.latents = [s for s in model.density if isinstance(s, ast.Density) and s.role == "latent"]
        self.weight_priors = [s for s in model.density if isinstance(s, ast.WeightPrior)]
        self.latent_shapes: dict[str, Shape] = {}

    # --- declarations ---

    def _numbers(self, overrides: dict[str, int | float]) -> dict[str, int | float]:
        numbers: dict[str, int | float] = {}
        names = [p.name for p in self.model.params]
        for name in overrides:
            if name not in names:
                raise unknown("parameter", name, names, self.model.span)
        for p in self.model.params:
            if p.name in overrides:
                numbers[p.name] = overrides[p.name]
            elif p.default is None:
                raise error("MP123", f"parameter `{p.name}` has no value", p.span, help=f"--set {p.name}=...")
            else:
                numbers[p.name] = evaluate_number(p.default, numbers)
        return numbers

    def _field(self, d: ast.Declaration) -> Field:
        t = d.type
        shape: list[object] = []
        for i, size in enumerate(t.shape):
            if isinstance(size, ast.Name) and size.id not in self.numbers:
                if i != 0:
                    raise error("MP211", "only the first axis may have a symbolic length", size.span)
                shape.append(symbol(size.id))
                continue
            number = evaluate_number(size, self.numbers)
            if number != int(number) or not 0 < number <= MAX_ELEMENTS:
                raise error(
                    "MP112", f"an axis has between 1 and {MAX_ELEMENTS} elements, not {number}", size.span
                )
            shape.append(int(number))
        total = product(s for s in shape if isinstance(s, int))
        if isinstance(total, int) and total > MAX_ELEMENTS:
            raise error("MP112", f"{d.name} has {total} elements, more than {MAX_ELEMENTS}", t.span)
        low, classes = 0, None
        if t.base == "category":
            if t.classes is None:
                raise error("MP113", "write category(k) with its number of classes", t.span)
            classes = int(evaluate_number(t.classes, self.numbers))
        if t.base == "integer":
            if t.low is None or t.high is None:
                raise error("MP113", "write integer(low..high)", t.span)
            low = int(evaluate_number(t.low, self.numbers))
            classes = int(evaluate_number(t.high, self.numbers)) - low + 1
        if classes is not None and not 1 < classes <= 1 << 20:
            raise error("MP112", f"{d.name} has {classes} levels; between 2 and {1 << 20} make sense", t.span)
        kind = DType.INT if t.base == "category" else DType.FLOAT
        type_ = Type(kind, (BATCH, *shape))  # type: ignore[arg-type]  # ints and symbols, by construction
        return Field(d.name, d.role, t.base, type_, d.span, low, classes)

    # --- one program ---

    def _start(self, name: str, training: bool = False) -> _Program:
        graph = Graph(name)
        ctx = Context(Builder(graph), self.out.parameters, training=training)
        scope = Scope(
            self.source,
            dict(self.numbers),
            {},
            {m.name: m.value for m in self.model.masks},
            {n.name: n for n in self.model.nets},
            {b.name: b for b in self.model.blocks},
        )
        return _Program(ctx, scope)

    def _finish(self, p: _Program, outputs: Mapping[str, Value]) -> None:
        graph = p.b.graph
        for name, value in outputs.items():
            graph.outputs[name] = value
        used = self._used_inputs(graph)
        graph.inputs = {
            k: v for k, v in graph.inputs.items() if k in used or k in p.ctx.noise or k not in self.fields
        }
        self.out.programs[graph.name] = graph.live()
        self.out.noise[graph.name] = dict(p.ctx.noise)

    def _used_inputs(self, graph: Graph) -> set[str]:
        live: set[int] = set()
        todo = [v.node for v in graph.outputs.values()]
        while todo:
            node = todo.pop()
            if node not in live:
                live.add(node)
                todo.extend(v.node for v in graph.node(node).inputs)
        return {k for k, v in graph.inputs.items() if v.node in live}

    def _read(self, p: _Program, *names: str) -> None:
        """Declare variables as inputs and bring them into scope."""
        for name in names:
            f = self.fields[name]
            with p.b.within((), f.span):
                value = p.b.input(name, f.type)
            p.scope.values[name] = value
            if f.classes is not None and f.base == "category":
                p.ctx.classes[value] = f.classes

    def _given(self) -> list[str]:
        """Variables that no density statement is about: inputs of a supervised model, conditions."""
        about = {s.name for s in self.observed}
        return [n for n in self.fields if n not in about]

    @contextmanager
    def _within(self, p: _Program, s: ast.Density) -> Iterator[None]:
        with p.ctx.frame(s.name, p.scope.label(s.span), s.span):
            yield

    def _law(self, p: _Program, s: ast.Density) -> Distribution:
        """The law of an observed variable."""
        if s.name not in self.fields:
            raise unknown("variable", s.name, list(self.fields), s.span)
        return distribution(p.ctx, p.scope, s.distribution, self.fields[s.name])

    def _posterior(self, p: _Program, s: ast.Density) -> Distribution:
        law = distribution(p.ctx, p.scope, s.distribution, None)
        if not law.parameters():
            raise error("MP411", f"the posterior of {s.name} has no parameters of its own", s.span)
        self.latent_shapes[s.name] = next(iter(law.parameters().values())).shape
        return law

    def _prior(self, p: _Program, s: ast.Density) -> Distribution:
        if s.prior is None:
            return Normal(0.0, 0.0)
        with p.ctx.frame("prior", p.scope.label(s.prior.span), s.prior.span):
            return distribution(p.ctx, p.scope, s.prior, None)

    # --- the programs ---

    def module(self) -> Module:
        for s in self.model.density:
            if isinstance(s, ast.Recurrence):
                raise error("MP190", "a recurrence parses, but this release does not lower it yet", s.span)
        if not self.observed:
            raise error("MP125", "the model states no density: nothing to learn", self.model.span,
                        help="write `x ~ ...`")  # fmt: skip
        faults: list[SpecError] = []
        self.out.train = training_options(self.model, self.numbers)
        for build in self._programs():
            try:
                build()
            except SpecError as fault:
                faults.append(fault)
                break
        if faults:
            seen = dict.fromkeys(d for f in faults for d in f.diagnostics)
            raise SpecError(seen)
        self.out.claims = claims_of(self.model, self.out, self._laws, self._axes)
        return self.out

    def _programs(self) -> list[Callable[[], None]]:
        builds: list[Callable[[], None]] = [self._loss, self._score]
        targets = [
            s for s in self.observed if self.fields.get(s.name) and self.fields[s.name].role == "target"
        ]
        self._laws: dict[str, Distribution] = {}
        self._axes: dict[str, int | None] = {}
        builds.append(self._conditionals)
        if self.latents:
            builds += [self._encode, self._decode, self._reconstruct]
        if targets:
            builds.append(self._predict)
        builds += [self._flows, self._sample]
        return builds

    def _total(self, p: _Program) -> tuple[Value, dict[str, Value]]:
        """Per-example log-likelihood, or its bound, with its parts: [N] each."""
        b = p.b
        beta = next(
            (evaluate_number(o.value, self.numbers) for o in self.model.objective if o.name == "beta"), 1
        )
        divergence: Value | None = None
        for s in self.latents:
            with self._within(p, s):
                q, prior = self._posterior(p, s), self._prior(p, s)
                z = q.sample(p.ctx, s.name, self.latent_shapes[s.name])
                if isinstance(q, Normal) and isinstance(prior, Normal):
                    kl = q.kl(p.ctx, prior)
                else:
                    kl = F.sub(b, q.log_prob(p.ctx, z), prior.log_prob(p.ctx, z))
                p.scope.values[s.name] = z
                divergence = kl if divergence is None else F.add(b, divergence, kl)
        total: Value | None = None
        for s in self.observed:
            with self._within(p, s):
                law = self._law(p, s)
                lp = law.log_prob(p.ctx, p.scope.values[s.name])
                total = lp if total is None else F.add(b, total, lp)
        assert total is not None
        parts: dict[str, Value] = {}
        if divergence is not None:
            parts = {"reconstruction": F.neg(b, total), "kl": divergence}
            total = F.sub(b, total, divergence if beta == 1 else F.mul(b, divergence, float(beta)))
        return total, parts

    def _loss(self) -> None:
        p = self._start("loss", training=True)
        self._read(p, *self.fields)
        total, parts = self._total(p)
        loss = F.neg(p.b, F.batch_mean(p.b, total))
        outputs = {k: F.batch_mean(p.b, v) for k, v in parts.items()}
        if self.weight_priors:
            loss = F.sub(p.b, loss, self._weight_prior(p))
        state = {f"{STATE}{name}": value for name, value in p.ctx.updates.items()}
        self._finish(p, {"loss": loss, **outputs, **state})

    def _weight_prior(self, p: _Program) -> Value:
        """log p(weights) / examples: with it the loss is the negative log posterior of one example (MAP)."""
        b = p.b
        total: Value | None = None
        for s in self.weight_priors:
            law = distribution(p.ctx, p.scope, s.distribution, None)
            for name in [n for n in self.out.parameters if ".weight" in f".{n}"]:
                if s.name != "weights" and not name.startswith(f"{s.name}."):
                    continue
                value = p.ctx._parameter_values.get(name)
                if value is None:
                    continue
                assert isinstance(law, Elementwise)
                lp = F.sum_axes(b, law.element_log_prob(p.ctx, value), range(value.type.rank))
                total = lp if total is None else F.add(b, total, lp)
            if total is None:
                raise error("MP110", f"no weights are named `{s.name}`", s.span)
        assert total is not None
        return F.div(b, total, b.input("examples", float_type()))

    def _score(self) -> None:
        if any(getattr(s.distribution, "callee", "") == Perceptron.keyword for s in self.observed):
            return  # a criterion, no density
        p = self._start("elbo" if self.latents else "log_prob")
        self._read(p, *self.fields)
        total, parts = self._total(p)
        name = p.b.graph.name
        self._finish(p, {name: total, **parts})

    def _conditionals(self) -> None:
        """Parameters of every conditional of an autoregressive density; records the laws for the claims."""
        for s in self.observed:
            p = self._start("conditionals")
            self._read(p, *self.fields)
            if self.latents:
                self._latent_inputs(p)
            with self._within(p, s):
                law = self._law(p, s)
                self._laws[s.name] = law
                if isinstance(law, Autoregressive):
                    element = law.conditionals(p.ctx, p.scope.values[s.name])
                    self._axes[s.name] = getattr(element, "axis", None)
                    self._finish(p, element.parameters())

    def _latent_inputs(self, p: _Program) -> None:
        for name, shape in self.latent_shapes.items():
            p.scope.values[name] = p.b.input(name, float_type(*shape))

    def _encode(self) -> None:
        p = self._start("encode")
        self._read(p, *self.fields)
        outputs: dict[str, Value] = {}
        for s in self.latents:
            with self._within(p, s):
                q = self._posterior(p, s)
                outputs |= {f"{s.name}_{k}": v for k, v in q.parameters().items()}
                p.scope.values[s.name] = q.mean(p.ctx, self.latent_shapes[s.name])
        self._finish(p, outputs)

    def _decode(self) -> None:
        p = self._start("decode")
        self._read(p, *self._given())
        self._latent_inputs(p)
        self._finish(p, self._means(p))

    def _reconstruct(self) -> None:
        """Mean of the observed variables at the posterior's mean."""
        p = self._start("reconstruct")
        self._read(p, *self.fields)
        for s in self.latents:
            with self._within(p, s):
                q = self._posterior(p, s)
                p.scope.values[s.name] = q.mean(p.ctx, self.latent_shapes[s.name])
        self._finish(p, self._means(p))

    def _means(self, p: _Program) -> dict[str, Value]:
        outputs = {}
        for s in self.observed:
            with self._within(p, s):
                outputs[s.name] = self._law(p, s).mean(p.ctx, self.fields[s.name].type.shape)
        return outputs

    def _predict(self) -> None:
        """The mean of every target (class probabilities for a category), given the inputs."""
        p = self._start("predict")
        self._read(p, *self._given())
        self._finish(p, self._means(p))

    def _flows(self) -> None:
        for s in self.observed:
            if not isinstance(self._laws.get(s.name), Flow):
                continue
            f = self.fields[s.name]
            p = self._start("forward")
            self._read(p, *self.fields)
            with self._within(p, s):
                law = self._law(p, s)
                assert isinstance(law, Flow)
                z, log_det = law.forward(p.ctx, p.scope.values[s.name])
            self._finish(p, {"z": z, "log_det": log_det})
            p = self._start("inverse")
            self._read(p, *self._given())
            z = p.b.input("z", float_type(BATCH, product(f.type.shape[1:])))
            with self._within(p, s):
                law = self._law(p, s)
                assert isinstance(law, Flow)
                x = law.inverse(p.ctx, z, f.type.shape)
            self._finish(p, {s.name: x})
            self._pieces(s, f)

    def _pieces(self, s: ast.Density, f: Field) -> None:
        """Every bijector of the flow as a graph of its own, for the analysis of its Jacobian."""
        shape: Shape = f.type.shape
        pieces: list[Piece] = []
        p = self._start("pieces")
        self._read(p, *self._given())
        with self._within(p, s):
            law = self._law(p, s)
        assert isinstance(law, Flow)
        for placed in law.chain:
            q = self._start(placed.name)
            self._read(q, *self._given())
            x = q.b.input("x", float_type(*shape))
            with self._within(q, s), q.ctx.frame(placed.name, placed.label, placed.span):
                if hasattr(placed.bijector, "split"):
                    first, second = placed.bijector.split(q.ctx, x)
                    y = F.concat(q.b, [F.flatten(q.b, first), F.flatten(q.b, second)], 1)
                    log_det = None
                else:
                    y, log_det = placed.bijector.apply(q.ctx, x, q.b.input("seen", float_type(*shape)))
            graph = q.b.graph
            graph.outputs = {"y": y, **({} if log_det is None else {"log_det": log_det})}
            pieces.append(Piece(placed.name, placed.label, placed.span, graph.live()))
            shape = placed.bijector.output_shape(shape)
        self.out.pieces[s.name] = pieces

    def _sample(self) -> None:
        """A draw of every observed variable, given the inputs and conditions."""
        if any(isinstance(law, Perceptron) for law in self._laws.values()):
            return
        p = self._start("sample")
        self._read(p, *self._given())
        for s in self.latents:
            with self._within(p, s):
                prior = self._prior(p, s)
                p.scope.values[s.name] = prior.sample(p.ctx, s.name, self.latent_shapes[s.name])
        outputs: dict[str, Value] = {}
        for s in self.observed:
            f = self.fields[s.name]
            with self._within(p, s):
                law = self._law(p, s)
                outputs[s.name] = law.sample(p.ctx, s.name, f.type.shape)
                p.scope.values[s.name] = outputs[s.name]
                if isinstance(law, Bernoulli) and self.latents:
                    outputs[f"{s.name}_mean"] = law.mean(p.ctx, f.type.shape)
        self._finish(p, outputs)
