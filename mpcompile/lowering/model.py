"""AST -> Module: derives the programs of a model from what it states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from mpcompile.analysis.kept import supported
from mpcompile.diagnostics import Diagnostic, Source, SpecError, error
from mpcompile.distributions import Autoregressive, Distribution, Flow
from mpcompile.distributions.sampling import LAW_ITSELF, Sampling
from mpcompile.frontend import ast
from mpcompile.ir import (
    STATE,
    Claim,
    Module,
    Value,
    float_type,
    product,
)
from mpcompile.ir.graph import uncollected
from mpcompile.lowering import discrete, latents, proofs, statistics, target, terms
from mpcompile.lowering.claims import Modelled, allowances_of, claims_of, order_of_steps
from mpcompile.lowering.declarations import BATCH
from mpcompile.lowering.densities import named
from mpcompile.lowering.fitting import with_sizes
from mpcompile.lowering.inference import objective, starts
from mpcompile.lowering.joint import joint
from mpcompile.lowering.missing import complete
from mpcompile.lowering.priors import weight_prior
from mpcompile.lowering.recurrence import Recurrence
from mpcompile.lowering.shared import Built, Evaluated, built
from mpcompile.lowering.statements import Program, Statements
from mpcompile.lowering.training import grouped, training
from mpcompile.lowering.unbuilt import check_built
from mpcompile.lowering.weights import weight
from mpcompile.ops import build as F


def lower(
    model: ast.Model,
    source: Source,
    overrides: Mapping[str, int | float] | None = None,
    sampling: Sampling | None = None,
) -> Module:
    """Lower a model to a module: its programs, parameters and claims.

    `sampling` changes the `sample` program of autoregressive densities and of flows.

    Raises `SpecError` with the faults of the training section and of the first program that has some.
    """
    check_built(model)
    options, numbers = sampling or LAW_ITSELF, dict(overrides or {})
    lowering = _Lowering(model, source, numbers, options)
    try:
        with uncollected():
            return lowering.module()
    except SpecError as fault:

        def loss(other: ast.Model, given: Mapping[str, int | float]) -> None:
            _Lowering(other, source, given, options)._loss()

        raise SpecError(with_sizes(fault.diagnostics, model, lowering.numbers, loss)) from fault


class _Lowering(Statements):
    """The programs of a model."""

    def __init__(
        self, model: ast.Model, source: Source, overrides: Mapping[str, int | float], sampling: Sampling
    ) -> None:
        super().__init__(model, source, overrides)
        self.sampling = sampling
        self.weight = weight(model.objective, self.numeric())
        self._modelled: dict[str, Modelled] = {}
        self._orders: dict[str, Claim] = {}  # of the steps of recurrences, by variable
        self._evaluated: Evaluated | None = None
        self._built: Built | None = None

    def module(self) -> Module:
        if not self.states_laws() and not self.terms:
            raise error("MP125", "the model states no density: nothing to learn", self.model.span,
                        help="write `x ~ ...`")  # fmt: skip
        faults: list[Diagnostic] = []
        try:
            self.out.train = training(self.model, self.numeric(), self.fields)
        except SpecError as fault:
            faults += fault.diagnostics
        for build in self._programs():
            try:
                build()
            except SpecError as fault:
                faults += fault.diagnostics
                break
        if faults:
            raise SpecError(dict.fromkeys(faults))  # each once
        self.out.parameters = supported(self.out)
        self.out.parameters = grouped(self.model, self.out)
        self.out.claims = [*self.claims, *claims_of(self.model, self.out, self._modelled, self._orders)]
        self.out.allowances = allowances_of(self.model, self.out)
        return self.out

    def _programs(self) -> list[Callable[[], None]]:
        if not self.states_laws():
            fitted = [partial(target.programs, self), partial(proofs.latent_laws, self)]
            return [self._loss, *(fitted if target.is_target(self) else ())]
        builds: list[Callable[[], None]] = [self._loss, self._score]
        observed = [*self.observed, *(s for r in self.recurrences for s in r.observed)]
        targets = [s for s in observed if self.fields.get(s.name) and self.fields[s.name].role == "target"]
        builds.append(self._conditionals)
        builds += [self._encode] if self._infers() else []
        builds += [self._decode] if self.latents and not self.recurrences else []
        builds += [self._reconstruct] if self._infers() and not self._sums() else []
        if targets and not any(r.feeds_back() for r in self.recurrences):
            builds.append(self._predict)
        of_laws = [partial(prove, self) for prove in (proofs.latent_laws, proofs.step_laws, joint)]
        return [*builds, self._flows, *of_laws, self._sample]

    @property
    def _divergence_name(self) -> str:
        return "penalty" if self._is_autoencoder() else "kl"

    def _infers(self) -> bool:
        """Whether some latent has a posterior."""
        return any(discrete.way(s) is not discrete.Exact for s in self._all_latents())

    def _sums(self) -> bool:
        """Whether some latent is summed out."""
        return any(discrete.way(s) is discrete.Exact for s in self._all_latents())

    def _all_latents(self) -> list[ast.Density]:
        return [*self.latents, *self.missing.values(), *(s for r in self.recurrences for s in r.latents)]

    def law(self, p: Program, s: ast.Density) -> Distribution:
        law = super().law(p, s)
        self._built = self._built or built(self, p, s, law)
        return law

    def _loss(self) -> None:
        p = self.start("loss", training=True)
        self.read(p, *self.fields)
        total, divergence = objective(self, p)
        if total is not None and not p.ctx.trained:
            again = replace(p, ctx=p.ctx.fork(self._score_name))
            self._evaluated = Evaluated(again, total, divergence)
        outputs: dict[str, Value] = {}
        if divergence is not None:
            if total is not None:
                outputs["reconstruction"] = F.batch_mean(p.b, F.neg(p.b, total))
            outputs[self._divergence_name] = F.batch_mean(p.b, divergence)
            penalty, beta = self.weight.penalty(p.ctx, divergence)
            outputs |= {} if beta is None else {"beta": beta}
            total = F.neg(p.b, penalty) if total is None else F.sub(p.b, total, penalty)
        loss = None if total is None else F.neg(p.b, F.batch_mean(p.b, total))
        other, named_terms = terms.penalty(self, p)
        outputs |= named_terms
        if other is not None:
            loss = other if loss is None else F.add(p.b, loss, other)
        assert loss is not None, "there is a law or a term"
        if self.weight_priors:
            loss = F.sub(p.b, loss, weight_prior(self, p))
        state = {f"{STATE}{name}": value for name, value in p.ctx.updates.items()}
        self.finish(p, {"loss": loss, **outputs, **state})
        statistics.derive(self, p.ctx)

    def _score(self) -> None:
        if any((law := named(s.distribution)) and law.support.measure == "criterion" for s in self.observed):
            return  # no density
        if self._is_autoencoder():
            return  # a point mass has no density: no bound
        if self._evaluated is None:
            p = self.start(self._score_name)
            self.read(p, *self.fields)
            total, divergence = objective(self, p)
            assert total is not None, "some variable has a law"
            self._evaluated = Evaluated(p, total, divergence)
        p, total, divergence = self._evaluated.program, self._evaluated.total, self._evaluated.divergence
        if divergence is None:
            self.finish(p, {p.b.graph.name: total})
            if self._infers():
                self._log_weight()
            return
        outputs = {"elbo": F.sub(p.b, total, divergence)}
        outputs |= {"reconstruction": F.neg(p.b, total), "kl": divergence}
        if not self.weight.is_one:
            outputs["objective"] = F.sub(p.b, total, self.weight.penalty(p.ctx, divergence)[0])
        self.finish(p, outputs)
        if not (self._is_bound() or any(discrete.way(s) is discrete.Nearest for s in self.latents)):
            self._log_weight()  # a point mass at one code covers no other one

    @property
    def _score_name(self) -> str:
        return "elbo" if self._infers() or self._is_bound() else "log_prob"

    def _is_bound(self) -> bool:
        """Whether the law of an observed variable has a bound in place of its likelihood."""
        return any((law := named(s.distribution)) and law.support.measure == "bound" for s in self.observed)

    def _log_weight(self) -> None:
        """log p(x, z) - log q(z | x) at one draw z of q: the mean of its exponentials is p(x) (Burda et al. 2016)."""
        p = self.start("log_weight")
        self.read(p, *self.fields)
        total, divergence = objective(self, p, exact=False)
        assert total is not None, "some variable has a law"
        # without divergence all latents are counted, and log p(x) is known
        self.finish(p, {"log_weight": total if divergence is None else F.sub(p.b, total, divergence)})

    def _is_autoencoder(self) -> bool:
        """Whether some code is a point: then the loss is a reconstruction error, and no bound."""
        return any(latents.is_point(s) for s in self.latents)

    def _free(self, program: str, name: str) -> str:
        """The name of a program about a variable, which another variable's program does not have."""
        return program if program not in self.out.programs else f"{program}_{name}"

    def _given_latents(self, name: str) -> Program:
        """Start a program of conditionals, which reads the data and the latents at the top."""
        p = self.start(self._free("conditionals", name))
        self.read(p, *self.fields)
        complete(self, p)
        self.latent_inputs(p, {n for r in self.recurrences for n in self.started(r)})
        return p

    def _conditionals(self) -> None:
        """Parameters of every conditional of an autoregressive density; records the laws for the claims."""
        if self._built is not None:
            self._modelled[self.observed[0].name] = Modelled(self._built.law)
            return
        for s in self.observed:
            p = self._given_latents(s.name)
            with self.within(p, s):
                law = self.law(p, s)
                self._modelled[s.name] = Modelled(law)
                if isinstance(law, Autoregressive):
                    element = law.conditionals(p.ctx, p.scope.values[s.name], law.choice(p.ctx))
                    self._modelled[s.name] = Modelled(law, p.b.graph.name, element.parameter_axis)
                    self.finish(p, element.parameters())
        for r in (r for r in self.recurrences if r.shows() and len(r.observed) == 1):
            (s,) = r.observed
            p = self._given_latents(s.name)
            outputs, axis = r.conditionals(p.ctx, p.scope, starts(self, p, r))
            if outputs and (r.latents or r.feeds_back()):
                self.finish(p, outputs)
                self._orders[s.name] = order_of_steps(s.name, p.b.graph.name, axis, s.span)

    def _encode(self) -> None:
        p = self.start("encode")
        self.read(p, *self.fields)
        outputs = complete(self, p)
        for s in self.inferred:
            with self.within(p, s):
                q = self.posterior(p, s)
                outputs |= {f"{s.name}_{k}": v for k, v in q.parameters().items()}
                self.bring(p, s.name, self.code(p, s, q))
                if isinstance(q, Flow) or not q.parameters():  # a flow has those of its base, a code has none
                    outputs[s.name] = p.scope.values[s.name]
        for r in self.recurrences:
            outputs |= r.encode(p.ctx, p.scope) if r.latents else {}
        self.finish(p, outputs)

    def _decode(self) -> None:
        p = self.start("decode")
        self.read(p, *self.given())
        self.latent_inputs(p)
        self.finish(p, self._means(p, draw=True))

    def _reconstruct(self) -> None:
        """Mean of the observed variables at the posterior's mean."""
        p = self.start("reconstruct")
        self.read(p, *self.fields)
        complete(self, p)
        for s in self.inferred:
            with self.within(p, s):
                q = self.posterior(p, s)
                self.bring(p, s.name, self.code(p, s, q))
        outputs = self._means(p)
        for r in self.recurrences:
            outputs |= r.reconstruct(p.ctx, p.scope)
        self.finish(p, outputs)

    def _means(self, p: Program, *, draw: bool = False) -> dict[str, Value]:
        """The mean of each observed variable, given its parents; with `draw` those that are not given are drawn."""
        outputs = {}
        for s in self.observed:
            with self.within(p, s):
                law = self.law(p, s)
                outputs[s.name] = self._answer(p, s, law)
                if draw and self.order.may_be_read(s.name):
                    self.know(p, s.name, self._drawn(p, s, law))
        return outputs

    def _predict(self) -> None:
        """The mean of every target (class probabilities for a category), given the inputs; its parents are drawn."""
        if self._built is not None:
            only, law, p = self.observed[0], self._built.law, self._built.program_named("predict")
            self.out.answers[only.name] = law.answer
            self.finish(p, {only.name: self._answer(p, only, law)})
            return
        p = self.start("predict")
        known = {n for n, f in self.fields.items() if f.role != "target"} - self.missing.keys()
        self.read(p, *(n for n in self.fields if n in known or n in self.given()))
        outputs: dict[str, Value] = {}
        for s in self.generated:
            if isinstance(s, Recurrence):
                outputs |= s.predict(p.ctx, p.scope)
                is_read = any(self.order.may_be_read(o.name) for o in s.observed)
                drawn = s.sample(p.ctx, p.scope) if is_read else {}
                for o in s.observed:
                    if o.name in drawn and o.name not in p.scope.values:
                        self.know(p, o.name, drawn[o.name])
                continue
            if s.role == "observed" and s.name in p.scope.values:
                continue
            with self.within(p, s):
                if s.role == "latent":
                    if (code := self.prior_draw(p, s)) is None:
                        return  # nothing says where the codes of an autoencoder lie
                    self.bring(p, s.name, code)
                    continue
                unknown = self.missing.get(s.name) if self.fields[s.name].role == "target" else None
                law = self.posterior(p, unknown) if unknown else self.law(p, s)
                outputs[s.name] = self._answer(p, s, law)
                self.out.answers[s.name] = law.answer
                if self.order.may_be_read(s.name):
                    self.know(p, s.name, self._drawn(p, s, law))
        self.finish(p, {name: value for name, value in outputs.items() if self.fields[name].role == "target"})

    def _answer(self, p: Program, s: ast.Density, law: Distribution) -> Value:
        """The mean of an observed variable, or a draw where its law has none."""
        shape = self.fields[s.name].type.shape
        return law.mean(p.ctx, shape) if law.has_mean else law.sample(p.ctx, s.name, shape)

    def _drawn(self, p: Program, s: ast.Density, law: Distribution) -> Value:
        """A draw of an observed variable, in its type; zero behind the end of a sequence. Of a criterion its answer."""
        f = self.fields[s.name]
        if law.support.measure == "criterion":
            return law.mean(p.ctx, f.type.shape)
        return p.ctx.kept(F.cast(p.b, law.sample(p.ctx, s.name, f.type.shape), f.type.dtype))

    def _flows(self) -> None:
        for s in self.observed:
            found = self._modelled.get(s.name)
            if found is None or not isinstance(whole := found.law, Flow):
                continue
            f, before = self.fields[s.name], [*self.given(), *self.order.before(s.name)]
            proofs.flow_steps(self, s.name, s, f.type.shape, whole, partial(self.law, s=s), before)
            proofs.dequantization(self, s, whole)
            if self.latents:
                continue  # given a draw of the latents only: `log_weight` and `decode` are its programs
            self._forward(s)
            p = self.start(self._free("inverse", s.name))
            p.taken = frozenset(("z",))
            self.read(p, *before)
            z = p.b.input("z", float_type(BATCH, product(f.type.shape[1:])))
            with self.within(p, s):
                law = self.law(p, s)
                assert isinstance(law, Flow)
                x = law.inverse(p.ctx, z, f.type.shape)
            self.finish(p, {s.name: x})
            if law.data_dependent:
                p = self.start("initialize")
                self.read(p, *self.fields)
                with self.within(p, s):
                    law = self.law(p, s)
                    assert isinstance(law, Flow)
                    law.initialize(p.ctx, p.scope.values[s.name])
                self.finish(p, {f"{STATE}{name}": value for name, value in p.ctx.updates.items()})

    def _forward(self, s: ast.Density) -> None:
        """Latents and log-determinant of a flow; where `log_prob` has them, its nodes."""
        name, of_score = self._free("forward", s.name), self._evaluated
        self._modelled[s.name] = Modelled(self._modelled[s.name].law, name)
        if of_score is not None:
            known = of_score.program.ctx.mapped.get(of_score.program.scope.values[s.name])
            if known is not None:
                p = replace(of_score.program, ctx=of_score.program.ctx.fork(name))
                p.b.graph.outputs = {"z": known[0], "log_det": known[1]}
                read = p.b.graph.live(lambda _: False).inputs  # the base's log_prob may draw more
                p.ctx.noise = {k: noise for k, noise in p.ctx.noise.items() if k in read}
                self.finish(p, p.b.graph.outputs)
                return
        p = self.start(name)
        self.read(p, *self.fields)
        with self.within(p, s):
            law = self.law(p, s)
            assert isinstance(law, Flow)
            z, log_det = law.forward(p.ctx, p.scope.values[s.name])
        self.finish(p, {"z": z, "log_det": log_det})

    def _sample(self) -> None:
        """A draw of every observed variable, given the inputs and conditions."""
        if not all(m.law.drawn for m in self._modelled.values()):
            return
        if self._built is not None:
            p, only = self._built.program_named("sample"), self.observed[0]
            self.finish(p, {only.name: self._drawn(p, only, self._built.law)})
            return
        p = self.start("sample")
        self.read(p, *self.given())
        outputs: dict[str, Value] = {}
        for s in self.generated:
            if isinstance(s, Recurrence):
                outputs |= s.sample(p.ctx, p.scope)
                for o in s.observed:
                    self.know(p, o.name, outputs[o.name])
                continue
            with self.within(p, s):
                if s.role == "latent":
                    if (code := self.prior_draw(p, s)) is None:
                        return  # nothing says where the codes of an autoencoder lie
                    self.bring(p, s.name, code)
                    continue
                law = self.law(p, s)
                if isinstance(law, Autoregressive | Flow):
                    law = law.adjusted(p.ctx, self.sampling)
                outputs[s.name] = self._drawn(p, s, law)
                self.know(p, s.name, outputs[s.name])
                if law.shows_mean and self.latents and f"{s.name}_mean" not in self.fields:
                    outputs[f"{s.name}_mean"] = law.mean(p.ctx, self.fields[s.name].type.shape)
        self.finish(p, outputs)
