"""A pipeline: passes in their order, timed, verified between each other, and failing as what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import thread_time

from mpcompile.budget import OutOfBudget
from mpcompile.diagnostics import InternalError, SpecError
from mpcompile.ir import Graph
from mpcompile.ir.verify import IllFormed, verify_graph
from mpcompile.passes.base import Pass, PassResult, Refused

#: Where this is set in the environment every pipeline verifies between its passes; the test suite sets it.
VERIFY = "MPCOMPILE_VERIFY_EACH"
_VERIFYING: ContextVar[bool] = ContextVar("verifying", default=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One pass over one program: seconds of processor time, nodes before and after, loops' bodies included, remarks."""

    program: str
    name: str
    seconds: float
    before: int
    after: int
    changed: bool
    done: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A program behind a pipeline, what its passes refused, and its steps."""

    graph: Graph
    refused: tuple[Refused, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Pipeline:
    """Passes in the order in which they run."""

    name: str
    passes: tuple[Pass, ...]

    def run(self, graph: Graph, program: str = "") -> Outcome:
        """Rewrite a graph by each pass in turn.

        Raises `InternalError`: MP901 for a pass that fails, MP902 for one that gives a graph that is not well formed,
        where verification is on (`verified`). What is over budget (`OutOfBudget`) and the limits of the language
        (`SpecError`) pass through.
        """
        program = program or graph.name
        refused: list[Refused] = []
        steps: list[Step] = []
        verify = is_verifying()
        if verify:
            _verify(graph, program, "what is given to the pipeline", [])
        for each in self.passes:
            before, start = size(graph), thread_time()
            with failing(str(each), program, [s.name for s in steps]):
                result: PassResult = each(graph)
            steps.append(
                Step(
                    program,
                    str(each),
                    thread_time() - start,
                    before,
                    size(result.graph),
                    result.changed,
                    tuple(result.done),
                )
            )
            graph = result.graph
            refused += result.refused
            if verify and result.changed:
                _verify(graph, program, f"pass `{each}`", [s.name for s in steps[:-1]])
        return Outcome(graph, tuple(refused), tuple(steps))


def size(graph: Graph) -> int:
    """Count the nodes of a graph and of the bodies of its loops."""
    return sum(1 + sum(map(size, n.op.bodies())) for n in graph.nodes())


def is_verifying() -> bool:
    """Return whether graphs are verified between passes."""
    return _VERIFYING.get() or bool(os.environ.get(VERIFY))


@contextmanager
def verified(each: bool = True) -> Iterator[None]:
    """Verify between the passes of every pipeline that runs inside."""
    token = _VERIFYING.set(each or _VERIFYING.get())
    try:
        yield
    finally:
        _VERIFYING.reset(token)


@contextmanager
def failing(name: str, program: str, before: Sequence[str]) -> Iterator[None]:
    """Turn a failure inside into the developer's error, which names the pass and those that ran before it.

    A type error of a rewrite (MP201) is the pass's, whatever line of the spec its node came from.
    """
    try:
        yield
    except (OutOfBudget, MemoryError):
        raise
    except InternalError as fault:
        raise _failed(name, program, before, str(fault)) from fault
    except SpecError as fault:
        if all(d.code != "MP201" for d in fault.diagnostics):
            raise
        raise _failed(name, program, before, fault.diagnostics[0].message) from fault
    except Exception as fault:
        raise _failed(name, program, before, f"{type(fault).__name__}: {fault}") from fault


def _failed(name: str, program: str, before: Sequence[str], reason: str) -> InternalError:
    return InternalError("MP901", f"pass `{name}` failed on `{program}`{_after(before)}: {reason}")


def _verify(graph: Graph, program: str, what: str, before: Sequence[str]) -> None:
    try:
        verify_graph(graph)
    except IllFormed as fault:
        raise InternalError(
            "MP902", f"{what} is ill formed on `{program}`{_after(before)}: {fault}"
        ) from fault


def _after(before: Sequence[str]) -> str:
    return f" after {', '.join(f'`{name}`' for name in before)}" if before else ""


__all__ = ["VERIFY", "Outcome", "Pipeline", "Step", "failing", "is_verifying", "verified"]
