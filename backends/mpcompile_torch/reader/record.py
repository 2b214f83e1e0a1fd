"""One call of a module, recorded: what ran, for these arguments, under functionalisation, so that nothing is aliased."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from mpcompile.budget import OutOfBudget
from mpcompile.diagnostics import Span, SpecError
from mpcompile.foreign.recording import Read, Recording, Unrecordable
from mpcompile.ir import Builder, Frame, Graph
from mpcompile_torch.reader.rules import DRAWS, RULES, SHAPES, anything, counted, decomposition, eager, plain
from mpcompile_torch.reader.tape import Call, Tape, array, tensors_in

#: Buffers of these names are statistics that training changes.
RUNNING = ("running_mean", "running_var")
#: Code of these folders is the framework's or ours, and nobody's model.
_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
#: What torch says where code asks for the memory of a tensor that is recorded.
_TAKEN = (
    ".numpy() is not supported",
    "unallocated storage",
    "Cannot access data pointer",
    "data is not allocated",
    "FunctionalTensor.__format__",
)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's modes have no types
    """Sees every operation below functionalisation, and puts those on unknown tensors on the tape."""

    def __init__(self, tape: Tape, modules: list[Frame]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's modes have no types
        self.tape, self.modules = tape, modules

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = tensors_in((args, kwargs))
        name = func._schema.name.partition("::")[2]
        unknown = [self._unknown(x) for x in given]  # of each: that makes weights known as such
        known = not any(unknown)
        if name in DRAWS and (known or name.endswith("_like")):
            return self._draw(func, args, kwargs)
        if known:
            return func(*args, **kwargs)
        span = here()
        if name not in RULES and (simpler := decomposition(func)) is not None:
            with self:
                found = simpler(*args, **kwargs)
            if found is not NotImplemented:
                return found
        result = func(*args, **kwargs)
        if name in SHAPES:
            return result
        results = tuple(tensors_in(result))
        if not results:
            if isinstance(result, bool | int | float | complex):
                self.tape.reads.append(Read(span, float(result.real)))
            return result
        self.tape.eps = max([self.tape.eps, *(_coarse(r.dtype) for r in results)])
        if func._schema.is_mutable:
            raise Unrecordable(f"{name} writes to memory that is shared", span)
        if name not in RULES and not plain(func, args, kwargs, results):
            raise Unrecordable(f"no rule for the operation {name}", span)
        self._emit(func, args, kwargs, results, span)
        return result

    def _emit(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        results: tuple[torch.Tensor, ...],
        span: Span,
    ) -> None:
        """Put an operation on the tape, by its rule; what has none may read anything."""
        name = func._schema.name.partition("::")[2]
        call = Call(self.tape, name, func, args, kwargs, _given(func, args, kwargs), results)
        if torch.Tag.dynamic_output_shape in func.tags and counted(call):
            # how many elements there are is read off the operands, and code may ask for it
            self.tape.reads.append(Read(span, float(results[0].numel())))
        with self.tape.builder.within((*self.modules, Frame(name, name, span)), span):
            found = RULES.get(name, anything)(call)
            values = found if isinstance(found, tuple) else (found,)
            if len(values) < len(results):  # further results, which a rule does not tell, may read anything
                values = (*values, *call.observe(None)[len(values) :])
            for x, value in zip(results, values[: len(results)], strict=True):
                self.tape[x] = value

    def _unknown(self, x: torch.Tensor) -> bool:
        """Whether a tensor is not known; parameters that the module does not list are weights too."""
        trained = isinstance(x, nn.Parameter) or (x.requires_grad and x.is_leaf)
        if trained and not self.tape.unknown(x):
            self.tape.weight(x, f"outside_{len(self.tape.weights)}")
        return self.tape.unknown(x)

    def _draw(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = func(*args, **kwargs)
        for x in tensors_in(result):
            self.tape.draw(x)
        return result


class _Functional(FunctionalTensorMode):  # type: ignore[no-untyped-call]  # torch's modes have no types
    """Functionalisation whose operations on plain tensors a recorder sees.

    An operator that takes functions (`torch.cond`, `flex_attention`) runs as it does without a compiler.
    """

    supports_higher_order_operators = True

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if isinstance(func, HigherOrderOperator):
            if (body := eager(func)) is None:
                raise Unrecordable(f"no rule for the operation {func}", here())
            with self:
                return body(*args, **(kwargs or {}))
        with self.recorder:
            return super().__torch_dispatch__(func, types, args, dict(kwargs or {}))


def _coarse(dtype: torch.dtype) -> float:
    """The precision of a type that is coarser than single."""
    eps = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    return eps if eps > torch.finfo(torch.float32).eps else 0.0


def _given(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments by the names of the schema, with defaults."""
    named = {}
    for i, argument in enumerate(func._schema.arguments):
        if i < len(args):
            named[argument.name] = args[i]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        else:
            named[argument.name] = argument.default_value if argument.has_default_value() else None
    return named


def here() -> Span:
    """Return the place of the innermost call that is not the framework's."""
    frame: FrameType | None = sys._getframe(2)
    outer: FrameType | None = None
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_OWN):
            outer = frame
            break
        frame = frame.f_back
    if outer is None:
        return Span.none()
    return _span(outer)


def _span(frame: FrameType) -> Span:
    """The expression that a frame is at."""
    code = frame.f_code
    places = next(islice(code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    first, last, column, end = (p if p is not None else 0 for p in places)
    if not first or last != first:  # of a call over several lines its first
        return Span.of_code(code.co_filename, first or frame.f_lineno, column + 1)
    return Span.of_code(code.co_filename, first, column + 1, end + 1)


@cache
def _written(forward: Callable[..., Any]) -> Span:
    """The place of the `forward` of a class; none where the framework has it."""
    code = getattr(inspect.unwrap(forward), "__code__", None)
    if code is None or code.co_filename.startswith(_OWN):
        return Span.none()
    return Span.of_code(code.co_filename, code.co_firstlineno)


@contextmanager
def _tracked(module: nn.Module, stack: list[Frame]) -> Iterator[None]:
    """Keep the path of the module that runs in `stack`."""
    names: list[str] = []
    with ExitStack() as held:
        for name, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):  # takes no hooks
                continue

            def enter(m: nn.Module, _a: Any, name: str = name) -> None:
                # lists of modules are in names, and are never called themselves
                shown = name.removeprefix(f"{names[-1]}." if names and names[-1] else "") or type(m).__name__
                names.append(name)
                stack.append(Frame(shown, type(m).__name__, _written(type(m).forward)))

            def leave(_m: nn.Module, _a: Any, _o: Any) -> None:
                names.pop()
                stack.pop()

            held.callback(part.register_forward_pre_hook(enter).remove)
            held.callback(part.register_forward_hook(leave, always_call=True).remove)
        yield


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Give every part of a module its attributes back: code keeps what it computed in them."""
    parts = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    before = [dict(vars(m)) for m in parts]
    try:
        yield
    finally:
        for part, kept in zip(parts, before, strict=True):
            held = vars(part)
            for name in [n for n in held if n not in kept]:
                del held[name]
            held.update({n: v for n, v in kept.items() if held.get(n) is not v})


@contextmanager
def _replaced(module: nn.Module, owned: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Put tensors in the place of parameters and buffers, tied ones too, and give the module its own back.

    Tables are asked, not attributes: a part of a module may be called as one of its methods is (`type`, `half`).
    """
    held = (*module.named_parameters(), *module.named_buffers())
    named = {id(x): owned[key] for key, x in held}
    tables: list[Any] = [t for m in module.modules() for t in (m._parameters, m._buffers)]
    before = [dict(t.items()) for t in tables]
    for table, own in zip(tables, before, strict=True):
        for name, x in own.items():
            if x is not None:
                table[name] = named[id(x)]
    try:
        yield
    finally:
        for table, own in zip(tables, before, strict=True):
            for name in [n for n, _ in table.items() if n not in own]:  # buffers that the call made
                del table[name]
            for name, x in own.items():
                table[name] = x


def record(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    call: Callable[..., Any] | None = None,
    name: str = "",
) -> Recording:
    """Trace one call of a module with tensors by keyword, or of `call(module, **inputs)`.

    Weights and running statistics may be anything; other buffers and constants are what they are. What is recorded is
    what ran, for these values: conditions on numbers that were read are listed. Raises `Unrecordable`.
    """
    graph = Graph(name or type(module).__name__)
    tape = Tape(Builder(graph))
    stack: list[Frame] = []
    owned: dict[str, torch.Tensor] = {}
    with ExitStack() as held:
        held.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of switches that this machine's build does not have
        held.enter_context(torch.no_grad())
        held.enter_context(torch.compiler.set_stance("force_eager"))  # of parts that are compiled
        held.enter_context(torch.backends.mkldnn.flags(enabled=False))
        held.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        held.enter_context(sdpa_kernel(SDPBackend.MATH))
        held.enter_context(untouched(module))
        held.enter_context(_tracked(module, stack))
        functional = _Functional(Recorder(tape, stack))

        def lifted(x: torch.Tensor) -> torch.Tensor:
            with functional:
                wrapped: torch.Tensor = FunctionalTensor.to_functional(x)
            return wrapped

        arguments = {}
        for key, x in inputs.items():
            base = x.detach().clone()
            arguments[key] = lifted(base)
            tape.declare(_base(arguments[key]), key)
        for key, x in (*module.named_parameters(), *module.named_buffers()):
            owned[key] = lifted(x.detach())
            if isinstance(x, nn.Parameter) or key.rpartition(".")[2] in RUNNING:
                tape.weight(_base(owned[key]), key)
        with functional, _replaced(module, owned):
            try:
                result = (call or _call)(module, **arguments)
            except (Unrecordable, SpecError, OutOfBudget):
                raise
            except (
                Exception
            ) as reason:  # of a kernel that takes no functional tensors, or whatever the model raises
                raise failed(reason) from reason
        with functional.recorder:  # what was written through views is joined when it is asked for
            outputs = {key: _base(y) for key, y in outputs_of(result).items()}
        graph.outputs.update({key: tape[y] for key, y in outputs.items()})
    return tape.recording({k: array(x) for k, x in inputs.items()}, {k: array(y) for k, y in outputs.items()})


def failed(reason: Exception) -> Unrecordable:
    """Return what a call that fails is refused with: the words of its error, and the innermost line of the model."""
    what = str(reason).partition("\n")[0]
    kind = "" if type(reason) is RuntimeError else f"{type(reason).__name__}: "
    if "RegisterFunctionaliz" in what:  # an assertion of the framework's
        kind, what = (
            "",
            "it writes what it computed to a tensor that is no buffer of the module (register_buffer)",
        )
    if any(words in what for words in _TAKEN):
        kind = ""
        what = "it takes numbers out of torch (.numpy(), .tolist(), a packed sequence): what reads them is not seen"
    if "FunctionalTensor on its own" in what:
        kind, what = "", "it computes in another thread, or where torch's modes are off: that is not seen"
    frames, span = reason.__traceback__, Span.none()
    while frames is not None:
        if not frames.tb_frame.f_code.co_filename.startswith(_OWN):
            line = frames.tb_lineno
            span = Span.of_code(frames.tb_frame.f_code.co_filename, line)
        frames = frames.tb_next
    return Unrecordable(f"the call fails: {kind}{what}", span)


def _call(module: nn.Module, **inputs: Any) -> Any:
    return module(**inputs)


def _base(x: torch.Tensor) -> torch.Tensor:
    """The tensor within a functional one, as the recorder sees it."""
    if isinstance(x, FunctionalTensor):
        torch._functionalize_sync(x.elem)
        found: torch.Tensor = torch._from_functional_tensor(x.elem)
        return found
    return x


def outputs_of(result: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a result by name: `output` for one, keys or fields, else `output_0`, ...

    Raises `Unrecordable` where there is none.
    """
    if isinstance(result, torch.Tensor):
        return {"output": result}
    if isinstance(result, Mapping):
        items = [(str(k), v) for k, v in result.items()]
    elif hasattr(result, "_asdict"):
        items = list(result._asdict().items())
    elif isinstance(result, tuple | list):
        items = [(f"output_{i}", v) for i, v in enumerate(result)]
    else:
        items = [(k, v) for k, v in getattr(result, "__dict__", {}).items() if not k.startswith("_")]
    found = {k: v for k, v in items if isinstance(v, torch.Tensor)}
    if not found:
        raise Unrecordable(f"the call gives {type(result).__name__} without a tensor in it", Span.none())
    return found


__all__ = ["failed", "here", "outputs_of", "record", "untouched"]
