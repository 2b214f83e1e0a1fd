"""Beginnings of programs that several programs have in common, so that their nodes are lowered once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpcompile.distributions import Autoregressive, Distribution, Flow
from mpcompile.frontend import ast
from mpcompile.ir import Value, symbols
from mpcompile.lowering.statements import Program, Statements


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The observed variables evaluated as they are outside of training: log-likelihood and divergence, [N] each.

    It is the beginning of `loss` where nothing in that asks whether it is trained.
    """

    program: Program
    total: Value
    divergence: Value | None


@dataclass(frozen=True, slots=True)
class Built:
    """The law of the only variable that has one, and the program that ends with it, outside of training.

    Every program about the variable begins so. The variable itself is no input.
    """

    program: Program
    law: Distribution

    def program_named(self, name: str) -> Program:
        """Begin another program; it is within the frame of the law."""
        return replace(self.program, ctx=self.program.ctx.fork(name))


def built(m: Statements, p: Program, s: ast.Density, law: Distribution) -> Built | None:
    """Return a law with what comes before it in a program; None where other programs may read something else.

    An autoregressive density and a flow apply their nets each time that they are asked something.
    """
    f = m.fields[s.name]
    others = [*m.latents, *m.missing, *m.recurrences, *m.backwards]
    own_length = f.optional or f.counts or any(symbols(size) - {"N"} for size in f.type.shape)
    trained = p.ctx.trained and p.ctx.in_training
    if len(m.observed) > 1 or others or own_length or trained or isinstance(law, Autoregressive | Flow):
        return None
    fork = replace(p, ctx=p.ctx.fork(p.b.graph.name))
    del fork.b.graph.inputs[s.name]
    return Built(fork, law)


__all__ = ["Built", "Evaluated", "built"]
