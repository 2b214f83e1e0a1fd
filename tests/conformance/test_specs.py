"""Laws that every spec obeys: emitted torch is the oracle, densities are what they say, proofs hold numerically."""

from __future__ import annotations

import numpy as np
import pytest
from specs_under_test import NAMES, inputs, module, weights

from mpcompile import api, ops
from mpcompile.analysis import prove
from mpcompile.backend import find_backend
from mpcompile.interpret import interpret
from mpcompile.ir import Constant, Module

FLOWS = [n for n in NAMES if "forward" in module(n).programs]
AUTOREGRESSIVE = [n for n in NAMES if "conditionals" in module(n).programs]
PROGRAMS = [(n, p) for n in NAMES for p in module(n).programs]


@pytest.mark.parametrize(("name", "program"), PROGRAMS)
def test_torch_is_the_oracle(name: str, program: str) -> None:
    """Every program in float64, on two batch sizes and two lengths, to 1e-9."""
    m = module(name)
    w = weights(m)
    session = find_backend("torch").session(m, w, precision="float64")
    for batch, length in ((3, 7), (2, 5)):
        x = inputs(m, program, batch, length)
        expected, found = interpret(m.programs[program], w, x), session.run(program, x)
        assert expected.keys() == found.keys()
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_torch_in_single_precision(name: str) -> None:
    """The loss and its gradient at the initial weights in float32, to 1e-5."""
    m = module(name)
    w = weights(m, spread=0.0)
    x = inputs(m, "loss", 4)
    single = find_backend("torch").session(m, w, precision="float32")
    expected = interpret(m.programs["loss"], w, x)
    found = single.run("loss", x)
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", FLOWS)
def test_log_det_is_that_of_the_true_jacobian(name: str) -> None:
    """`log_det` against slogdet of autograd's Jacobian, and inverse(forward(x)) = x, in float64."""
    torch = pytest.importorskip("torch")
    m = module(name)
    live = find_backend("torch").compile(m, weights(m)).double()
    x = {k: torch.tensor(v) for k, v in inputs(m, "forward", 1).items()}
    subject = next(k for k in x if k in m.fields)

    def latent(value: object) -> object:
        return live.forward(**(x | {subject: value}))["z"].reshape(-1)

    out = live.forward(**x)
    jacobian = torch.autograd.functional.jacobian(latent, x[subject])
    size = out["z"].numel()
    sign, log_det = torch.linalg.slogdet(jacobian.reshape(size, size))
    assert sign != 0
    np.testing.assert_allclose(out["log_det"].item(), log_det.item(), rtol=1e-7, atol=1e-7)
    back = live.inverse(z=out["z"])
    np.testing.assert_allclose(back.detach().numpy(), x[subject].numpy(), atol=1e-4)


def smooth(m: Module) -> object:
    """`conditionals` with rectifiers replaced, so that no unit is dead."""
    return m.programs["conditionals"].rebuild(
        lambda b, node, ins: (b.emit(ops.Softplus(), *ins),) if isinstance(node.op, ops.Relu) else None
    )


def numeric_support(m: Module, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(found, derived): bool [elements, elements], from changing one input element at a time in float64.

    Rows are variables whose conditional changes, columns the variable that was changed.
    """
    from mpcompile.analysis.dependence import environment_for, support

    graph = smooth(m)
    claim = next(c for c in m.claims if c.kind == "autoregressive")
    rng = np.random.default_rng(1)
    w = {  # positive, so that nothing cancels; scaled by the fan-in, so that no gate saturates
        k: rng.uniform(0.5, 1.5, v.shape) / max(1.0, v.size / v.shape[0] if v.ndim > 1 else 10.0)
        for k, v in weights(m).items()
    }
    base = inputs(m, "conditionals", 1)[claim.subject]
    field = m.fields[claim.subject]
    size = base.size
    batch = np.repeat(base, size + 1, axis=0).reshape(size + 1, size)
    levels = field.classes or 2
    for j in range(size):
        batch[j + 1, j] = (batch[j + 1, j] + 1) % levels
    out = interpret(graph, w, {claim.subject: batch.reshape(size + 1, *base.shape[1:])})
    axis = claim.arguments["axis"]
    found, derived = np.zeros((size, size), bool), np.zeros((size, size), bool)
    env = environment_for(graph, base.shape[1])
    for key, value in out.items():
        other = tuple(a for a in range(1, value.ndim) if a == axis)
        changed = (
            (np.abs(value[1:] - value[:1]) > 1e-15).any(other)
            if other
            else np.abs(value[1:] - value[:1]) > 1e-15
        )
        found |= changed.reshape(size, size).T
        bits = support(graph, claim.subject, key, env).reshape(*value.shape[1:], size)
        derived |= (bits.any(axis - 1) if axis is not None else bits).reshape(size, size)
    return found, derived


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_dependence_is_exact(name: str) -> None:
    """The derived support equals what changes when one element at a time is changed."""
    found, derived = numeric_support(module(name), name)
    np.testing.assert_array_equal(found, derived)


def masks(m: Module, program: str) -> list[tuple[int, np.ndarray]]:
    """(node id, array) of every 0/1 constant of more than one axis."""
    return [
        (n.id, n.op.array)
        for n in m.programs[program].nodes()
        if isinstance(n.op, Constant) and n.op.array.ndim > 1 and set(np.unique(n.op.array)) == {0.0, 1.0}
    ]


def future(array: np.ndarray) -> np.ndarray:
    """Zero entries of a mask that open a path to the future: all of a dense mask's; of a kernel, taps ahead."""
    closed = np.argwhere(array == 0)
    if array.ndim != 4:
        return closed
    row, column = closed[:, 2] - array.shape[2] // 2, closed[:, 3] - array.shape[3] // 2
    strict = array[0, 0, array.shape[2] // 2, array.shape[3] // 2] == 0
    return closed[(row > 0) | ((row == 0) & (column > 0)) | (strict & (row == 0) & (column == 0))]


MASKED = [n for n in AUTOREGRESSIVE if masks(module(n), "conditionals")]


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_opened_towards_the_future_is_found(name: str) -> None:
    """Single-entry mutations of every mask: each is refuted, with a place and a path from an input to an output."""
    m = module(name)
    graph = m.programs["conditionals"]
    rng = np.random.default_rng(0)
    tried = 0
    for node_id, array in masks(m, "conditionals"):
        entries = future(array)
        for entry in entries[rng.permutation(len(entries))[:12]]:
            broken = array.copy()
            broken[tuple(entry)] = 1.0

            def replace(b, node, ins, node_id=node_id, broken=broken):  # type: ignore[no-untyped-def]
                return (b.emit(Constant.of(broken)),) if node.id == node_id else None

            mutant = Module(**{**vars(m), "programs": {**m.programs, "conditionals": graph.rebuild(replace)}})
            verdict = next(v for v in prove(mutant) if v.claim.kind == "autoregressive")
            assert verdict.status == "refuted", (name, entry)
            (finding,) = verdict.diagnostics
            assert finding.code == "MP301" and finding.span.line > 0
            assert finding.path[0].text.startswith(f"{verdict.claim.subject}[")
            assert len(finding.path) >= 3
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("name", FLOWS)
def test_a_coupling_that_shows_the_net_what_it_transforms_is_found(name: str) -> None:
    """Every coupling mask, opened by one entry: the log-determinant would be wrong, and the proof says so."""
    from dataclasses import replace as changed

    m = module(name)
    subject = next(iter(m.pieces))
    tried = 0
    for position, piece in enumerate(m.pieces[subject]):
        found = [
            (n.id, n.op.array)
            for n in piece.graph.nodes()
            if isinstance(n.op, Constant)
            and n.op.array.ndim >= 1
            and set(np.unique(n.op.array)) == {0.0, 1.0}
        ]
        for node_id, array in found:
            broken = array.copy()
            broken[tuple(np.argwhere(array == 0)[0])] = 1.0

            def rewrite(b, node, ins, node_id=node_id, broken=broken):  # type: ignore[no-untyped-def]
                return (b.emit(Constant.of(broken)),) if node.id == node_id else None

            pieces = list(m.pieces[subject])
            pieces[position] = changed(piece, graph=piece.graph.rebuild(rewrite))
            mutant = Module(**{**vars(m), "pieces": {subject: pieces}})
            verdict = next(v for v in prove(mutant) if v.claim.kind == "jacobian")
            assert verdict.status == "refuted" and verdict.diagnostics[0].span == piece.span, piece.name
            tried += 1
    assert tried >= 8


@pytest.mark.parametrize("name", NAMES)
def test_specs_hold_what_they_claim(name: str) -> None:
    assert api.check(module(name)) == []


def test_teacher_forcing_agrees_with_the_sampler() -> None:
    """What the sampler drew from u at step i is what the conditionals, given the whole sample, draw from u."""
    m = module("made")
    w = weights(m)
    x = inputs(m, "sample", 8)
    drawn = interpret(m.programs["sample"], w, x)["x"]
    logits = interpret(m.programs["conditionals"], w, {"x": drawn})["logits"]
    np.testing.assert_array_equal(drawn, (x["noise_x"] < 1 / (1 + np.exp(-logits))).astype(float))
