"""A layer of a list as a function that the gradient calls a second time (`torch.utils.checkpoint`)."""

from __future__ import annotations

import ast
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpcompile.emission.writer import Writer
from mpcompile.outline import Loop

CHECKPOINT = "torch.utils.checkpoint.checkpoint"


def write_iteration(writer: Writer, loop: Loop, carry_names: Sequence[str], lists: Mapping[int, str]) -> None:
    """Write the body of the statement over the layers: one layer as a function, and its call.

    Variables of this iteration that the function reads are defaults of its arguments, since the gradient calls it when
    they have other values. `lists` are the variables of stacked results.
    """
    op: Any = loop.node.op
    name, result = writer.fresh("iteration"), writer.fresh("made")
    writer.live[name] = writer.live[result] = math.inf
    start = len(writer.lines)
    writer.indent += 1
    writer.write(loop.body)
    following, ys = op.divide(loop.body.outputs)
    results = [writer.tensor(writer.operand(v), v.dtype) for v in (*following, *(ys[i] for i in lists))]
    labels = tuple(label for e in results for label in e.labels)
    writer.statement(f"return {', '.join(e.text for e in results)}", labels)
    for e in results:
        writer.release(e)
    writer.indent -= 1
    written = writer.lines[start:]
    del writer.lines[start:]
    variables = {*writer.live, *writer.given, *writer.symbol_names.values()} - {*carry_names, name, result}
    read = [n for n in _free(_statements(written)) if n in variables]
    formals = [*(f"{n}: Tensor" for n in carry_names), *(f"{n}: Any = {n}" for n in read)]
    writer.lines.append("")
    writer.statement(f"def {name}({', '.join(formals)}) -> Any:")
    writer.lines += [*written, ""]
    targets = [*carry_names, *(f"{result}_{i}" for i in lists)]
    call = f"{CHECKPOINT}({', '.join([name, *carry_names])}, use_reentrant=False, preserve_rng_state=False)"
    writer.statement(f"{', '.join(targets)} = {call}")
    for i, stacked in lists.items():
        writer.statement(f"{stacked}.append({result}_{i})")
    for variable in (name, result):
        writer.live[variable] = 0


def _statements(lines: Sequence[str]) -> list[ast.stmt]:
    text = textwrap.dedent("\n".join(lines))
    (block,) = ast.parse("if True:\n" + textwrap.indent(text, "    ")).body
    assert isinstance(block, ast.If)
    return block.body


def _free(statements: Sequence[ast.stmt]) -> list[str]:
    """Return the names that statements read before they assign them, in order."""
    assigned, found = set[str](), dict[str, None]()
    for name, stored in _names(statements):
        if stored:
            assigned.add(name)
        elif name not in assigned:
            found.setdefault(name)
    return list(found)


def _names(statements: Sequence[ast.AST]) -> Iterator[tuple[str, bool]]:
    """Yield names as they are read and assigned (True), in the order in which that happens."""
    for node in statements:
        if isinstance(node, ast.Name):
            yield node.id, isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.FunctionDef):
            yield from _names(node.args.defaults)
            own = {a.arg for a in node.args.args}
            yield from ((n, False) for n in _free(node.body) if n not in own)
            yield node.name, True
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from _names([] if node.value is None else [node.value])
            yield from _names(node.targets if isinstance(node, ast.Assign) else [node.target])
        elif isinstance(node, ast.For):
            yield from _names([node.iter, node.target, *node.body])
        elif isinstance(node, ast.ListComp | ast.GeneratorExp):
            own = {n for c in node.generators for n, stored in _names([c.target]) if stored}
            inner = [*(c.iter for c in node.generators), node.elt]
            yield from (pair for pair in _names(inner) if pair[0] not in own)
        else:
            yield from _names(list(ast.iter_child_nodes(node)))


__all__ = ["CHECKPOINT", "write_iteration"]
