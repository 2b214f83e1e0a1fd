"""What checking a spec costs as networks grow: processor seconds to load it, prove it and look for warnings.

Each row is a process of its own, the best of several. `total` and `peak` are those of the whole process, start-up
(the interpreter and imports) included. With `--against` the same rows run on another tree of this project, say

    git worktree add /tmp/other v0.1.0
    python benchmarks/proof_cost.py --against /tmp/other

in turn with this one, so that both see the same load; exit status 1 where this tree takes more than 1.3 times as long.

    python benchmarks/proof_cost.py [--rows made,pixelcnn,promised] [--repeat 3] [--against TREE] [--limit 1.3]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MADE = """model made(pixels = 784, hidden = 500)
input x: binary[pixels]
mask up = degrees(order = natural)
x ~ autoregressive(order = natural) {
  dense(hidden, mask = up) -> relu -> dense(hidden, mask = up) -> relu -> dense(pixels, mask = strict(up))
}
check { complete(x) }
"""

PIXELCNN = """model pixelcnn(size = 8, layers = 1, width = 64)
input x: integer(0..255)[3, size, size]
block first(ch) on image {
  v = image -> conv(ch, 3, pad = same, mask = causal2d(type = vertical))
  h = (v -> shift_down -> conv(ch, 1)) + (image -> conv(ch, 3, pad = same, mask = causal2d(type = horizontal_a)))
  yield v, h
}
block gated(ch) on v, h {
  deep = v -> conv(2 * ch, 3, pad = same, mask = causal2d(type = vertical))
  wide = ((h -> conv(2 * ch, 3, pad = same, mask = causal2d(type = horizontal)))
       + (deep -> shift_down -> conv(2 * ch, 1)))
  v2 = deep -> gate
  h2 = h + (wide -> gate -> conv(ch, 1))
  yield v2, h2
}
block head(ch) on v, h { yield h -> relu -> conv(ch, 1) -> relu -> conv(768, 1) }
x ~ autoregressive(order = pixel, likelihood = categorical) {
  first(width)
  repeat i in 1..layers { gated(width) }
  head(width)
}
check { complete(x) }
"""

WAVENET = """model wavenet(layers = 1, width = 32)
input x: category(256)[time]
block layer(d) on h, skip {
  z = h -> conv1d(2 * width, 2, dilation = d, pad = causal) -> gate
  h2 = h + (z -> conv1d(width, 1))
  s2 = skip + (z -> conv1d(width, 1))
  yield h2, s2
}
block start on x {
  h = x -> embedding(width) -> shift -> conv1d(width, 2, pad = causal)
  yield h, h * 0
}
block end on h, skip { yield skip -> relu -> dense(256) }
x ~ autoregressive(likelihood = categorical) {
  start
  repeat i in 1..layers { layer(2 ** ((i - 1) % 10)) }
  end
}
"""

TRANSFORMER = """model transformer(layers = 1, longest = 8, width = 64)
input x: category(64)[time]
block layer = residual(layer_norm -> attention(4, mask = causal))
    -> residual(layer_norm -> dense(4 * width) -> gelu -> dense(width))
x ~ autoregressive(likelihood = categorical) {
  embedding(width) -> shift -> position(longest)
  repeat i in 1..layers { layer }
  dense(64)
}
"""

TINY = "model tiny\ninput x: real[2]\ntarget y: binary[1]\ny ~ bernoulli(logits = x -> dense(1))\n"


@dataclass(frozen=True)
class Row:
    """One measurement. `length` is declared in place of `time`: then a proof goes element by element."""

    name: str
    text: str
    sizes: dict[str, int]
    length: int | None = None
    promised: bool = False

    @property
    def spec(self) -> str:
        return self.text if self.length is None else self.text.replace("[time]", f"[{self.length}]")

    @property
    def shown(self) -> str:
        sizes = [f"{k}={v}" for k, v in self.sizes.items() if k != "longest"]
        sizes += [f"T={self.length}"] if self.length else []
        return " ".join(sizes)


ROWS = [
    Row("start-up", TINY, {}, promised=True),
    Row("made", MADE, {"pixels": 784, "hidden": 500}, promised=True),
    *(Row("made", MADE, {"pixels": p, "hidden": h}) for p, h in ((784, 8000), (3072, 2000))),
    Row("made", MADE, {"pixels": 3072, "hidden": 8000}, promised=True),
    *(Row("pixelcnn", PIXELCNN, {"size": s, "layers": 15}, promised=s == 32) for s in (8, 16, 32, 64)),
    *(Row("pixelcnn", PIXELCNN, {"size": 32, "layers": n}) for n in (5, 30)),
    *(Row("wavenet", WAVENET, {"layers": n}, promised=n == 30) for n in (10, 30, 60)),
    *(Row("wavenet", WAVENET, {"layers": 30}, t) for t in (1000, 4000, 16000, 64000)),
    Row("transformer", TRANSFORMER, {"layers": 4, "longest": 1024}, promised=True),
    *(Row("transformer", TRANSFORMER, {"layers": 4, "longest": t}, t) for t in (128, 512, 1024, 2048)),
]  # fmt: skip


def measure(row: Row, tree: Path) -> dict[str, float | str]:
    """In this process: processor seconds of each step on the code of a tree."""
    sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in f"{f} {type(f).__module__}".lower()]
    sys.path[:0] = [str(tree), str(tree / "grammar"), str(tree / "backends")]
    import mpcompile
    from mpcompile import api

    assert Path(str(mpcompile.__file__)).is_relative_to(tree), f"{mpcompile.__file__} is not in {tree}"
    out: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / f"{row.name.replace('-', '_')}.mp"
        spec.write_text(row.spec, encoding="utf-8")
        start = time.process_time()
        module = api.load(spec, row.sizes)
        out["load"] = time.process_time() - start
        start = time.process_time()
        verdicts = api.verdicts(module)
        out["proofs"] = time.process_time() - start
        start = time.process_time()
        api.warnings(module)
        out["warnings"] = time.process_time() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    out["total"], out["peak"] = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    out["answers"] = ", ".join(sorted({f"{v.claim.kind} {v.status}" for v in verdicts}))
    return out


def run(index: int, tree: Path) -> dict[str, Any]:
    """One process on a tree."""
    command = [sys.executable, __file__, "--one", str(index), "--tree", str(tree)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{ROWS[index].name} on {tree}: {done.stderr.strip().rpartition(chr(10))[2]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def best(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The least of each figure."""
    return {k: v if isinstance(v, str) else min(r[k] for r in runs) for k, v in runs[0].items()}


STEPS = ("load", "proofs", "warnings", "total")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", default="", help="which networks; promised: those that --against is about")
    options.add_argument("--repeat", type=int, default=3, help="processes for each row and tree")
    options.add_argument("--against", type=Path, help="another tree of this project to compare with")
    options.add_argument("--limit", type=float, default=1.3, help="the most that `total` may grow by")
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one is not None:
        print(json.dumps(measure(ROWS[given.one], given.tree)))
        return
    here = Path(__file__).resolve().parents[1]
    trees = [here, *([given.against.resolve()] if given.against else [])]
    wanted = (given.rows or ("promised" if given.against else "made,pixelcnn,wavenet,transformer")).split(",")
    print(f"{'network':<12}{'sizes':<26}" + "".join(f"{s:>9}" for s in STEPS) + f"{'peak MB':>9}  answers")
    slow = []
    for index, row in enumerate(ROWS):
        if row.name not in wanted and not (row.promised and "promised" in wanted):
            continue
        runs: list[list[dict[str, Any]]] = [[] for _ in trees]
        for _ in range(given.repeat):
            for n, tree in enumerate(trees):  # in turn, so that both see the same load
                runs[n].append(run(index, tree))
        found = [best(r) for r in runs]
        for n, one in enumerate(found):
            name, sizes = (row.name, row.shown) if n == 0 else ("", "on the other tree")
            figures = "".join(f"{one[s]:>9.3f}" for s in STEPS)
            print(f"{name:<12}{sizes:<26}{figures}{one['peak']:>9.0f}  {one['answers']}", flush=True)
        if len(found) == 2:
            ratios = [found[0][s] / max(found[1][s], 1e-9) for s in (*STEPS, "peak")]
            print(f"{'':<12}{'ratio':<26}" + "".join(f"{r:>9.2f}" for r in ratios), flush=True)
            if ratios[STEPS.index("total")] > given.limit:
                slow.append(f"{row.name} {row.shown}".strip())
    if slow:
        raise SystemExit(f"more than {given.limit} times as long: {', '.join(slow)}")


if __name__ == "__main__":
    main()
