"""How much of a change the suite sees: mutants of `ops`, `analysis` and `passes`, each against the tests of its room.

    python benchmarks/mutants.py --count 300 --seed 0 --state mutants.jsonl

A mutant is one change of one expression or statement. It is made in a copy of the package that stands before the checkout
on the path of the tests, so the checkout is never written. `--state` keeps every outcome: a run that is stopped goes on.
A mutant is killed by a failing test, or by more processor time than `--limit`; one that survives shows a hole in the
suite, or changes nothing that can be observed (a faster way, a message).
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("ops", "analysis", "passes")
#: The tests that every mutant of a room runs against, in this order, behind those that have the name of its file.
TESTS = {
    "ops": ("tests/conformance/test_primitives.py", "tests/conformance/test_domains.py",
            "tests/conformance/test_traits.py", "tests/conformance/test_exactness.py", "tests/analysis/test_cost.py"),
    "analysis": ("tests/analysis", "tests/specs_invalid", "tests/conformance/test_exactness.py"),
    "passes": ("tests/passes", "tests/backends/test_torch_outline.py"),
}  # fmt: skip

FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
EXCHANGED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed file: what stands at `start`..`end` (characters of the text) becomes `text`."""

    path: str
    line: int
    kind: str
    start: int
    end: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}:{self.start}:{self.kind}"

    def applied(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    def diff(self, source: str) -> str:
        """The lines that change, before and after."""
        before, after = source.splitlines(), self.applied(source).splitlines()
        while before and after and before[0] == after[0]:
            before, after = before[1:], after[1:]
        while before and after and before[-1] == after[-1]:
            before, after = before[:-1], after[:-1]
        return "\n".join([f"- {line}" for line in before] + [f"+ {line}" for line in after])


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every change of one node: its kind, and the node that takes its place."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[op]) if type(op) in FLIPPED:
            new.ops = [FLIPPED[type(op)]()]
            yield "comparison", new
        case ast.BinOp(op=op) if type(op) in EXCHANGED:
            new.op = EXCHANGED[type(op)]()
            yield "operator", new
        case ast.BoolOp(op=op):
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "and/or", new
        case ast.UnaryOp(op=ast.Not()):
            yield "not", new.operand
        case ast.Constant(value=bool()):
            yield "constant", ast.Constant(not new.value)
        case ast.Constant(value=int() | float()):
            yield "constant", ast.Constant(new.value + 1)
        case ast.Call(args=[first, second, *rest]) if type(first) is type(second):  # others fail at once
            if not isinstance(first, ast.Starred) and ast.dump(first) != ast.dump(second):
                new.args = [second, first, *rest]
                yield "arguments", new
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Continue() | ast.Raise():
            yield "statement", ast.Pass()


def mutants(path: str, source: str) -> list[Mutant]:
    """All mutants of a file. Annotations, messages of exceptions and docstrings are no behaviour and stay."""
    tree = ast.parse(source)
    starts = [0]  # of lines, in bytes: the columns of `ast` count those
    for line in source.encode().split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    data, found = source.encode(), []

    def place(line: int, column: int) -> int:
        return len(data[: starts[line - 1] + column].decode())

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.expr | ast.stmt):
            for kind, new in changes(node):
                assert node.end_lineno is not None and node.end_col_offset is not None
                text = ast.unparse(ast.fix_missing_locations(new))
                span = place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
                found.append(
                    Mutant(path, node.lineno, kind, *span, f"({text})" if isinstance(new, ast.expr) else text)
                )
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(
                node, ast.Raise | ast.JoinedStr
            ):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child)

    visit(tree)
    return found


def sample(count: int, seed: int) -> list[Mutant]:
    """`count` mutants in an order of their own, the kinds in turn, so that constants are not most of them."""
    kinds: dict[str, list[Mutant]] = {}
    for room in ROOMS:
        for file in sorted((ROOT / "mpcompile" / room).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            for mutant in mutants(name, file.read_text(encoding="utf-8")):
                kinds.setdefault(mutant.kind, []).append(mutant)
    order = random.Random(seed)
    for each in kinds.values():
        order.shuffle(each)
    turns = [
        m
        for turn in range(max(map(len, kinds.values())))
        for each in kinds.values()
        for m in each[turn : turn + 1]
    ]
    return turns[:count]


def tests_of(path: str) -> list[str]:
    """Files of tests for a file of the package: those with its name or its folder's first, for they kill at once."""
    _, room, *rest = Path(path).with_suffix("").parts
    named = [f"tests/{room}/test_{part.strip('_')}.py" for part in reversed(rest)]
    return [*(t for t in named if (ROOT / t).exists()), *TESTS[room]]


def run(mutant: Mutant | None, tests: list[str], overlay: Path, limit: int) -> tuple[str, str, float]:
    """(killed, survived or late, the first failing test, processor seconds) of one mutant; None: of no change."""
    if mutant is not None:
        target, source = overlay / mutant.path, (ROOT / mutant.path).read_text(encoding="utf-8")
        target.write_text(mutant.applied(source), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            # -P: the current folder, which is the checkout, is not on the path
            [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-n", "0", "--tb=no", "-p", "no:cacheprovider", *tests],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(overlay), "OMP_NUM_THREADS": "1", "CI": "1"}
            | {"PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5)),
        )  # fmt: skip
    finally:
        if mutant is not None:
            target.write_text(source, encoding="utf-8")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    outcome = "survived" if done.returncode == 0 else "late" if done.returncode < 0 else "killed"
    return outcome, failed[1] if failed else "", seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=240, help="processor seconds of a mutant")
    parser.add_argument("--state", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--only", default="", help="paths that contain this")
    options = parser.parse_args()
    done = {}
    if options.state.exists():
        done = {(row := json.loads(line))["name"]: row for line in options.state.read_text().splitlines()}
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder)
        shutil.copytree(
            ROOT / "mpcompile", overlay / "mpcompile", ignore=shutil.ignore_patterns("__pycache__")
        )
        where = [sys.executable, "-P", "-c", "import mpcompile; print(mpcompile.__file__)"]
        used = subprocess.run(
            where, env=os.environ | {"PYTHONPATH": folder}, capture_output=True, text=True, check=True
        )
        if not used.stdout.startswith(folder):
            raise SystemExit(f"the tests would import {used.stdout.strip()}, not the copy")
        sound: set[tuple[str, ...]] = set()
        for mutant in (m for m in sample(options.count, options.seed) if options.only in m.path):
            tests = tests_of(mutant.path)
            if mutant.name not in done:
                if tuple(tests) not in sound and run(None, tests, overlay, options.limit)[0] != "survived":
                    raise SystemExit(
                        f"without a change there are failures, or --limit is too short: {' '.join(tests)}"
                    )
                sound.add(tuple(tests))
                outcome, test, seconds = run(mutant, tests, overlay, options.limit)
                row = asdict(mutant) | {
                    "name": mutant.name,
                    "outcome": outcome,
                    "test": test,
                    "seconds": round(seconds, 1),
                }
                done[mutant.name] = row
                with options.state.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            row = done[mutant.name]
            print(f"{row['outcome']:9}{mutant.path}:{mutant.line}  {mutant.kind}  {row['test']}", flush=True)
            if row["outcome"] == "survived":
                print(mutant.diff((ROOT / mutant.path).read_text(encoding="utf-8")), flush=True)
    rows = [row for row in done.values() if options.only in row["path"]]
    killed = sum(row["outcome"] != "survived" for row in rows)
    print(f"{killed} of {len(rows)} mutants killed")


if __name__ == "__main__":
    main()
