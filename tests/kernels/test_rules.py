"""Kernels on text: which graphs are one, and which are nearly one and are none."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest
from kernel_cases import ATTENTION, CASES, LINEAR, MASKED

from mpcompile.ir import Graph, Parameter, Value
from mpcompile.kernels import KERNELS, RULES, Kernel, find_kernels
from mpcompile.text import parse


def kernels(graph: Graph) -> list[Kernel]:
    reads = Counter(v for n in graph.nodes() for v in n.inputs) + Counter(graph.outputs.values())
    return list(find_kernels(graph, graph.nodes(), reads, lambda kernel: True).values())


def shown(graph: Graph, kernel: Kernel) -> str:
    """A kernel with its operands by their names in the text, and its options."""
    named = {v: k for k, v in graph.inputs.items()}

    def of(value: object) -> str:
        if not isinstance(value, Value):
            return str(value)
        op = graph.node(value).op
        return named.get(value) or (op.path if isinstance(op, Parameter) else "mask")

    names = [
        f.name for f in fields(kernel) if f.name not in ("result", "absorbed", "product", "parts", "first")
    ]
    order = sorted(names, key=lambda name: name in ("shape", "eps", "scale", "causal", "axis", "alpha"))
    return f"{kernel.name}({', '.join(f'{f} = {of(getattr(kernel, f))}' for f in order)})"


@pytest.mark.parametrize("name", CASES)
def test_a_graph_is_a_kernel(name: str) -> None:
    graph = parse(CASES[name].text)
    (kernel,) = kernels(graph)
    assert shown(graph, kernel) == CASES[name].kernel
    made = graph.node(graph.outputs["y"])
    assert made.id == kernel.place or len(kernel.results) > 1 or made.op.name in ("neg", "mul")


NEAR = [(name, *change) for name, case in CASES.items() for change in case.near]


@pytest.mark.parametrize(
    ("name", "old", "new", "left"), NEAR, ids=[f"{n[0]}: {n[1]} -> {n[2]}" for n in NEAR]
)
def test_what_is_nearly_a_kernel_is_none(name: str, old: str, new: str, left: tuple[str, ...]) -> None:
    text = CASES[name].text
    assert old in text
    changed = text.replace(old, new)
    if ", m: " in new:  # an inner value is a result, too
        inner = {"layer_norm": "mean", "gelu": "phi", "attention": "scaled", "class_log_prob": "log_p"}[name]
        changed = changed.replace("return y = %y", f"return y = %y\n  return m = %{inner}")
    assert tuple(k.name for k in kernels(parse(changed))) == left


def test_every_kernel_has_a_case() -> None:
    assert {case.kernel.partition("(")[0] for case in CASES.values()} == set(KERNELS)
    assert {rule.kernel for rule in RULES} == set(KERNELS.values())


def test_a_mask_of_a_caller_is_not_trusted() -> None:
    """A formula around a function is the mask of one call of it; the next may hand in another."""
    graph = parse(ATTENTION)
    reads = Counter(v for n in graph.nodes() for v in n.inputs) + Counter(graph.outputs.values())
    own = [n for n in graph.nodes() if n.op.name not in ("iota", "less_equal")]
    assert not find_kernels(graph, own, reads, lambda kernel: True)


def test_a_constant_that_differs_between_uses_is_not_trusted() -> None:
    graph = parse(MASKED)
    reads = Counter(v for n in graph.nodes() for v in n.inputs) + Counter(graph.outputs.values())
    assert not find_kernels(graph, graph.nodes(), reads, lambda kernel: True, fixed=lambda constant: False)


def test_a_triangle_is_causal_by_its_values() -> None:
    text = MASKED.replace("2, 2, 4]", "2, 3, 4]").replace("[N, 2, 2, 5]", "[N, 2, 3, 5]")
    rows = "[[true, false, false], [true, true, false], [true, true, true]] : bool[3, 3]"
    text = text.replace("[[true, false, true], [false, true, false]] : bool[2, 3]", rows)
    for old, causal in (("[true, true, false]", True), ("[true, false, true]", False)):
        graph = parse(text.replace("[true, true, false]", old))
        (kernel,) = kernels(graph)
        assert (kernel.causal, kernel.mask is None) == (causal, causal)  # type: ignore[attr-defined]  # attention


def test_a_shared_transpose_is_read_by_both() -> None:
    """A view of a weight costs nothing: each product takes the weight itself."""
    graph = parse(
        LINEAR.replace(
            "%y = add(%product, %c)", "%again = mat_mul(%product, %turned)\n  %y = add(%again, %c)"
        )
    )
    found = kernels(graph)
    assert [k.name for k in found] == ["linear", "linear"]
    turned = next(n.id for n in graph.nodes() if n.op.name == "transpose")
    assert all(turned not in k.absorbed for k in found)
