"""What backends emit for a spec, held to what they emit for it with every name of its author's replaced.

The new names are of the same length and in the same order, so that nothing but names may differ: the syntax tree without
names and constants is the same, and so is every name that the text reads but does not define. A name of a spec can thus
bring no code of its own.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutators
import words

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


DEFINED = re.compile(
    r"\b(?:model|input|target|condition|latent|net|block|mask|carry|over|as)\s+([A-Za-z_]\w*)"
    r"|(?<=[(,])\s*([A-Za-z_]\w*)\s*=\s*[\d.]+\s*(?=[,)])"
)
SIZES = re.compile(r"(?:real|binary|category\([^)]*\)|integer\([^)]*\))\[([^\]\n]*)\]")


def own_names(text: str) -> list[str]:
    """Names that a spec defines, in order of the alphabet; parameters those of its first line."""
    text = re.sub(r"#[^\n]*", "", text)
    head, _, rest = text.partition("\n")
    found = {n for m in DEFINED.finditer(head) for n in m.groups() if n}
    found |= {m[1] for m in DEFINED.finditer(rest) if m[1]}
    found |= {n for m in SIZES.finditer(text) for n in WORD.findall(m[1])}
    return sorted(found)


def renamed(text: str, names: dict[str, str]) -> str:
    return WORD.sub(lambda m: names.get(m[0], m[0]), text)


def plain(names: list[str]) -> dict[str, str]:
    """For each name a meaningless one of the same length."""
    out: dict[str, str] = {}
    for number, name in enumerate(names):
        letters = ""
        for _ in range(max(0, len(name) - 1)):
            letters = "jkqvwyzu"[number % 8] + letters
            number //= 8
        new = "Q" + letters
        while new in out.values():
            new = new[:-1] + chr(ord(new[-1]) + 1) if len(new) > 1 else chr(ord(new) + 1)
        out[name] = new
    return out


def tree(source: str) -> tuple[str, frozenset[str]]:
    """The syntax tree without constants and names of its own; and the names that it reads from elsewhere.

    A table in capitals at the top, and a buffer, is a constant, however it is written. What `sampling.py` takes from
    `model.py` has a name of the spec, as what it defines has.
    """
    whole = ast.parse(source)
    for statement in whole.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]).isupper():
            statement.value = ast.Constant(0)
    for call in ast.walk(whole):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "self.register_buffer":
            del call.args[1:]
    nodes = list(ast.walk(whole))
    from_model = {
        a.name for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "model" for a in n.names
    }
    imported = {
        a.asname or a.name.partition(".")[0]
        for n in nodes
        if isinstance(n, ast.Import | ast.ImportFrom)
        for a in n.names
    } - from_model
    stored = from_model | {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    stored |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    stored |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    free = {n.id for n in nodes if isinstance(n, ast.Name)} - stored
    kinds = []
    for n in nodes:
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in imported:
            kinds.append(f".{n.attr}")
        elif isinstance(n, ast.Name):
            kinds.append(n.id if n.id in free else "_")
        elif not isinstance(n, ast.expr_context | ast.Constant):
            kinds.append(type(n).__name__)
    return " ".join(kinds), frozenset(free)


def operators(model: bytes) -> tuple[str, frozenset[str]]:
    """The operators of an ONNX file in order, bodies of loops within; there are no other names."""
    import onnx

    loaded = onnx.load_from_string(model)
    found: list[str] = []

    def visit(graph: Any) -> None:
        for node in graph.node:
            found.append(f"{node.domain}:{node.op_type}/{len(node.input)}")
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    visit(attribute.g)

    for function in loaded.functions:
        visit(function)
    visit(loaded.graph)
    return " ".join(found), frozenset()


def prepare(backend: str) -> Callable[[Path], Callable[[bytes], str]]:
    def prepared(folder: Path) -> Callable[[bytes], str]:
        from mpcompile.backend import find_backend
        from mpcompile.budget import Budget, within
        from mpcompile.diagnostics import Source, SpecError
        from mpcompile.frontend import parse_text
        from mpcompile.lowering import lower
        from mpcompile.passes.pipeline import optimise

        spell = find_backend(backend)

        def files(text: str) -> dict[str, str | bytes]:
            with within(Budget(1.0)):
                module = lower(parse_text(text, "m.mp", "mp"), Source("m.mp", text))
            return spell.emit(optimise(module).module)

        def facts(found: dict[str, str | bytes]) -> list[tuple[str, frozenset[str]]]:
            return [operators(f) if isinstance(f, bytes) else tree(f) if n.endswith(".py") else ("", frozenset())
                    for n, f in sorted(found.items())]  # fmt: skip

        def run(data: bytes) -> str:
            text = data.decode("utf-8", "replace")
            if len(text) > 1500:
                return "long"
            try:
                first = files(text)
            except SpecError as problem:
                return problem.diagnostics[0].code
            found = facts(first)
            other = renamed(text, plain(own_names(text)))
            if other == text:
                return "emitted"
            try:
                second = facts(files(other))
            except SpecError as problem:
                return f"renamed {problem.diagnostics[0].code}"
            assert [free for _, free in found] == [free for _, free in second], (
                "a name is read that is not defined"
            )
            if found == second:
                return "emitted"
            # A name that must be escaped is longer, and lines break at a length.
            assert not set(own_names(text)).isdisjoint(words.HOSTILE), "renamed, it is another program"
            return "laid out otherwise"

        return run

    return prepared


def mutator() -> mutators.Mutator:
    """Mostly: give names of the author's hostile ones, or change a number; else any token."""
    spelled = words.words()
    tokens = mutators.text(spelled, words.odd(100))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        r = random.Random(seed)
        choice = r.random()
        text = data.decode("utf-8", "replace")
        if choice < 0.25:
            import odd_specs

            text = odd_specs.spec(seed)
        names = own_names(text)
        if choice < 0.7 and names:
            chosen = {n: r.choice(words.HOSTILE) for n in r.sample(names, min(len(names), r.randint(1, 3)))}
            return renamed(text, chosen).encode()[:most]
        if choice < 0.8:
            return re.sub(
                r"\b\d\b", lambda m: str(r.randint(1, 4)) if r.random() < 0.3 else m[0], text
            ).encode()[:most]
        return tokens(text.encode("utf-8", "replace"), most, seed)

    return mutate
