"""How much of a change the suite sees: mutants of `ops`, `analysis` and `passes`, each against the tests that execute it.

    python benchmarks/mutants.py --count 300 --seed 0 --state mutants.jsonl

A mutant is one change of one expression or statement. It is made in a copy of the package that stands before the checkout
on the path of the tests, so the checkout is never written.

The tests are the fast part of the suite: those of some `--folders` that pass within `--slow` processor seconds while they
are traced. One traced run of them says which lines of the three rooms each executes (`STATE.map`; a file of tests is
traced anew where it or the package has changed). A mutant runs against the tests that execute its statement, first those
that are quick and about its file, and behind them the other tests of the same files, which may share what those
computed. They run in rounds, each in a fork of one warm process and longer than the one before, until a test fails or
`--budget` is used up. So a mutant is killed by a failing test, or by much more processor time than the tests took; one
that survives shows a hole in the fast part, or changes nothing that can be observed (a faster way, a message). At the
end, every test that killed is held to pass where nothing is changed.

`--state` keeps every outcome: a run that is stopped goes on. `--again` gives survivors another chance, after new tests.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import copy
import hashlib
import itertools
import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from forked_tests import ROOT, File, Masks, failing, traced, warm

ROOMS = ("ops", "analysis", "passes")
#: Where tests run the three rooms in their own process, the nearest first. Other folders test what stands around them.
FOLDERS = (
    "passes", "analysis", "conformance", "specs_invalid", "text", "outline", "lowering", "laws", "bijectors", "report",
    "extending", "layers",
)  # fmt: skip
#: Seconds of the rounds of a mutant, as measured under the tracer. The last goes up to `--budget`.
ROUNDS = (4.0, 12.0)

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
    first: int  # the lines of the statement, or of the head of one that has a body
    last: int

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}:{self.start}:{self.kind}"

    def applied(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    @property
    def mask(self) -> int:
        return sum(1 << line for line in range(self.first, self.last + 1))

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

    def visit(node: ast.AST, head: tuple[int, int]) -> None:
        head = _head(node) or head
        if isinstance(node, ast.expr | ast.stmt):
            for kind, new in changes(node):
                assert node.end_lineno is not None and node.end_col_offset is not None
                text = ast.unparse(ast.fix_missing_locations(new))
                span = place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
                text = f"({text})" if isinstance(new, ast.expr) else text
                found.append(Mutant(path, node.lineno, kind, *span, text, *head))
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(
                node, ast.Raise | ast.JoinedStr
            ):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child, head)

    visit(tree, (1, 1))
    return found


def _head(node: ast.AST) -> tuple[int, int] | None:
    """The lines of a statement, without its body; of the pattern and the guard of a case."""
    if isinstance(node, ast.match_case):
        return node.pattern.lineno, max(node.pattern.lineno, node.body[0].lineno - 1)
    if not isinstance(node, ast.stmt):
        return None
    inner = (
        node.cases[0].pattern if isinstance(node, ast.Match) else next(iter(getattr(node, "body", ())), None)
    )
    end = node.end_lineno if inner is None else max(node.lineno, inner.lineno - 1)
    assert end is not None
    return node.lineno, end


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


# --- which tests ---


Map = dict[str, File]


def mapped(package: Path, state: Path, folders: Sequence[str], slow: float) -> Map:
    """Every file of tests, traced; from the file `state` where nothing has changed."""
    known = {}
    if state.exists():
        known = {row["key"]: row["file"] for row in map(json.loads, state.read_text("utf-8").splitlines())}
    shared = [*(ROOT / "mpcompile").rglob("*.py"), *(ROOT / "tests" / "support").rglob("*.py")]
    common = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(shared)))
    found = {}
    for path in (p for folder in folders for p in sorted((ROOT / "tests" / folder).rglob("test_*.py"))):
        name, digest = path.relative_to(ROOT).as_posix(), common.copy()
        digest.update(name.encode() + path.read_bytes())
        if (key := digest.hexdigest()) not in known:
            file = traced(package, [f"mpcompile/{room}" for room in ROOMS], name, slow)
            if file is None:
                raise SystemExit(f"{name} crashes where nothing is changed")
            known[key] = file.text()
            with state.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"key": key, "name": name, "file": known[key]}) + "\n")
            print(f"{name}: {len(file.tests)} tests, {file.seconds:.1f} s beside them", flush=True)
        found[name] = File.of_text(known[key])
        found[name].tests = {k: t for k, t in found[name].tests.items() if t.passed and t.seconds < slow}
    return found


def executes(lines: Masks, mutant: Mutant) -> bool:
    return bool(lines.get(mutant.path, 0) & mutant.mask)


def candidates(mutant: Mutant, files: Map) -> list[str]:
    """The tests that may see a mutant, in the order in which they run: what is quick and about its file comes first.

    What only imports execute concerns each test that executes any line of the file.
    """
    chosen = {k: [n for n, t in f.tests.items() if executes(t.lines, mutant)] for k, f in files.items()}
    if not any(chosen.values()) and any(executes(f.lines, mutant) for f in files.values()):
        chosen = {k: [n for n, t in f.tests.items() if t.lines.get(mutant.path)] for k, f in files.items()}
    ordered: list[tuple[bool, float, str]] = []
    for key, file in files.items():
        share = file.seconds / max(1, min(10, len(chosen[key])))  # of what the file costs once

        def cost(name: str, file: File = file, share: float = share) -> float:
            test = file.tests[name]
            about = test.lines.get(mutant.path, 0).bit_count() + 1
            return (test.seconds + share) * sum(m.bit_count() for m in test.lines.values()) / about

        ordered += [(False, cost(name), name) for name in chosen[key]]
        if chosen[key] or executes(file.lines, mutant):
            ordered += [(True, cost(name), name) for name in file.tests.keys() - chosen[key]]
    return [name for *_, name in sorted(ordered)]


def rounds(names: list[str], files: Map, budget: float) -> Iterator[tuple[list[str], float]]:
    """Selections of tests and the seconds that each takes, until `budget` is used up. No test is in two."""
    rest = iter(names)
    for limit in (*ROUNDS, budget - sum(ROUNDS)):
        taken: dict[str, list[str]] = {}
        used = 0.0
        for name in rest:
            key = name.partition("::")[0]
            used += files[key].tests[name].seconds + (0.0 if key in taken else files[key].seconds)
            taken.setdefault(key, []).append(name)
            if used > limit:
                break
        if taken:
            yield list(itertools.chain.from_iterable(taken.values())), used


# --- the run ---


@contextmanager
def changed(mutant: Mutant, package: Path) -> Iterator[None]:
    """The copy of the package with a mutant in it."""
    target, source = package / mutant.path, (ROOT / mutant.path).read_text(encoding="utf-8")
    target.write_text(mutant.applied(source), encoding="utf-8")
    try:
        yield
    finally:
        target.write_text(source, encoding="utf-8")


def outcome(mutant: Mutant, package: Path, files: Map, budget: float) -> dict[str, object]:
    """killed, late, survived or unreached; the first failing test, how many ran, and processor seconds."""
    names = candidates(mutant, files)
    ran, total, test = 0, 0.0, ""
    found = "survived" if names else "unreached"
    with changed(mutant, package):
        for chosen, expected in rounds(names, files, budget):
            failed, seconds = failing(package, chosen, 8 + 3 * expected)
            ran, total = ran + len(chosen), total + seconds
            if failed is None or failed:
                found, test = ("killed", failed[0]) if failed else ("late", "")
                break
    return {"outcome": found, "test": test, "tests": len(names), "ran": ran, "seconds": round(total, 1)}


def sound(rows: list[dict[str, object]], package: Path) -> set[str]:
    """Tests that killed, but fail where nothing is changed."""
    killers = sorted({str(row["test"]) for row in rows if "::" in str(row["test"])})
    failed, _ = failing(package, killers, 3600, stop=False) if killers else ([], 0.0)
    if failed is None:
        raise SystemExit("the tests that killed crash where nothing is changed")
    return set(failed)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=3, help="seconds above which a test is not run")
    parser.add_argument("--budget", type=float, default=120, help="seconds of tests for one mutant")
    parser.add_argument("--state", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--folders", nargs="+", default=FOLDERS, help="of tests/")
    parser.add_argument("--only", default="", help="paths that contain this")
    parser.add_argument("--again", action="store_true", help="run survivors once more")
    return parser.parse_args()


def run(options: argparse.Namespace, package: Path) -> list[dict[str, object]]:
    """The outcome of every mutant, from the state or from a run; each is printed, survivors with what they change."""
    done = {}
    if options.state.exists():
        done = {
            (row := json.loads(line))["name"]: row for line in options.state.read_text("utf-8").splitlines()
        }
    if options.again:
        done = {name: row for name, row in done.items() if row["outcome"] in ("killed", "late")}
    files = mapped(package, options.state.with_suffix(".map"), options.folders, options.slow)
    print(f"{sum(len(f.tests) for f in files.values())} tests in {len(files)} files", flush=True)
    rows = []
    for mutant in sample(options.count, options.seed):
        if options.only not in mutant.path:
            continue
        if mutant.name not in done:
            row = asdict(mutant) | {"name": mutant.name} | outcome(mutant, package, files, options.budget)
            with options.state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            done[mutant.name] = row
        rows.append(row := done[mutant.name])
        print(f"{row['outcome']:10}{mutant.path}:{mutant.line}  {mutant.kind}  {row['test']}", flush=True)
        if row["outcome"] in ("survived", "unreached"):
            print(mutant.diff((ROOT / mutant.path).read_text(encoding="utf-8")), flush=True)
    return rows


def main() -> None:
    options = parsed()
    warm()
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder).resolve()
        shutil.copytree(
            ROOT / "mpcompile", package / "mpcompile", ignore=shutil.ignore_patterns("__pycache__")
        )
        compileall.compile_dir(package, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        rows = run(options, package)
        unsound = sound(rows, package)
    for test in unsound:
        print(f"fails without a change, so it kills nothing: {test}")
    killed = sum(row["outcome"] in ("killed", "late") and row["test"] not in unsound for row in rows)
    print(f"{killed} of {len(rows)} mutants killed, {sum(float(str(r['seconds'])) for r in rows):.0f} s")


if __name__ == "__main__":
    main()
