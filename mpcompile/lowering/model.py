"""AST -> Module: declares the variables, states the densities and derives the programs of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

from mpcompile.bijectors import Dequantize, FactorOut
from mpcompile.diagnostics import Source, SpecError, error
from mpcompile.distributions import Autoregressive, Distribution, Elementwise, Flow, Placed
from mpcompile.distributions.elementwise import Bernoulli, Perceptron
from mpcompile.distributions.sampling import LAW_ITSELF, Sampling
from mpcompile.frontend import ast
from mpcompile.frontend.arithmetic import evaluate_number
from mpcompile.ir import (
    EXAMPLES,
    STATE,
    Builder,
    Claim,
    DType,
    Field,
    Graph,
    Module,
    Piece,
    Shape,
    Symbolic,
    Type,
    Value,
    float_type,
    product,
    symbol,
)
from mpcompile.layers import Context
from mpcompile.layers import functional as F
from mpcompile.lowering import latents
from mpcompile.lowering.claims import claims_of, order_of
from mpcompile.lowering.densities import distribution, sampled
from mpcompile.lowering.recurrence import Recurrence, Which, in_step
from mpcompile.lowering.scope import Scope, unknown
from mpcompile.lowering.training import training_options

BATCH = symbol("N")
#: More elements than this in one variable are refused before anything is allocated.
MAX_ELEMENTS = 1 << 22


def lower(
    model: ast.Model,
    source: Source,
    overrides: Mapping[str, int | float] | None = None,
    sampling: Sampling | None = None,
) -> Module:
    """The programs, parameters and claims of a model. Raises `SpecError` with every independent fault found.

    `sampling` changes the `sample` program of autoregressive densities and of flows.
    """
    lowering = _Lowering(model, source, dict(overrides or {}), sampling or LAW_ITSELF)
    return lowering.module()


@dataclass
class _Program:
    """One program while it is built."""

    ctx: Context
    scope: Scope
    taken: frozenset[str] = frozenset()  # inputs of its own, which variables must not share

    @property
    def b(self) -> Builder:
        return self.ctx.b

    def input(self, name: str, type_: Type) -> Value:
        return self.b.input(f"given_{name}" if name in self.taken else name, type_)


class _Lowering:
    def __init__(
        self, model: ast.Model, source: Source, overrides: dict[str, int | float], sampling: Sampling
    ) -> None:
        self.model, self.source, self.sampling = model, source, sampling
        self.numbers = self._numbers(overrides)
        self.fields = {d.name: self._field(d) for d in model.declarations}
        self.out = Module(model.name, source, fields=self.fields, params=dict(self.numbers))
        self.observed = [s for s in model.density if isinstance(s, ast.Density) and s.role == "observed"]
        self.latents = [s for s in model.density if isinstance(s, ast.Density) and s.role == "latent"]
        self.recurrences = [
            Recurrence(s, self.fields) for s in model.density if isinstance(s, ast.Recurrence)
        ]
        self.weight_priors = [s for s in model.density if isinstance(s, ast.WeightPrior)]
        self.weight = latents.weight(model.objective, self.numbers)
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
            length = self._length(size)
            if length is not None:
                if i != 0:
                    raise error(
                        "MP211", "only the first axis may have a symbolic length", size.span,
                        help=f"sequences are time first: [{length}, ...]",
                    )  # fmt: skip
                shape.append(length)
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
        low, classes, counts = 0, None, None
        if t.base == "category":
            if t.classes is None:
                raise error("MP113", "write category(k) with its number of classes", t.span)
            classes = int(evaluate_number(t.classes, self.numbers))
        if t.base == "integer":
            if t.low is None or t.high is None:
                raise error("MP113", "write integer(low..high)", t.span)
            low = int(evaluate_number(t.low, self.numbers))
            if isinstance(t.high, ast.Name) and t.high.id not in self.numbers:
                counts = self._counted(d, low, t.high)
        if t.base == "integer" and counts is None and t.high is not None:
            classes = int(evaluate_number(t.high, self.numbers)) - low + 1
        if classes is not None and not 1 < classes <= 1 << 20:
            raise error("MP112", f"{d.name} has {classes} levels; between 2 and {1 << 20} make sense", t.span)
        kind = DType.INT if t.base == "category" else DType.FLOAT
        type_ = Type(kind, (BATCH, *shape))  # type: ignore[arg-type]  # ints and symbols, by construction
        return Field(d.name, d.role, t.base, type_, d.span, low, classes, counts)

    def _length(self, size: ast.Expr) -> Symbolic | None:
        """A symbolic length, `time` or a whole multiple `4 * time` of one; None for a number."""
        times = 1
        if isinstance(size, ast.Binary) and size.op == "*":
            sides = [size.left, size.right]
            names = [s for s in sides if isinstance(s, ast.Name) and s.id not in self.numbers]
            if len(names) != 1:
                return None
            sides.remove(names[0])
            factor = evaluate_number(sides[0], self.numbers)
            if factor != int(factor) or not 0 < factor <= MAX_ELEMENTS:
                raise error("MP112", f"a length has a whole number of parts, not {factor}", sides[0].span)
            size, times = names[0], int(factor)
        if not isinstance(size, ast.Name) or size.id in self.numbers:
            return None
        length = symbol(size.id) * times
        assert isinstance(length, Symbolic)
        return length

    def _counted(self, d: ast.Declaration, low: int, high: ast.Name) -> str:
        """The symbolic length that `condition length: integer(1..time)` counts the real steps of."""
        lengths = [o.type.shape[0].id for o in self.model.declarations
                   if o.type.shape and isinstance(o.type.shape[0], ast.Name)
                   and o.type.shape[0].id not in self.numbers]  # fmt: skip
        if high.id not in lengths:
            raise unknown("length", high.id, [*lengths, *self.numbers], high.span)
        if d.role != "condition" or low < 1 or d.type.shape:
            raise error(
                "MP113", "a length is a condition, one number of at least 1 for each example", d.span,
                help=f"condition {d.name}: integer(1..{high.id})",
            )  # fmt: skip
        return high.id

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
        """Declare variables as inputs and bring them into scope; what lies behind an end is zero from here on."""
        for name in names:
            with p.b.within((), self.fields[name].span):
                p.input(name, self.fields[name].type)
        for name in sorted(names, key=lambda n: self.fields[n].counts is None):  # lengths first
            f = self.fields[name]
            with p.b.within((), f.span):
                value = p.ctx.kept(p.input(name, f.type))
            p.scope.values[name] = value
            if f.counts is not None:
                p.ctx.lengths[f.counts] = value
            if f.classes is not None and f.base == "category":
                p.ctx.classes[value] = f.classes

    @property
    def _divergence_name(self) -> str:
        return "penalty" if self._is_autoencoder() else "kl"

    def _given(self) -> list[str]:
        """Variables that no density statement is about: inputs of a supervised model, conditions."""
        about = {s.name for s in (*self.observed, *(s for r in self.recurrences for s in r.observed))}
        return [n for n in self.fields if n not in about]

    @contextmanager
    def _within(self, p: _Program, s: ast.Density) -> Iterator[None]:
        with p.ctx.frame(s.name, p.scope.label(s.span), s.span):
            yield

    def _law(self, p: _Program, s: ast.Density) -> Distribution:
        """The law of an observed variable."""
        if s.name not in self.fields:
            near = get_close_matches(s.name, self.fields, 1)
            raise error(
                "MP110", f"unknown variable `{s.name}`", s.span,
                help=f"did you mean `{near[0]}`?" if near else f"declare it, as in `target {s.name}: real[1]`",
            )  # fmt: skip
        return distribution(p.ctx, p.scope, s.distribution, self.fields[s.name])

    def _posterior(self, p: _Program, s: ast.Density) -> Distribution:
        law = latents.posterior(p.ctx, p.scope, s)
        self.latent_shapes[s.name] = next(iter(law.parameters().values())).shape
        return law

    def _prior(self, p: _Program, s: ast.Density) -> Distribution | None:
        return latents.prior(p.ctx, p.scope, s, self.latent_shapes[s.name])

    # --- the programs ---

    def module(self) -> Module:
        if not self.observed and not any(r.observed for r in self.recurrences):
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
        self.out.claims = [*self._claims, *claims_of(self.model, self.out, self._laws, self._axes)]
        return self.out

    def _programs(self) -> list[Callable[[], None]]:
        builds: list[Callable[[], None]] = [self._loss, self._score]
        observed = [*self.observed, *(s for r in self.recurrences for s in r.observed)]
        targets = [s for s in observed if self.fields.get(s.name) and self.fields[s.name].role == "target"]
        self._laws: dict[str, Distribution] = {}
        self._axes: dict[str, int | None] = {}
        self._claims: list[Claim] = []
        builds.append(self._conditionals)
        if self._has_latents():
            builds += [self._encode, *([] if self.recurrences else [self._decode]), self._reconstruct]
        if targets and not any(r.feeds_back() for r in self.recurrences):
            builds.append(self._predict)
        builds += [self._flows, self._latent_proofs, self._step_proofs, self._sample]
        return builds

    def _has_latents(self) -> bool:
        return bool(self.latents or any(r.latents for r in self.recurrences))

    def _total(self, p: _Program, *, exact: bool = True) -> tuple[Value, Value | None]:
        """Log-likelihood of the observed variables given a draw of the latents, and divergence of these: [N] each."""
        b = p.b
        divergence: Value | None = None
        for s in self.latents:
            with self._within(p, s):
                q = self._posterior(p, s)
                prior = self._prior(p, s)
                z, kl = latents.draw(p.ctx, q, prior, s.name, self.latent_shapes[s.name], exact=exact)
                p.scope.values[s.name] = z
                if kl is not None:
                    divergence = kl if divergence is None else F.add(b, divergence, kl)
        total: Value | None = None
        for r in self.recurrences:
            lp, inner = r.score(p.ctx, p.scope, exact=exact)
            total = lp if total is None else F.add(b, total, lp)
            if inner is not None:
                divergence = inner if divergence is None else F.add(b, divergence, inner)
        for s in self.observed:
            with self._within(p, s):
                law = self._law(p, s)
                lp = law.log_prob(p.ctx, p.scope.values[s.name])
                total = lp if total is None else F.add(b, total, lp)
        assert total is not None
        return total, divergence

    def _loss(self) -> None:
        p = self._start("loss", training=True)
        self._read(p, *self.fields)
        total, divergence = self._total(p)
        outputs: dict[str, Value] = {}
        if divergence is not None:
            outputs["reconstruction"] = F.batch_mean(p.b, F.neg(p.b, total))
            outputs[self._divergence_name] = F.batch_mean(p.b, divergence)
            penalty, beta = self.weight.penalty(p.ctx, divergence)
            outputs |= {} if beta is None else {"beta": beta}
            total = F.sub(p.b, total, penalty)
        loss = F.neg(p.b, F.batch_mean(p.b, total))
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
        return F.div(b, total, b.input(EXAMPLES, float_type()))

    def _score(self) -> None:
        if any(getattr(s.distribution, "callee", "") == Perceptron.keyword for s in self.observed):
            return  # a criterion, no density
        if self._is_autoencoder():
            return  # a point mass has no density: no bound
        p = self._start("elbo" if self._has_latents() else "log_prob")
        self._read(p, *self.fields)
        total, divergence = self._total(p)
        if divergence is None:
            self._finish(p, {p.b.graph.name: total})
            return
        outputs = {"elbo": F.sub(p.b, total, divergence)}
        outputs |= {"reconstruction": F.neg(p.b, total), "kl": divergence}
        if not self.weight.is_one:
            outputs["objective"] = F.sub(p.b, total, self.weight.penalty(p.ctx, divergence)[0])
        self._finish(p, outputs)
        self._log_weight()

    def _log_weight(self) -> None:
        """log p(x, z) - log q(z | x) at one draw z of q: the mean of its exponentials is p(x) (Burda et al. 2016)."""
        p = self._start("log_weight")
        self._read(p, *self.fields)
        total, divergence = self._total(p, exact=False)
        assert divergence is not None
        self._finish(p, {"log_weight": F.sub(p.b, total, divergence)})

    def _is_autoencoder(self) -> bool:
        """Whether some code is a point: then the loss is a reconstruction error, and no bound."""
        return any(latents.is_point(s) for s in self.latents)

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
                    element = law.conditionals(p.ctx, p.scope.values[s.name], law.choice(p.ctx))
                    self._axes[s.name] = getattr(element, "axis", None)
                    self._finish(p, element.parameters())
        for r in self.recurrences:
            if r.latents or len(r.observed) != 1:
                continue
            (s,) = r.observed
            p = self._start("conditionals")
            self._read(p, *self.fields)
            outputs, axis = r.conditionals(p.ctx, p.scope)
            if outputs and r.feeds_back():
                self._finish(p, outputs)
                proof = {"ranks": None, "axis": axis}
                self._claims.append(
                    Claim("autoregressive", s.name, p.b.graph.name, s.span, proof, stated=False)
                )

    def _latent_inputs(self, p: _Program) -> None:
        for name, shape in self.latent_shapes.items():
            p.scope.values[name] = p.input(name, float_type(*shape))

    def _encode(self) -> None:
        p = self._start("encode")
        self._read(p, *self.fields)
        outputs: dict[str, Value] = {}
        for s in self.latents:
            with self._within(p, s):
                q = self._posterior(p, s)
                outputs |= {f"{s.name}_{k}": v for k, v in q.parameters().items()}
                p.scope.values[s.name] = q.mean(p.ctx, self.latent_shapes[s.name])
                if isinstance(q, Flow):  # its parameters are those of the base: the code is another value
                    outputs[s.name] = p.scope.values[s.name]
        for r in self.recurrences:
            outputs |= r.encode(p.ctx, p.scope) if r.latents else {}
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
        outputs = self._means(p)
        for r in self.recurrences:
            outputs |= r.reconstruct(p.ctx, p.scope)
        self._finish(p, outputs)

    def _means(self, p: _Program) -> dict[str, Value]:
        outputs = {}
        for s in self.observed:
            shape = self.fields[s.name].type.shape
            with self._within(p, s):
                law = self._law(p, s)
                outputs[s.name] = law.mean(p.ctx, shape) if law.has_mean else law.sample(p.ctx, s.name, shape)
        return outputs

    def _predict(self) -> None:
        """The mean of every target (class probabilities for a category), given the inputs."""
        p = self._start("predict")
        self._read(p, *self._given())
        outputs = self._means(p)
        for r in self.recurrences:
            outputs |= r.predict(p.ctx, p.scope)
        self._finish(p, outputs)

    def _flows(self) -> None:
        for s in self.observed:
            whole = self._laws.get(s.name)
            if not isinstance(whole, Flow):
                continue
            f = self.fields[s.name]
            self._pieces(s.name, s, f.type.shape, whole, partial(self._law, s=s), self._given())
            self._noise_proofs(s, whole)
            if self.latents:
                continue  # given a draw of the latents only: `log_weight` and `decode` are its programs
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
            if law.data_dependent:
                p = self._start("initialize")
                self._read(p, *self.fields)
                with self._within(p, s):
                    law = self._law(p, s)
                    assert isinstance(law, Flow)
                    law.initialize(p.ctx, p.scope.values[s.name])
                self._finish(p, {f"{STATE}{name}": value for name, value in p.ctx.updates.items()})

    @contextmanager
    def _at(self, p: _Program, placed: Placed | None) -> Iterator[None]:
        """Within a bijector; nowhere else where there is none."""
        if placed is None:
            yield
            return
        with p.ctx.frame(placed.name, placed.label, placed.span):
            yield

    def _noise_proofs(self, s: ast.Density, whole: Flow) -> None:
        """The flow of a dequantiser's noise is a flow as well, given the integers."""
        for i, placed in enumerate(whole.chain):
            if not isinstance(placed.bijector, Dequantize) or placed.bijector.posterior is None:
                continue
            name, shape = f"{s.name}_noise", self.fields[s.name].type.shape

            def noise(p: _Program, i: int = i) -> Flow:
                law = self._law(p, s)
                assert isinstance(law, Flow)
                dequantizer = law.chain[i].bijector
                assert isinstance(dequantizer, Dequantize) and dequantizer.posterior is not None
                with self._at(p, law.chain[i]):
                    posterior = dequantizer.posterior(p.ctx, p.scope.values[s.name])
                assert isinstance(posterior, Flow)
                return posterior

            q = self._start("noise")
            self._read(q, *self.fields)
            with self._within(q, s):
                law = noise(q)
            self._pieces(name, s, shape, law, noise, [*self.fields], placed)
            self._claims.append(Claim("jacobian", name, "", placed.span, {}, stated=False))

    def _pieces(
        self,
        subject: str,
        s: ast.Density,
        shape: Shape,
        whole: Flow,
        again: Callable[[_Program], Distribution | None],
        given: Sequence[str],
        around: Placed | None = None,
    ) -> None:
        """The maps that a flow is made of, each as a graph of its own, for the analysis of their Jacobians.

        `again` states the flow once more in a program that has read the variables `given`; `around` is the bijector
        that the flow is a part of.
        """
        pieces: list[Piece] = []
        for i, placed in enumerate(whole.chain):
            parts = placed.bijector.parts()
            for k in range(len(parts)):
                name = placed.name if len(parts) == 1 else f"{placed.name}_{k}"
                q = self._start(name)
                q.taken = frozenset(("x", "seen"))
                self._read(q, *given)
                self._latent_inputs(q)
                x = q.b.input("x", float_type(*shape))
                with self._within(q, s):
                    law = again(q)  # its conditions are values of this graph
                    assert isinstance(law, Flow)
                    with self._at(q, around), self._at(q, placed):
                        bijector = law.chain[i].bijector
                        if isinstance(bijector, FactorOut):
                            first, second = bijector.split(q.ctx, x)
                            y = F.concat(q.b, [F.flatten(q.b, first), F.flatten(q.b, second)], 1)
                            log_det = None
                        else:
                            seen = q.b.input("seen", float_type(*shape))
                            y, log_det = bijector.parts()[k].apply(q.ctx, x, seen)
                graph = q.b.graph
                graph.outputs = {"y": y, **({} if log_det is None else {"log_det": log_det})}
                interval = placed.bijector.preimage if k == 0 else None
                pieces.append(Piece(name, placed.label, placed.span, graph.live(), interval))
            shape = placed.bijector.output_shape(shape)
        self.out.pieces[subject] = pieces

    def _latent_proofs(self) -> None:
        """What the densities of latents need proven: bijectors of their flows, conditionals of their priors."""
        for s in self.latents:
            self._proofs(s, s.name, partial(self._prior, s=s), self._given(), self.latent_shapes[s.name])
            again = partial(self._posterior, s=s)
            self._proofs(s, f"{s.name}_posterior", again, [*self.fields], self.latent_shapes[s.name])

    def _step_proofs(self) -> None:
        """The same for the densities of a recurrence, in programs of one step."""
        for r in self.recurrences:
            given = [n for n in self.fields if n not in r.over]
            for s in r.densities:
                law = partial(self._in_step, r=r, s=s)
                if s.role == "latent":
                    self._proofs(s, s.name, partial(law, which="prior"), given, r.shapes[s.name])
                    self._proofs(
                        s, f"{s.name}_posterior", partial(law, which="posterior"), given, r.shapes[s.name]
                    )
                else:
                    shape = in_step(self.fields[s.name]).type.shape
                    self._proofs(s, s.name, partial(law, which="law"), given, shape)

    def _in_step(self, p: _Program, r: Recurrence, s: ast.Density, which: Which) -> Distribution:
        return r.within(p.ctx, p.scope, p.input, s, which)

    def _proofs(
        self,
        s: ast.Density,
        subject: str,
        law: Callable[[_Program], Distribution | None],
        given: Sequence[str],
        shape: Shape,
    ) -> None:
        """Program and claim of an autoregressive law of `s`, pieces and claim of a flow; of others nothing."""
        p = self._start(f"conditionals_{subject}")
        self._read(p, *given)
        self._latent_inputs(p)
        with self._within(p, s):
            found = law(p)
            if isinstance(found, Autoregressive):
                element = found.conditionals(p.ctx, p.input(s.name, float_type(*shape)), found.choice(p.ctx))
                self._finish(p, element.parameters())
                proof = order_of(found, getattr(element, "axis", None))
                self._claims.append(Claim("autoregressive", s.name, p.b.graph.name, s.span, proof, False))
        if isinstance(found, Flow):
            self._pieces(subject, s, shape, found, law, given)
            self._claims.append(Claim("jacobian", subject, "", s.span, {}, stated=False))

    def _sample(self) -> None:
        """A draw of every observed variable, given the inputs and conditions."""
        if any(isinstance(law, Perceptron) for law in self._laws.values()):
            return
        p = self._start("sample")
        self._read(p, *self._given())
        for s in self.latents:
            with self._within(p, s):
                prior = self._prior(p, s)
                if prior is None:
                    return  # nothing says where the codes of an autoencoder lie
                p.scope.values[s.name] = prior.sample(p.ctx, s.name, self.latent_shapes[s.name])
        outputs: dict[str, Value] = {}
        for r in self.recurrences:
            outputs |= r.sample(p.ctx, p.scope)
            p.scope.values.update({s.name: outputs[s.name] for s in r.observed})
        for s in self.observed:
            f = self.fields[s.name]
            with self._within(p, s):
                law = self._law(p, s)
                if isinstance(law, Autoregressive | Flow):
                    law = sampled(p.ctx, law, self.sampling)
                outputs[s.name] = p.ctx.kept(law.sample(p.ctx, s.name, f.type.shape))
                p.scope.values[s.name] = outputs[s.name]
                if isinstance(law, Bernoulli) and self.latents:
                    outputs[f"{s.name}_mean"] = law.mean(p.ctx, f.type.shape)
        self._finish(p, outputs)
