"""Traps: modules whose recording could say what does not run, and constructs that are answered or refused by name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from mpcompile.diagnostics import SpecError
from mpcompile.diagnostics.report import Report
from mpcompile.foreign import checked, model_of
from mpcompile.foreign.running import difference, unlike
from mpcompile.ir import Builder, Node, Value
from mpcompile.ops import Mul
from mpcompile_torch.reader import TorchModel

CLAIM = "autoregressive(x -> output, order = axis 1)"


def x(places: int = 5, width: int = 4) -> torch.Tensor:
    return torch.randn(1, places, width, generator=torch.Generator().manual_seed(1))


def report(module: nn.Module, given: torch.Tensor | None = None, **how: bool) -> Report:
    return checked(TorchModel(module.eval(), {"x": x() if given is None else given}), [CLAIM], **how)


def status(module: nn.Module, given: torch.Tensor | None = None) -> str:
    torch.manual_seed(0)
    found = report(module, given)
    assert found.specs[0].properties, [d.message for d in found.diagnostics]
    return found.specs[0].properties[0].status


class Of(nn.Module):
    """A module of a function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


# A second opinion ---------------------------------------------------------------------------------------


class Asks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():  # HERE
            return x.cumsum(1)
        return x.flip(1)


def test_the_exported_program_is_compared_with_what_runs() -> None:
    found = report(Asks(), second=True)
    codes = {d.code: d for d in found.diagnostics}
    assert set(codes) == {"MP701", "MP710"}
    line = codes["MP710"].span
    assert found.texts[line.path].text.splitlines()[line.line - 1].endswith("# HERE")
    same = report(Of(lambda x: x.cumsum(1)), second=True)
    assert same.holds and not same.diagnostics
    branch = report(Of(lambda x: x.cumsum(1) if x[0, 0, 0] < 9 else x.flip(1)), second=True)
    assert {d.code for d in branch.diagnostics} == {"MP704", "MP711"} and branch.holds
    function = TorchModel(nn.Linear(4, 4), {"x": x()}, lambda module, x: module(x).cumsum(1))
    assert not checked(function, [CLAIM], second=True).diagnostics


# Constructs ---------------------------------------------------------------------------------------------


class Ahead(torch.autograd.Function):
    """Without `setup_context`."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x * x.flip(1)  # AHEAD

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        return g


class Buffered(nn.Module):
    """Writes its input to a buffer, and reads it from there."""

    def __init__(self, registered: bool) -> None:
        super().__init__()
        if registered:
            self.register_buffer("seen", torch.zeros(1, 5, 4))
        else:
            self.seen = torch.zeros(1, 5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.copy_(x.flip(1))
        return x + self.seen


def hooked() -> nn.Module:
    made = nn.Linear(4, 4)
    made.register_forward_pre_hook(lambda _m, given: (given[0].flip(1),))
    return nn.Sequential(made)


def tied() -> nn.Module:
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    return nn.Sequential(one, Of(lambda x: x.cumsum(1)), other)


def normed(ahead: bool) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = nn.utils.weight_norm(nn.Linear(4, 4))
    return nn.Sequential(part, Of(lambda x: x.flip(1) if ahead else x.cumsum(1)))


def written(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    y.select(1, 0).fill_(3.0)
    y[:, 1:].view(-1)[::2].mul_(2.0)
    return y


def ahead_of_a_view(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y.unsqueeze(0)[..., :-1, :] += x[:, 1:]
    return y


class Returned(nn.Module):
    """Returns what it last wrote through a view, of what is itself a view."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = (x.reshape(5, 4) * 2).reshape(1, 5, 4)
        y[:, :-1] += x[:, 1:]
        return y


class Named(nn.Module):
    """Parts that are called as methods of modules are, and a buffer that its first call makes."""

    def __init__(self) -> None:
        super().__init__()
        self.type, self.half = nn.Linear(4, 4), nn.Linear(4, 4)  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.register_buffer("scale", torch.full((4,), 2.0))
        for part in self.children():
            x = part(x)
        return x.cumsum(1) * self.scale  # type: ignore[operator]


def masked_rows(x: torch.Tensor, number: float) -> torch.Tensor:
    """Row 2 is masked whole: uniform over everything where the number is finite."""
    mask = torch.ones(5, 5).tril()
    mask[2] = 0
    return (x @ x.mT).masked_fill(mask == 0, number).softmax(-1) @ x


def cancels(x: torch.Tensor) -> torch.Tensor:
    """Masked behind the softmax and normalised again."""
    weights = (x @ x.mT).softmax(-1) * torch.ones(5, 5).tril()
    return (weights / weights.sum(-1, keepdim=True)) @ x


def under_autocast(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return (x @ x.mT).tril() @ x


class Unlisted(nn.Module):
    """Weights in a list of Python, which no `parameters()` gives; zero at the start, as of an adapter."""

    def __init__(self, weight: torch.Tensor, ahead: bool = True) -> None:
        super().__init__()
        self.weights, self.ahead = [weight], ahead

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1) + (x.flip(1) if self.ahead else x) * self.weights[0]


class Kept(nn.Module):
    """Keeps the first input that it sees, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.first: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.first = x.flip(1) if self.first is None else self.first
        return (x + self.first) * self.calls


def packed(x: torch.Tensor) -> torch.Tensor:
    rows = nn.utils.rnn.pack_padded_sequence(x, [5], batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(nn.LSTM(4, 4, batch_first=True)(rows)[0], batch_first=True)[0]


def flexible(x: torch.Tensor, ahead: int) -> torch.Tensor:
    rows = x[:, None]
    mask = create_block_mask(lambda _b, _h, q, k: q + ahead >= k, None, None, 5, 5, device="cpu")
    return flex_attention(rows, rows, rows, block_mask=mask)[:, 0]  # type: ignore[no-any-return, union-attr]


def sparse_attention(x: torch.Tensor, masked_first: bool) -> torch.Tensor:
    """The two largest scores of each row, which are compared with themselves: rounding may not decide it."""
    scores = x @ x.mT
    causal = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), float("-inf"))
    least = (causal if masked_first else scores).topk(2, -1).values[..., -1:]
    return causal.masked_fill(scores < least, -1e9).softmax(-1) @ x


def hard_attention(x: torch.Tensor, number: float) -> torch.Tensor:
    scores = x @ x.mT + number * torch.ones(5, 5).triu(1)
    return x.cumsum(1) + scores.argmax(-1)[..., None]


def spelt_out(x: torch.Tensor, axis: int) -> torch.Tensor:
    scores = (x @ x.mT).masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -1e9)
    weights = torch.exp(scores - scores.amax(axis).unsqueeze(axis))
    return (weights / weights.sum(axis, keepdim=True)) @ x


def rotated(x: torch.Tensor) -> torch.Tensor:
    turned = torch.view_as_complex(x.reshape(1, 5, 2, 2)) * torch.polar(
        torch.ones(5, 1), torch.arange(5.0)[:, None]
    )
    return torch.view_as_real((turned.conj() * turned + turned).cumsum(1)).flatten(2)


def reduced(x: torch.Tensor) -> torch.Tensor:
    at = torch.tensor([[4, 3, 2, 1, 0]])[..., None].expand(1, 5, 4)
    return x.scatter(1, at, x, reduce="add")


def banned(x: torch.Tensor) -> torch.Tensor:
    """Logits that are never chosen: their log probability is finite."""
    return x.masked_fill(torch.tensor([True, False, False, True]), -1e4).log_softmax(-1)


def padded(x: torch.Tensor) -> torch.Tensor:
    return F.pad((x * 9).long(), (0, 0, 1, 0), value=1)[:, :-1].float()


def sought(x: torch.Tensor) -> torch.Tensor:
    """Elements by themselves, or along the features alone."""
    apart = torch.cdist(x, torch.eye(4)[None])
    long = x.norm(p=3, dim=-1, keepdim=True) + x.prod(-1, keepdim=True)
    return torch.bucketize(x, torch.tensor([0.0, 1.0])) + apart / long


CASES: dict[str, tuple[nn.Module, str]] = {
    "function": (Of(Ahead.apply), "refuted"),
    "hook": (hooked(), "refuted"),
    "shared": (tied(), "proved"),
    "buffer": (Buffered(True), "refuted"),
    "compiled part": (nn.Sequential(torch.compile(nn.Linear(4, 4)), Of(lambda x: x.cumsum(1))), "proved"),  # type: ignore[arg-type]
    "compiled": (torch.compile(Of(lambda x: x.flip(1))), "refuted"),  # type: ignore[arg-type]
    "scripted": (torch.jit.script(nn.Linear(4, 4)), "proved"),
    "weight norm": (normed(False), "proved"),
    "weight norm ahead": (normed(True), "refuted"),
    "views": (Of(written), "proved"),
    "view ahead": (Of(ahead_of_a_view), "refuted"),
    "returned view ahead": (Returned(), "refuted"),
    "names": (Named(), "proved"),
    "written to its input": (Of(lambda x: x[:, :-1].add_(x[:, 1:].clone()).sum() * 0 + x), "refuted"),
    "scalar": (Of(lambda x: x.cumsum(1) * float(x[0, 0, 0])), "proved"),
    "scalar ahead": (Of(lambda x: x.cumsum(1) * float(x[0, -1, 0])), "refuted"),
    "branch ahead": (Of(lambda x: x.cumsum(1) if x[0, -1, 0] > -0.5 else -x), "refuted"),
    "masked row": (Of(lambda x: masked_rows(x, -1e30)), "refuted"),
    "cancels": (Of(cancels), "undecided"),
    "half": (Of(lambda x: (x.half() @ x.half().mT).tril() @ x.half()), "proved"),
    "autocast": (Of(under_autocast), "proved"),
    "vmap": (Of(torch.vmap(lambda row: row.cumsum(0))), "proved"),
    "unlisted": (Unlisted(nn.Parameter(torch.ones(4))), "refuted"),
    "unlisted zero": (Unlisted(nn.Parameter(torch.zeros(4))), "undecided"),
    "unlisted frozen": (Unlisted(nn.Parameter(torch.zeros(4), requires_grad=False)), "undecided"),
    "unlisted trained": (Unlisted(torch.zeros(4, requires_grad=True)), "undecided"),
    "unlisted own place": (Unlisted(nn.Parameter(torch.zeros(4)), ahead=False), "proved"),
    "kept from the first call": (Kept(), "refuted"),
    "scalar count": (Of(lambda x: x.cumsum(1) * len(x[x > 0])), "refuted"),
    "scalar places": (Of(lambda x: x.cumsum(1) + (x > 0).nonzero().shape[0]), "refuted"),
    "scalar kinds": (Of(lambda x: x.cumsum(1) * torch.unique(x > x.mean()).numel() * len(x[x < 0])), "refuted"),
    "scalar close": (Of(lambda x: x.cumsum(1) if torch.allclose(x[0, -1], x[0, -1].clamp(-1.8, 1.8)) else -x),
                     "refuted"),
    "branch cond": (Of(lambda x: torch.cond(x[0, -1, 0] > -0.5, lambda y: y.cumsum(1), torch.neg, (x,))), "refuted"),
    "flexible": (Of(lambda x: flexible(x, 0)), "proved"),
    "flexible ahead": (Of(lambda x: flexible(x, 1)), "refuted"),
    "median": (Of(lambda x: x.cumsum(1) + x.median()), "refuted"),
    "complex": (Of(lambda x: torch.exp(torch.complex(x, x.cumsum(1))).real), "proved"),
    "complex ahead": (Of(lambda x: torch.exp(torch.complex(x, x.flip(1))).real), "refuted"),
    "complex parts": (Of(rotated), "proved"),
    "bits ahead": (Of(lambda x: x + x.view(torch.int32).flip(1).view(torch.float32)), "refuted"),
    "reduced": (Of(reduced), "refuted"),
    "banned": (Of(banned), "proved"),
    "padded": (Of(padded), "proved"),
    "largest two": (Of(lambda x: sparse_attention(x, True)), "proved"),
    "largest two ahead": (Of(lambda x: sparse_attention(x, False)), "refuted"),
    "hard attention": (Of(lambda x: hard_attention(x, -1e9)), "proved"),
    "hard attention ahead": (Of(lambda x: hard_attention(x, -1.0)), "refuted"),
    "spelt out": (Of(lambda x: spelt_out(x, 2)), "proved"),
    "spelt out along another axis": (Of(lambda x: spelt_out(x, 1)), "refuted"),
    "no rule ahead": (Of(lambda x: x + torch.linalg.pinv(x).mT), "refuted"),
    "sought": (Of(sought), "proved"),
    "gradient": (Of(lambda x: torch.func.grad(lambda y: (y * y).sum())(x)), "proved"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_construct_is_answered(name: str) -> None:
    module, wanted = CASES[name]
    torch.manual_seed(0)
    given = "input" if isinstance(module, nn.Linear | nn.Sequential) or name == "scripted" else "x"
    model = TorchModel(module.eval(), {given: x()})
    found = checked(model, [CLAIM.replace("x ->", f"{given} ->")])
    (answer,) = found.specs[0].properties
    assert answer.status == wanted
    assert any(d.code == "MP704" for d in found.diagnostics) is name.startswith(("scalar", "branch"))
    if name == "function":
        line = found.diagnostics[0].span
        assert found.texts[line.path].text.splitlines()[line.line - 1].endswith("# AHEAD")
    assert not any(isinstance(v, FunctionalTensor) for m in module.modules() for v in vars(m).values())
    if name == "names":
        assert not dict(module.named_buffers()) and all(type(p) is nn.Parameter for p in module.parameters())


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no buffer": (lambda: Buffered(False), "a tensor that is no buffer"),
    "numpy": (lambda: Of(lambda x: torch.from_numpy(x.numpy()[:, ::-1].copy())), r"out of torch \(\.numpy"),
    "quantised": (lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear}),
                  "no rule for the operation linear_dynamic"),
    "list": (lambda: Of(lambda x: x + torch.tensor(x[0].tolist())), r"out of torch .*\.tolist"),
    "packed": (lambda: nn.Sequential(Of(packed)), "packed sequence"),
    "thread": (lambda: Of(lambda x: ThreadPoolExecutor(1).submit(lambda: x.flip(1)).result()), "another thread"),
    "storage": (lambda: Of(lambda x: x.clone().set_(x.flip(1).untyped_storage(), 0, (1, 5, 4), (20, 4, 1))),
                "no rule for the operation set"),
    "sparse": (lambda: Of(lambda x: torch.sparse.mm(torch.eye(5).to_sparse(), x[0])), "no rule for the operation"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_construct_is_refused_by_name(name: str) -> None:
    make, message = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = make()
    given = "input" if name in ("quantised", "packed") else "x"
    found = checked(TorchModel(module, {given: x()}), [CLAIM.replace("x ->", f"{given} ->")])
    assert [d.code for d in found.diagnostics] == ["MP700"] and not found.specs[0].properties
    assert re.search(message, found.diagnostics[0].message)
    assert found.diagnostics[0].span.path


def test_a_model_that_runs_only_where_it_is_recorded() -> None:
    """A write to memory that overlaps what is read: torch refuses it, and functionalisation does not."""

    def overlapping(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, :-1].add_(y[:, 1:])
        return y

    found = report(Of(overlapping))
    assert [d.code for d in found.diagnostics] == ["MP700"] and "single memory location" in found.diagnostics[
        0
    ].message


class Nested(nn.Module):
    def forward(
        self, xs: list[torch.Tensor], options: dict[str, object], ahead: bool
    ) -> tuple[torch.Tensor, None]:
        last = xs[1].flip(1) if ahead else xs[1]
        return (xs[0] + last * options["scale"]).cumsum(1), None


def test_tensors_in_containers_are_inputs_and_other_arguments_are_what_they_are() -> None:
    for ahead, word in ((False, "proved"), (True, "refuted")):
        given = {"xs": [x(), 2 * x()], "options": {"scale": torch.tensor(2.0), "name": None}, "ahead": ahead}
        found = checked(TorchModel(Nested(), given), ["autoregressive(xs_1 -> output_0, order = axis 1)"])
        assert [p.status for p in found.specs[0].properties] == [word]
    assert isinstance(given["xs"], list) and torch.equal(given["xs"][0], x())
    with pytest.raises(SpecError, match="two arrays of the call would be named 'xs_0'"):
        model_of(Nested(), {"xs": {"0": x(), 0: x()}})


def test_a_call_that_gives_no_tensor_and_inputs_without_names_are_said_so() -> None:
    for result in (None, 3, [None]):
        found = report(Of(lambda x, r=result: r))  # type: ignore[misc]
        assert "without a tensor" in found.diagnostics[0].message
    with pytest.raises(SpecError, match="by name, not as tuple"):
        model_of(nn.Linear(4, 4), (x(),))


# What a recording may not take for a constant --------------------------------------------------------------


def test_a_constant_in_the_place_of_what_reads_an_input_is_found_on_other_inputs() -> None:
    """On the inputs of the call such a graph is right, and would be proved to read nothing."""
    model = TorchModel(Of(lambda x: x * 2 + 1), {"x": x()})
    recording = model.record()
    assert unlike(model, recording) == ""

    def frozen(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return (b.constant(2 * recording.inputs["x"]),) if isinstance(node.op, Mul) else None

    wrong = replace(recording, graph=recording.graph.rebuild(frozen))
    assert difference(wrong) < 1e-6 and unlike(model, wrong).endswith(" on other inputs")
